//! Asking for a code. Requests that come while others are being written share the next transaction:
//! one statement locks their identifiers, one writes their rows, one commit makes them durable. A lone
//! request goes at once. If a shared transaction fails, each of its requests is tried alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::budget::Spent;
use super::store::Granted;
use super::{Ask, Issued, Purpose, SMS_BUDGET, identifier_hash, line, store};
use crate::audit::{self, Client};
use crate::batch::Batcher;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::idempotency::{self, Begun};
use crate::job::Queue;
use crate::notify::{self, Message, Order};
use crate::user::Channel;
use crate::{id, secret};

/// The most requests that share a transaction.
const MOST: usize = 64;
/// Transactions at once: one gathers and computes while the other commits.
const LANES: usize = 2;

/// A request with who asks and when.
#[derive(Clone, Debug)]
struct Asked {
    client: Client,
    ask: Ask,
    hash: [u8; 32],
    now: DateTime<Utc>,
    since: Instant,
}

/// Where requests meet that may share a transaction.
#[derive(Clone, Debug)]
pub struct Desk(Batcher<Asked, Result<Issued>>);

impl Desk {
    /// Starts its lanes.
    pub fn open(config: &Config, db: &PgPool) -> Self {
        let (config, db) = (config.clone(), db.clone());
        let away = Away::default();
        Self(Batcher::start(LANES, MOST, move |asked: Vec<Asked>| {
            let (config, db, away) = (config.clone(), db.clone(), away.clone());
            async move {
                if asked.iter().all(|one| away.since(one.since)) {
                    let away = |_: &Asked| Err(Error::Unavailable("Postgres is away".into()));
                    return Ok(asked.iter().map(away).collect());
                }
                let answers = together(&config, &db, asked).await;
                if answers.iter().any(|answer| matches!(answer, Err(Error::Unavailable(_)))) {
                    away.note();
                }
                Ok(answers)
            }
        }))
    }
}

/// When the database was last found away: who had queued up behind that is told at once, and does not
/// wait for a time-out each.
#[derive(Clone, Debug, Default)]
struct Away(Arc<Mutex<Option<Instant>>>);

impl Away {
    /// Whether it was found away after this moment.
    fn since(&self, moment: Instant) -> bool {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.is_some_and(|noted| noted >= moment)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Asks for a code. With an idempotency key the same answer is given again.
///
/// # Errors
/// `otp.cooldown`, `otp.budget`, `otp.sms_budget`, and the refusals of [`idempotency::begin`].
pub async fn request(
    ctx: &Context,
    client: &Client,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Issued> {
    let hash = identifier_hash(&ctx.config, &ask.identifier);
    // rows locked besides the identifier's (a key, the day's text messages) must not meet in one batch
    let counted = ask.identifier.channel() == Channel::Sms && ctx.config.otp.sms.is_some();
    let asked = Asked { client: client.clone(), ask, hash, now: ctx.now(), since: Instant::now() };
    let issued = match key {
        None if !counted => ctx.desk.0.call(asked).await??,
        _ => alone(&ctx.config, &ctx.db, &asked, key).await?,
    };
    ctx.wake.queue(Queue::Critical);
    Ok(issued)
}

/// Answers in the order of the requests.
async fn together(config: &Config, db: &PgPool, asked: Vec<Asked>) -> Vec<Result<Issued>> {
    // two taps count as two: the second of an identifier waits for the first
    let mut seen = HashSet::new();
    let first: Vec<bool> = asked.iter().map(|one| seen.insert(one.hash)).collect();
    let shared: Vec<&Asked> =
        asked.iter().zip(&first).filter(|(_, first)| **first).map(|(one, _)| one).collect();
    let mut granted = match in_one(config, db, &shared).await {
        Ok(answers) => answers.into_iter().map(|answer| Some(answer.map_err(Error::from))).collect(),
        Err(error) if shared.len() == 1 => vec![Some(Err(error))],
        // one of them made it fail: the others shall not suffer
        Err(Error::Aborted(_) | Error::Internal(_)) => shared.iter().map(|_| None).collect(),
        // nobody answers: asking again for each would take long
        Err(error) => shared.iter().map(|_| Some(Err(error.copy()))).collect::<Vec<_>>(),
    }
    .into_iter();
    let mut answers = Vec::with_capacity(asked.len());
    for (one, first) in asked.iter().zip(first) {
        answers.push(match if first { granted.next().flatten() } else { None } {
            Some(answer) => answer,
            None => alone(config, db, one, None).await,
        });
    }
    answers
}

async fn in_one(config: &Config, db: &PgPool, asked: &[&Asked]) -> Result<Vec<Result<Issued, Refusal>>> {
    let mut tx = db.begin().await?;
    let answers = grant(config, &mut tx, asked).await?;
    tx.commit().await?;
    Ok(answers)
}

/// A transaction of its own; with a key, the one that saves its outcome.
async fn alone(
    config: &Config,
    db: &PgPool,
    asked: &Asked,
    key: Option<&idempotency::Key>,
) -> Result<Issued> {
    let mut tx = db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, asked.now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let answer = grant(config, &mut tx, &[asked]).await?.pop();
    let answer = answer.ok_or_else(|| Error::internal("a request without an answer"))?;
    if let (Some(key), Ok(issued)) = (key, &answer) {
        let outcome = serde_json::to_vec(issued).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    // a refusal is committed too
    tx.commit().await?;
    Ok(answer?)
}

/// Decides and writes requests of distinct identifiers. Answers in their order.
async fn grant(
    config: &Config,
    tx: &mut PgConnection,
    asked: &[&Asked],
) -> Result<Vec<Result<Issued, Refusal>>> {
    let now = asked.iter().map(|one| one.now).max().unwrap_or_default();
    let hashes: Vec<&[u8]> = asked.iter().map(|one| one.hash.as_slice()).collect();
    let identifiers = asked.iter().map(|one| &one.ask.identifier);
    let mut budgets = store::lock_budgets(tx, &hashes, identifiers, now).await?;
    let (mut answers, mut granted) = (Vec::with_capacity(asked.len()), Vec::with_capacity(asked.len()));
    for one in asked {
        let locked = budgets.remove(one.hash.as_slice());
        let locked = locked.ok_or_else(|| Error::internal("an identifier that was not locked"))?;
        let verdict = match locked.spend(now, &config.otp) {
            Ok(spent) => {
                sms_verdict(config, tx, &one.ask, locked.user_id, now).await?.map(|within| (spent, within))
            }
            Err(refusal) => Err(refusal),
        };
        match verdict {
            Ok((spent, within)) => {
                let row = granted_row(config, one, spent, locked.user_id, within, now)?;
                answers.push(Ok(issued(config, one, &row)));
                granted.push(row);
            }
            Err(refusal) => {
                let details = details(&one.ask, Some(refusal.code));
                audit::note(tx, line(&one.client, "otp.requested", &one.hash, now, details)).await?;
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
    spent: Spent,
    user_id: Option<Uuid>,
    within: bool,
    now: DateTime<Utc>,
) -> Result<Granted<'a>> {
    let challenge = challenge(config, asked, user_id, now);
    let (delivery, mut job) = notify::rows(now, &asked.client, order(&asked.ask, &challenge, &asked.client))?;
    if !within {
        // the receipt ends as expired, whoever asked
        job.run_at = challenge.expires_at;
    }
    let line = line(&asked.client, "otp.requested", &asked.hash, now, details(&asked.ask, None));
    Ok(Granted { hash: &asked.hash, spent, challenge, line, delivery, job })
}

fn challenge(
    config: &Config,
    asked: &Asked,
    user_id: Option<Uuid>,
    now: DateTime<Utc>,
) -> store::NewChallenge {
    let Asked { ask, client, .. } = asked;
    store::NewChallenge {
        challenge_id: id::unguessable(),
        purpose: ask.purpose.name(),
        channel: ask.identifier.channel(),
        identifier: ask.identifier.as_str().to_owned(),
        user_id,
        key_id: config.keys.current().to_owned(),
        nonce: secret::random::<16>(),
        digits: i16::from(config.otp.digits),
        client: client.key(),
        expires_at: now + TimeDelta::from_std(config.otp.life_of(ask.purpose)).unwrap_or_default(),
    }
}

/// What is sent: the code; to the owner of a taken identifier a note in its place; to an identifier
/// nobody has, for `login` and `reset_password`, nothing, by the same rows.
fn order(ask: &Ask, challenge: &store::NewChallenge, client: &Client) -> Order {
    let known = challenge.user_id.is_some();
    Order {
        message: match (ask.purpose, known) {
            (Purpose::Register, true) => Message::AccountExists,
            _ => Message::OtpCode,
        },
        channel: challenge.channel,
        recipient: challenge.identifier.clone(),
        language: client.language.clone(),
        user_id: challenge.user_id,
        challenge_id: Some(challenge.challenge_id),
        purpose: Some(ask.purpose.name()),
        sends: known || ask.purpose == Purpose::Register,
        expires_at: challenge.expires_at,
    }
}

/// Spends one of the day's text messages; true while they last. Over budget, newcomers are refused,
/// known or not; who signs in gets the usual answer and no message. The purpose decides from which share
/// it is spent, for whether the identifier is known must not: who signs in is a user, or gets no message
/// and spends none.
async fn sms_verdict(
    config: &Config,
    tx: &mut PgConnection,
    ask: &Ask,
    user_id: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<Result<bool, Refusal>> {
    let (Some(prefix), Some(limits)) = (ask.identifier.prefix(), &config.otp.sms) else {
        return Ok(Ok(true));
    };
    let newcomer = ask.purpose == Purpose::Register;
    let count = i32::from(newcomer || user_id.is_some());
    let [shard] = secret::random::<1>();
    let caps = limits.caps(!newcomer);
    let within = store::spend_sms(tx, now, &prefix, i16::from(shard % 16), caps, count).await?;
    if !within && newcomer {
        return Ok(Err(
            SMS_BUDGET.refuse_for("The text messages of the day are used up.", until_midnight(now))
        ));
    }
    Ok(Ok(within))
}

fn until_midnight(now: DateTime<Utc>) -> Duration {
    let seconds = now.timestamp().rem_euclid(86_400);
    Duration::from_secs(86_400 - seconds.unsigned_abs())
}
