//! Deliveries on the operators' desk: list, show with cause and next step, send again.

mod cause;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::store::{self as deliveries, Attempt, Row};
use super::{DeliverMessage, DeliverNotice, Message, NOT_FOUND, NOT_RESENDABLE, State};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::database;
use crate::desk::job::{Page, next_step};
use crate::desk::{Hand, queue, store as jobs};
use crate::error::{Error, Fault, Result, invalid};
use crate::idempotency::{self, Begun};
use crate::job::{self, Job, Queue, Terms};
use crate::mask;
use crate::role::Permission;
use crate::session::Person;

use cause::Scene;
pub(super) use store::find_channel;

/// A delivery in a list. Recipients are masked.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Which.
    pub id: Uuid,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// `otp_code`, ...
    pub kind: String,
    /// By which way.
    pub channel: String,
    /// Masked.
    pub recipient: String,
    /// What a code is for.
    pub purpose: Option<String>,
    /// How far, at this moment.
    #[serde(serialize_with = "by_name")]
    pub state: State,
    /// How often a provider was asked.
    pub tries: i16,
    /// The last one asked.
    pub provider: Option<String>,
    /// Its name for the message.
    pub provider_id: Option<String>,
    /// Why it is where it is, as the row has it.
    pub reason: Option<String>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
    /// When a provider took it.
    pub accepted_at: Option<DateTime<Utc>>,
    /// The request that asked.
    pub request_id: Option<String>,
}

fn by_name<S: serde::Serializer>(state: &State, to: S) -> Result<S::Ok, S::Error> {
    state.name().serialize(to)
}

/// A delivery with everything that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// The delivery.
    #[serde(flatten)]
    pub line: Line,
    /// Every provider call, in order; one without an end has an unknown outcome.
    pub attempts: Vec<Try>,
    /// The jobs that send it, newest first.
    pub jobs: Vec<Sender>,
    /// Why it is where it is, for a person.
    pub cause: String,
    /// What happens next, or what to do.
    pub next_step: String,
}

/// A job that sends, or sent, a delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Sender {
    /// Which.
    pub id: Uuid,
    /// How far.
    pub state: String,
    /// What its last attempt said.
    pub error: Option<String>,
}

/// One provider call.
#[derive(Clone, Debug, Serialize)]
pub struct Try {
    /// Which try of the delivery, from 1.
    pub attempt: i16,
    /// Which was called.
    pub provider: String,
    /// Before the call.
    pub started_at: DateTime<Utc>,
    /// After it; none: the outcome is not known.
    pub finished_at: Option<DateTime<Utc>>,
    /// `accepted`, `retry`, `unknown`, `give_up`, `misconfigured`.
    pub outcome: Option<String>,
    /// Why not accepted.
    pub reason: Option<String>,
}

impl From<Attempt> for Try {
    fn from(attempt: Attempt) -> Self {
        let Attempt { attempt, provider, started_at, finished_at, outcome, reason, .. } = attempt;
        Self { attempt, provider, started_at, finished_at, outcome, reason }
    }
}

/// The name of the list in its cursors.
const LIST: &str = "deliveries";

/// Which deliveries are wanted: every field narrows. Without `since`: by recipient or account those of the last 7
/// days, else by state, kind or channel those of the last 24 hours.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state, at this moment.
    pub state: Option<State>,
    /// Of this kind.
    pub kind: Option<String>,
    /// By this way.
    pub channel: Option<String>,
    /// To this recipient, normalised.
    pub to: Option<String>,
    /// About this account.
    pub user_id: Option<Uuid>,
    /// Asked for at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Behind this place of the list.
    pub cursor: Option<String>,
}

fn line(row: Row, now: DateTime<Utc>) -> Result<Line> {
    let state: State = row.state.parse().map_err(Error::internal)?;
    Ok(Line {
        id: row.delivery_id,
        created_at: row.created_at,
        kind: row.kind,
        channel: row.channel,
        recipient: mask::identifier(&row.recipient),
        purpose: row.purpose,
        state: state.at(now, row.expires_at),
        tries: row.attempts,
        provider: row.provider.filter(|name| !name.is_empty()),
        provider_id: row.provider_id,
        reason: row.reason,
        expires_at: row.expires_at,
        accepted_at: row.accepted_at,
        request_id: row.request_id,
    })
}

/// Deliveries, newest first.
///
/// # Errors
/// `auth.forbidden`, a fault of the cursor, or the database does not answer.
pub async fn list(ctx: &Context, hand: Hand<'_>, filter: &Filter, limit: u16) -> Result<Page<Line>> {
    hand.may(Permission::DeliveriesRead)?;
    let now = ctx.now();
    let (keys, owner) = (&ctx.config.keys, hand.person.map_or(Uuid::nil(), Person::user_id));
    let place = match &filter.cursor {
        None => Place { at: now + TimeDelta::days(1), id: Uuid::max() },
        Some(cursor) => cursor::read(keys, LIST, owner, cursor).map_err(|_| {
            invalid(vec![Fault::at("/cursor", "field.format", "This is not a `next_cursor`.")])
        })?,
    };
    let searched = filter.to.is_some() || filter.user_id.is_some();
    let sifted = filter.state.is_some() || filter.kind.is_some() || filter.channel.is_some();
    let from = match (searched, sifted) {
        (true, _) => now - TimeDelta::days(7),
        (false, true) => now - TimeDelta::hours(24),
        (false, false) => DateTime::UNIX_EPOCH,
    };
    let since = filter.since.unwrap_or(from).max(DateTime::UNIX_EPOCH);
    let limit = usize::from(limit.clamp(1, 1000));
    let wanted = store::Wanted {
        before_at: place.at,
        before_id: place.id,
        since,
        now,
        state: filter.state.map(State::name),
        kind: filter.kind.as_deref(),
        channel: filter.channel.as_deref(),
        to: filter.to.as_deref(),
        user_id: filter.user_id,
        limit: i64::try_from(limit).unwrap_or(1) + 1,
    };
    let mut tx = ctx.db.begin().await?;
    database::plan_anew(&mut tx).await?;
    let mut rows = store::list(&mut *tx, &wanted).await?;
    tx.commit().await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows
        .last()
        .filter(|_| more)
        .map(|row| Place { at: row.created_at, id: row.delivery_id })
        .map(|place| cursor::write(keys, LIST, owner, place));
    let details = json!({
        "state": filter.state.map(State::name), "kind": filter.kind, "channel": filter.channel,
        "user_id": filter.user_id, "by_recipient": filter.to.is_some(), "since": filter.since,
    });
    note(ctx, hand, "delivery.listed", "", details).await?;
    Ok(Page { items: rows.into_iter().map(|row| line(row, now)).collect::<Result<_>>()?, next_cursor })
}

/// A look at what was sent to people leaves a line.
async fn note(
    ctx: &Context,
    hand: Hand<'_>,
    action: &'static str,
    id: &str,
    details: serde_json::Value,
) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    hand.note(&mut tx, action, ("delivery", id.to_owned()), details, ctx.now()).await?;
    tx.commit().await?;
    Ok(())
}

/// One delivery with its attempts, why it is where it is, and what happens next.
///
/// # Errors
/// `auth.forbidden`, `delivery.not_found`, or the database does not answer.
pub async fn show(ctx: &Context, hand: Hand<'_>, delivery_id: Uuid) -> Result<Detail> {
    hand.may(Permission::DeliveriesRead)?;
    let now = ctx.now();
    let row = deliveries::find(&ctx.db, delivery_id).await?.ok_or_else(not_found)?;
    let attempts = deliveries::list_attempts(&ctx.db, delivery_id).await?;
    let (sends, opened) = store::find_course(&ctx.db, delivery_id).await?.unwrap_or((true, None));
    let resent = store::list_resent(&ctx.db, &delivery_id.to_string()).await?;
    let near = near(row.created_at);
    let part = json!({ "delivery_id": delivery_id });
    let sent_by = jobs::list_with(&ctx.db, near, &part, &resent).await?;
    let queue = match sent_by.first() {
        Some(job) => job.queue.clone(),
        None if is_notice(&row.kind) => DeliverNotice::QUEUE.name().to_owned(),
        None => DeliverMessage::QUEUE.name().to_owned(),
    };
    let job = sent_by.first();
    let job_step = match job {
        Some(job) => Some(next_step(ctx, job).await?),
        None => None,
    };
    let obstacle = queue::obstacle(ctx, &queue).await?;
    let line = line(row, now)?;
    let scene = Scene {
        line: &line,
        attempts: &attempts,
        sends,
        opened_at: opened,
        job,
        job_step,
        obstacle,
        notice: is_notice(&line.kind),
        now,
    };
    let (cause, next_step) = scene.told();
    note(ctx, hand, "delivery.read", &delivery_id.to_string(), json!({})).await?;
    Ok(Detail {
        cause,
        next_step,
        attempts: attempts.into_iter().map(Into::into).collect(),
        jobs: sent_by
            .into_iter()
            .map(|job| Sender { id: job.job_id, state: job.state, error: job.error })
            .collect(),
        line,
    })
}

fn not_found() -> Error {
    NOT_FOUND.refuse("There is no delivery with this id.").into()
}

/// The ids of jobs that were asked for with a delivery: they are made in its transaction, from the same moment.
fn near(created_at: DateTime<Utc>) -> (Uuid, Uuid) {
    let first = |millis: i64| u128::try_from(millis).unwrap_or(0) << 80;
    let millis = created_at.timestamp_millis();
    (Uuid::from_u128(first(millis - 1)), Uuid::from_u128(first(millis + 2)))
}

pub(super) fn is_notice(kind: &str) -> bool {
    Message::named(kind).is_some_and(Message::is_notice)
}

/// The job that sends a delivery again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Resent {
    /// Which.
    pub job_id: Uuid,
}

/// Sends a delivery again while its time lasts: by the job that waits to do so, or else by one of its own.
///
/// # Errors
/// `auth.forbidden`, `delivery.not_found`, `delivery.not_resendable`, and the refusals of
/// [`idempotency::begin`].
pub async fn resend(
    ctx: &Context,
    hand: Hand<'_>,
    delivery_id: Uuid,
    key: Option<&idempotency::Key>,
) -> Result<Resent> {
    hand.may(Permission::DeliveriesWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let traceparent = deliveries::lock(&mut tx, delivery_id).await?.ok_or_else(not_found)?;
    let row = deliveries::find(&mut *tx, delivery_id).await?.ok_or_else(not_found)?;
    if deliveries::is_being_sent(&mut tx, delivery_id, now).await? {
        let detail = "A provider is being asked just now: look in a minute how it ended.";
        return Err(NOT_RESENDABLE.refuse(detail).into());
    }
    if deliveries::set_queued(&mut tx, delivery_id, now).await? == 0 {
        return Err(NOT_RESENDABLE.refuse("Its time is over, or it goes to nobody.").into());
    }
    let terms = Terms {
        expires_at: Some(row.expires_at),
        request_id: row.request_id,
        traceparent: hand.client.traceparent.clone().or(traceparent),
        ..Terms::default()
    };
    let (created_at, notice) = (row.created_at, is_notice(&row.kind));
    let kind = if notice { DeliverNotice::KIND } else { DeliverMessage::KIND };
    let earlier = store::list_resent(&mut *tx, &delivery_id.to_string()).await?;
    let part = json!({ "delivery_id": delivery_id });
    let waiting = store::find_sender(&mut tx, near(created_at), &earlier, kind, &part).await?;
    let job_id = match waiting {
        Some(job_id) => {
            store::set_at_once(&mut tx, job_id, now).await?;
            job_id
        }
        None if notice => {
            job::enqueue(&mut tx, now, &DeliverNotice { delivery_id, created_at }, terms).await?
        }
        None => job::enqueue(&mut tx, now, &DeliverMessage { delivery_id, created_at }, terms).await?,
    };
    // `show` finds the job by this line
    let details = json!({ "job_id": job_id, "kind": row.kind, "channel": row.channel, "was": row.state });
    hand.note(&mut tx, "delivery.resent", ("delivery", delivery_id.to_string()), details, now).await?;
    let resent = Resent { job_id };
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&resent).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    let queue: Queue = if notice { DeliverNotice::QUEUE } else { DeliverMessage::QUEUE };
    ctx.wake.queue(queue);
    Ok(resent)
}
