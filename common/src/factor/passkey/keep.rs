//! Looking after passkeys.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{LAST, NOT_FOUND, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::factor;
use crate::job::Queue;
use crate::notify::Change;
use crate::session::Person;

/// Somebody's passkeys, oldest first.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context, user_id: Uuid) -> Result<Vec<store::Listed>> {
    Ok(store::list(&ctx.db, user_id).await?)
}

/// Gives one of the caller's passkeys another name.
///
/// # Errors
/// `passkey.not_found`.
pub async fn rename(
    ctx: &Context,
    client: &Client,
    person: &Person,
    passkey_id: Uuid,
    name: &str,
) -> Result<store::Listed> {
    let (now, user_id) = (ctx.now(), person.user_id());
    let mut tx = ctx.db.begin().await?;
    let renamed = store::set_name(&mut tx, user_id, passkey_id, name).await?.ok_or_else(not_found)?;
    let details = json!({ "factor": passkey_id });
    factor::note(&mut tx, (client, Some(person)), user_id, "mfa.passkey_renamed", details, now).await?;
    tx.commit().await?;
    Ok(renamed)
}

/// Removes one of the caller's passkeys; never the last way in.
///
/// # Errors
/// `auth.step_up_required`, `passkey.not_found`, `passkey.last_way_in`.
pub async fn remove(ctx: &Context, client: &Client, person: &Person, passkey_id: Uuid) -> Result<()> {
    person.require_fresh(ctx)?;
    let user_id = person.user_id();
    let mut tx = ctx.db.begin().await?;
    factor::store::lock_user(&mut tx, user_id).await?;
    if !store::delete(&mut tx, user_id, passkey_id).await? {
        return Err(not_found().into());
    }
    if !store::is_way_in(&mut tx, user_id).await? {
        return Err(LAST.refuse("Nobody could sign in to this account without it.").into());
    }
    factor::tidy(&mut tx, user_id).await?;
    factor::changed(&mut tx, ctx, client, person, (Change::PasskeyRemoved, Some(passkey_id))).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

/// Removes one of somebody's passkeys with the caller's transaction.
pub(in crate::factor) async fn remove_for(
    tx: &mut PgConnection,
    user_id: Uuid,
    passkey_id: Uuid,
) -> Result<bool> {
    Ok(store::delete(tx, user_id, passkey_id).await?)
}

fn not_found() -> Refusal {
    NOT_FOUND.refuse("There is no passkey with this id.")
}
