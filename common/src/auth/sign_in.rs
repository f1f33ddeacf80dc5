//! Signing in. Every attempt leaves an audit line; whoever has not proved anything learns nothing about
//! accounts.

use serde_json::json;
use sqlx::PgConnection;

use super::otp::Purpose;
use super::{password, token};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Refusal, Result};
use crate::factor::challenge::demand;
use crate::job::Queue;
use crate::notify::{self, Facts, Message, Told};
use crate::secret;
use crate::session::{self, Method, SignIn, Tokens};
use crate::user::verification::{self, By, Proving};
use crate::user::{self, Identifier, Status, inactive};

/// The identifier is the caller's, and nobody has registered with it.
pub const NO_ACCOUNT: Code = Code {
    code: "auth.no_account",
    status: 422,
    title: "There is no account with this identifier",
    advice: "Register with it.",
};
/// All refusals of signing in.
pub const CODES: &[Code] = &[NO_ACCOUNT];

/// A sign-in.
#[derive(Clone)]
pub struct Ask {
    /// Who says to be.
    pub identifier: Identifier,
    /// What was proved.
    pub verification_token: String,
    /// From an earlier sign-in here.
    pub device_token: Option<String>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("identifier", &self.identifier).finish_non_exhaustive()
    }
}

/// Signs in with a code that was proved. An identifier that nobody had proved is proved by it, and what was
/// set on its account before is void, unless the code was bound to that account. An account that was set aside
/// for want of activity is active again, also before a second factor: that one is still asked for.
///
/// # Errors
/// `verification.*`, `auth.no_account`, `user.identifier_taken`, `mfa.required`, `account.*`.
pub async fn sign_in(ctx: &Context, client: &Client, ask: Ask) -> Result<Tokens> {
    match attempt(ctx, client, &ask).await {
        Ok(Ok(tokens)) => {
            ctx.wake.queue(Queue::Default);
            Ok(tokens)
        }
        // noted and committed
        Ok(Err(refusal)) => Err(refusal.into()),
        // rolled back: the token was not used
        Err(Error::Refusal(refusal)) => {
            let mut tx = ctx.db.begin().await?;
            note(&mut tx, ctx, client, &ask, refusal.code).await?;
            tx.commit().await?;
            Err(refusal.into())
        }
        Err(error) => Err(error),
    }
}

/// Notes an attempt that led nowhere, under a keyed hash of the identifier.
async fn note(tx: &mut PgConnection, ctx: &Context, client: &Client, ask: &Ask, code: &str) -> Result<()> {
    let hash = ctx.config.keys.derive("identifier").mac(&[ask.identifier.as_str().as_bytes()]);
    let line = Line {
        action: "auth.sign_in_refused",
        entity_type: "identifier",
        entity_id: secret::hex(&hash),
        actor: None,
        session_id: None,
        details: json!({ "methods": [Method::Otp.name()], "refused": code }),
        client,
        at: ctx.now(),
    };
    Ok(audit::note(tx, line).await?)
}

/// A refusal in the answer is noted, and committed with the use of the token.
async fn attempt(ctx: &Context, client: &Client, ask: &Ask) -> Result<Result<Tokens, Refusal>> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let purposes = [Purpose::Login, Purpose::Register];
    let proof =
        token::consume(&mut tx, now, &ask.verification_token, &purposes, &ask.identifier, None).await?;
    let found = user::find(&mut *tx, &ask.identifier, proof.user_id).await?;
    // one that is only held is taken by whoever proves it, but for that of somebody who has proved another,
    // also one they no longer have: the account stays theirs, and this one is free to register
    let bound = |found: &user::Found| proof.user_id == Some(found.user_id);
    let Some(found) = found.filter(|found| found.verified || !found.ever_verified || bound(found)) else {
        return Err(NO_ACCOUNT.refuse("Nobody has registered with this identifier.").into());
    };
    let lapsed = found.status == Status::Inactive && inactive::is_lapsed(&mut tx, found.user_id).await?;
    if !lapsed && let Err(refusal) = found.status.must_be_active() {
        note(&mut tx, ctx, client, ask, refusal.code).await?;
        tx.commit().await?;
        return Ok(Err(refusal));
    }
    if !found.verified {
        let proving = Proving {
            user_id: found.user_id,
            identifier: &ask.identifier,
            by: By::Code,
            actor: found.user_id,
            session_id: None,
            reason: None,
            keeps: bound(&found),
        };
        match verification::prove(&mut tx, ctx, client, &proving).await {
            Err(Error::Refusal(refusal)) => {
                note(&mut tx, ctx, client, ask, refusal.code).await?;
                tx.commit().await?;
                return Ok(Err(refusal));
            }
            other => other?,
        }
    }
    if lapsed {
        inactive::bring_back(&mut tx, ctx, client, found.user_id).await?;
    }
    if !found.ever_verified {
        // the first proof of an account made by form or by staff
        let told = Told { user_id: found.user_id, message: Message::Welcome, facts: Facts::at(now) };
        notify::tell(&mut tx, ctx, client, &told).await?;
    }
    password::recovered(&mut tx, ctx, found.user_id, ask.device_token.as_deref()).await?;
    if let Some(refusal) = demand(&mut tx, ctx, client, found.user_id, &[Method::Otp]).await? {
        tx.commit().await?;
        return Ok(Err(refusal));
    }
    let sign_in =
        SignIn { user_id: found.user_id, methods: &[Method::Otp], device_token: ask.device_token.as_deref() };
    let tokens = session::open(&mut tx, ctx, client, sign_in).await?;
    tx.commit().await?;
    Ok(Ok(tokens))
}
