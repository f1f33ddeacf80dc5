//! A sign-in that waits for a second factor. It holds an `mfa_token` (kept as a hash) that works once,
//! for five minutes and five tries.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::typed::{self, Typed};
use super::{EXPIRED, REQUIRED, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::job::Queue;
use crate::secret::{self, sha256};
use crate::session::{self, Method, SignIn, Tokens};

/// How long a sign-in waits.
const LIFE: Duration = Duration::from_secs(300);
/// Codes it takes.
const TRIES: i16 = 5;
/// The action of audit lines.
const VERIFIED: &str = "mfa.verified";

/// The refusal of a sign-in that has proved one factor, where the person has a second one; None where they
/// have none, and a session may be opened. The caller commits, then refuses.
///
/// # Errors
/// The database does not answer.
pub async fn demand(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    user_id: Uuid,
    proved: &[Method],
) -> Result<Option<Refusal>> {
    let held = store::count_held(&mut *tx, user_id).await?;
    if !held.has_factor() {
        return Ok(None);
    }
    let now = ctx.now();
    let token = URL_SAFE_NO_PAD.encode(secret::random::<32>());
    let proved: Vec<&str> = proved.iter().map(|method| method.name()).collect();
    store::insert_challenge(tx, &sha256(token.as_bytes()), user_id, &proved, now, now + LIFE).await?;
    let details = json!({ "methods": proved });
    super::note(tx, (client, None), user_id, "mfa.demanded", details, now).await?;
    let methods = [
        held.totp.then_some("totp"),
        (held.passkeys > 0).then_some("passkey"),
        (held.recovery_codes_left > 0).then_some("recovery_code"),
    ];
    let methods: Vec<&str> = methods.into_iter().flatten().collect();
    let refusal = REQUIRED.refuse("This account asks for a second factor.");
    let refusal =
        refusal.with("mfa_token", token).with("methods", methods).with("expires_in", LIFE.as_secs());
    Ok(Some(refusal))
}

/// A second factor handed in.
#[derive(Clone)]
pub struct Ask {
    /// From `mfa.required`.
    pub mfa_token: String,
    /// The code.
    pub typed: Typed,
    /// From an earlier sign-in here.
    pub device_token: Option<String>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("typed", &self.typed).finish_non_exhaustive()
    }
}

/// Ends a sign-in that waits with a code.
///
/// # Errors
/// `mfa.expired`, `mfa.invalid`, `mfa.locked`, `auth.busy`, `account.*`.
pub async fn verify(ctx: &Context, client: &Client, ask: Ask) -> Result<Tokens> {
    let now = ctx.now();
    let token_hash = sha256(ask.mfa_token.as_bytes());
    let Some(user_id) = store::take_challenge_try(&ctx.db, &token_hash, now, TRIES).await? else {
        return refuse(ctx, client, &token_hash, ask.typed.kind()).await;
    };
    let checked = typed::check(ctx, user_id, &ask.typed).await?;
    let mut tx = ctx.db.begin().await?;
    let outcome = settle(&mut tx, ctx, client, (user_id, &ask.mfa_token), checked).await?;
    let refused = outcome.as_ref().err().map(|refusal| refusal.code);
    let details = json!({ "method": ask.typed.kind(), "refused": refused });
    super::note(&mut tx, (client, None), user_id, VERIFIED, details, now).await?;
    let proved = match outcome {
        Ok(proved) => proved,
        Err(refusal) => {
            tx.commit().await?;
            ctx.wake.queue(Queue::Default);
            return Err(refusal.into());
        }
    };
    // RFC 8176 has no word for recovery codes; they are one-time passwords too
    let methods = with(&proved, &[Method::Otp, Method::Multi]);
    let sign_in = SignIn { user_id, methods: &methods, device_token: ask.device_token.as_deref() };
    let tokens = session::open(&mut tx, ctx, client, sign_in).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(tokens)
}

fn expired() -> Refusal {
    EXPIRED.refuse("There is no sign-in that waits with this token.")
}

/// Uses the code up and ends the waiting, with the caller's transaction: what was proved before. A refusal
/// is an answer: the caller notes it, commits and then refuses.
async fn settle(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    (user_id, mfa_token): (Uuid, &str),
    checked: typed::Checked,
) -> Result<Result<Vec<Method>, Refusal>> {
    let status = store::lock_user(tx, user_id).await?;
    // before the code, which is kept for another sign-in where this one has ended
    let waiting = store::find_challenge(&mut *tx, &sha256(mfa_token.as_bytes()), ctx.now()).await?;
    let Some(status) = status.filter(|_| waiting == Some(user_id)) else { return Ok(Err(expired())) };
    if let Err(refusal) = typed::accept(tx, ctx, client, user_id, checked).await? {
        return Ok(Err(refusal));
    }
    let proved = end(tx, ctx, mfa_token, user_id).await?.ok_or_else(expired);
    Ok(status.must_be_active().and(proved))
}

/// Notes a code for a sign-in that does not wait, then refuses.
async fn refuse<T>(ctx: &Context, client: &Client, token_hash: &[u8], kind: &str) -> Result<T> {
    let now = ctx.now();
    let details = json!({ "method": kind, "refused": EXPIRED.code });
    let mut tx = ctx.db.begin().await?;
    match store::find_challenge_owner(&mut *tx, token_hash).await? {
        Some(user_id) => super::note(&mut tx, (client, None), user_id, VERIFIED, details, now).await?,
        None => {
            let of = ("mfa_token", secret::hex(token_hash));
            super::note_of_nobody(&mut tx, client, of, VERIFIED, details, now).await?;
        }
    }
    tx.commit().await?;
    Err(expired().into())
}

/// Whose sign-in waits with this token.
pub(super) async fn find(ctx: &Context, mfa_token: &str) -> Result<Uuid> {
    let waiting = store::find_challenge(&ctx.db, &sha256(mfa_token.as_bytes()), ctx.now()).await?;
    Ok(waiting.ok_or_else(expired)?)
}

/// Ends the waiting with the caller's transaction: what was proved before it. None: it waits no longer, or
/// is somebody else's.
pub(super) async fn end(
    tx: &mut PgConnection,
    ctx: &Context,
    mfa_token: &str,
    user_id: Uuid,
) -> Result<Option<Vec<Method>>> {
    let token_hash = sha256(mfa_token.as_bytes());
    let proved = store::set_challenge_used(tx, &token_hash, user_id, ctx.now()).await?;
    Ok(proved.map(|names| names.iter().filter_map(|name| Method::named(name)).collect()))
}

/// Both, each once.
pub(super) fn with(proved: &[Method], more: &[Method]) -> Vec<Method> {
    let mut all = proved.to_vec();
    all.extend(more.iter().filter(|method| !proved.contains(method)));
    all
}
