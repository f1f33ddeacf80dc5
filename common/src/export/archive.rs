//! A ZIP archive that is written to the object store while it grows: no more of it is held than a piece.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use uuid::Uuid;
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::upload::{self, Purpose, Upload, Writer};

/// Bytes that are gathered before they are sent on.
pub const PIECE: usize = 256 * 1024;

/// What the archive wrote and nobody sent on yet.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<Vec<u8>>>);

impl Waiting {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive that is being written.
pub struct Archive {
    zip: ZipWriter<StreamWriter<Waiting>>,
    waiting: Waiting,
    to: Writer,
}

impl Archive {
    /// Begins one for somebody.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn begin(ctx: &Context, owner: Uuid) -> Result<Self> {
        let waiting = Waiting::default();
        let to = upload::writer(ctx, owner, Purpose::Export, "application/zip").await?;
        Ok(Self { zip: ZipWriter::new_stream(waiting.clone()), waiting, to })
    }

    /// What is written from now on is of this file.
    ///
    /// # Errors
    /// A defect.
    pub fn file(&mut self, name: &str) -> Result<()> {
        let options = SimpleFileOptions::default().large_file(true);
        self.zip.start_file(name, options).map_err(Error::internal)
    }

    /// The next bytes of the file.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.zip.write_all(bytes).map_err(Error::internal)?;
        match self.waiting.len() < PIECE {
            true => Ok(()),
            false => self.to.write(self.waiting.take()).await,
        }
    }

    /// All was written.
    ///
    /// # Errors
    /// `storage.unavailable`: nothing is kept.
    pub async fn finish(self, ctx: &Context) -> Result<Upload> {
        let Self { zip, waiting, mut to } = self;
        zip.finish().map_err(Error::internal)?;
        match to.write(waiting.take()).await {
            Ok(()) => to.finish(ctx).await,
            Err(error) => {
                to.abort(ctx).await?;
                Err(error)
            }
        }
    }

    /// Forgets what was written.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn abort(self, ctx: &Context) -> Result<()> {
        self.to.abort(ctx).await
    }
}
