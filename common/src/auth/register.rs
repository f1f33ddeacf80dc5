//! Making an account for an identifier that was proved.

use super::otp::Purpose;
use super::password::{self, Password};
use super::token;
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::idempotency::{self, Begun};
use crate::job::Queue;
use crate::notify::{self, Facts, Message, Told};
use crate::session::{self, Method, SignIn, Tokens};
use crate::user::{self, Identifier, NewPerson, Username};

/// A registration.
#[derive(Clone)]
pub struct Ask {
    /// What was proved.
    pub identifier: Identifier,
    /// The name wanted.
    pub username: Username,
    /// Whose referral code was named.
    pub referral_code: Option<String>,
    /// To sign in with later, if one was chosen.
    pub password: Option<Password>,
    /// The proof.
    pub verification_token: String,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Registers: account, profile, audit line and session exist if and only if this commits. With an
/// idempotency key the same answer is given again.
///
/// # Errors
/// `auth.password_off`, `auth.busy`, a fault of the password, `verification.*`, `user.identifier_taken`,
/// `user.username_taken`, `user.referral_unknown`, and the refusals of [`idempotency::begin`].
pub async fn register(
    ctx: &Context,
    client: &Client,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Tokens> {
    let password = match &ask.password {
        Some(password) => {
            let names = [ask.username.as_str(), ask.identifier.as_str()];
            Some(password::first(ctx, password, &names).await?)
        }
        None => None,
    };
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    // dropped with the transaction, a token can be used again with another name
    token::consume(&mut tx, now, &ask.verification_token, &[Purpose::Register], &ask.identifier, None)
        .await?;
    let facts = Facts { username: Some(ask.username.as_str().to_owned()), ..Facts::at(now) };
    let person = NewPerson {
        referral_code: ask.referral_code,
        verified: true,
        password,
        ..NewPerson::of(ask.username, vec![ask.identifier])
    };
    let user_id = user::create(&mut tx, ctx, client, person).await?;
    let told = Told { user_id, message: Message::Welcome, facts };
    notify::tell(&mut tx, ctx, client, &told).await?;
    let sign_in = SignIn { user_id, methods: &[Method::Otp], device_token: None };
    let tokens = session::open(&mut tx, ctx, client, sign_in).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&tokens).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(tokens)
}
