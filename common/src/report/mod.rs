//! Reports about a person's own use, for that person: asked for here, built by a job (`jobs`) from what there
//! is (`figures`, `usage`) into JSON and a page that loads nothing (`page`, with plots by `plot`), told by a
//! notice, and kept for 30 days. `monthly` asks for those of a month.

mod figures;
mod jobs;
mod monthly;
mod page;
mod plot;
mod store;
mod usage;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use jobs::BuildReport;
pub use monthly::RequestMonthly;

use crate::audit::Client;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::job::{self, Queue, Terms};
use crate::session::Person;

/// No such report of this person, or not any more.
pub const NOT_FOUND: Code = Code {
    code: "report.not_found",
    status: 404,
    title: "No such report",
    advice: "Check the id; reports are kept for 30 days. Ask for a new one.",
};
/// It is being built.
pub const NOT_READY: Code = Code {
    code: "report.not_ready",
    status: 409,
    title: "The report is not ready yet",
    advice: "Ask for its status, and come back when it is `ready`; a notice tells too.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[NOT_FOUND, NOT_READY];

/// How long one may wait to be built; after it a new one can be asked for.
const PATIENCE: TimeDelta = TimeDelta::hours(24);
/// How long one is kept.
const LIFE: TimeDelta = TimeDelta::days(30);
/// How many of a person are kept, each well under a megabyte.
const MOST: i64 = 10;

/// A report, without its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which.
    pub report_id: Uuid,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was built; none: it waits.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when it is kept, or waits.
    pub expires_at: DateTime<Utc>,
}

/// In which form a report is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// For people: a page that loads nothing.
    Html,
}

/// Asks for a report of the caller's own use. One waits per person: who asks again gets that one.
///
/// # Errors
/// The refusals of [`idempotency::begin`], or the database does not answer.
pub async fn request(
    ctx: &Context,
    client: &Client,
    person: &Person,
    key: Option<&idempotency::Key>,
) -> Result<Report> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    store::delete_stale(&mut tx, &[person.user_id()], now).await?;
    let new = Report {
        report_id: id::ordered(now),
        created_at: now,
        finished_at: None,
        expires_at: now + PATIENCE,
    };
    let report = match store::insert(&mut tx, person.user_id(), &new).await? {
        true => {
            ask(&mut tx, client, &new, now).await?;
            new
        }
        false => {
            let waiting = store::find_waiting(&mut tx, person.user_id()).await?;
            // built between the two statements
            let waiting = waiting
                .ok_or_else(|| Error::Aborted("the report that waited was finished just now".into()))?;
            ask(&mut tx, client, &waiting, now).await?;
            waiting
        }
    };
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&report).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Low);
    Ok(report)
}

/// Asks for the job of a report, once for all who ask while it waits: also where the one before was put away.
async fn ask(
    tx: &mut sqlx::PgConnection,
    client: &Client,
    report: &Report,
    now: DateTime<Utc>,
) -> Result<()> {
    let terms = Terms {
        expires_at: Some(report.expires_at),
        unique_key: Some(format!("report:{}", report.report_id)),
        ..Terms::of(client)
    };
    job::enqueue(tx, now, &BuildReport { report_id: report.report_id }, terms).await?;
    Ok(())
}

/// A report of the caller's.
///
/// # Errors
/// `report.not_found`: also for that of somebody else.
pub async fn show(ctx: &Context, person: &Person, report_id: Uuid) -> Result<Report> {
    let report = store::find(&ctx.db, report_id, person.user_id(), ctx.now()).await?;
    Ok(report.ok_or_else(|| NOT_FOUND.refuse("You have no report with this id."))?)
}

/// The content of a report of the caller's.
///
/// # Errors
/// `report.not_found`, `report.not_ready`.
pub async fn download(
    ctx: &Context,
    person: &Person,
    report_id: Uuid,
    format: Format,
) -> Result<(Report, Vec<u8>)> {
    let report = show(ctx, person, report_id).await?;
    let content = store::find_content(&ctx.db, report_id, format == Format::Html).await?;
    let content = content.ok_or_else(|| NOT_READY.refuse("It is still being built."))?;
    Ok((report, content))
}
