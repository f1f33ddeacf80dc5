//! Signing in. Every attempt leaves an audit line; whoever has not proved anything learns nothing about
//! accounts.

use super::otp::Purpose;
use super::{password, token};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Code, Result};
use crate::factor::challenge::demand;
use crate::job::Queue;
use crate::session::{self, Method, SignIn, Tokens};
use crate::user::{self, Identifier};

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

/// Signs in with a code that was proved.
///
/// # Errors
/// `verification.*`, `auth.no_account`, `mfa.required`, `account.*`.
pub async fn sign_in(ctx: &Context, client: &Client, ask: Ask) -> Result<Tokens> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let purposes = [Purpose::Login, Purpose::Register];
    let proof =
        token::consume(&mut tx, now, &ask.verification_token, &purposes, &ask.identifier, None).await?;
    let found = user::find(&mut *tx, &ask.identifier, proof.user_id).await?;
    let Some(found) = found.filter(|found| found.verified) else {
        return Err(NO_ACCOUNT.refuse("Nobody has registered with this identifier.").into());
    };
    password::recovered(&mut tx, ctx, found.user_id, ask.device_token.as_deref()).await?;
    if let Some(refusal) = demand(&mut tx, ctx, client, found.user_id, &[Method::Otp]).await? {
        tx.commit().await?;
        return Err(refusal.into());
    }
    let sign_in =
        SignIn { user_id: found.user_id, methods: &[Method::Otp], device_token: ask.device_token.as_deref() };
    let tokens = session::open(&mut tx, ctx, client, sign_in).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(tokens)
}
