//! What staff may do about somebody's factors: take one away, with a reason. They never choose one.

use serde_json::json;
use uuid::Uuid;

use super::{NOT_FOUND, passkey, store, totp};
use crate::audit::Client;
use crate::context::Context;
use crate::error::Result;
use crate::job::Queue;
use crate::notify::{Change, Facts};
use crate::role::Permission;
use crate::session::{self, End, FORBIDDEN, Person};
use crate::user;

/// Takes a factor of somebody else's away. Their sessions end, and they are told.
///
/// # Errors
/// `auth.forbidden` without the right, for oneself, and for those of a higher rank;
/// `auth.step_up_required`, `user.not_found`, `mfa.not_found`.
pub async fn reset(
    ctx: &Context,
    client: &Client,
    staff: &Person,
    (user_id, factor_id): (Uuid, Uuid),
    reason: &str,
) -> Result<()> {
    staff.may(Permission::FactorsReset)?;
    staff.require_fresh(ctx)?;
    if staff.user_id() == user_id {
        return Err(FORBIDDEN.refuse("Nobody resets a factor of their own.").into());
    }
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let standing = store::lock_standing(&mut tx, user_id).await?;
    let standing = standing.ok_or_else(|| user::NOT_FOUND.refuse("There is no such user."))?;
    if !staff.reaches(standing.rank, standing.is_superuser) {
        return Err(FORBIDDEN.refuse("This person stands above you.").into());
    }
    let kind = if totp::remove_for(&mut tx, user_id, factor_id).await? {
        "totp"
    } else if passkey::remove_for(&mut tx, user_id, factor_id).await? {
        "passkey"
    } else {
        return Err(NOT_FOUND.refuse("This person has no such factor.").into());
    };
    super::tidy(&mut tx, user_id).await?;
    session::end_all(&mut tx, user_id, None, End::FactorReset, now).await?;
    let details = json!({ "factor": factor_id, "kind": kind, "reason": reason });
    super::note(&mut tx, (client, Some(staff)), user_id, "mfa.factor_reset", details, now).await?;
    super::tell(&mut tx, ctx, user_id, Facts { what: Some(Change::FactorReset), ..Facts::at(now) }).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}
