//! Reaching a device: its token, at the moment it is used, and the end of one that the provider calls dead.

use uuid::Uuid;

use super::store;
use crate::context::Context;
use crate::error::Result;
use crate::id;
use crate::provider::Secret;

/// The push token of a person's device, while it is switched on and the sign-in it was registered in lasts.
///
/// # Errors
/// The database does not answer.
pub async fn token(ctx: &Context, user_id: Uuid, id: Uuid) -> Result<Option<Secret>> {
    let now = ctx.now();
    let idle_since = now - chrono::TimeDelta::from_std(ctx.config.session.idle).unwrap_or_default();
    Ok(store::find_token(&ctx.db, user_id, id, now, idle_since).await?.map(Secret::new))
}

/// Switches a device off whose token the provider calls dead, unless it has another one by now.
///
/// # Errors
/// The database does not answer.
pub async fn bury(ctx: &Context, id: Uuid, token: &Secret) -> Result<()> {
    let now = ctx.now();
    Ok(store::set_dead(&ctx.db, id, token.reveal(), id::ordered(now), now).await?)
}
