//! Recovery codes: sets of ten, shown once, each kept as an Argon2id hash. What a code looks like is in
//! `text`.

mod text;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub(super) use text::read;

use super::{NO_FACTOR, SETS, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::Queue;
use crate::notify::Change;
use crate::session::Person;

/// Sets a person may make in an hour: each is ten hashes.
const SETS_AN_HOUR: i32 = 5;
const HOUR: TimeDelta = TimeDelta::hours(1);

/// A set that is not kept yet.
pub(super) struct Set {
    codes: Vec<String>,
    hashes: Vec<String>,
}

/// Makes a set, if the person had not too many within the hour; hashing takes a while, and no transaction is
/// open meanwhile.
async fn make(ctx: &Context, user_id: Uuid) -> Result<Set> {
    let now = ctx.now();
    let made = store::count_try(&ctx.db, user_id, "recovery_set", now, now - HOUR).await?;
    if made.tries > SETS_AN_HOUR {
        let left = (made.hour_started_at + HOUR - now).to_std().unwrap_or_default();
        return Err(SETS.refuse_for("Five sets of recovery codes were made within an hour.", left).into());
    }
    let codes: Vec<String> = (0..text::COUNT).map(text::make).collect();
    let mut hashes = Vec::with_capacity(codes.len());
    for code in &codes {
        let typed = read(code).ok_or_else(|| Error::internal("a new recovery code does not read"))?;
        hashes.push(ctx.hasher.hash(&typed.text).await?);
    }
    Ok(Set { codes, hashes })
}

/// A set for whoever enrols their first factor; none for those who have one.
pub(super) async fn first_set(ctx: &Context, user_id: Uuid) -> Result<Option<Set>> {
    if store::count_held(&ctx.db, user_id).await?.recovery_codes > 0 {
        return Ok(None);
    }
    make(ctx, user_id).await.map(Some)
}

/// Keeps the first set, unless another was first. The person is locked.
pub(super) async fn keep_first(
    tx: &mut PgConnection,
    user_id: Uuid,
    set: Option<Set>,
    now: DateTime<Utc>,
) -> Result<Option<Vec<String>>> {
    let Some(set) = set else { return Ok(None) };
    if store::count_held(&mut *tx, user_id).await?.recovery_codes > 0 {
        return Ok(None);
    }
    store::insert_recovery_codes(tx, user_id, &set.hashes, now).await?;
    Ok(Some(set.codes))
}

/// A new set in place of the one before, of which no code works any more.
///
/// # Errors
/// `auth.step_up_required`, `mfa.no_factor`, `mfa.too_many_sets`, `auth.busy`.
pub async fn renew(ctx: &Context, client: &Client, person: &Person) -> Result<Vec<String>> {
    person.require_fresh(ctx)?;
    let (now, user_id) = (ctx.now(), person.user_id());
    let no_factor = || NO_FACTOR.refuse("Recovery codes stand in for a factor, and there is none.");
    if !store::count_held(&ctx.db, user_id).await?.has_factor() {
        return Err(no_factor().into());
    }
    let set = make(ctx, user_id).await?;
    let mut tx = ctx.db.begin().await?;
    store::lock_user(&mut tx, user_id).await?;
    if !store::count_held(&mut *tx, user_id).await?.has_factor() {
        return Err(no_factor().into());
    }
    store::delete_recovery_codes(&mut tx, user_id).await?;
    store::insert_recovery_codes(&mut tx, user_id, &set.hashes, now).await?;
    super::changed(&mut tx, ctx, client, person, (Change::RecoveryCodesMade, None)).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(set.codes)
}
