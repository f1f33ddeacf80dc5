//! Trainees: their admission number, and the place they have in a programme and a class group.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{By, RoleProfile};
use crate::error::{Fault, Result};
use crate::school::store::{self, Rows};
use crate::school::{ClassGroup, Programme, unknown};

/// How a trainee stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraineeStatus {
    /// In training.
    Active,
    /// Comes back later.
    Deferred,
    /// Sent away for a time.
    Suspended,
    /// Done.
    Graduated,
    /// Left, or sent away for good.
    Withdrawn,
}

impl TraineeStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Deferred, Self::Suspended, Self::Graduated, Self::Withdrawn];

    /// As rows and the API say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deferred => "deferred",
            Self::Suspended => "suspended",
            Self::Graduated => "graduated",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether a place in a class group is held for them.
    fn holds_place(self) -> bool {
        !matches!(self, Self::Graduated | Self::Withdrawn)
    }
}

impl From<String> for TraineeStatus {
    /// A row's: the table takes no other.
    fn from(name: String) -> Self {
        Self::ALL.into_iter().find(|status| status.name() == name).unwrap_or(Self::Withdrawn)
    }
}

/// A trainee's profile.
#[derive(Clone, Debug)]
pub struct Trainee {
    /// Whose.
    pub user_id: Uuid,
    /// Unique without regard to case.
    pub admission_number: String,
    /// How they stand.
    pub status: TraineeStatus,
    /// What they train for.
    pub programme_id: Option<Uuid>,
    /// With whom; of the programme.
    pub class_group_id: Option<Uuid>,
    /// The month in which they came: 2026-09.
    pub intake: Option<String>,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a trainee's profile is to be.
#[derive(Clone, Debug)]
pub struct TraineeAsk {
    /// Unique without regard to case.
    pub admission_number: String,
    /// How they stand.
    pub status: TraineeStatus,
    /// What they train for.
    pub programme_id: Option<Uuid>,
    /// With whom; of the programme.
    pub class_group_id: Option<Uuid>,
    /// The month in which they came: 2026-09.
    pub intake: Option<String>,
}

impl RoleProfile for Trainee {
    type Ask = TraineeAsk;
    const ROLE: &'static str = "trainee";
    const KIND: &'static str = "trainee_profile";
    const CHANGED: &'static str = "trainee_profile.changed";

    fn of(user_id: Uuid, ask: TraineeAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let TraineeAsk { admission_number, status, programme_id, class_group_id, intake } = ask;
        Self {
            user_id,
            admission_number,
            status,
            programme_id,
            class_group_id,
            intake,
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
        json!({ "admission_number": self.admission_number, "status": self.status.name(),
                "programme_id": self.programme_id, "class_group_id": self.class_group_id,
                "intake": self.intake })
    }

    async fn faults(&self, tx: &mut PgConnection, old: Option<&Self>, _: By<'_>) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        if let Some(id) = self.programme_id
            && !Programme::keep(tx, id).await?
        {
            faults.push(unknown("/programme_id"));
        }
        let Some(id) = self.class_group_id else { return Ok(faults) };
        // locked, so that nobody takes the last place beside this one
        let Some(group) = ClassGroup::lock(tx, id).await? else {
            faults.push(unknown("/class_group_id"));
            return Ok(faults);
        };
        if self.programme_id != Some(group.programme_id) {
            let told = "This class group belongs to another programme.";
            faults.push(Fault::at("/class_group_id", "class_group.other_programme", told));
        }
        let held = old.is_some_and(|old| old.class_group_id == Some(id) && old.status.holds_place());
        // who has a place keeps it, also where others came back and there are more than it takes
        if faults.is_empty() && self.status.holds_place() && !held {
            group.must_take(store::count_trainees(tx, id, self.user_id).await? + 1)?;
        }
        Ok(faults)
    }
}
