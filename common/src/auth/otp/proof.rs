//! Proving a code.

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::counter::Counter;
use super::desk::Work;
use super::store::{self, Looked, Outcome};
use super::{Bearer, EXPIRED, INVALID, Proof, TOKEN_LIFE, Verified, bearer, code, line};
use crate::audit::Client;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::job::Queue;
use crate::secret::{self, sha256};
use crate::user::verification::{self, By, Proving};

/// A code with who hands it in and when.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub client: Client,
    pub proof: Proof,
    pub counter: Counter,
    now: DateTime<Utc>,
    since: Instant,
}

impl Handed {
    fn of(ctx: &Context, client: &Client, proof: Proof) -> Result<Self, Refusal> {
        let proof = Proof { bearer: bearer(proof.purpose, proof.bearer)?, ..proof };
        let counter = Counter::of(&ctx.config, &proof.identifier, proof.device_token.as_deref());
        Ok(Self { client: client.clone(), proof, counter, now: ctx.now(), since: Instant::now() })
    }
}

/// Proofs that share a transaction.
#[derive(Clone)]
pub(super) struct Proofs {
    pub config: Config,
    pub db: PgPool,
}

impl Work for Proofs {
    type Call = Handed;
    type Out = Verified;

    fn locks(call: &Handed) -> impl Iterator<Item = [u8; 32]> {
        call.counter.locks()
    }

    fn since(call: &Handed) -> Instant {
        call.since
    }

    async fn in_one(&self, calls: &[&Handed]) -> Result<Vec<Result<Verified, Refusal>>> {
        let mut tx = self.db.begin().await?;
        let answers = compare(&self.config, &mut tx, calls).await?;
        // a wrong try is committed too
        tx.commit().await?;
        Ok(answers)
    }
}

/// Proves a code: it works once, also under parallel submits, and a wrong try counts before the answer.
///
/// # Errors
/// `auth.required`, `otp.invalid`, `otp.expired`, `otp.locked`; where it proves one's own identifier, the
/// refusals of [`verification::prove`].
pub async fn verify(ctx: &Context, client: &Client, proof: Proof) -> Result<Verified> {
    let handed = Handed::of(ctx, client, proof)?;
    match (handed.proof.purpose.verifies(), handed.proof.bearer) {
        (Some(_), Some(bearer)) => verify_own(ctx, &handed, bearer).await,
        _ => ctx.desk.proofs.call(handed).await?,
    }
}

/// Proves the code and the person's own identifier by it, together.
async fn verify_own(ctx: &Context, handed: &Handed, bearer: Bearer) -> Result<Verified> {
    let mut tx = ctx.db.begin().await?;
    let answer = compare(&ctx.config, &mut tx, &[handed]).await?.pop();
    let answer = match answer.ok_or_else(|| Error::internal("a proof without an answer"))? {
        Err(refusal) => Err(Error::from(refusal)),
        Ok(verified) => {
            let proving = Proving {
                user_id: bearer.user_id,
                identifier: &handed.proof.identifier,
                by: By::Code,
                actor: bearer.actor,
                session_id: Some(bearer.session_id),
                reason: None,
                // its owner is signed in to it; staff who hand a code in for somebody are not
                keeps: bearer.actor == bearer.user_id,
            };
            verification::prove(&mut tx, ctx, &handed.client, &proving).await.map(|()| verified)
        }
    };
    match answer {
        Ok(_) | Err(Error::Refusal(_)) => tx.commit().await?,
        Err(_) => tx.rollback().await?,
    }
    ctx.wake.queue(Queue::Default);
    answer
}

/// Compares and writes codes without a lock in common. Answers in their order.
async fn compare(
    config: &Config,
    tx: &mut PgConnection,
    handed: &[&Handed],
) -> Result<Vec<Result<Verified, Refusal>>> {
    let now = handed.iter().map(|one| one.now).max().unwrap_or_default();
    // the identifiers' rows serialise all tries on them, so none slips past a cap; what is read next is
    // read after whoever held them before has committed
    let rows = handed.iter().map(|one| (&one.counter, &one.proof.identifier));
    let counters = store::lock_tries(tx, rows, now).await?;
    let counters: Vec<&store::Counted> = handed
        .iter()
        .map(|one| counters.get(one.counter.plain.as_slice()))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::internal("an identifier that was not locked"))?;
    let mut found: HashMap<i64, Vec<Looked>> = HashMap::new();
    for row in store::list_challenges(tx, handed, &counters).await? {
        found.entry(row.number).or_default().push(row);
    }
    let (mut answers, mut outcomes) = (Vec::with_capacity(handed.len()), Vec::with_capacity(handed.len()));
    for ((one, counted), number) in handed.iter().zip(&counters).zip(1..) {
        let rows = found.remove(&number).unwrap_or_default();
        let tries = counted.tries(rows.first());
        let challenges: Vec<store::Challenge> = rows.into_iter().filter_map(Looked::challenge).collect();
        let verdict = match tries.refuse(now, &config.otp) {
            Some(refusal) => Err(refusal),
            None => judge(config, &one.proof, &challenges, now),
        };
        let details = json!({
            "purpose": one.proof.purpose.name(), "refused": verdict.as_ref().err().map(|refusal| refusal.code),
        });
        let (hash, bearer) = (&one.counter.plain, one.proof.bearer);
        let line = line(&one.client, "otp.verified", hash, bearer, now, details);
        let mut outcome = Outcome::of(line, &one.counter.plain, counted);
        answers.push(match verdict {
            Ok(challenge) => {
                let text = URL_SAFE_NO_PAD.encode(secret::random::<32>());
                let mut proved = challenge.clone();
                // without its id a code may be one that somebody else asked for from the same address: it
                // proves the identifier, and is bound to no account
                proved.user_id =
                    proved.user_id.filter(|_| one.proof.challenge_id.is_some() || bearer.is_some());
                outcome.right = Some((proved, sha256(text.as_bytes())));
                Ok(Verified { verification_token: text, expires_in: TOKEN_LIFE })
            }
            Err(refusal) => {
                if refusal.code == INVALID.code {
                    let named = one.proof.challenge_id.filter(|_| !challenges.is_empty());
                    outcome.wrong = Some((tries.hour(now), named));
                }
                Err(refusal)
            }
        });
        outcomes.push(outcome);
    }
    store::insert_outcomes(tx, now, now + TOKEN_LIFE, &outcomes).await?;
    Ok(answers)
}

/// Which challenge the code proves.
fn judge<'a>(
    config: &Config,
    proof: &Proof,
    found: &'a [store::Challenge],
    now: DateTime<Utc>,
) -> Result<&'a store::Challenge, Refusal> {
    let typed: String = proof.otp.chars().filter(|c| !c.is_whitespace()).collect();
    let most = i16::from(config.otp.tries);
    let mut right = None;
    // every challenge is compared, so that the time taken tells nothing
    for challenge in found {
        let derived = code(&config.keys, &challenge.seed());
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
