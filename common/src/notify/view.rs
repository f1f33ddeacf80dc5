//! What operators see of deliveries, and what they can do: list, show, send again.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::store::{self, Attempt, Row};
use super::{DeliverMessage, DeliverNotice, Message, NOT_FOUND, NOT_RESENDABLE, State};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{self, Job, Terms};
use crate::mask;

/// A delivery in a list. Recipients are masked.
#[derive(Clone, Debug)]
pub struct Line {
    /// How far, at this moment.
    pub state: State,
    /// The row, its recipient masked.
    pub row: Row,
}

/// A delivery with everything that was tried.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The delivery.
    pub line: Line,
    /// Every provider call, in order; one without an end has an unknown outcome.
    pub attempts: Vec<Attempt>,
    /// Why it is where it is, for a person.
    pub cause: String,
    /// What happens next, or what to do.
    pub next_step: &'static str,
}

fn line(mut row: Row, now: DateTime<Utc>) -> Result<Line> {
    let state: State = row.state.parse().map_err(Error::internal)?;
    row.recipient = mask::identifier(&row.recipient);
    Ok(Line { state: state.at(now, row.expires_at), row })
}

/// Deliveries, newest first: up to `limit`, before a place told by the last line seen.
///
/// # Errors
/// The database does not answer.
pub async fn list(
    db: &PgPool,
    now: DateTime<Utc>,
    limit: u16,
    before: Option<(DateTime<Utc>, Uuid)>,
) -> Result<Vec<Line>> {
    let (at, id) = before.unwrap_or((now + chrono::Duration::days(1), Uuid::max()));
    let rows = store::list(db, i64::from(limit.min(1000)), at, id).await?;
    rows.into_iter().map(|row| line(row, now)).collect()
}

/// One delivery with its attempts.
///
/// # Errors
/// `delivery.not_found`.
pub async fn show(db: &PgPool, now: DateTime<Utc>, delivery_id: Uuid) -> Result<Detail> {
    let row = store::find(db, delivery_id).await?;
    let line = line(row.ok_or_else(|| NOT_FOUND.refuse("There is no delivery with this id."))?, now)?;
    let attempts = store::list_attempts(db, delivery_id).await?;
    let cause = cause(&line, &attempts);
    let held = is_notice(&line.row.kind);
    Ok(Detail { next_step: next_step(line.state, held), line, attempts, cause })
}

/// Why a delivery is where it is.
fn cause(line: &Line, attempts: &[Attempt]) -> String {
    let by = line.row.provider.as_deref().unwrap_or("no provider");
    let unfinished = attempts.last().is_some_and(|attempt| attempt.finished_at.is_none());
    match (line.state, &line.row.reason) {
        (_, Some(reason)) => reason.clone(),
        (State::Accepted, None) => format!("{by} took it"),
        (State::Delivered, None) => format!("{by} reported its arrival"),
        (State::Sending | State::Unknown, None) if unfinished => {
            format!("the call to {by} has no recorded end")
        }
        (State::Queued, None) => "no worker has taken it up yet".to_owned(),
        (State::Expired, None) => "no worker took it up in time".to_owned(),
        (_, None) => "no reason is recorded".to_owned(),
    }
}

fn is_notice(kind: &str) -> bool {
    Message::named(kind).is_some_and(Message::is_notice)
}

fn next_step(state: State, notice: bool) -> &'static str {
    match state {
        State::Queued => "The worker sends it; if it stays here, see `queues list` and `jobs list`.",
        State::Sending if notice => "A worker has it; after a crash it is held as `unknown`.",
        State::Sending => "A worker has it; after a crash it is sent again within 15 s.",
        State::Accepted => "The provider delivers it, and may report the outcome.",
        State::Delivered => "Nothing.",
        State::Failed => "Mend the cause, then `deliveries resend` while its time lasts.",
        State::Expired => "Nothing: the person asks for another one.",
        State::Unknown if notice => "Held: it may have arrived. `deliveries resend` sends it again.",
        State::Unknown => "The worker sends it again.",
    }
}

/// Sends a delivery again, as a job of its own, while its time lasts.
///
/// # Errors
/// `delivery.not_found`, `delivery.not_resendable`.
pub async fn resend(ctx: &Context, delivery_id: Uuid) -> Result<Uuid> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let row = store::find(&mut *tx, delivery_id).await?;
    let row = row.ok_or_else(|| NOT_FOUND.refuse("There is no delivery with this id."))?;
    if store::set_queued(&mut tx, delivery_id, now).await? == 0 {
        return Err(NOT_RESENDABLE.refuse("Its time is over, or it goes to nobody.").into());
    }
    let terms = Terms { expires_at: Some(row.expires_at), request_id: row.request_id, ..Terms::default() };
    let created_at = row.created_at;
    let (job_id, queue) = match is_notice(&row.kind) {
        true => {
            let job = DeliverNotice { delivery_id, created_at };
            (job::enqueue(&mut tx, now, &job, terms).await?, DeliverNotice::QUEUE)
        }
        false => {
            let job = DeliverMessage { delivery_id, created_at };
            (job::enqueue(&mut tx, now, &job, terms).await?, DeliverMessage::QUEUE)
        }
    };
    tx.commit().await?;
    ctx.wake.queue(queue);
    Ok(job_id)
}
