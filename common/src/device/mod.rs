//! Phones and browsers that take push messages: registering one, listing and switching off one's own. A
//! push token belongs to one person: whoever registers it has it, and the one who had it is not reached
//! through it any more. SQL in `store`, reaching one in `push`.

pub mod push;
mod store;

use serde_json::json;
use uuid::Uuid;

pub use store::Device;

use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::session::Person;

/// No such device of this person.
pub const NOT_FOUND: Code = Code {
    code: "device.not_found",
    status: 404,
    title: "No such device",
    advice: "List the devices and use an id from there.",
};
/// The person has as many as there may be.
pub const TOO_MANY: Code = Code {
    code: "device.too_many",
    status: 409,
    title: "Too many devices",
    advice: "Switch off a device that is not used any more.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[NOT_FOUND, TOO_MANY];

/// The most devices of one person that are switched on.
const MOST: i64 = 50;
/// The most devices of one person that are kept: those switched off longest ago go first.
const MOST_KEPT: i64 = 100;

/// A device that wants push messages.
#[derive(Clone)]
pub struct Ask {
    /// The app's own name for the device: one record for each.
    pub device_id: String,
    /// The provider's address of it.
    pub fcm_token: String,
    /// `android`, `ios` or `web`.
    pub device_type: String,
    /// For a person.
    pub device_name: String,
    /// Of the app.
    pub app_version: String,
    /// Of the system.
    pub os_version: String,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("device_type", &self.device_type).finish_non_exhaustive()
    }
}

/// Registers a device, or what has changed of it. The token is taken over from whoever had it.
///
/// # Errors
/// `device.too_many`, and the refusals of [`idempotency::begin`].
pub async fn register(
    ctx: &Context,
    client: &Client,
    person: &Person,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Device> {
    let (now, user_id) = (ctx.now(), person.user_id());
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    // one at a time for a token and for a person: else two could have the token, or one too many devices
    store::lock(&mut tx, &ask.fcm_token, user_id).await?;
    if store::count_others(&mut tx, user_id, &ask.device_id).await? >= MOST {
        return Err(TOO_MANY.refuse(format!("There may be {MOST} devices for one person.")).into());
    }
    let lost = store::set_token_taken(&mut tx, &ask.fcm_token, user_id, &ask.device_id).await?;
    let device = store::upsert(&mut tx, id::ordered(now), person, &ask, now).await?;
    store::delete_beyond(&mut tx, user_id, MOST_KEPT).await?;
    for (of, device) in lost.iter().filter(|(of, _)| *of != user_id) {
        let details = json!({ "device": device, "reason": "its token was registered by another person" });
        note(&mut tx, client, person, *of, "device.deactivated", details, now).await?;
    }
    let details = json!({ "device": device.id, "type": device.device_type });
    note(&mut tx, client, person, user_id, "device.registered", details, now).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&device).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    Ok(device)
}

/// The person's devices, the last used first.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context, user_id: Uuid) -> Result<Vec<Device>> {
    Ok(store::list(&ctx.db, user_id, MOST_KEPT).await?)
}

/// Switches one of the person's devices off: it gets no messages any more.
///
/// # Errors
/// `device.not_found`: none of theirs that is switched on.
pub async fn deactivate(ctx: &Context, client: &Client, person: &Person, id: Uuid) -> Result<()> {
    let (now, user_id) = (ctx.now(), person.user_id());
    let mut tx = ctx.db.begin().await?;
    if store::set_inactive(&mut tx, user_id, id).await? == 0 {
        return Err(NOT_FOUND.refuse("There is no device of yours with this id.").into());
    }
    note(&mut tx, client, person, user_id, "device.deactivated", json!({ "device": id }), now).await?;
    tx.commit().await?;
    Ok(())
}

async fn note(
    tx: &mut sqlx::PgConnection,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    action: &'static str,
    details: serde_json::Value,
    at: chrono::DateTime<chrono::Utc>,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details,
        client,
        at,
    };
    Ok(audit::note(tx, line).await?)
}
