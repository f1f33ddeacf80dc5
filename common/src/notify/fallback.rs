//! The second way: a message that no provider took by its deadline goes to the person's other proved
//! address too, once. What of a notice is taken first ends the other; one that may have arrived has no second
//! way. Only notices, and codes for signing in and for a new password: any other code proves
//! the very address it goes to.
//!
//! The job that looks at the deadline is asked for by the run that found no taker, by the run after one that
//! was cut short, or by one that was sent away to wait for its turn beyond the deadline, under a key of the
//! delivery's. A message that is taken at once costs nothing here,
//! and a request for a code writes the same rows whoever has the identifier.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::jobs::{DeliverMessage, DeliverNotice};
use super::preference::Preferences;
use super::store::{self, Late, NewDelivery, Opened, Waiting};
use super::{Config, Message, Via, tell};
use crate::auth::otp;
use crate::context::Context;
use crate::error::Result;
use crate::id;
use crate::job::{self, Job, Lease, Queue, Terms, Verdict, store::NewJob};
use crate::user::{Channel, Identifier};

/// Looks at a code at its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallBackCode {
    /// Which.
    pub delivery_id: Uuid,
    /// The partition its row is in.
    pub created_at: DateTime<Utc>,
}

impl Job for FallBackCode {
    const KIND: &'static str = "notify.fall_back_code";
    const QUEUE: Queue = Queue::Critical;

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        fall_back(ctx, lease, self.delivery_id, self.created_at)
            .await
            .map_or_else(Verdict::from, |()| Verdict::Done)
    }
}

/// Looks at a notice at its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallBackNotice {
    /// Which.
    pub delivery_id: Uuid,
    /// The partition its row is in.
    pub created_at: DateTime<Utc>,
}

impl Job for FallBackNotice {
    const KIND: &'static str = "notify.fall_back_notice";
    const QUEUE: Queue = Queue::Default;

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        fall_back(ctx, lease, self.delivery_id, self.created_at)
            .await
            .map_or_else(Verdict::from, |()| Verdict::Done)
    }
}

/// What codes may be for that go by another way: they prove no address.
const PURPOSES: [&str; 2] = ["login", "reset_password"];

/// How long a message may wait for a provider before another channel is tried; none where none may be.
fn patience(config: &Config, message: Message, purpose: Option<&str>) -> Option<Duration> {
    match (message, purpose) {
        (Message::OtpCode, Some(purpose)) => PURPOSES.contains(&purpose).then_some(config.fallback_code),
        (notice, _) if notice.is_notice() => Some(config.fallback_notice),
        _ => None,
    }
}

/// Has a delivery looked at that was not taken: at its deadline, or now where it is `lost`.
pub(super) async fn ask(ctx: &Context, lease: &Lease, opened: &Opened, lost: bool) -> Result<()> {
    let waiting = Waiting {
        delivery_id: opened.delivery_id,
        created_at: opened.created_at,
        kind: opened.kind.clone(),
        channel: opened.channel.clone(),
        purpose: opened.purpose.clone(),
        user_id: opened.user_id,
        fell_back_at: opened.fell_back_at,
        expires_at: opened.expires_at,
    };
    let mut db = ctx.db.acquire().await?;
    let origin = (lease.request_id.clone(), lease.traceparent.clone());
    let queue = ask_for(&mut db, ctx, origin, &waiting, lost).await?;
    wake(ctx, queue);
    Ok(())
}

/// Has a delivery looked at now that its provider took and then reported lost, with the caller's transaction.
/// Answers with the queue to wake after the commit.
pub(super) async fn ask_after_report(
    tx: &mut PgConnection,
    ctx: &Context,
    delivery_id: Uuid,
) -> Result<Option<Queue>> {
    match store::find_lost(&mut *tx, delivery_id).await? {
        Some(waiting) => ask_for(tx, ctx, (None, None), &waiting, true).await,
        None => Ok(None),
    }
}

fn wake(ctx: &Context, queue: Option<Queue>) {
    if let Some(queue) = queue {
        ctx.wake.queue(queue);
    }
}

/// Has a delivery looked at whose provider has no turn for it until `after`, if that is beyond its deadline.
pub(super) async fn ask_beyond(
    ctx: &Context,
    lease: &Lease,
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
    after: Duration,
) -> Result<()> {
    let patience = ctx.config.notify.fallback_code.min(ctx.config.notify.fallback_notice);
    let (turn, patience) = (TimeDelta::from_std(after), TimeDelta::from_std(patience));
    if ctx.now() + turn.unwrap_or_default() < created_at + patience.unwrap_or_default() {
        return Ok(());
    }
    match store::find_waiting(&ctx.db, delivery_id, created_at).await? {
        Some(waiting) => {
            let mut db = ctx.db.acquire().await?;
            let origin = (lease.request_id.clone(), lease.traceparent.clone());
            let queue = ask_for(&mut db, ctx, origin, &waiting, false).await?;
            wake(ctx, queue);
            Ok(())
        }
        None => Ok(()),
    }
}

/// `origin`: the request that asked for the message, and its trace. Answers with the queue to wake, if any.
async fn ask_for(
    db: &mut PgConnection,
    ctx: &Context,
    origin: (Option<String>, Option<String>),
    opened: &Waiting,
    lost: bool,
) -> Result<Option<Queue>> {
    let Some(message) = Message::named(&opened.kind) else { return Ok(None) };
    let patience = patience(&ctx.config.notify, message, opened.purpose.as_deref());
    let theirs = opened.user_id.is_some() && opened.channel != Via::Push.name();
    let (Some(patience), true, None) = (patience, theirs, opened.fell_back_at) else {
        return Ok(None);
    };
    let now = ctx.now();
    let deadline = opened.created_at + TimeDelta::from_std(patience).unwrap_or_default();
    let run_at = if lost { now } else { deadline.max(now) };
    if run_at >= opened.expires_at {
        return Ok(None);
    }
    let terms = Terms {
        run_at: Some(run_at),
        expires_at: Some(opened.expires_at),
        unique_key: Some(opened.delivery_id.to_string()),
        request_id: origin.0,
        traceparent: origin.1,
        ..Terms::default()
    };
    let (delivery_id, created_at) = (opened.delivery_id, opened.created_at);
    let queue = match message.is_notice() {
        true => {
            job::enqueue(db, now, &FallBackNotice { delivery_id, created_at }, terms).await?;
            FallBackNotice::QUEUE
        }
        false => {
            job::enqueue(db, now, &FallBackCode { delivery_id, created_at }, terms).await?;
            FallBackCode::QUEUE
        }
    };
    Ok((run_at <= now).then_some(queue))
}

/// The job of a code for which no text message is left today: it goes by the other way alone, at once.
///
/// # Errors
/// The payload does not serialise.
pub fn in_place_of(now: DateTime<Utc>, delivery: &NewDelivery, terms: Terms) -> Result<NewJob> {
    let (delivery_id, created_at) = (delivery.delivery_id, delivery.created_at);
    job::row(now, &FallBackCode { delivery_id, created_at }, terms)
}

/// Sends the message by the other way, if nobody took it and there is one.
async fn fall_back(ctx: &Context, lease: &Lease, delivery_id: Uuid, created_at: DateTime<Utc>) -> Result<()> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let Some(late) = store::take_fallback(&mut tx, delivery_id, created_at, now).await? else {
        return Ok(());
    };
    let message = Message::named(&late.kind);
    let message = message.filter(|one| patience(&ctx.config.notify, *one, late.purpose.as_deref()).is_some());
    let queue = match (message, other(&mut tx, ctx, &late, message).await?) {
        (Some(message), Some(to)) => {
            insert(&mut tx, now, lease, message, late, &to).await?;
            Some(if message.is_notice() { DeliverNotice::QUEUE } else { DeliverMessage::QUEUE })
        }
        _ => None,
    };
    tx.commit().await?;
    if let Some(queue) = queue {
        ctx.wake.queue(queue);
    }
    Ok(())
}

/// The person's other proved address, if the one that was tried is still theirs, they want it, and a text
/// message is left for it (that of a notice is spent when it is sent).
async fn other(
    tx: &mut PgConnection,
    ctx: &Context,
    late: &Late,
    message: Option<Message>,
) -> Result<Option<Identifier>> {
    let Some(message) = message else { return Ok(None) };
    let Some(reach) = tell::reach(tx, ctx, late.user_id).await? else { return Ok(None) };
    let wanted = Preferences::read(&reach.preferences);
    let allows = |via: Via| message.goes_by(via) && wanted.allows(message, via);
    let to = reach.other(&late.recipient).filter(|to| allows(to.channel().into()));
    match to {
        Some(to) if to.channel() == Channel::Sms && !message.is_notice() => {
            Ok(otp::spend_sms(&ctx.config, tx, &to, true, 1, ctx.now()).await?.then_some(to))
        }
        to => Ok(to),
    }
}

async fn insert(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    lease: &Lease,
    message: Message,
    late: Late,
    to: &Identifier,
) -> Result<()> {
    let delivery_id = id::unguessable();
    let (request_id, traceparent) = (lease.request_id.clone(), lease.traceparent.clone());
    let terms = Terms {
        expires_at: Some(late.expires_at),
        request_id: request_id.clone(),
        traceparent: traceparent.clone(),
        ..Terms::default()
    };
    let job = match message.is_notice() {
        true => job::row(now, &DeliverNotice { delivery_id, created_at: now }, terms)?,
        false => job::row(now, &DeliverMessage { delivery_id, created_at: now }, terms)?,
    };
    let delivery = NewDelivery {
        delivery_id,
        created_at: now,
        kind: message.name(),
        channel: Via::from(to.channel()).name(),
        recipient: to.as_str().to_owned(),
        language: late.language,
        user_id: Some(late.user_id),
        challenge_id: late.challenge_id,
        purpose: PURPOSES.into_iter().find(|purpose| late.purpose.as_deref() == Some(purpose)),
        sends: true,
        facts: late.facts,
        expires_at: late.expires_at,
        request_id,
        traceparent,
        fell_back_at: Some(now),
    };
    Ok(store::insert(tx, &delivery, &job).await?)
}
