//! Making a picture ready. Decoding is on a thread of its own kind; both sizes are kept first, and one transaction
//! puts them in the place of the one before. A schedule ends what no job makes ready any more.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CONTENT_TYPE, render, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::upload::{self, Purpose};

/// How long a picture that was sent is worth making ready.
const LIFE: TimeDelta = TimeDelta::hours(24);
/// People that are looked up at once.
const BATCH: i64 = 200;

/// Makes a picture that was sent into the two that are shown.
#[derive(Debug, Deserialize, Serialize)]
pub struct MakeSizes {
    /// Of whom it is.
    pub user_id: Uuid,
    /// As it was sent.
    pub upload_id: Uuid,
}

/// One at a time for a person, and not after a day.
pub(super) fn terms(client: &Client, user_id: Uuid, now: DateTime<Utc>) -> Terms {
    Terms { expires_at: Some(now + LIFE), serial_key: Some(serial_key(user_id)), ..Terms::of(client) }
}

fn serial_key(user_id: Uuid) -> String {
    format!("picture:{user_id}")
}

impl Job for MakeSizes {
    const KIND: &'static str = "picture.make_sizes";
    const QUEUE: Queue = Queue::Media;
    const MAX_ATTEMPTS: i16 = 10;
    const TIMEOUT: Duration = Duration::from_secs(120);

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        match self.make(ctx).await {
            Ok(()) => Verdict::Done,
            // trying again would not help
            Err(Error::Refusal(refusal)) if refusal.status != 503 => match self.settle(ctx, None).await {
                Ok(()) => Verdict::GiveUp(refusal.to_string()),
                Err(error) => error.into(),
            },
            // one that breaks what makes it ready again and again is as good as damaged
            Err(_) if lease.is_last() => match self.settle(ctx, None).await {
                Ok(()) => Verdict::GiveUp("the picture could not be made ready".to_owned()),
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        }
    }
}

impl MakeSizes {
    async fn make(&self, ctx: &Context) -> Result<()> {
        let sent = upload::read(ctx, self.upload_id, self.user_id, Purpose::Picture).await?;
        // replaced, deleted or made ready before
        let Some((_, bytes)) = sent else { return Ok(()) };
        let made = tokio::task::spawn_blocking(move || render::sizes(&bytes));
        let Some([large, small]) = made.await.map_err(Error::internal)? else {
            return self.settle(ctx, None).await;
        };
        let large = self.keep(ctx, large).await?;
        let small = self.keep(ctx, small).await?;
        self.settle(ctx, Some((large, small))).await
    }

    async fn keep(&self, ctx: &Context, made: Vec<u8>) -> Result<Uuid> {
        // what was sent had room, and goes once these are there
        let bytes = Bytes::from(made);
        let kept = upload::keep_made(ctx, self.user_id, Purpose::Picture, CONTENT_TYPE, bytes).await?;
        Ok(kept.upload_id)
    }

    /// Puts the two in the place of those before; none: notes that the picture is damaged. What nothing refers
    /// to any more is released.
    async fn settle(&self, ctx: &Context, made: Option<(Uuid, Uuid)>) -> Result<()> {
        let (user_id, now) = (self.user_id, ctx.now());
        let mut tx = ctx.db.begin().await?;
        store::lock(&mut tx, user_id).await?;
        let held = store::find(&mut *tx, user_id).await?.unwrap_or_default();
        let mut released = Vec::new();
        if held.waiting != Some(self.upload_id) {
            // replaced or deleted while it was made
            released.extend(made.into_iter().flat_map(|(large, small)| [large, small]));
        } else {
            released.push(self.upload_id);
            match made {
                None => store::set_failed(&mut tx, user_id, now).await?,
                Some((large, small)) => {
                    released.extend([held.large, held.small].into_iter().flatten());
                    for upload_id in [large, small] {
                        if !upload::attach(&mut tx, upload_id, user_id, Purpose::Picture, now).await? {
                            return Err(Error::Aborted("a size of a picture went away".into()));
                        }
                    }
                    store::set_ready(&mut tx, user_id, large, small, now).await?;
                }
            }
        }
        for upload_id in released {
            upload::release(&mut tx, upload_id, now).await?;
        }
        tx.commit().await?;
        ctx.wake.queue(Queue::Low);
        Ok(())
    }
}

/// Ends pictures whose job ended without a word of it: its workers were lost, its time was over, an operator
/// cancelled it. They are as good as damaged, and may be sent again.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct SettleLost {}

impl Job for SettleLost {
    const KIND: &'static str = "picture.settle_lost";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        match settle_lost(ctx, lease).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn settle_lost(ctx: &Context, lease: &Lease) -> Result<()> {
    let mut after = Uuid::nil();
    loop {
        let waiting = store::list_waiting(&ctx.db, after, BATCH).await?;
        let Some(last) = waiting.last() else { return Ok(()) };
        after = last.user_id;
        // a picture and its job come with one transaction: without a job it waits for nothing
        let keys: Vec<String> = waiting.iter().map(|one| serial_key(one.user_id)).collect();
        let owed = job::owed(ctx, &keys).await?;
        for (one, _) in waiting.iter().zip(&keys).filter(|(_, key)| !owed.contains(*key)) {
            if !lease.holds() {
                return Ok(());
            }
            MakeSizes { user_id: one.user_id, upload_id: one.upload_id }.settle(ctx, None).await?;
        }
    }
}
