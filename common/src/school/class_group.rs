//! Class groups: trainees of a programme who are taught together.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Rows};
use super::{Noun, Programme, Unit, unknown};
use crate::error::{Code, Fault, Result};

/// No place is left.
pub const FULL: Code = Code {
    code: "class_group.full",
    status: 409,
    title: "The class group is full",
    advice: "Choose another class group, or a larger `capacity`.",
};

/// A class group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClassGroup {
    /// Which.
    pub class_group_id: Uuid,
    /// Of which programme.
    pub programme_id: Uuid,
    /// Unique without regard to case.
    pub name: String,
    /// The month in which it begins: 2026-09.
    pub intake: Option<String>,
    /// The most trainees it takes; none: no bound.
    pub capacity: Option<i32>,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Its version.
    pub updated_at: DateTime<Utc>,
}

/// What a class group is to be.
#[derive(Clone, Debug)]
pub struct ClassGroupAsk {
    /// Of which programme.
    pub programme_id: Uuid,
    /// Unique without regard to case.
    pub name: String,
    /// The month in which it begins: 2026-09.
    pub intake: Option<String>,
    /// The most trainees it takes; none: no bound.
    pub capacity: Option<i32>,
}

impl ClassGroup {
    /// Refuses where so many trainees are more than it takes. Whoever asks has it locked.
    ///
    /// # Errors
    /// `class_group.full`.
    pub(super) fn must_take(&self, trainees: i64) -> Result<()> {
        match self.capacity {
            Some(most) if trainees > i64::from(most) => {
                Err(FULL.refuse(format!("It takes {most} trainees, and these would be {trainees}.")).into())
            }
            _ => Ok(()),
        }
    }

    fn takes_fewer_than(&self, old: &Self) -> bool {
        self.capacity.is_some_and(|most| old.capacity.is_none_or(|before| most < before))
    }
}

impl Unit for ClassGroup {
    type Ask = ClassGroupAsk;
    const NOUN: Noun = Noun {
        entity: "class_group",
        created: "class_group.created",
        changed: "class_group.changed",
        deleted: "class_group.deleted",
        not_found: Code {
            code: "class_group.not_found",
            status: 404,
            title: "No such class group",
            advice: "List the class groups.",
        },
        name_taken: Code {
            code: "class_group.name_taken",
            status: 409,
            title: "Another class group has this name",
            advice: "Choose another name; case does not count.",
        },
        in_use: Code {
            code: "class_group.in_use",
            status: 409,
            title: "Somebody belongs to this class group",
            advice: "Move its trainees before you delete it or give it another programme. With assignments, past \
                     ones too, it stays.",
        },
    };

    fn of(id: Uuid, ask: ClassGroupAsk, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self {
        let ClassGroupAsk { programme_id, name, intake, capacity } = ask;
        Self { class_group_id: id, programme_id, name, intake, capacity, created_at, updated_at }
    }
    fn id(&self) -> Uuid {
        self.class_group_id
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
        json!({ "programme_id": self.programme_id, "name": self.name, "intake": self.intake,
                "capacity": self.capacity })
    }
    async fn faults(&self, tx: &mut PgConnection, old: Option<&Self>) -> Result<Vec<Fault>> {
        if !Programme::keep(tx, self.programme_id).await? {
            return Ok(vec![unknown("/programme_id")]);
        }
        // of trainees who came back there may be more than it takes: that hinders no other change
        if let Some(old) = old
            && self.takes_fewer_than(old)
        {
            self.must_take(store::count_trainees(tx, old.class_group_id, Uuid::nil()).await?)?;
        }
        Ok(Vec::new())
    }
}
