//! The classic form of registration: name, identifiers and password first, the proof after. Off by default.
//! Nobody is signed in before a code was handed in; taken identifiers get the same answer as free ones, and
//! their owner is told.

use uuid::Uuid;

use super::otp::{self, Issued, Purpose};
use super::password::{self, Password};
use crate::audit::Client;
use crate::config::Source;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::job::Queue;
use crate::user::{self, IDENTIFIER_NEEDED, Identifier, NewPerson, Username};

/// The form is switched off.
pub const OFF: Code = Code {
    code: "auth.classic_form_off",
    status: 403,
    title: "Registering without a proof is switched off",
    advice: "Prove the identifier first: `POST /api/auth/otp/request` with the purpose `register`.",
};
/// All refusals of this form.
pub const CODES: &[Code] = &[OFF];

/// Settings of this form.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AUTH_CLASSIC_FORM`.
    pub on: bool,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        Self { on: source.switch("AUTH_CLASSIC_FORM", false) }
    }
}

/// A registration by form.
#[derive(Clone)]
pub struct Ask {
    /// The name wanted.
    pub username: Username,
    /// One or both.
    pub identifiers: Vec<Identifier>,
    /// To sign in with.
    pub password: Password,
    /// Whose referral code was named.
    pub referral_code: Option<String>,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Makes an account that waits for the code sent here: to the first of its identifiers.
///
/// # Errors
/// `auth.classic_form_off`, `auth.password_off`, `auth.busy`, a fault of the password,
/// `user.identifier_needed`, `user.username_taken`, `user.referral_unknown`, the refusals of
/// [`otp::request()`] and of [`idempotency::begin`].
pub async fn register(
    ctx: &Context,
    client: &Client,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Issued> {
    if !ctx.config.classic.on {
        return Err(OFF.refuse("Prove the identifier first.").into());
    }
    let Some(first) = ask.identifiers.first().cloned() else {
        return Err(IDENTIFIER_NEEDED.refuse("Give a phone number or an e-mail address.").into());
    };
    let mut names = vec![ask.username.as_str()];
    names.extend(ask.identifiers.iter().map(Identifier::as_str));
    let password = password::first(ctx, &ask.password, &names).await?;
    let now = ctx.now();
    let user_id: Uuid = id::ordered(now);
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    // whoever hands this code in comes from this form: the password stays theirs
    let code = otp::Ask { bound_to: Some(user_id), ..otp::Ask::of(first, Purpose::Register) };
    let issued = match otp::request_in(&mut tx, ctx, client, code).await? {
        Ok(issued) => issued,
        Err(refusal) => {
            tx.commit().await?;
            return Err(refusal.into());
        }
    };
    let person = NewPerson {
        user_id: Some(user_id),
        password: Some(password),
        referral_code: ask.referral_code,
        ..NewPerson::of(ask.username, ask.identifiers)
    };
    user::create(&mut tx, ctx, client, person).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&issued).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Critical);
    Ok(issued)
}
