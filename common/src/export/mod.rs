//! Everything that is kept about a person, for that person to take away (GDPR, articles 15 and 20): asked for
//! shortly after a proof of who one is, gathered by a job (`jobs`) from the one list of what there is (`area`) into
//! a ZIP archive (`archive`) that is sealed at rest, told by a notice, downloaded by its owner alone, and kept for
//! seven days.

mod archive;
pub mod area;
mod jobs;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

pub use jobs::BuildExport;

use crate::audit::{self, Client};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::idempotency::{self, Begun};
use crate::job::{self, Queue, Terms};
use crate::provider::storage::Stream;
use crate::session::Person;
use crate::upload::{self, Purpose};
use crate::{id, user};

/// No such export of this person, or not any more.
pub const NOT_FOUND: Code = Code {
    code: "export.not_found",
    status: 404,
    title: "No such export",
    advice: "Check the id; an export is kept for 7 days, or until the next one is ready. Ask for a new one.",
};
/// It is being gathered.
pub const NOT_READY: Code = Code {
    code: "export.not_ready",
    status: 409,
    title: "The export is not ready yet",
    advice: "Ask for its status, and come back when it is `ready`; a notice tells too.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[NOT_FOUND, NOT_READY];

/// How long one may wait to be gathered; after it a new one can be asked for.
const PATIENCE: TimeDelta = TimeDelta::hours(24);
/// How long one is kept.
const LIFE: TimeDelta = TimeDelta::days(7);

/// An export, without its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    /// Which.
    pub export_id: Uuid,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was ready; none: it waits.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when it is kept, or waits.
    pub expires_at: DateTime<Utc>,
    /// Bytes of the archive.
    pub size: Option<i64>,
}

/// Only the person: to others there is nobody.
fn must_be(person: &Person, user_id: Uuid) -> Result<()> {
    match person.user_id() == user_id {
        true => Ok(()),
        false => Err(user::NOT_FOUND.refuse("There is no such user.").into()),
    }
}

/// Asks for everything about the caller, shortly after a proof of who they are. One waits per person: who asks
/// again gets that one.
///
/// # Errors
/// `user.not_found` for anybody else, `auth.step_up_required`, the refusals of [`idempotency::begin`].
pub async fn request(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    key: Option<&idempotency::Key>,
) -> Result<Export> {
    must_be(person, user_id)?;
    person.require_fresh(ctx)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    store::delete_stale(&mut tx, user_id, now).await?;
    let expires_at = now + PATIENCE;
    let new =
        Export { export_id: id::ordered(now), created_at: now, finished_at: None, expires_at, size: None };
    let export = match store::insert(&mut tx, user_id, &new).await? {
        true => {
            ask(&mut tx, client, &new, now).await?;
            note(&mut tx, client, person, "user.export_requested", new.export_id, now).await?;
            new
        }
        false => {
            let waiting = store::find_waiting(&mut tx, user_id).await?;
            // finished between the two statements
            let waiting = waiting
                .ok_or_else(|| Error::Aborted("the export that waited was finished just now".into()))?;
            ask(&mut tx, client, &waiting, now).await?;
            waiting
        }
    };
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&export).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Bulk);
    Ok(export)
}

/// Asks for the job of an export, once for all who ask while it waits: also where the one before was put away.
async fn ask(
    tx: &mut sqlx::PgConnection,
    client: &Client,
    export: &Export,
    now: DateTime<Utc>,
) -> Result<()> {
    let terms = Terms {
        expires_at: Some(export.expires_at),
        unique_key: Some(format!("export:{}", export.export_id)),
        ..Terms::of(client)
    };
    job::enqueue(tx, now, &BuildExport { export_id: export.export_id }, terms).await?;
    Ok(())
}

async fn note(
    tx: &mut sqlx::PgConnection,
    client: &Client,
    person: &Person,
    action: &'static str,
    export_id: Uuid,
    now: DateTime<Utc>,
) -> Result<()> {
    let details = json!({ "export_id": export_id });
    let line = user::audit::line(client, person, person.user_id(), action, details, now);
    Ok(audit::note(tx, line).await?)
}

/// An export of the caller's.
///
/// # Errors
/// `user.not_found` for anybody else, `export.not_found`.
pub async fn show(ctx: &Context, person: &Person, user_id: Uuid, export_id: Uuid) -> Result<Export> {
    must_be(person, user_id)?;
    let found = store::find(&ctx.db, export_id, user_id, ctx.now()).await?;
    Ok(found.ok_or_else(|| NOT_FOUND.refuse("You have no export with this id."))?)
}

/// The archive of an export of the caller's, piece by piece. Leaves a line.
///
/// # Errors
/// As [`show`], `export.not_ready`, `storage.unavailable`.
pub async fn download(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    export_id: Uuid,
) -> Result<(Export, Stream)> {
    let export = show(ctx, person, user_id, export_id).await?;
    let upload_id = store::find_upload(&ctx.db, export_id).await?;
    let upload_id = upload_id.ok_or_else(|| NOT_READY.refuse("It is still being gathered."))?;
    let found = upload::stream(ctx, upload_id, user_id, Purpose::Export).await?;
    let (_, pieces) = found.ok_or_else(|| NOT_FOUND.refuse("You have no export with this id any more."))?;
    let mut tx = ctx.db.begin().await?;
    note(&mut tx, client, person, "user.export_downloaded", export_id, ctx.now()).await?;
    tx.commit().await?;
    Ok((export, pieces))
}

/// Deletes exports whose time is over, and releases their files.
///
/// # Errors
/// The database does not answer.
pub async fn expire(ctx: &Context) -> Result<()> {
    const BATCH: i64 = 100;
    loop {
        let mut tx = ctx.db.begin().await?;
        let gone = store::delete_expired(&mut tx, ctx.now(), BATCH).await?;
        for upload_id in gone.iter().flatten() {
            upload::release(&mut tx, *upload_id, ctx.now()).await?;
        }
        tx.commit().await?;
        if gone.len() < BATCH as usize {
            return Ok(());
        }
    }
}
