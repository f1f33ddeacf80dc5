//! Pictures of people: what is sent is looked at (`upload::look`), kept as it is for a moment, and made into two
//! sizes by a job (`jobs`, `render`), upright and without what cameras write beside the picture. Then what was sent
//! goes.

mod jobs;
mod render;
mod store;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub use jobs::{MakeSizes, SettleLost};

use crate::api_key::{Reader, Scope};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Refusal, Result};
use crate::idempotency::{self, Begun};
use crate::job::{self, Queue};
use crate::profile::may_change;
use crate::role::Permission;
use crate::session::Person;
use crate::upload::look::{Fault, look};
use crate::upload::{self, Purpose, Unclaimed, Upload};
use crate::user::{self, line};

pub use crate::upload::look::{MOST_BYTES, MOST_PIXELS};

/// There is no picture of this person, or not yet.
pub const NOT_FOUND: Code = Code {
    code: "picture.not_found",
    status: 404,
    title: "There is no picture",
    advice: "The profile's `avatar_status` says whether one is being made ready.",
};
/// Neither JPEG nor PNG nor WebP.
pub const TYPE: Code = Code {
    code: "picture.type",
    status: 415,
    title: "The file is no picture that is taken",
    advice: "Send a JPEG, PNG or WebP file; what counts is its content, not its name.",
};
/// Too many pixels.
pub const PIXELS: Code = Code {
    code: "picture.pixels",
    status: 422,
    title: "The picture has too many pixels",
    advice: "Make it smaller: 40 megapixels at most.",
};
/// More than one picture in one file.
pub const ANIMATED: Code = Code {
    code: "picture.animated",
    status: 422,
    title: "The picture moves",
    advice: "Send a still picture.",
};
/// The file is damaged or ends early.
pub const BROKEN: Code = Code {
    code: "picture.broken",
    status: 422,
    title: "The picture is damaged",
    advice: "The file ends early or does not hold together: open it, save it anew and send that.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[NOT_FOUND, TYPE, PIXELS, ANIMATED, BROKEN];

/// In which size a picture is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// At most 512 pixels wide and high.
    Large,
    /// At most 128.
    Small,
}

impl Size {
    /// Pixels of the longer side.
    pub(crate) fn pixels(self) -> u32 {
        match self {
            Self::Large => 512,
            Self::Small => 128,
        }
    }
}

/// The media type of what is shown, in either size.
pub const CONTENT_TYPE: &str = "image/jpeg";

/// What became of a picture that was sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Of whom it is.
    pub user_id: Uuid,
}

/// Takes a picture of somebody: by themselves, or by staff of nobody above them. A job makes it ready; the one
/// before is shown until then.
///
/// # Errors
/// `picture.*`, `storage.quota`, `storage.unavailable`, `user.not_found`, `auth.forbidden`, and the refusals of
/// [`idempotency::begin`].
pub async fn send(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    bytes: Bytes,
    key: Option<&idempotency::Key>,
) -> Result<Sent> {
    let kind = look(&bytes).map_err(refusal)?;
    let mut tx = ctx.db.begin().await?;
    // a key that was answered before costs no object; one that was not is left free again
    if let Some(outcome) = begun(&mut tx, ctx, key).await? {
        return Ok(outcome);
    }
    may_change(&mut tx, person, user_id).await?;
    // the object is kept with no transaction open
    tx.rollback().await?;
    let kept = upload::keep(ctx, user_id, Purpose::Picture, kind.content_type(), bytes).await?;
    let unclaimed = Unclaimed::of(ctx, kept.upload_id);
    let taken = take(ctx, client, person, user_id, &kept, key).await;
    match &taken {
        Ok(Taken::This(_)) => unclaimed.done(),
        _ => unclaimed.release().await,
    }
    let (Taken::This(sent) | Taken::Before(sent)) = taken?;
    Ok(sent)
}

/// Whose answer it is.
enum Taken {
    /// Of this picture.
    This(Sent),
    /// Of one that a parallel call with the same key sent.
    Before(Sent),
}

/// The saved answer of a key, if it has one; else the key is this transaction's.
async fn begun(tx: &mut PgConnection, ctx: &Context, key: Option<&idempotency::Key>) -> Result<Option<Sent>> {
    let Some(key) = key else { return Ok(None) };
    match idempotency::begin(tx, ctx.now(), key).await? {
        Begun::Fresh => Ok(None),
        Begun::Replay(outcome) => serde_json::from_slice(&outcome).map(Some).map_err(Error::internal),
    }
}

/// Makes a file that was kept the picture that waits.
async fn take(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    kept: &Upload,
    key: Option<&idempotency::Key>,
) -> Result<Taken> {
    let (now, sent) = (ctx.now(), Sent { user_id });
    let mut tx = ctx.db.begin().await?;
    if let Some(before) = begun(&mut tx, ctx, key).await? {
        return Ok(Taken::Before(before));
    }
    may_change(&mut tx, person, user_id).await?;
    let held = store::find(&mut *tx, user_id).await?.unwrap_or_default();
    if let Some(waiting) = held.waiting {
        upload::release(&mut tx, waiting, now).await?;
    }
    if !upload::attach(&mut tx, kept.upload_id, user_id, Purpose::Picture, now).await? {
        return Err(Error::Aborted("a picture went away while it was kept".into()));
    }
    store::set_waiting(&mut tx, user_id, kept.upload_id, now).await?;
    let make = MakeSizes { user_id, upload_id: kept.upload_id };
    job::enqueue(&mut tx, now, &make, jobs::terms(client, user_id, now)).await?;
    let details = json!({ "type": kept.content_type, "bytes": kept.size });
    audit::note(&mut tx, line(client, person, user_id, "picture.sent", details, now)).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&sent).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Media);
    Ok(Taken::This(sent))
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::Type => TYPE.refuse("The file is neither JPEG nor PNG nor WebP."),
        Fault::Broken => BROKEN.refuse("The file ends early or does not hold together."),
        Fault::Animated => ANIMATED.refuse("The file holds more than one picture."),
        Fault::Pixels => PIXELS.refuse(format!("{} megapixels are the most.", MOST_PIXELS / 1_000_000)),
    }
}

/// Takes somebody's picture away, and one that is yet to be made ready.
///
/// # Errors
/// `picture.not_found`, `user.not_found`, `auth.forbidden`.
pub async fn delete(ctx: &Context, client: &Client, person: &Person, user_id: Uuid) -> Result<()> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    may_change(&mut tx, person, user_id).await?;
    let held = store::find(&mut *tx, user_id).await?.unwrap_or_default();
    let all = [held.large, held.small, held.waiting];
    if all.iter().all(Option::is_none) {
        return Err(NOT_FOUND.refuse("There is no picture of this person.").into());
    }
    for upload_id in all.into_iter().flatten() {
        upload::release(&mut tx, upload_id, now).await?;
    }
    store::set_none(&mut tx, user_id, now).await?;
    audit::note(&mut tx, line(client, person, user_id, "picture.deleted", json!({}), now)).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Low);
    Ok(())
}

/// Which upload is somebody's picture: for themselves, staff with `users.read`, and services with `users:read`;
/// a look by the latter two leaves an audit line.
///
/// # Errors
/// `picture.not_found`, `user.not_found`, `auth.forbidden`.
pub async fn show(
    ctx: &Context,
    client: &Client,
    reader: Reader<'_>,
    user_id: Uuid,
    size: Size,
) -> Result<Uuid> {
    let own = matches!(reader, Reader::Person(person) if person.user_id() == user_id);
    match reader {
        Reader::Service(service) => service.may(Scope::UsersRead)?,
        Reader::Person(person) if own || person.has(Permission::UsersRead) => {}
        Reader::Person(_) => return Err(user::NOT_FOUND.refuse("There is no such user.").into()),
    }
    let mut tx = ctx.db.begin().await?;
    let held = store::find(&mut *tx, user_id).await?;
    let held = held.filter(|held| matches!(reader, Reader::Person(_)) || !held.is_deleted);
    let held = held.ok_or_else(|| user::NOT_FOUND.refuse("There is no such user."))?;
    let upload_id = match size {
        Size::Large => held.large,
        Size::Small => held.small,
    };
    let upload_id = upload_id.ok_or_else(|| NOT_FOUND.refuse("There is no picture of this person."))?;
    if !own {
        let line = Line {
            action: "picture.read",
            entity_type: "user",
            entity_id: user_id.to_string(),
            actor: Some(reader.actor()),
            session_id: reader.session_id(),
            details: reader.service().map_or_else(|| json!({}), |name| json!({ "service": name })),
            client,
            at: ctx.now(),
        };
        audit::note(&mut tx, line).await?;
    }
    tx.commit().await?;
    Ok(upload_id)
}

/// What a picture that [`show`] named holds.
///
/// # Errors
/// `picture.not_found` if it was replaced just now; `storage.unavailable`.
pub async fn read(ctx: &Context, user_id: Uuid, upload_id: Uuid) -> Result<Bytes> {
    let found = upload::read(ctx, upload_id, user_id, Purpose::Picture).await?;
    let (_, bytes) = found.ok_or_else(|| NOT_FOUND.refuse("The picture was replaced just now."))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
