//! Choosing a new password: with the old one, or with a code where that is forgotten. No hash is computed
//! and no list is asked while a transaction is open.

use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::store::{self, Own};
use super::{LONG, NONE, Password, WRONG, must_be_on};
use crate::audit::{self, Client, Line};
use crate::auth::otp::{self, Purpose};
use crate::auth::{sign_in::NO_ACCOUNT, token};
use crate::context::Context;
use crate::error::{Fault, Refusal, Result, invalid};
use crate::job::Queue;
use crate::limit::lockout::{self, Subject};
use crate::notify::{self, Message};
use crate::secret;
use crate::session::{self, End, Person};
use crate::user::{self, Identifier};

/// Forgotten: a code in its place.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Whose account.
    pub identifier: Identifier,
    /// The digits as typed.
    pub otp: String,
    /// From the request for the code.
    pub challenge_id: Option<Uuid>,
    /// The new password.
    pub new: Password,
}

/// Known: the old one beside the new.
#[derive(Clone, Debug)]
pub struct Change {
    /// As it is.
    pub current: Password,
    /// As it shall be.
    pub new: Password,
}

/// Chooses a new password with a code. All sessions end and nobody is signed in; a second factor stays
/// as it is. The code counts as at [`otp::verify`].
///
/// # Errors
/// `otp.*`, `auth.no_account`, `account.*`, `auth.busy`, a fault of the new password.
pub async fn reset(ctx: &Context, client: &Client, ask: Reset) -> Result<()> {
    must_be_on(&ctx.config)?;
    let Reset { identifier, otp, challenge_id, new } = ask;
    refuse_breached(ctx, &new).await?;
    let proof = otp::Proof {
        identifier: identifier.clone(),
        otp,
        purpose: Purpose::ResetPassword,
        challenge_id,
        bearer: None,
        device_token: None,
    };
    let verified = otp::verify(ctx, client, proof).await?;
    let found = user::find(&ctx.db, &identifier, None).await?.filter(|found| found.verified);
    let none = || NO_ACCOUNT.refuse("Nobody has registered with this identifier.");
    let user_id = found.ok_or_else(none)?.user_id;
    refuse_own(&new, &store::find_own(&ctx.db, user_id).await?.ok_or_else(none)?)?;
    let hash = ctx.hasher.hash(new.as_str()).await?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let purposes = [Purpose::ResetPassword];
    token::consume(&mut tx, now, &verified.verification_token, &purposes, &identifier, None).await?;
    let found = user::find(&mut *tx, &identifier, None).await?;
    let found = found.filter(|found| found.verified && found.user_id == user_id).ok_or_else(none)?;
    found.status.must_be_active()?;
    let names = store::lock_names(&mut tx, user_id).await?.ok_or_else(none)?;
    store::set_password(&mut tx, user_id, None, &hash, now).await?;
    recover(&mut tx, ctx, user_id, &names).await?;
    session::end_all(&mut tx, user_id, None, End::PasswordChanged, now).await?;
    note(&mut tx, ctx, client, (user_id, None), "password.reset", None).await?;
    notify::tell(&mut tx, ctx, client, &told(ctx, client, user_id)).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    let names: Vec<Subject> = super::hashes_of(ctx, user_id, &names).into_iter().map(Subject::Name).collect();
    ctx.lockout.forget(Vec::new(), &names, client).await;
    Ok(())
}

/// Chooses a new password with the old one. All other sessions end.
///
/// # Errors
/// `password.none`, `password.wrong`, `auth.locked`, `auth.busy`, a fault of the new password.
pub async fn change(ctx: &Context, client: &Client, person: &Person, ask: Change) -> Result<()> {
    must_be_on(&ctx.config)?;
    let user_id = person.user_id();
    let own = store::find_own(&ctx.db, user_id).await?;
    let own = own.ok_or_else(|| session::ENDED.refuse("The account is gone."))?;
    let Some(old) = own.hash.clone() else {
        return Err(NONE.refuse("Choose a first password with a code.").into());
    };
    refuse_own(&ask.new, &own)?;
    refuse_breached(ctx, &ask.new).await?;
    let subject = Subject::Name(super::account_hash(ctx, user_id));
    let by = (user_id, Some(person.session_id));
    let counted = match ctx.lockout.take(ctx.now(), &[&subject], client).await {
        Ok(counted) => counted,
        Err(refusal) => return refuse(ctx.db.begin().await?, ctx, client, by, refusal).await,
    };
    let right = match ctx.hasher.verify(Some(&old), ask.current.as_str()).await {
        Ok(right) => right,
        Err(error) => {
            ctx.lockout.release(counted).await;
            return Err(error);
        }
    };
    let (now, most) = (ctx.now(), ctx.config.lockout.in_a_row);
    let rows = [*subject.hash()];
    if !right {
        let mut tx = ctx.db.begin().await?;
        let refusal = match store::count_failures(&mut tx, &rows, most, now).await?.is_empty() {
            false => WRONG.refuse("This is not the present password."),
            true => lockout::refuse(LONG),
        };
        return refuse(tx, ctx, client, by, refusal).await;
    }
    let hash = match ctx.hasher.hash(ask.new.as_str()).await {
        Ok(hash) => hash,
        Err(error) => {
            ctx.lockout.release(counted).await;
            return Err(error);
        }
    };
    let mut tx = ctx.db.begin().await?;
    let settled = store::settle(&mut tx, user_id, &rows, &rows, most).await?;
    let refusal = match settled.filter(|settled| settled.hash == old) {
        Some(settled) if settled.in_a_row >= most => Some(lockout::refuse(LONG)),
        Some(_) if store::set_password(&mut tx, user_id, Some(&old), &hash, now).await? => None,
        _ => Some(WRONG.refuse("The password was changed meanwhile.")),
    };
    if let Some(refusal) = refusal {
        return refuse(tx, ctx, client, by, refusal).await;
    }
    session::end_all(&mut tx, user_id, Some(person.session_id), End::PasswordChanged, now).await?;
    note(&mut tx, ctx, client, by, "password.changed", None).await?;
    notify::tell(&mut tx, ctx, client, &told(ctx, client, user_id)).await?;
    tx.commit().await?;
    ctx.lockout.forget(counted, &[], client).await;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

/// Notes a change that was refused, commits and refuses.
async fn refuse(
    mut tx: Transaction<'_, Postgres>,
    ctx: &Context,
    client: &Client,
    by: (Uuid, Option<Uuid>),
    refusal: Refusal,
) -> Result<()> {
    note(&mut tx, ctx, client, by, "password.change_refused", Some(refusal.code)).await?;
    tx.commit().await?;
    Err(refusal.into())
}

/// Ends the rows of failures of an account whose identifier was proved, by whatever name, and of the device
/// it was proved on. Locks the person.
///
/// # Errors
/// The database does not answer.
pub async fn recovered(
    tx: &mut sqlx::PgConnection,
    ctx: &Context,
    user_id: Uuid,
    device_token: Option<&str>,
) -> Result<()> {
    let device = device_token.map(|token| super::device_hash(ctx, &secret::sha256(token.as_bytes())));
    let Some(names) = store::lock_names(tx, user_id).await? else { return Ok(()) };
    let subjects: Vec<_> = super::hashes_of(ctx, user_id, &names).into_iter().chain(device).collect();
    Ok(store::set_no_failures(tx, &subjects).await?)
}

/// Ends every row of failures of somebody.
async fn recover(
    tx: &mut sqlx::PgConnection,
    ctx: &Context,
    user_id: Uuid,
    names: &store::Names,
) -> Result<()> {
    let devices = store::list_devices(tx, user_id).await?;
    let mut subjects = super::hashes_of(ctx, user_id, names);
    subjects.extend(devices.iter().map(|device| super::device_hash(ctx, device)));
    Ok(store::set_no_failures(tx, &subjects).await?)
}

/// The hash of a password for an account that is about to be made with these names.
///
/// # Errors
/// `auth.password_off`, `auth.busy`, a fault of the password.
pub async fn first(ctx: &Context, password: &Password, names: &[&str]) -> Result<String> {
    must_be_on(&ctx.config)?;
    if password.is_one_of(names.iter().copied()) {
        return Err(own_name("/password").into());
    }
    if ctx.breaches.has(password).await {
        return Err(breached("/password").into());
    }
    ctx.hasher.hash(password.as_str()).await
}

fn told(ctx: &Context, client: &Client, user_id: Uuid) -> notify::Told {
    notify::Told { user_id, message: Message::PasswordChanged, facts: notify::Facts::of(client, ctx.now()) }
}

async fn note(
    tx: &mut sqlx::PgConnection,
    ctx: &Context,
    client: &Client,
    (user_id, session_id): (Uuid, Option<Uuid>),
    action: &'static str,
    refused: Option<&str>,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(user_id),
        session_id,
        details: refused.map_or_else(|| json!({}), |code| json!({ "refused": code })),
        client,
        at: ctx.now(),
    };
    Ok(audit::note(tx, line).await?)
}

/// Fails open: without an answer the password is taken.
async fn refuse_breached(ctx: &Context, new: &Password) -> Result<(), Refusal> {
    if ctx.breaches.has(new).await { Err(breached("/new_password")) } else { Ok(()) }
}

fn refuse_own(new: &Password, own: &Own) -> Result<(), Refusal> {
    let names = [Some(&own.username), own.email.as_ref(), own.phone_number.as_ref()];
    if new.is_one_of(names.into_iter().flatten().map(String::as_str)) {
        return Err(own_name("/new_password"));
    }
    Ok(())
}

fn breached(pointer: &str) -> Refusal {
    fault(pointer, "password.breached", "This password has leaked from another service: choose another.")
}

fn own_name(pointer: &str) -> Refusal {
    fault(pointer, "password.common", "Your own name or address is no password.")
}

fn fault(pointer: &str, code: &'static str, detail: &str) -> Refusal {
    invalid(vec![Fault::at(pointer, code, detail)])
}
