//! Deputy principals for academics.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{By, RoleProfile, future};
use crate::error::{Fault, Result};

/// A deputy principal's profile.
#[derive(Clone, Debug)]
pub struct DpAcademics {
    /// Whose.
    pub user_id: Uuid,
    /// Where they are found.
    pub office: String,
    /// From this day on.
    pub since: NaiveDate,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a deputy principal's profile is to be.
#[derive(Clone, Debug)]
pub struct DpAcademicsAsk {
    /// Where they are found.
    pub office: String,
    /// From this day on.
    pub since: NaiveDate,
}

impl RoleProfile for DpAcademics {
    type Ask = DpAcademicsAsk;
    const ROLE: &'static str = "dp_academics";
    const KIND: &'static str = "dp_academics_profile";
    const CHANGED: &'static str = "dp_academics_profile.changed";

    fn of(user_id: Uuid, ask: DpAcademicsAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let DpAcademicsAsk { office, since } = ask;
        Self { user_id, office, since, created_at, updated_at }
    }
    fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }
    fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
    fn facts(&self) -> Value {
        json!({ "office": self.office, "since": self.since })
    }

    async fn faults(&self, _: &mut PgConnection, _: Option<&Self>, by: By<'_>) -> Result<Vec<Fault>> {
        Ok(future(self.since, by.ctx.now()).into_iter().collect())
    }
}
