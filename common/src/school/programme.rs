//! Programmes: what a department teaches towards.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::Rows;
use super::{Department, Noun, Unit, unknown};
use crate::error::{Code, Fault, Result};

/// A programme.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programme {
    /// Which.
    pub programme_id: Uuid,
    /// Whose.
    pub department_id: Uuid,
    /// Unique without regard to case.
    pub name: String,
    /// Certificate, diploma, ...
    pub level: String,
    /// How long it takes.
    pub duration_months: i16,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a programme is to be.
#[derive(Clone, Debug)]
pub struct ProgrammeAsk {
    /// Whose.
    pub department_id: Uuid,
    /// Unique without regard to case.
    pub name: String,
    /// Certificate, diploma, ...
    pub level: String,
    /// How long it takes.
    pub duration_months: i16,
}

impl Unit for Programme {
    type Ask = ProgrammeAsk;
    const NOUN: Noun = Noun {
        entity: "programme",
        created: "programme.created",
        changed: "programme.changed",
        deleted: "programme.deleted",
        not_found: Code {
            code: "programme.not_found",
            status: 404,
            title: "No such programme",
            advice: "List the programmes.",
        },
        name_taken: Code {
            code: "programme.name_taken",
            status: 409,
            title: "Another programme has this name",
            advice: "Choose another name; case does not count.",
        },
        in_use: Code {
            code: "programme.in_use",
            status: 409,
            title: "Something belongs to this programme",
            advice: "Move its class groups and trainees first. With assignments, past ones too, it stays.",
        },
    };

    fn of(id: Uuid, ask: ProgrammeAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let ProgrammeAsk { department_id, name, level, duration_months } = ask;
        Self { programme_id: id, department_id, name, level, duration_months, created_at, updated_at }
    }
    fn id(&self) -> Uuid {
        self.programme_id
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
        json!({ "department_id": self.department_id, "name": self.name, "level": self.level,
                "duration_months": self.duration_months })
    }
    async fn faults(&self, tx: &mut PgConnection, _: Option<&Self>) -> Result<Vec<Fault>> {
        let there = Department::keep(tx, self.department_id).await?;
        Ok(if there { Vec::new() } else { vec![unknown("/department_id")] })
    }
}
