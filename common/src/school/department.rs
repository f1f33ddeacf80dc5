//! Departments.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Noun, Unit};
use crate::error::{Code, Fault, Result};

/// A department.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Department {
    /// Which.
    pub department_id: Uuid,
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a department is to be.
#[derive(Clone, Debug)]
pub struct DepartmentAsk {
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: Option<String>,
}

impl Unit for Department {
    type Ask = DepartmentAsk;
    const NOUN: Noun = Noun {
        entity: "department",
        created: "department.created",
        changed: "department.changed",
        deleted: "department.deleted",
        not_found: Code {
            code: "department.not_found",
            status: 404,
            title: "No such department",
            advice: "List the departments.",
        },
        name_taken: Code {
            code: "department.name_taken",
            status: 409,
            title: "Another department has this name",
            advice: "Choose another name; case does not count.",
        },
        in_use: Code {
            code: "department.in_use",
            status: 409,
            title: "Something belongs to this department",
            advice: "Move its programmes and people first. With assignments, past ones too, it stays.",
        },
    };

    fn of(id: Uuid, ask: DepartmentAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let DepartmentAsk { name, description } = ask;
        Self { department_id: id, name, description, created_at, updated_at }
    }
    fn id(&self) -> Uuid {
        self.department_id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }
    fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
    fn facts(&self) -> Value {
        json!({ "name": self.name, "description": self.description })
    }
    async fn faults(&self, _: &mut PgConnection, _: Option<&Self>) -> Result<Vec<Fault>> {
        Ok(Vec::new())
    }
}
