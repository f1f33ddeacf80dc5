//! Who may sign in: changes of status by staff, deletion with its grace time, and taking that back. One
//! place ends the sessions of whoever is not active any more.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::{Changed, line, note_change};
use super::reach;
use super::record::Record;
use super::{
    IDENTIFIER_TAKEN, IS_DELETED, NOT_DELETED, NOT_FOUND, SELF, Status, UNREACHABLE, USERNAME_TAKEN, store,
};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::Queue;
use crate::notify::{self, Facts, Message, Told};
use crate::role::{self, Permission};
use crate::session::{self, End, FORBIDDEN, Person};
use crate::wallet;

/// Sets the status of somebody else's account.
///
/// # Errors
/// `auth.forbidden` (it takes the right to see people too, whose record is the answer), `user.not_found`,
/// `user.self`, `user.deleted`, `user.last_superuser`.
pub async fn set_status(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    status: Status,
    reason: &str,
) -> Result<Record> {
    person.may(Permission::UsersRead)?;
    let mut tx = ctx.db.begin().await?;
    set_status_in(&mut tx, ctx, client, person, user_id, status, reason).await?;
    finish(tx, ctx, user_id).await
}

/// [`set_status`] with the caller's transaction.
///
/// # Errors
/// As [`set_status`].
pub(crate) async fn set_status_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    status: Status,
    reason: &str,
) -> Result<()> {
    person.may(Permission::UsersStatus)?;
    let old = reached(tx, person, user_id).await?;
    not_deleted(&old)?;
    if status != Status::Active {
        keep_a_superuser(tx, &old).await?;
    }
    let now = ctx.now();
    store::set_status(tx, user_id, status, reason, now).await?;
    note(tx, ctx, client, person, &old, "user.status_changed", (status, reason)).await?;
    if status == Status::Active {
        wallet::ask_missed_rewards(&mut *tx, now, user_id).await?;
    } else {
        session::end_all(tx, user_id, None, End::Status, now).await?;
    }
    if status != old.status {
        let facts = Facts { status: Some(status.name().to_owned()), ..Facts::at(now) };
        tell(tx, ctx, client, user_id, Message::AccountStatusChanged, facts).await?;
    }
    Ok(())
}

/// Deletes somebody's account, as staff: it is erased after the grace time. Answers with when.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.self`, `user.deleted`, `user.last_superuser`.
pub async fn delete(ctx: &Context, client: &Client, person: &Person, user_id: Uuid) -> Result<DateTime<Utc>> {
    if person.user_id() == user_id {
        return delete_own(ctx, client, person).await;
    }
    let mut tx = ctx.db.begin().await?;
    let erase_at = delete_in(&mut tx, ctx, client, person, user_id, "").await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(erase_at)
}

/// [`delete`] of somebody else with the caller's transaction.
///
/// # Errors
/// As [`delete`].
pub(crate) async fn delete_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    reason: &str,
) -> Result<DateTime<Utc>> {
    person.may(Permission::UsersDelete)?;
    let old = reached(tx, person, user_id).await?;
    remove(tx, ctx, client, person, &old, reason).await
}

/// Deletes the caller's account. Wants a fresh proof of who they are.
///
/// # Errors
/// `auth.step_up_required`, `user.last_superuser`.
pub async fn delete_own(ctx: &Context, client: &Client, person: &Person) -> Result<DateTime<Utc>> {
    person.require_fresh(ctx)?;
    let mut tx = ctx.db.begin().await?;
    let old = store::lock(&mut tx, person.user_id()).await?;
    let old = old.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    let erase_at = remove(&mut tx, ctx, client, person, &old, "").await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(erase_at)
}

async fn remove(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    old: &Record,
    reason: &str,
) -> Result<DateTime<Utc>> {
    let now = ctx.now();
    not_deleted(old)?;
    keep_a_superuser(tx, old).await?;
    let erase_at = now + TimeDelta::from_std(ctx.config.user.grace).unwrap_or_default();
    // told while the addresses are still the account's
    let facts = Facts { date: Some(erase_at.date_naive()), ..facts(client, person, old.user_id, now) };
    tell(tx, ctx, client, old.user_id, Message::AccountDeletionScheduled, facts).await?;
    let kept = Some(reason).filter(|reason| !reason.is_empty());
    store::set_deleted(tx, old.user_id, kept, erase_at, now).await?;
    note(tx, ctx, client, person, old, "user.deleted", (Status::Deleted, reason)).await?;
    session::end_all(tx, old.user_id, None, End::Status, now).await?;
    Ok(erase_at)
}

/// Takes a deletion back, within its grace time: the account is what it was before, banned if it was banned.
///
/// # Errors
/// `auth.forbidden` (as for [`set_status`]), `user.not_found`, `user.not_deleted`; `user.identifier_taken` or
/// `user.username_taken` if somebody else has it meanwhile.
pub async fn restore(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    reason: &str,
) -> Result<Record> {
    person.may(Permission::UsersRead)?;
    let mut tx = ctx.db.begin().await?;
    restore_in(&mut tx, ctx, client, person, user_id, reason).await?;
    finish(tx, ctx, user_id).await
}

/// [`restore`] with the caller's transaction, which is of no more use where a name or an identifier is taken.
///
/// # Errors
/// As [`restore`].
pub(crate) async fn restore_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    reason: &str,
) -> Result<()> {
    person.may(Permission::UsersStatus)?;
    let old = reached(tx, person, user_id).await?;
    if old.status != Status::Deleted {
        return Err(NOT_DELETED.refuse("Only a deleted account can be restored.").into());
    }
    let (status, kept) = match old.status_before {
        // why somebody may not sign in outlives the deletion
        Some(status) if status != Status::Active => (status, old.reason_before.as_deref()),
        _ => (Status::Active, Some(reason)),
    };
    store::set_restored(tx, user_id, status, kept, ctx.now()).await.map_err(taken)?;
    note(tx, ctx, client, person, &old, "user.restored", (status, reason)).await?;
    if status == Status::Active {
        wallet::ask_missed_rewards(&mut *tx, ctx.now(), user_id).await?;
    }
    let facts = Facts { status: Some(status.name().to_owned()), ..Facts::at(ctx.now()) };
    tell(tx, ctx, client, user_id, Message::AccountRestored, facts).await?;
    Ok(())
}

/// Writes to somebody else, as staff, with the caller's transaction. The line in the audit log holds no text.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.self`, `user.deleted`, `user.unreachable`.
pub(crate) async fn write_to_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    facts: Facts,
    reason: &str,
) -> Result<()> {
    person.may(Permission::UsersMessage)?;
    let old = reached(tx, person, user_id).await?;
    not_deleted(&old)?;
    if tell(tx, ctx, client, user_id, Message::StaffMessage, facts).await? == 0 {
        return Err(UNREACHABLE
            .refuse("They have proved no address and want no push message, or none of these.")
            .into());
    }
    let line = line(client, person, user_id, "user.written_to", json!({ "reason": reason }), ctx.now());
    Ok(crate::audit::note(tx, line).await?)
}

/// Ends the sessions of somebody the caller may act on.
///
/// # Errors
/// `user.not_found`, `auth.forbidden`.
pub async fn end_sessions(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    why: End,
) -> Result<u64> {
    let mut tx = ctx.db.begin().await?;
    let old = store::lock(&mut tx, user_id).await?;
    let old = old.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    if person.user_id() != user_id && !person.reaches(old.rank, old.is_superuser) {
        return Err(FORBIDDEN.refuse("This person stands above you.").into());
    }
    let ended = session::end_all(&mut tx, user_id, None, why, ctx.now()).await?;
    let line = line(client, person, user_id, "session.all_ended", json!({ "ended": ended }), ctx.now());
    crate::audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Ok(ended)
}

/// The open sessions of somebody, for staff; the look leaves an audit line.
///
/// # Errors
/// `user.not_found`.
pub async fn list_sessions(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
) -> Result<Vec<session::Listed>> {
    let mut tx = ctx.db.begin().await?;
    store::find(&mut *tx, user_id).await?.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    let line = line(client, person, user_id, "session.listed", json!({}), ctx.now());
    crate::audit::note(&mut tx, line).await?;
    tx.commit().await?;
    session::list(ctx, user_id).await
}

/// A name or an identifier that somebody else has, told by the index that says so.
pub(super) fn taken(error: sqlx::Error) -> Error {
    let constraint = error.as_database_error().and_then(|error| error.constraint()).unwrap_or_default();
    match constraint {
        "users_username_key" | "users_skeleton_key" => {
            USERNAME_TAKEN.refuse("This name, or one that looks like it, is taken.").into()
        }
        "users_verified_email_key" | "users_verified_phone_key" => {
            IDENTIFIER_TAKEN.refuse("Another account has proved this identifier.").into()
        }
        _ => error.into(),
    }
}

/// Locks the account of somebody else whom the caller may act on.
async fn reached(tx: &mut PgConnection, person: &Person, user_id: Uuid) -> Result<Record> {
    if person.user_id() == user_id {
        return Err(SELF.refuse("Nobody does this to their own account.").into());
    }
    reach::lock(tx, person, user_id).await
}

/// Refuses to take away the last superuser who can sign in.
async fn keep_a_superuser(tx: &mut PgConnection, record: &Record) -> Result<()> {
    match record.is_superuser {
        true => role::keep_superuser(tx, record.user_id).await,
        false => Ok(()),
    }
}

/// Refuses what would cancel or put off an erasure, or take a name back that somebody has by now.
pub(super) fn not_deleted(record: &Record) -> Result<()> {
    match record.status {
        Status::Deleted => Err(IS_DELETED.refuse("Restore the account first.").into()),
        _ => Ok(()),
    }
}

/// What a notice says of who acted: of staff, no more than when.
pub(super) fn facts(client: &Client, person: &Person, user_id: Uuid, now: DateTime<Utc>) -> Facts {
    match person.user_id() == user_id {
        true => Facts::of(client, now),
        false => Facts::at(now),
    }
}

async fn note(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    old: &Record,
    action: &'static str,
    (status, reason): (Status, &str),
) -> Result<()> {
    let facts = |status: Status| json!({ "status": status.name() });
    let details =
        if reason.is_empty() { Value::Object(Default::default()) } else { json!({ "reason": reason }) };
    let line = line(client, person, old.user_id, action, details, ctx.now());
    note_change(tx, ctx, line, old.user_id, Changed { old: facts(old.status), new: facts(status) }).await
}

async fn tell(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    user_id: Uuid,
    message: Message,
    facts: Facts,
) -> Result<usize> {
    notify::tell(tx, ctx, client, &Told { user_id, message, facts }).await
}

async fn finish(
    mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
    ctx: &Context,
    user_id: Uuid,
) -> Result<Record> {
    let new = store::find(&mut *tx, user_id).await?.ok_or_else(|| Error::internal("the user is gone"))?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(new)
}
