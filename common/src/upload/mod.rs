//! Files that people sent, or that jobs made for them. A row is there before its object and until after it, so
//! that no crash leaves an object that nothing knows of: reserved under the quota, stored, attached to what
//! refers to it, released, deleted (`jobs`). What is kept for something that may not come to be is held by
//! `unclaimed`. Documents and exports are sealed at rest (`sealed`), each under a key of its own. What a picture
//! is, says `look`.

mod jobs;
pub mod look;
pub mod sealed;
mod store;
mod stream;
mod unclaimed;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use jobs::{Cleanup, DeleteReleased};
pub use stream::{Writer, stream, writer};
pub use unclaimed::Unclaimed;

use crate::config::{Source, Stage};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::job::{self, Terms};
use crate::provider::storage;
use crate::{id, seal, secret};

/// A person keeps as much as they may.
pub const QUOTA: Code = Code {
    code: "storage.quota",
    status: 413,
    title: "There is no room for this file",
    advice: "Delete a file of yours, or send a smaller one.",
};
/// All refusals of this slice and of the store beneath it.
pub const CODES: &[Code] = &[storage::UNAVAILABLE, QUOTA];

/// The use that keys of uploads are sealed for.
pub(crate) const SEALED_FOR: &str = "upload";

/// Settings of uploads.
#[derive(Clone, Debug)]
pub struct Config {
    /// `STORAGE_URL`, `STORAGE_ACCESS_KEY`, `STORAGE_SECRET_KEY`.
    pub storage: storage::Settings,
    /// `STORAGE_PER_USER`: bytes that one person may keep.
    pub per_user: u64,
}

impl Config {
    pub(crate) fn read(source: &mut Source, stage: Stage) -> Self {
        let keys = (source.find("STORAGE_ACCESS_KEY"), source.find("STORAGE_SECRET_KEY"));
        let url: Option<String> = source.find("STORAGE_URL");
        // several processes share it: where it is cannot be guessed
        if url.is_none() && stage == Stage::Production {
            source.fault("STORAGE_URL is not set (where files are kept: file:///folder or s3://bucket)");
        }
        let passing = || storage::Settings::Disk(std::env::temp_dir().join("keryu-objects"));
        let storage = url.map_or_else(|| Ok(passing()), |url| storage::Settings::parse(&url, keys));
        let storage = storage.unwrap_or_else(|faults| {
            faults.into_iter().for_each(|fault| source.fault(fault));
            passing()
        });
        Self { storage, per_user: source.get("STORAGE_PER_USER", 50 * 1024 * 1024) }
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A person's picture.
    Picture,
    /// A picture of a document that says who somebody is.
    KycDocument,
    /// What was gathered for somebody to take away. Does not count to their quota.
    Export,
}

impl Purpose {
    /// As rows and keys say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::KycDocument => "kyc_document",
            Self::Export => "export",
        }
    }

    /// Whether the object is sealed at rest.
    pub fn is_sealed(self) -> bool {
        !matches!(self, Self::Picture)
    }

    /// How much a person may keep of what counts; none: it does not count.
    fn quota(self, ctx: &Context) -> Option<u64> {
        (!matches!(self, Self::Export)).then_some(ctx.config.upload.per_user)
    }
}

/// A file.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Which.
    pub upload_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// What for.
    pub purpose: Purpose,
    /// Its media type, as its content says.
    pub content_type: String,
    /// Bytes, as they were sent.
    pub size: u64,
    /// When it came.
    pub created_at: DateTime<Utc>,
}

/// Where an upload's object is, and what seals it.
struct Place {
    object: String,
    key: Option<[u8; 32]>,
}

/// Keeps a file for somebody. It is deleted after a day if nothing is [`attach`]ed to it, and counts no longer if
/// the caller goes away while it is written.
///
/// # Errors
/// `storage.quota`, `storage.unavailable`; `user.not_found` as a defect.
pub async fn keep(
    ctx: &Context,
    owner: Uuid,
    purpose: Purpose,
    content_type: &str,
    bytes: Bytes,
) -> Result<Upload> {
    put(ctx, owner, purpose, content_type, bytes, purpose.quota(ctx)).await
}

/// As [`keep`], for what a job made of a file of theirs and what takes its place: there is room for it, however
/// little is left. It counts as any other does.
///
/// # Errors
/// `storage.unavailable`; `user.not_found` as a defect.
pub async fn keep_made(
    ctx: &Context,
    owner: Uuid,
    purpose: Purpose,
    content_type: &str,
    bytes: Bytes,
) -> Result<Upload> {
    put(ctx, owner, purpose, content_type, bytes, None).await
}

async fn put(
    ctx: &Context,
    owner: Uuid,
    purpose: Purpose,
    content_type: &str,
    bytes: Bytes,
    quota: Option<u64>,
) -> Result<Upload> {
    let size = bytes.len() as u64;
    let (upload, place) = reserve(ctx, owner, purpose, content_type, size, quota).await?;
    let unclaimed = Unclaimed::of(ctx, upload.upload_id);
    let bytes = match place.key {
        None => bytes,
        Some(key) => sealed::seal(&key, upload.upload_id, &bytes)?,
    };
    if let Err(error) = ctx.storage.put(&place.object, bytes).await {
        unclaimed.release().await;
        return Err(error);
    }
    let stored = stored(ctx, upload).await;
    match &stored {
        Ok(_) => unclaimed.done(),
        Err(_) => unclaimed.release().await,
    }
    stored
}

/// A row for an object that is still to come: from now on its bytes count.
async fn reserve(
    ctx: &Context,
    owner: Uuid,
    purpose: Purpose,
    content_type: &str,
    size: u64,
    quota: Option<u64>,
) -> Result<(Upload, Place)> {
    let now = ctx.now();
    let upload_id = id::ordered(now);
    let name = id::unguessable().simple().to_string();
    let object = format!("{}/{}/{name}", purpose.name(), &name[..2]);
    let key = purpose.is_sealed().then(secret::random::<32>);
    let sealed_key = match &key {
        None => None,
        Some(key) => Some(seal::seal(&ctx.config.keys, SEALED_FOR, upload_id.as_bytes(), key)?),
    };
    let mut tx = ctx.db.begin().await?;
    must_fit(&mut tx, owner, size, quota).await?;
    let new = store::NewUpload {
        upload_id,
        user_id: owner,
        purpose: purpose.name(),
        content_type,
        size: i64::try_from(size).map_err(Error::internal)?,
        object: object.clone(),
        sealed_key,
    };
    store::insert(&mut tx, &new, now).await?;
    tx.commit().await?;
    let content_type = content_type.to_owned();
    let upload = Upload { upload_id, user_id: owner, purpose, content_type, size, created_at: now };
    Ok((upload, Place { object, key }))
}

/// Refuses what does not fit, and holds the owner's row so that nothing else comes between.
async fn must_fit(tx: &mut PgConnection, owner: Uuid, size: u64, quota: Option<u64>) -> Result<()> {
    if !store::lock_owner(tx, owner).await? {
        return Err(Error::internal("nobody is there to keep a file for"));
    }
    let Some(most) = quota else { return Ok(()) };
    if u64::try_from(store::sum_size(tx, owner).await?).unwrap_or(0) + size > most {
        return Err(QUOTA.refuse(format!("A person's files may take {} KiB in all.", most / 1024)).into());
    }
    Ok(())
}

/// Notes that the object is there.
async fn stored(ctx: &Context, upload: Upload) -> Result<Upload> {
    let size = i64::try_from(upload.size).map_err(Error::internal)?;
    match store::set_stored(&ctx.db, upload.upload_id, size, ctx.now()).await? {
        true => Ok(upload),
        // erased meanwhile: the clean-up finds the object
        false => Err(Error::Aborted("the owner of a file was erased while it was kept".into())),
    }
}

/// Notes with the caller's transaction that something refers to a file of this owner and purpose. False: there
/// is no such file, or something refers to it already.
///
/// # Errors
/// The database does not answer.
pub async fn attach(
    tx: &mut PgConnection,
    upload_id: Uuid,
    owner: Uuid,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> Result<bool> {
    Ok(store::set_attached(tx, upload_id, owner, purpose.name(), now).await?)
}

/// Notes with the caller's transaction that nobody wants a file any more: once it commits, a job (queue
/// `low`) deletes it. Until then it counts to the quota.
///
/// # Errors
/// The database does not answer.
pub async fn release(tx: &mut PgConnection, upload_id: Uuid, now: DateTime<Utc>) -> Result<()> {
    if store::set_released(&mut *tx, upload_id, now).await? {
        job::enqueue(tx, now, &DeleteReleased { upload_id }, Terms::default()).await?;
    }
    Ok(())
}

/// As [`release`], of many at once; those that were released before stay so.
///
/// # Errors
/// The database does not answer.
pub async fn release_many(tx: &mut PgConnection, uploads: &[Uuid], now: DateTime<Utc>) -> Result<()> {
    for upload_id in store::set_many_released(&mut *tx, uploads, now).await? {
        job::enqueue(&mut *tx, now, &DeleteReleased { upload_id }, Terms::default()).await?;
    }
    Ok(())
}

/// Releases with the caller's transaction all that somebody keeps, and forgets whose it was: the clean-up
/// deletes it.
///
/// # Errors
/// The database does not answer.
pub async fn release_all(tx: &mut PgConnection, owner: Uuid, now: DateTime<Utc>) -> Result<()> {
    Ok(store::set_all_released(tx, owner, now).await?)
}

/// A file of this owner and purpose, as a whole; none: there is no such file.
///
/// # Errors
/// `storage.unavailable`; what is sealed and does not open is a defect.
pub async fn read(
    ctx: &Context,
    upload_id: Uuid,
    owner: Uuid,
    purpose: Purpose,
) -> Result<Option<(Upload, Bytes)>> {
    let Some((upload, place)) = find(ctx, upload_id, owner, purpose).await? else { return Ok(None) };
    let Some(bytes) = ctx.storage.get(&place.object).await? else { return lost(ctx, &upload).await };
    let bytes = match place.key {
        None => bytes,
        Some(key) => sealed::open(&key, upload_id, &bytes)?,
    };
    Ok(Some((upload, bytes)))
}

async fn find(
    ctx: &Context,
    upload_id: Uuid,
    owner: Uuid,
    purpose: Purpose,
) -> Result<Option<(Upload, Place)>> {
    let Some(row) = store::find(&ctx.db, upload_id, owner, purpose.name()).await? else { return Ok(None) };
    let key = match &row.sealed_key {
        None => None,
        Some(sealed) => {
            let key = seal::open(&ctx.config.keys, SEALED_FOR, upload_id.as_bytes(), sealed);
            let key = key.and_then(|key| key.try_into().ok());
            let gone = || Error::internal("KERYU_SECRET_KEY no longer holds what seals this file's key");
            Some(key.ok_or_else(gone)?)
        }
    };
    let upload = Upload {
        upload_id,
        user_id: owner,
        purpose,
        content_type: row.content_type,
        size: u64::try_from(row.size).unwrap_or_default(),
        created_at: row.created_at,
    };
    Ok(Some((upload, Place { object: row.object, key })))
}

/// What an object is that is not there: none any more, where its row was released since it was read. Else somebody
/// took it from the store.
async fn lost<T>(ctx: &Context, upload: &Upload) -> Result<Option<T>> {
    let Upload { upload_id, user_id, purpose, .. } = *upload;
    match store::find(&ctx.db, upload_id, user_id, purpose.name()).await? {
        None => Ok(None),
        Some(_) => Err(Error::internal(format!("the object of upload {upload_id} is not in the store"))),
    }
}

/// The files that somebody keeps, but for exports, oldest first.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context, owner: Uuid) -> Result<Vec<Upload>> {
    let rows = store::list(&ctx.db, owner).await?;
    Ok(rows.into_iter().filter_map(|row| Upload::of(owner, row)).collect())
}

impl Upload {
    /// None: another build's purpose.
    fn of(user_id: Uuid, row: store::Listed) -> Option<Self> {
        let purpose =
            [Purpose::Picture, Purpose::KycDocument].into_iter().find(|one| one.name() == row.purpose)?;
        let store::Listed { upload_id, content_type, size, created_at, .. } = row;
        let size = u64::try_from(size).unwrap_or_default();
        Some(Self { upload_id, user_id, purpose, content_type, size, created_at })
    }
}
