//! One-time codes: asking for one ([`request`]) and proving it ([`verify`]). The derivation lives in
//! `code`, the limits in `budget`, SQL in `store`. A code is never stored, queued or logged.
//!
//! Known and unknown identifiers take the same path, write the same rows and get the same answer.
//! Whatever must be remembered of a refusal (a wrong try, a refused send) commits before the answer.

mod budget;
mod code;
pub mod sample;
mod store;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

pub use budget::Config;
pub use code::{Seed, code};

use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Refusal, Result};
use crate::job::Queue;
use crate::notify::{self, Message, Order};
use crate::secret::{self, sha256};
use crate::user::Identifier;
use crate::idempotency::{self, Begun};
use crate::id;

/// Too soon after the last send.
pub const COOLDOWN: Code = Code {
    code: "otp.cooldown",
    status: 429,
    title: "Too soon for another code",
    advice: "Wait for Retry-After; earlier codes stay valid until they expire.",
};
/// The identifier's codes of the hour or day are used up.
pub const BUDGET: Code = Code {
    code: "otp.budget",
    status: 429,
    title: "Too many codes for this identifier",
    advice: "Wait for Retry-After.",
};
/// The deployment's text messages of the day are used up.
pub const SMS_BUDGET: Code = Code {
    code: "otp.sms_budget",
    status: 503,
    title: "No text message can be sent now",
    advice: "Use an e-mail address, or try after Retry-After.",
};
/// The code is not right.
pub const INVALID: Code = Code {
    code: "otp.invalid",
    status: 422,
    title: "The code is not right",
    advice: "Check the digits; after three wrong tries ask for a new code.",
};
/// The code was right once.
pub const EXPIRED: Code = Code {
    code: "otp.expired",
    status: 422,
    title: "The code has expired or was used",
    advice: "Ask for a new code.",
};
/// Too many wrong tries.
pub const LOCKED: Code = Code {
    code: "otp.locked",
    status: 429,
    title: "Too many wrong codes",
    advice: "Wait for Retry-After, or use another verified channel.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[COOLDOWN, BUDGET, SMS_BUDGET, INVALID, EXPIRED, LOCKED];

/// How long a verification token works.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// What a code is for. The others of the product come with accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Making an account.
    Register,
    /// Signing in.
    Login,
    /// Choosing a new password.
    ResetPassword,
}

impl Purpose {
    /// The name on the wire and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::ResetPassword => "reset_password",
        }
    }
}

/// A request for a code.
#[derive(Clone, Debug)]
pub struct Ask {
    /// To whom.
    pub identifier: Identifier,
    /// What for.
    pub purpose: Purpose,
}

/// A code on its way.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Issued {
    /// Names the challenge; holding it is a right.
    pub challenge_id: Uuid,
    /// How long the code works.
    pub expires_in: Duration,
    /// When another may be asked for.
    pub resend_after: Duration,
    /// The receipt.
    pub delivery_id: Uuid,
}

/// A code handed in.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Whose.
    pub identifier: Identifier,
    /// The digits as typed.
    pub otp: String,
    /// What for.
    pub purpose: Purpose,
    /// Which challenge; without it, those asked for from the same client address.
    pub challenge_id: Option<Uuid>,
}

/// The right to act for an identifier, once.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Opaque; shown once, kept as a hash.
    pub verification_token: String,
    /// How long it works.
    pub expires_in: Duration,
}

/// Asks for a code. With an idempotency key the same answer is given again.
///
/// # Errors
/// `otp.cooldown`, `otp.budget`, `otp.sms_budget`, and the refusals of [`idempotency::begin`].
pub async fn request(
    ctx: &Context, client: &Client, ask: Ask, key: Option<&idempotency::Key>,
) -> Result<Issued> {
    let now = ctx.now();
    let config = &ctx.config.otp;
    let hash = identifier_hash(ctx, &ask.identifier);
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let budget = store::lock_budget(&mut tx, &hash, now, &ask.identifier).await?;
    let (spent, withheld) = match budget.spend(now, config) {
        Ok(spent) => sms_verdict(ctx, &mut tx, &ask, budget.user_id, now).await?.map_or_else(
            |refusal| (Err(refusal), false),
            |within| (Ok(spent), !within),
        ),
        Err(refusal) => (Err(refusal), false),
    };
    let line = line(client, "otp.requested", &hash, now, json!({
        "purpose": ask.purpose.name(), "channel": ask.identifier.channel().name(),
        "refused": spent.as_ref().err().map(|refusal| refusal.code),
    }));
    let spent = match spent {
        Ok(spent) => spent,
        Err(refusal) => {
            audit::note(&mut tx, line).await?;
            tx.commit().await?;
            return Err(refusal.into());
        }
    };
    let challenge = challenge(ctx, client, &ask, budget.user_id, now);
    let (delivery, mut job) = notify::rows(now, client, order(&ask, &challenge, client))?;
    if withheld {
        // the receipt ends as expired, whoever asked
        job.run_at = challenge.expires_at;
    }
    store::insert_request(&mut tx, &hash, &spent, &challenge, &line, &delivery, &job).await?;
    let issued = Issued {
        challenge_id: challenge.challenge_id,
        expires_in: config.life_of(ask.purpose),
        resend_after: config.cooldown,
        delivery_id: delivery.delivery_id,
    };
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&issued).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Critical);
    Ok(issued)
}

/// Proves a code: it works once, also under parallel submits, and a wrong try counts before the answer.
///
/// # Errors
/// `otp.invalid`, `otp.expired`, `otp.locked`.
pub async fn verify(ctx: &Context, client: &Client, proof: Proof) -> Result<Verified> {
    let now = ctx.now();
    let config = &ctx.config.otp;
    let hash = identifier_hash(ctx, &proof.identifier);
    let mut tx = ctx.db.begin().await?;
    // the identifier's row serialises all tries on it, so none slips past a cap
    let tries = store::lock_tries(&mut tx, &hash, &client.key(), now).await?;
    let found = store::list_challenges(&mut tx, &proof, &client.key()).await?;
    let outcome = match tries.refuse(now, config) {
        Some(refusal) => Err(refusal),
        None => judge(ctx, &proof, &found, now),
    };
    let line = line(client, "otp.verified", &hash, now, json!({
        "purpose": proof.purpose.name(), "refused": outcome.as_ref().err().map(|refusal| refusal.code),
    }));
    let refusal = match outcome {
        Ok(challenge) => {
            let token = secret::random::<32>();
            let text = URL_SAFE_NO_PAD.encode(token);
            store::insert_token(&mut tx, &hash, &sha256(text.as_bytes()), challenge, now, now + TOKEN_LIFE).await?;
            audit::note(&mut tx, line).await?;
            tx.commit().await?;
            return Ok(Verified { verification_token: text, expires_in: TOKEN_LIFE });
        }
        Err(refusal) => refusal,
    };
    if refusal.code == INVALID.code {
        let named = proof.challenge_id.filter(|_| !found.is_empty());
        store::count_wrong_try(&mut tx, &hash, &client.key(), tries.hour(now), named).await?;
    }
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Err(refusal.into())
}

/// Which challenge the code proves.
fn judge<'a>(
    ctx: &Context, proof: &Proof, found: &'a [store::Challenge], now: DateTime<Utc>,
) -> Result<&'a store::Challenge, Refusal> {
    let typed: String = proof.otp.chars().filter(|c| !c.is_whitespace()).collect();
    let most = i16::from(ctx.config.otp.tries);
    let mut right = None;
    // every challenge is compared, so that the time taken tells nothing
    for challenge in found {
        let derived = code(&ctx.config.keys, &challenge.seed());
        let equal = derived.is_some_and(|code| secret::equal(code.as_bytes(), typed.as_bytes()));
        if equal && challenge.tries < most {
            right = Some(challenge);
        }
    }
    match right {
        Some(challenge) if challenge.used_at.is_none() && challenge.expires_at > now => Ok(challenge),
        Some(_) => Err(EXPIRED.refuse("This code was right, but it has expired or was used.")),
        None => Err(INVALID.refuse("This is not the code that was sent.")),
    }
}

fn identifier_hash(ctx: &Context, identifier: &Identifier) -> [u8; 32] {
    ctx.config.keys.derive("identifier").mac(&[identifier.as_str().as_bytes()])
}

fn challenge(ctx: &Context, client: &Client, ask: &Ask, user_id: Option<Uuid>, now: DateTime<Utc>) -> store::NewChallenge {
    let config = &ctx.config.otp;
    store::NewChallenge {
        challenge_id: id::unguessable(),
        purpose: ask.purpose.name(),
        channel: ask.identifier.channel(),
        identifier: ask.identifier.as_str().to_owned(),
        user_id,
        key_id: ctx.config.keys.current().to_owned(),
        nonce: secret::random::<16>(),
        digits: i16::from(config.digits),
        client: client.key(),
        expires_at: now + TimeDelta::from_std(config.life_of(ask.purpose)).unwrap_or_default(),
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
    ctx: &Context, tx: &mut sqlx::PgConnection, ask: &Ask, user_id: Option<Uuid>, now: DateTime<Utc>,
) -> Result<Result<bool, Refusal>> {
    let (Some(prefix), Some(limits)) = (ask.identifier.prefix(), &ctx.config.otp.sms) else { return Ok(Ok(true)) };
    let newcomer = ask.purpose == Purpose::Register;
    let count = i32::from(newcomer || user_id.is_some());
    let [shard] = secret::random::<1>();
    let caps = limits.caps(!newcomer);
    let within = store::spend_sms(tx, now, &prefix, i16::from(shard % 16), caps, count).await?;
    if !within && newcomer {
        return Ok(Err(SMS_BUDGET.refuse_for("The text messages of the day are used up.", until_midnight(now))));
    }
    Ok(Ok(within))
}

fn until_midnight(now: DateTime<Utc>) -> Duration {
    let seconds = now.timestamp().rem_euclid(86_400);
    Duration::from_secs(86_400 - seconds.unsigned_abs())
}

fn line<'a>(client: &'a Client, action: &'static str, hash: &[u8], at: DateTime<Utc>, details: serde_json::Value) -> Line<'a> {
    Line { action, entity_type: "identifier", entity_id: secret::hex(hash), actor: None, details, client, at }
}
