//! How far it is, and whom it was not done to.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{NOT_FOUND, store};
use crate::context::Context;
use crate::desk;
use crate::error::Result;
use crate::role::Permission;
use crate::session::Person;

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// People are being chosen.
    Selecting,
    /// It is being done.
    Running,
    /// Everybody has an outcome.
    Finished,
    /// A day was not enough; those without an outcome were left alone.
    Expired,
    /// Its job was cancelled by an operator; those without an outcome were left alone.
    Cancelled,
    /// Its job was given up; those without an outcome are left alone until an operator has it tried again.
    Discarded,
}

impl State {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Selecting => "selecting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }
}

/// An action, as it is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Which.
    pub bulk_action_id: Uuid,
    /// What is done, by name.
    pub action: String,
    /// How far it is.
    pub state: State,
    /// How many were chosen so far.
    pub total: i64,
    /// To how many it was done.
    pub done: i64,
    /// To how many it could not be done.
    pub failed: i64,
    /// The one who asked, where they fit.
    pub skipped: i64,
    /// Who asked.
    pub created_by: Uuid,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When everybody had an outcome.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when the file of an export is kept, once it is there.
    pub result_until: Option<DateTime<Utc>>,
    /// Whom it was not done to, by id.
    pub failures: Vec<Failure>,
}

/// Somebody it was not done to.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Who.
    pub user_id: Uuid,
    /// `failed` or `skipped`.
    pub outcome: String,
    /// The refusal.
    pub code: String,
}

/// How far an action is, with up to `limit` of those after `after` whom it was not done to.
///
/// # Errors
/// `auth.forbidden`, `bulk.not_found`.
pub async fn show(
    ctx: &Context,
    person: &Person,
    bulk_action_id: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Progress> {
    person.may(Permission::UsersRead)?;
    let order = store::find_order(&ctx.db, bulk_action_id).await?;
    let order = order.ok_or_else(|| NOT_FOUND.refuse("There is no bulk action with this id."))?;
    let counts = store::count_outcomes(&ctx.db, bulk_action_id).await?;
    let failures = store::list_failures(&ctx.db, bulk_action_id, after.unwrap_or(Uuid::nil()), limit).await?;
    let state = state(ctx, &order).await?;
    Ok(Progress {
        bulk_action_id,
        action: order.action,
        state,
        total: counts.total,
        // of an export, whose rows are in the file
        done: counts.done + order.exported,
        failed: counts.failed,
        skipped: counts.skipped,
        created_by: order.created_by,
        created_at: order.created_at,
        finished_at: order.finished_at,
        result_until: order.upload_id.and(order.result_until),
        failures,
    })
}

/// How far an action is, by its own row and its job's.
async fn state(ctx: &Context, order: &store::Order) -> Result<State> {
    if order.finished_at.is_some() {
        return Ok(State::Finished);
    }
    let job = match order.job_id {
        Some(job_id) => desk::job::state(ctx, job_id).await?,
        None => None,
    };
    Ok(match job.as_deref() {
        Some("cancelled") => State::Cancelled,
        _ if ctx.now() >= order.expires_at => State::Expired,
        Some("discarded") => State::Discarded,
        // of those that ended, only what was cancelled leaves its action open
        None if order.job_id.is_some() => State::Cancelled,
        _ if order.selected_at.is_some() => State::Running,
        _ => State::Selecting,
    })
}
