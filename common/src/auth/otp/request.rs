//! Asking for a code.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::budget::Spent;
use super::counter::Counter;
use super::desk::Work;
use super::order::{self, Order};
use super::store::{self, Granted, Locked};
use super::{Ask, Issued, NOT_YOURS, Purpose, SMS_BUDGET, bearer, line};
use crate::audit::{self, Client};
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::idempotency::{self, Begun};
use crate::job::{Queue, Terms};
use crate::notify::{self, fallback};
use crate::user::{Channel, Identifier};
use crate::{id, secret};

/// Tries of a link: a day of them, half a minute less a quarter apart.
const LINK_TRIES: i16 = 4_000;

/// A request with who asks and when.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    client: Client,
    ask: Ask,
    counter: Counter,
    now: DateTime<Utc>,
    since: Instant,
}

impl Asked {
    fn of(ctx: &Context, client: &Client, ask: Ask) -> Result<Self, Refusal> {
        let ask = Ask { bearer: bearer(ask.purpose, ask.bearer)?, ..ask };
        let counter = Counter::of(&ctx.config, &ask.identifier, ask.device_token.as_deref());
        Ok(Self { client: client.clone(), ask, counter, now: ctx.now(), since: Instant::now() })
    }
}

/// Requests that share a transaction.
#[derive(Clone)]
pub(super) struct Requests {
    pub config: Config,
    pub db: PgPool,
}

impl Work for Requests {
    type Call = Asked;
    type Out = Issued;

    fn locks(call: &Asked) -> impl Iterator<Item = [u8; 32]> {
        call.counter.locks()
    }

    fn since(call: &Asked) -> Instant {
        call.since
    }

    async fn in_one(&self, calls: &[&Asked]) -> Result<Vec<Result<Issued, Refusal>>> {
        let mut tx = self.db.begin().await?;
        let answers = grant(&self.config, &mut tx, calls).await?;
        // a refusal is committed too
        tx.commit().await?;
        Ok(answers)
    }
}

/// Asks for a code. With an idempotency key the same answer is given again.
///
/// # Errors
/// `auth.required`, `otp.not_yours`, `otp.cooldown`, `otp.budget`, `otp.sms_budget`, and the refusals of
/// [`idempotency::begin`].
pub async fn request(
    ctx: &Context,
    client: &Client,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Issued> {
    let asked = Asked::of(ctx, client, ask)?;
    // rows locked besides the identifier's (a key, the day's text messages) must not meet in one batch
    let counted = asked.ask.identifier.channel() == Channel::Sms && ctx.config.otp.sms.is_some();
    let issued = match key {
        None if !counted && asked.ask.bearer.is_none() => ctx.desk.requests.call(asked).await??,
        _ => alone(ctx, &asked, key).await?,
    };
    ctx.wake.queue(Queue::Critical);
    Ok(issued)
}

/// Asks for a code with the caller's transaction, which is to be committed whatever the answer: a refusal
/// is remembered too. The caller wakes the critical queue after the commit.
///
/// # Errors
/// The database does not answer. The refusals of [`request()`] are in the answer.
pub async fn request_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    ask: Ask,
) -> Result<Result<Issued, Refusal>> {
    match Asked::of(ctx, client, ask) {
        Ok(asked) => one(&ctx.config, tx, &asked).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// A transaction of its own; with a key, the one that saves its outcome.
async fn alone(ctx: &Context, asked: &Asked, key: Option<&idempotency::Key>) -> Result<Issued> {
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, asked.now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let answer = one(&ctx.config, &mut tx, asked).await?;
    if let (Some(key), Ok(issued)) = (key, &answer) {
        let outcome = serde_json::to_vec(issued).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    // a refusal is committed too
    tx.commit().await?;
    Ok(answer?)
}

async fn one(config: &Config, tx: &mut PgConnection, asked: &Asked) -> Result<Result<Issued, Refusal>> {
    if let Some(refusal) = not_yours(tx, &asked.ask).await? {
        return Ok(Err(refusal));
    }
    let answer = grant(config, tx, &[asked]).await?.pop();
    answer.ok_or_else(|| Error::internal("a request without an answer"))
}

/// Why somebody signed in may not ask for a code of this purpose to this identifier.
async fn not_yours(tx: &mut PgConnection, ask: &Ask) -> Result<Option<Refusal>> {
    let Some(bearer) = ask.bearer else { return Ok(None) };
    // their own, and whether it is proved
    let own = store::find_own(tx, bearer.user_id, &ask.identifier).await?;
    let why = match (ask.purpose, own) {
        (Purpose::ChangeIdentifier, Some(_)) => "This is your identifier already.",
        (Purpose::ChangeIdentifier, None) => return Ok(None),
        (_, None) => "This is not an identifier of yours.",
        (purpose, Some(proved)) => match purpose.verifies() {
            Some(channel) if channel != ask.identifier.channel() => "The purpose is for the other channel.",
            Some(_) if proved => "You have proved it already.",
            None if !proved => "You have not proved it yet.",
            _ => return Ok(None),
        },
    };
    Ok(Some(NOT_YOURS.refuse(why)))
}

/// Decides and writes requests without a lock in common. Answers in their order.
async fn grant(
    config: &Config,
    tx: &mut PgConnection,
    asked: &[&Asked],
) -> Result<Vec<Result<Issued, Refusal>>> {
    let now = asked.iter().map(|one| one.now).max().unwrap_or_default();
    let rows = asked.iter().map(|one| (&one.counter, &one.ask.identifier));
    let mut all = store::lock_budgets(tx, rows, now).await?;
    let (mut answers, mut granted) = (Vec::with_capacity(asked.len()), Vec::with_capacity(asked.len()));
    for one in asked {
        let locked = all.remove(one.counter.plain.as_slice());
        let locked = locked.ok_or_else(|| Error::internal("an identifier that was not locked"))?;
        let order = order::decide(&one.ask, &locked.standing);
        let verdict = match locked.budget.spend(now, &config.otp) {
            Ok(spent) => {
                sms_verdict(config, tx, &one.ask, order.sends, now).await?.map(|within| (spent, within))
            }
            Err(refusal) => Err(refusal),
        };
        match verdict {
            Ok((spent, within)) => {
                let row = granted_row(config, one, locked, order, spent, within, now)?;
                answers.push(Ok(issued(config, one, &row)));
                granted.push(row);
            }
            Err(refusal) => {
                let details = details(&one.ask, Some(refusal.code));
                let (hash, bearer) = (&one.counter.plain, one.ask.bearer);
                audit::note(tx, line(&one.client, "otp.requested", hash, bearer, now, details)).await?;
                answers.push(Err(refusal));
            }
        }
    }
    if !granted.is_empty() {
        store::insert_requests(tx, now, &granted).await?;
    }
    Ok(answers)
}

fn details(ask: &Ask, refused: Option<&str>) -> serde_json::Value {
    json!({ "purpose": ask.purpose.name(), "channel": ask.identifier.channel().name(), "refused": refused })
}

fn issued(config: &Config, asked: &Asked, row: &Granted<'_>) -> Issued {
    Issued {
        challenge_id: row.challenge.challenge_id,
        expires_in: config.otp.life_of(asked.ask.purpose),
        resend_after: config.otp.cooldown,
        delivery_id: row.delivery.delivery_id,
    }
}

fn granted_row<'a>(
    config: &Config,
    asked: &'a Asked,
    locked: Locked,
    order: Order,
    spent: Spent,
    within: bool,
    now: DateTime<Utc>,
) -> Result<Granted<'a>> {
    let Asked { ask, client, counter, .. } = asked;
    let challenge = challenge(config, asked, order.bound_to, now);
    let order = notify::Order {
        message: order.message,
        channel: challenge.channel,
        recipient: challenge.identifier.clone(),
        language: order.language.unwrap_or_else(|| client.language.clone()),
        user_id: order.concerns,
        challenge_id: Some(challenge.challenge_id),
        purpose: Some(ask.purpose.name()),
        sends: order.sends,
        expires_at: challenge.expires_at,
    };
    let (delivery, mut job) = notify::rows(now, client, order)?;
    if ask.purpose == Purpose::VerifyEmailLink {
        // its life of a day, tried as often as that of a code
        job.max_attempts = LINK_TRIES;
    }
    if !within {
        // it goes by mail where there is a proved address; the receipt ends as expired, whoever asked
        let terms = Terms { expires_at: Some(challenge.expires_at), ..Terms::of(client) };
        job = fallback::in_place_of(now, &delivery, terms)?;
    }
    let line = line(client, "otp.requested", &counter.plain, ask.bearer, now, details(ask, None));
    Ok(Granted { hash: &counter.plain, counter: locked.counter, spent, challenge, line, delivery, job })
}

fn challenge(
    config: &Config,
    asked: &Asked,
    bound_to: Option<Uuid>,
    now: DateTime<Utc>,
) -> store::NewChallenge {
    let Asked { ask, client, .. } = asked;
    store::NewChallenge {
        challenge_id: id::unguessable(),
        purpose: ask.purpose.name(),
        channel: ask.identifier.channel(),
        identifier: ask.identifier.as_str().to_owned(),
        user_id: bound_to,
        session_id: ask.bearer.map(|bearer| bearer.session_id),
        key_id: config.keys.current().to_owned(),
        nonce: secret::random::<16>(),
        digits: i16::from(config.otp.digits),
        client: client.key(),
        expires_at: now + TimeDelta::from_std(config.otp.life_of(ask.purpose)).unwrap_or_default(),
    }
}

/// Spends one of the day's text messages; true while they last. Over budget, all are refused but who signs
/// in: they get the usual answer and no message. The purpose decides from which share it is spent, for
/// whether the identifier is known must not: who signs in is a user, or gets no message and spends none.
async fn sms_verdict(
    config: &Config,
    tx: &mut PgConnection,
    ask: &Ask,
    sends: bool,
    now: DateTime<Utc>,
) -> Result<Result<bool, Refusal>> {
    let count = i32::from(sends);
    let within = spend_sms(config, tx, &ask.identifier, !ask.purpose.is_newcomers(), count, now).await?;
    if !within && !ask.purpose.is_quiet() {
        return Ok(Err(
            SMS_BUDGET.refuse_for("The text messages of the day are used up.", until_midnight(now))
        ));
    }
    Ok(Ok(within))
}

/// Spends so many of the day's text messages to a number, of the whole or of newcomers' share; false when
/// they are used up.
pub(crate) async fn spend_sms(
    config: &Config,
    tx: &mut PgConnection,
    to: &Identifier,
    whole: bool,
    count: i32,
    now: DateTime<Utc>,
) -> Result<bool> {
    let (Some(prefix), Some(limits)) = (to.prefix(), &config.otp.sms) else { return Ok(true) };
    let [shard] = secret::random::<1>();
    Ok(store::spend_sms(tx, now, &prefix, i16::from(shard % 16), limits.caps(whole), count).await?)
}

fn until_midnight(now: DateTime<Utc>) -> Duration {
    let seconds = now.timestamp().rem_euclid(86_400);
    Duration::from_secs(86_400 - seconds.unsigned_abs())
}
