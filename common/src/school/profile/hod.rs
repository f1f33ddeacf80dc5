//! Heads of department: one of a department at a time. Whoever has the role no more, or is deleted, makes room for
//! the next one.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{By, DEPARTMENT_TAKEN, RoleProfile, future};
use crate::audit;
use crate::error::{Fault, Result};
use crate::school::store::{self, Rows};
use crate::school::{Department, unknown};
use crate::user;

/// A head of department's profile.
#[derive(Clone, Debug)]
pub struct Hod {
    /// Whose.
    pub user_id: Uuid,
    /// Of which they are the head.
    pub department_id: Uuid,
    /// From this day on.
    pub since: NaiveDate,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a head of department's profile is to be.
#[derive(Clone, Copy, Debug)]
pub struct HodAsk {
    /// Of which they are the head.
    pub department_id: Uuid,
    /// From this day on.
    pub since: NaiveDate,
}

impl RoleProfile for Hod {
    type Ask = HodAsk;
    const ROLE: &'static str = "hod";
    const KIND: &'static str = "hod_profile";
    const CHANGED: &'static str = "hod_profile.changed";

    fn of(user_id: Uuid, ask: HodAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let HodAsk { department_id, since } = ask;
        Self { user_id, department_id, since, created_at, updated_at }
    }
    fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }
    fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }
    fn facts(&self) -> Value {
        json!({ "department_id": self.department_id, "since": self.since })
    }

    async fn faults(&self, tx: &mut PgConnection, _: Option<&Self>, by: By<'_>) -> Result<Vec<Fault>> {
        let mut faults: Vec<Fault> = future(self.since, by.ctx.now()).into_iter().collect();
        // locked, so that of two who are to be its head the second sees the first
        if Department::lock(tx, self.department_id).await?.is_none() {
            faults.push(unknown("/department_id"));
        }
        if faults.is_empty()
            && let Some(head) = store::find_other_head(tx, self.department_id, self.user_id).await?
        {
            if head.holds {
                return Err(DEPARTMENT_TAKEN.refuse("This department has another head.").into());
            }
            release(tx, by, head.user_id, self.department_id).await?;
        }
        Ok(faults)
    }
}

/// Takes away the profile of somebody who is the head no more.
async fn release(tx: &mut PgConnection, by: By<'_>, user_id: Uuid, department_id: Uuid) -> Result<()> {
    store::delete_head(tx, user_id).await?;
    let details = json!({ "department_id": department_id });
    let line = user::line(by.client, by.person, user_id, "hod_profile.released", details, by.ctx.now());
    Ok(audit::note(tx, line).await?)
}
