//! Proof anew, within a session, before a sensitive change (ASVS 5.0, 7.5.1; NIST SP 800-63B, 2.1.3). Whoever
//! has a factor proves it with one.

use std::fmt;

use serde_json::json;
use uuid::Uuid;

use super::passkey::{self, Purpose as Wanted};
use super::typed::{self, Checked, Typed};
use super::{FACTOR_NEEDED, passkey::Answer, store};
use crate::audit::Client;
use crate::auth::otp::Purpose;
use crate::auth::password::Password;
use crate::auth::token;
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::job::Queue;
use crate::session::{self, Person};

/// What codes that prove who somebody is are for: a step up in general, or the one before a deletion.
const PURPOSES: &[Purpose] = &[Purpose::StepUp, Purpose::DeleteAccount];

/// What somebody proves who they are with.
#[derive(Clone)]
pub enum Proof {
    /// Their password.
    Password(String),
    /// Of a code with the purpose `step_up` or `delete_account`.
    VerificationToken(String),
    /// A code of a factor.
    Typed(Typed),
    /// An answer by a passkey.
    Passkey(Answer),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Proof {
    fn name(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::VerificationToken(_) => "verification_token",
            Self::Typed(typed) => typed.kind(),
            Self::Passkey(_) => "passkey",
        }
    }

    fn is_factor(&self) -> bool {
        matches!(self, Self::Typed(_) | Self::Passkey(_))
    }
}

/// What was found before the transaction.
enum Found {
    Password(Result<(), Refusal>),
    Token(String),
    Typed(Checked),
    Passkey(passkey::Proved),
}

/// The person proves anew who they are: from now on their session is fresh.
///
/// # Errors
/// `mfa.factor_needed`, `mfa.invalid`, `mfa.locked`, `passkey.*`, `verification.*`, `auth.busy`.
pub async fn step_up(ctx: &Context, client: &Client, person: &Person, proof: Proof) -> Result<()> {
    let (now, user_id) = (ctx.now(), person.user_id());
    let held = store::count_held(&ctx.db, user_id).await?;
    let found = if held.has_factor() && !proof.is_factor() {
        Found::Password(Err(FACTOR_NEEDED.refuse("This account has a second factor.")))
    } else {
        find(ctx, client, person, &proof).await?
    };
    let mut tx = ctx.db.begin().await?;
    store::lock_user(&mut tx, user_id).await?;
    let outcome = match found {
        Found::Password(outcome) => outcome,
        Found::Typed(checked) => typed::accept(&mut tx, ctx, client, user_id, checked).await?,
        Found::Passkey(proved) => match proved.use_up(&mut tx, ctx, client, Some(person)).await? {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        },
        Found::Token(text) => {
            let whose = (user_id, person.session_id);
            match token::consume_for(&mut tx, now, &text, PURPOSES, whose).await {
                Ok(_) => Ok(()),
                Err(Error::Refusal(refusal)) => Err(refusal),
                Err(error) => return Err(error),
            }
        }
    };
    let refused = outcome.as_ref().err().map(|refusal| refusal.code);
    let details = json!({ "method": proof.name(), "refused": refused });
    super::note(&mut tx, (client, Some(person)), user_id, "auth.stepped_up", details, now).await?;
    if outcome.is_ok() {
        session::set_fresh(&mut tx, person.session_id, now).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(outcome?)
}

/// What takes long, or is counted for good, before the transaction.
async fn find(ctx: &Context, client: &Client, person: &Person, proof: &Proof) -> Result<Found> {
    let user_id = person.user_id();
    Ok(match proof {
        Proof::Password(text) => Found::Password(password(ctx, user_id, text).await?),
        Proof::VerificationToken(text) => Found::Token(text.clone()),
        Proof::Typed(typed) => Found::Typed(typed::check(ctx, user_id, typed).await?),
        Proof::Passkey(answer) => {
            Found::Passkey(passkey::prove(ctx, client, answer, Wanted::StepUp, Some(person)).await?)
        }
    })
}

/// Counts and compares a password.
async fn password(ctx: &Context, user_id: Uuid, text: &str) -> Result<Result<(), Refusal>> {
    if let Some(refusal) = typed::count(ctx, user_id, "password").await? {
        return Ok(Err(refusal));
    }
    let stored = store::find_password(&ctx.db, user_id).await?;
    if !ctx.hasher.verify(stored.as_deref(), Password::given(text).as_str()).await? {
        return Ok(Err(super::WRONG_PASSWORD.refuse("This is not the password.")));
    }
    store::give_back_try(&ctx.db, user_id, "password").await?;
    Ok(Ok(()))
}
