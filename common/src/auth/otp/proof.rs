//! Proving a code.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::{EXPIRED, INVALID, Proof, TOKEN_LIFE, Verified, code, identifier_hash, line, store};
use crate::audit::{self, Client};
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::secret::{self, sha256};

/// Proves a code: it works once, also under parallel submits, and a wrong try counts before the answer.
///
/// # Errors
/// `otp.invalid`, `otp.expired`, `otp.locked`.
pub async fn verify(ctx: &Context, client: &Client, proof: Proof) -> Result<Verified> {
    let now = ctx.now();
    let config = &ctx.config.otp;
    let hash = identifier_hash(&ctx.config, &proof.identifier);
    let mut tx = ctx.db.begin().await?;
    // the identifier's row serialises all tries on it, so none slips past a cap
    let tries = store::lock_tries(&mut tx, &hash, &client.key(), now).await?;
    let found = store::list_challenges(&mut tx, &proof, &client.key()).await?;
    let outcome = match tries.refuse(now, config) {
        Some(refusal) => Err(refusal),
        None => judge(ctx, &proof, &found, now),
    };
    let line = line(
        client,
        "otp.verified",
        &hash,
        now,
        json!({
            "purpose": proof.purpose.name(), "refused": outcome.as_ref().err().map(|refusal| refusal.code),
        }),
    );
    let refusal = match outcome {
        Ok(challenge) => {
            let token = secret::random::<32>();
            let text = URL_SAFE_NO_PAD.encode(token);
            store::insert_token(&mut tx, &hash, &sha256(text.as_bytes()), challenge, now, now + TOKEN_LIFE)
                .await?;
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
    ctx: &Context,
    proof: &Proof,
    found: &'a [store::Challenge],
    now: DateTime<Utc>,
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
