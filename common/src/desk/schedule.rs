//! Schedules on the desk: list, run by hand, switch, change.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::store::{self, ScheduleRow};
use super::{Hand, SCHEDULE_EXPRESSION, SCHEDULE_NOT_FOUND, SCHEDULE_UNKNOWN};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::job::schedule::{self, CatchUp};
use crate::role::Permission;

/// A schedule as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// What it asks for; none: no worker of this deployment has said.
    pub kind: Option<String>,
    /// cron, with or without a field for seconds; UTC.
    pub expression: String,
    /// As it was shipped.
    pub default_expression: Option<String>,
    /// What is asked for after an outage: `skip`, `one` (the latest missed tick) or `all`.
    pub catch_up: String,
    /// Whether it is on.
    pub enabled: bool,
    /// The next tick; none: it is off, or cannot be read.
    pub next_at: Option<DateTime<Utc>>,
    /// The last tick that asked for a job.
    pub last_at: Option<DateTime<Utc>>,
    /// That job.
    pub last_job_id: Option<Uuid>,
    /// How far that job is; none once it is no longer kept.
    pub last_state: Option<String>,
    /// What that job's last attempt said.
    pub last_error: Option<String>,
}

/// A change of a schedule: what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// cron, UTC.
    pub expression: Option<String>,
    /// After an outage.
    pub catch_up: Option<CatchUp>,
    /// On or off.
    pub enabled: Option<bool>,
}

async fn shown(ctx: &Context, row: ScheduleRow) -> Result<Schedule> {
    let last = match row.last_job {
        Some(job_id) => store::find(&ctx.db, job_id).await?,
        None => None,
    };
    let after = row.ticked_at.max(ctx.now());
    let next_at = schedule::parse(&row.expression).ok().and_then(|cron| cron.after(&after).next());
    let (last_state, last_error) = last.map(|job| (job.state, job.error)).unzip();
    Ok(Schedule {
        name: row.schedule,
        kind: row.kind,
        expression: row.expression,
        default_expression: row.default_expression,
        catch_up: row.catch_up,
        enabled: row.enabled,
        next_at: next_at.filter(|_| row.enabled),
        last_at: row.last_at,
        last_job_id: row.last_job,
        last_state,
        last_error: last_error.flatten(),
    })
}

/// All schedules, by name.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn list(ctx: &Context, hand: Hand<'_>) -> Result<Vec<Schedule>> {
    hand.may(Permission::JobsRead)?;
    let mut all = Vec::new();
    for row in store::list_schedules(&ctx.db, None).await? {
        all.push(shown(ctx, row).await?);
    }
    Ok(all)
}

fn not_found() -> Error {
    SCHEDULE_NOT_FOUND.refuse("There is no schedule with this name.").into()
}

/// A job asked for by hand.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// The job.
    pub job_id: Uuid,
}

/// Asks for a schedule's job now, whether the schedule is on or off; its ticks go on as before.
///
/// # Errors
/// `auth.forbidden`, `schedule.not_found`, `schedule.unregistered`, and the refusals of
/// [`idempotency::begin`].
pub async fn run(ctx: &Context, hand: Hand<'_>, name: &str, key: Option<&idempotency::Key>) -> Result<Ran> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let kept = store::lock_schedule(&mut tx, name).await?.ok_or_else(not_found)?;
    let ran = Ran { job_id: id::ordered(now) };
    let queue = store::insert_by_hand(&mut tx, name, ran.job_id, now, &hand.client.request_id).await?;
    let queue = queue.ok_or_else(|| SCHEDULE_UNKNOWN.refuse("No worker has told what it asks for."))?;
    let details = json!({ "kind": kept.kind, "job_id": ran.job_id });
    hand.note(&mut tx, "schedule.run", ("schedule", name.to_owned()), details, now).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&ran).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    if let Ok(queue) = queue.parse() {
        ctx.wake.queue(queue);
    }
    Ok(ran)
}

/// Changes a schedule. A new expression, and a schedule that is switched on again, begin now: what lies
/// before is not caught up.
///
/// # Errors
/// `auth.forbidden`, `schedule.not_found`, `schedule.expression`, or the database does not answer.
pub async fn change(ctx: &Context, hand: Hand<'_>, name: &str, change: Change) -> Result<Schedule> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    if let Some(expression) = &change.expression {
        check(expression, now)?;
    }
    let mut tx = ctx.db.begin().await?;
    let kept = store::lock_schedule(&mut tx, name).await?.ok_or_else(not_found)?;
    let expression = change.expression.unwrap_or_else(|| kept.expression.clone());
    let catch_up = change.catch_up.map_or_else(|| kept.catch_up.clone(), |policy| policy.name().to_owned());
    let enabled = change.enabled.unwrap_or(kept.enabled);
    if (&expression, &catch_up, enabled) != (&kept.expression, &kept.catch_up, kept.enabled) {
        let anew = expression != kept.expression || enabled && !kept.enabled;
        let from = if anew { now } else { DateTime::UNIX_EPOCH };
        store::set_schedule(&mut tx, name, &expression, &catch_up, enabled, from).await?;
        let details = json!({
            "old": { "expression": kept.expression, "catch_up": kept.catch_up, "enabled": kept.enabled },
            "new": { "expression": expression, "catch_up": catch_up, "enabled": enabled },
        });
        hand.note(&mut tx, "schedule.changed", ("schedule", name.to_owned()), details, now).await?;
    }
    tx.commit().await?;
    let row = store::list_schedules(&ctx.db, Some(name)).await?.pop().ok_or_else(not_found)?;
    shown(ctx, row).await
}

/// Refuses what is no expression, and what never comes due.
fn check(expression: &str, now: DateTime<Utc>) -> Result<()> {
    let refuse = |why: String| Error::from(SCHEDULE_EXPRESSION.refuse(why));
    if expression.len() > 200 || expression.contains('\0') {
        return Err(refuse("An expression has 200 characters at most.".to_owned()));
    }
    let cron = schedule::parse(expression).map_err(|fault| refuse(format!("It cannot be read: {fault}.")))?;
    match cron.after(&now).next() {
        Some(_) => Ok(()),
        None => Err(refuse("It never comes due (again).".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_fires_is_refused_and_each_second_is_not() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("time");
        for good in ["* * * * * *", "*/5 * * * *", "0 0 0 29 2 *", "0 30 9 * * Mon-Fri"] {
            assert!(check(good, now).is_ok(), "{good}");
        }
        let long = "0 ".repeat(200);
        for bad in [
            "",
            "never",
            "0 0 0 30 2 *",
            "0 0 0 1 1 * 2020",
            "61 * * * * *",
            "* * * *",
            "0 0 25 * * *",
            &long,
        ] {
            let refused = check(bad, now).expect_err(bad);
            assert_eq!(refused.name(), "schedule.expression", "{bad}");
        }
    }
}
