//! Authenticator apps: setting one up, confirming it with its first code, taking it away. The codes
//! themselves are in `code`.

mod code;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::store::{self, Totp};
use super::{TOTP_OFF, TOTP_ON, recovery, typed};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::job::Queue;
use crate::notify::Change;
use crate::session::Person;
use crate::{id, seal, secret};

/// What a sealed secret is for.
const SEAL: &str = "totp";

/// An app to set up: shown once.
#[derive(Clone)]
pub struct Started {
    /// In the base32 of RFC 4648, for typing.
    pub secret: String,
    /// For the app: Key Uri Format.
    pub uri: String,
    /// The same as a QR code: a `data:` URI of a PNG.
    pub qr: String,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}

/// Makes a secret; the app counts once it is confirmed. Starting again makes another.
///
/// # Errors
/// `auth.step_up_required`, `mfa.totp_on`.
pub async fn start(ctx: &Context, client: &Client, person: &Person) -> Result<Started> {
    person.require_fresh(ctx)?;
    let (now, user_id) = (ctx.now(), person.user_id());
    let (factor_id, made) = (id::ordered(now), secret::random::<{ code::SECRET }>());
    let uri = code::uri(&ctx.config.notify.name, &person.account.username, &made);
    let started = Started { secret: code::text(&made), qr: code::picture(&uri)?, uri };
    let sealed = seal::seal(&ctx.config.keys, SEAL, factor_id.as_bytes(), &made)?;
    let mut tx = ctx.db.begin().await?;
    if !store::insert_totp(&mut tx, factor_id, user_id, &sealed, now).await? {
        return Err(TOTP_ON.refuse("There is an authenticator app already.").into());
    }
    let details = json!({ "factor": factor_id });
    super::note(&mut tx, (client, Some(person)), user_id, "mfa.totp_started", details, now).await?;
    tx.commit().await?;
    Ok(started)
}

/// Turns the app on with its first code. Answers with recovery codes, where there are none yet.
///
/// # Errors
/// `auth.step_up_required`, `mfa.totp_off`, `mfa.totp_on`, `mfa.invalid`, `mfa.locked`,
/// `mfa.too_many_sets`, `auth.busy`.
pub async fn confirm(
    ctx: &Context,
    client: &Client,
    person: &Person,
    typed: String,
) -> Result<Option<Vec<String>>> {
    person.require_fresh(ctx)?;
    let (now, user_id) = (ctx.now(), person.user_id());
    let app = store::find_totp(&ctx.db, user_id).await?;
    let app = app.ok_or_else(|| TOTP_OFF.refuse("No authenticator app waits to be confirmed."))?;
    if app.confirmed_at.is_some() {
        return Err(TOTP_ON.refuse("The authenticator app is confirmed already.").into());
    }
    let checked = typed::check(ctx, user_id, &super::Typed::Totp(typed)).await?;
    // nothing is hashed for a code that is not right
    let fits = match checked {
        typed::Checked::Refused(refusal) => Err(refusal),
        typed::Checked::Totp(text) if step(ctx, &app, &text)?.is_some() => Ok(text),
        _ => Err(typed::wrong()),
    };
    let text = match fits {
        Ok(text) => text,
        Err(refusal) => {
            let tx = ctx.db.begin().await?;
            return refuse(tx, client, person, app.factor_id, refusal, now).await;
        }
    };
    store::give_back_try(&ctx.db, user_id, "totp").await?;
    let set = recovery::first_set(ctx, user_id).await?;
    let mut tx = ctx.db.begin().await?;
    store::lock_user(&mut tx, user_id).await?;
    if !accept(&mut tx, ctx, &app, &text).await? {
        return refuse(tx, client, person, app.factor_id, typed::wrong(), now).await;
    }
    super::changed(&mut tx, ctx, client, person, (Change::TotpAdded, Some(app.factor_id))).await?;
    let codes = recovery::keep_first(&mut tx, user_id, set, now).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(codes)
}

/// Notes a code that did not confirm the app, commits and refuses.
async fn refuse<T>(
    mut tx: Transaction<'_, Postgres>,
    client: &Client,
    person: &Person,
    factor_id: Uuid,
    refusal: Refusal,
    now: DateTime<Utc>,
) -> Result<T> {
    let details = json!({ "factor": factor_id, "refused": refusal.code });
    let whose = person.user_id();
    super::note(&mut tx, (client, Some(person)), whose, "mfa.totp_added", details, now).await?;
    tx.commit().await?;
    Err(refusal.into())
}

/// Takes the app away.
///
/// # Errors
/// `auth.step_up_required`, `mfa.totp_off`.
pub async fn remove(ctx: &Context, client: &Client, person: &Person) -> Result<()> {
    person.require_fresh(ctx)?;
    let user_id = person.user_id();
    let mut tx = ctx.db.begin().await?;
    store::lock_user(&mut tx, user_id).await?;
    let gone = store::delete_totp(&mut tx, user_id, None).await?;
    let gone = gone.ok_or_else(|| TOTP_OFF.refuse("There is no authenticator app."))?;
    super::tidy(&mut tx, user_id).await?;
    super::changed(&mut tx, ctx, client, person, (Change::TotpRemoved, Some(gone))).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

/// Whether this is a code of the app: of a step later than every one accepted before. If so, the step is
/// used up with the caller's transaction.
pub(super) async fn accept(tx: &mut PgConnection, ctx: &Context, app: &Totp, typed: &str) -> Result<bool> {
    match step(ctx, app, typed)? {
        Some(step) => Ok(store::set_step(tx, app.factor_id, step, ctx.now()).await?),
        None => Ok(false),
    }
}

/// Of which step this is a code of the app.
fn step(ctx: &Context, app: &Totp, typed: &str) -> Result<Option<i64>> {
    let opened = seal::open(&ctx.config.keys, SEAL, app.factor_id.as_bytes(), &app.sealed);
    let opened =
        opened.ok_or_else(|| Error::internal("a secret of an app does not open: its key is gone"))?;
    let typed: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    Ok(code::find_step(&opened, &typed, ctx.now(), app.last_step))
}

/// Which app this is of, where it is confirmed.
pub(super) async fn remove_for(tx: &mut PgConnection, user_id: Uuid, factor_id: Uuid) -> Result<bool> {
    Ok(store::delete_totp(tx, user_id, Some(factor_id)).await?.is_some())
}
