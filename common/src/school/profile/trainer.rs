//! Trainers: their staff number and what they can teach.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{By, RoleProfile};
use crate::error::{Fault, Result};
use crate::school::store::Rows;
use crate::school::{Department, unknown};

/// A trainer's profile.
#[derive(Clone, Debug)]
pub struct Trainer {
    /// Whose.
    pub user_id: Uuid,
    /// Unique without regard to case.
    pub staff_number: String,
    /// As the trainer's papers have them.
    pub qualifications: Vec<String>,
    /// What they know best.
    pub specialisation: Option<String>,
    /// Hours a week.
    pub teaching_load: Option<i16>,
    /// Where they belong.
    pub department_id: Option<Uuid>,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a trainer's profile is to be.
#[derive(Clone, Debug)]
pub struct TrainerAsk {
    /// Unique without regard to case.
    pub staff_number: String,
    /// As the trainer's papers have them.
    pub qualifications: Vec<String>,
    /// What they know best.
    pub specialisation: Option<String>,
    /// Hours a week.
    pub teaching_load: Option<i16>,
    /// Where they belong.
    pub department_id: Option<Uuid>,
}

impl RoleProfile for Trainer {
    type Ask = TrainerAsk;
    const ROLE: &'static str = "trainer";
    const KIND: &'static str = "trainer_profile";
    const CHANGED: &'static str = "trainer_profile.changed";

    fn of(user_id: Uuid, ask: TrainerAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let TrainerAsk { staff_number, qualifications, specialisation, teaching_load, department_id } = ask;
        Self {
            user_id,
            staff_number,
            qualifications,
            specialisation,
            teaching_load,
            department_id,
            created_at,
            updated_at,
        }
    }
    fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }
    fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
    fn facts(&self) -> Value {
        json!({ "staff_number": self.staff_number, "qualifications": self.qualifications,
                "specialisation": self.specialisation, "teaching_load": self.teaching_load,
                "department_id": self.department_id })
    }

    async fn faults(&self, tx: &mut PgConnection, _: Option<&Self>, _: By<'_>) -> Result<Vec<Fault>> {
        let there = match self.department_id {
            Some(id) => Department::keep(tx, id).await?,
            None => true,
        };
        Ok(if there { Vec::new() } else { vec![unknown("/department_id")] })
    }
}
