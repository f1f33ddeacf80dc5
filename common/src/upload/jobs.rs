//! Deleting what nobody wants any more: the object first, then its row, so that no object is left that
//! nothing knows of. Each released upload has a job of its own; a schedule finds what nothing came to refer to,
//! and what a job could not do.

use chrono::{DateTime, TimeDelta};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store::{self, Released};
use crate::context::Context;
use crate::error::Result;
use crate::job::{Job, Lease, Queue, Verdict};

/// How long an upload waits for something that refers to it; and how long one that is being written is
/// certainly not written any more after.
const PATIENCE: TimeDelta = TimeDelta::hours(24);
/// Objects deleted in one round.
const BATCH: i64 = 200;
/// So many in a row that cannot be deleted, and the store is what is broken.
const MOST_FAILED: usize = 100;

/// Deletes the object of one released upload, and its row.
#[derive(Debug, Deserialize, Serialize)]
pub struct DeleteReleased {
    /// Which.
    pub upload_id: Uuid,
}

impl Job for DeleteReleased {
    const KIND: &'static str = "upload.delete_released";
    const QUEUE: Queue = Queue::Low;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match one(ctx, self.upload_id).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn one(ctx: &Context, upload_id: Uuid) -> Result<()> {
    match store::find_released(&ctx.db, upload_id).await? {
        Some(released) => delete(ctx, &released).await,
        // deleted before, or still being written: then the schedule finds it
        None => Ok(()),
    }
}

/// Deletes uploads that nothing came to refer to within a day, and released ones that are still there.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Cleanup {}

impl Job for Cleanup {
    const KIND: &'static str = "upload.cleanup";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        match all(ctx, lease).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn all(ctx: &Context, lease: &Lease) -> Result<()> {
    let before = ctx.now() - PATIENCE;
    while store::set_stale_released(&ctx.db, before, ctx.now(), BATCH).await? == BATCH as u64 {}
    // one object that cannot be deleted keeps none behind it: the first failure is told in the end
    let (mut place, mut failed, mut in_a_row) = ((DateTime::UNIX_EPOCH, Uuid::nil()), None, 0);
    loop {
        let released = store::list_released(&ctx.db, before, place, BATCH).await?;
        for upload in &released {
            if !lease.holds() || in_a_row == MOST_FAILED {
                return failed.map_or(Ok(()), Err);
            }
            match delete(ctx, upload).await {
                Ok(()) => in_a_row = 0,
                Err(error) => {
                    failed.get_or_insert(error);
                    in_a_row += 1;
                }
            }
            place = (upload.released_at, upload.upload_id);
        }
        if released.len() < BATCH as usize {
            return failed.map_or(Ok(()), Err);
        }
    }
}

async fn delete(ctx: &Context, upload: &Released) -> Result<()> {
    ctx.storage.delete(&upload.object).await?;
    Ok(store::delete(&ctx.db, upload.upload_id).await?)
}
