//! Device tokens: by which a browser or app that signed in before is known again. Sessions mint them and
//! keep them alive; here one is recognised. 32 random bytes, kept as a hash.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::store;
use crate::context::Context;
use crate::error::Result;
use crate::secret::sha256;

/// A device that somebody signed in from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which device.
    pub device_token_id: Uuid,
    /// Who signed in.
    pub user_id: Uuid,
}

/// The device that a token names; none for what is no token, or one that ran out.
///
/// # Errors
/// The database does not answer.
pub async fn find(db: impl PgExecutor<'_>, ctx: &Context, token: &str) -> Result<Option<Known>> {
    Ok(store::find_device(db, &sha256(token.as_bytes()), ctx.now()).await?)
}
