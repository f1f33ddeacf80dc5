//! Files that were kept and that nothing refers to yet. Whoever keeps one for something that may be refused, or
//! whose caller may hang up, holds it here: what nothing came to refer to does not count until its day is over.

use uuid::Uuid;

use super::{DeleteReleased, store};
use crate::context::Context;
use crate::error::Result;
use crate::job::{self, Queue, Terms};

/// Uploads that are released when this is dropped, unless something refers to them by then.
#[derive(Debug)]
pub struct Unclaimed {
    ctx: Context,
    uploads: Vec<Uuid>,
}

impl Unclaimed {
    /// Holds none yet.
    pub fn new(ctx: &Context) -> Self {
        Self { ctx: ctx.clone(), uploads: Vec::new() }
    }

    /// Holds one.
    pub fn of(ctx: &Context, upload_id: Uuid) -> Self {
        Self { ctx: ctx.clone(), uploads: vec![upload_id] }
    }

    /// Holds one more.
    pub fn hold(&mut self, upload_id: Uuid) {
        self.uploads.push(upload_id);
    }

    /// All of them are wanted, or waited for.
    pub fn done(mut self) {
        self.uploads.clear();
    }

    /// Releases those that nothing refers to, before the caller goes on.
    pub async fn release(mut self) {
        let_go(&self.ctx, std::mem::take(&mut self.uploads)).await;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let uploads = std::mem::take(&mut self.uploads);
        // without a runtime the process is at its end: then they go after a day
        if let (false, Ok(runtime)) = (uploads.is_empty(), tokio::runtime::Handle::try_current()) {
            let ctx = self.ctx.clone();
            runtime.spawn(async move { let_go(&ctx, uploads).await });
        }
    }
}

/// What cannot be released now goes after a day.
async fn let_go(ctx: &Context, uploads: Vec<Uuid>) {
    if let Err(error) = release(ctx, &uploads).await {
        tracing::warn!(%error, "files that nothing refers to stay for a day");
    }
}

async fn release(ctx: &Context, uploads: &[Uuid]) -> Result<()> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    // one that is still being written has no job: what comes of it goes after a day
    for upload_id in store::set_unattached_released(&mut tx, uploads, now).await? {
        job::enqueue(&mut tx, now, &DeleteReleased { upload_id }, Terms::default()).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Low);
    Ok(())
}
