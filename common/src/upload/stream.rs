//! Files too large to be held as a whole: written and read piece by piece, sealed and opened on the way.

use bytes::Bytes;
use futures::StreamExt;
use uuid::Uuid;

use super::sealed::{Opener, Sealer};
use super::{Place, Purpose, Upload, find, lost, must_fit, reserve, store, stored};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::provider::storage::{self, Stream};

/// A file of this owner and purpose, piece by piece; none: there is no such file.
///
/// What is sealed and was changed or cut off ends with an error; what came before it is to be thrown away.
///
/// # Errors
/// `storage.unavailable`.
pub async fn stream(
    ctx: &Context,
    upload_id: Uuid,
    owner: Uuid,
    purpose: Purpose,
) -> Result<Option<(Upload, Stream)>> {
    let Some((upload, place)) = find(ctx, upload_id, owner, purpose).await? else { return Ok(None) };
    let Some(pieces) = ctx.storage.stream(&place.object).await? else { return lost(ctx, &upload).await };
    let pieces = match place.key {
        None => pieces,
        Some(key) => opened(pieces, Opener::new(&key, upload_id)?),
    };
    Ok(Some((upload, pieces)))
}

fn opened(pieces: Stream, opener: Opener) -> Stream {
    let opened = futures::stream::unfold(Some((pieces, opener)), |state| async {
        let (mut pieces, mut opener) = state?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => match opener.push(&piece) {
                    Ok(text) if text.is_empty() => {}
                    Ok(text) => return Some((Ok(text), Some((pieces, opener)))),
                    Err(broken) => return Some((Err(Error::internal(broken)), None)),
                },
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((opener.finish().map_err(Error::internal), None)),
            }
        }
    });
    opened.boxed()
}

/// A file that is being written.
pub struct Writer {
    upload: Upload,
    object: storage::Writer,
    sealer: Option<Sealer>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("upload", &self.upload).finish_non_exhaustive()
    }
}

/// Begins a file of any size for somebody. Where it counts to a quota, that is looked at in the end. One that
/// is dropped before [`Writer::finish`] is cleaned up after a day.
///
/// # Errors
/// `storage.unavailable`.
pub async fn writer(ctx: &Context, owner: Uuid, purpose: Purpose, content_type: &str) -> Result<Writer> {
    let (upload, Place { object, key }) =
        reserve(ctx, owner, purpose, content_type, 0, purpose.quota(ctx)).await?;
    let object = match ctx.storage.writer(&object).await {
        Ok(object) => object,
        Err(error) => {
            store::set_released(&ctx.db, upload.upload_id, ctx.now()).await?;
            return Err(error);
        }
    };
    let sealer = key.map(|key| Sealer::new(&key, upload.upload_id)).transpose()?;
    Ok(Writer { upload, object, sealer })
}

impl Writer {
    /// The next bytes. Waits while the store is slower than the caller; at most about 15 MiB are held.
    ///
    /// # Errors
    /// `storage.unavailable`: then [`Writer::abort`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.upload.size += bytes.len() as u64;
        match &mut self.sealer {
            None => self.object.write(bytes).await,
            Some(sealer) => self.object.write(sealer.push(&bytes)?).await,
        }
    }

    /// All was written. The file is deleted after a day if nothing is attached to it.
    ///
    /// # Errors
    /// `storage.unavailable`, `storage.quota`: nothing is kept.
    pub async fn finish(self, ctx: &Context) -> Result<Upload> {
        let Self { upload, mut object, sealer } = self;
        let last = match sealer {
            None => Bytes::new(),
            Some(sealer) => sealer.finish()?,
        };
        let fits = settle(ctx, &upload).await;
        let written = match fits {
            Ok(()) => object.write(last).await,
            Err(error) => Err(error),
        };
        let written = match written {
            Ok(()) => object.finish().await,
            Err(error) => {
                // what the store keeps of it nobody can see
                let _ = object.abort().await;
                Err(error)
            }
        };
        if let Err(error) = written {
            store::set_released(&ctx.db, upload.upload_id, ctx.now()).await?;
            return Err(error);
        }
        stored(ctx, upload).await
    }

    /// Forgets what was written.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn abort(self, ctx: &Context) -> Result<()> {
        store::set_released(&ctx.db, self.upload.upload_id, ctx.now()).await?;
        // what the store keeps of it nobody can see
        let _ = self.object.abort().await;
        Ok(())
    }
}

/// What was written counts from now on, if it fits.
async fn settle(ctx: &Context, upload: &Upload) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    must_fit(&mut tx, upload.user_id, upload.size, upload.purpose.quota(ctx)).await?;
    let size = i64::try_from(upload.size).map_err(Error::internal)?;
    store::set_size(&mut tx, upload.upload_id, size).await?;
    tx.commit().await?;
    Ok(())
}
