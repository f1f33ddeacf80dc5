//! What was approved and has run out: a look each minute. People are told, a transaction for each of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::{self, Facts, Message, Told};

/// People that are looked up at once.
const BATCH: i64 = 200;

/// Ends documents whose time is over. A second body finds those that are left.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct ExpireDocuments {}

impl Job for ExpireDocuments {
    const KIND: &'static str = "kyc.expire_documents";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match expire_all(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// One that cannot be ended keeps none of the others from it; its error is the job's, so that somebody looks.
async fn expire_all(ctx: &Context) -> Result<()> {
    let (mut place, mut failed) = ((DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()), None);
    loop {
        let due = store::list_expired(&ctx.db, ctx.now(), place, BATCH).await?;
        for document in &due {
            match expire(ctx, document.user_id).await {
                Ok(()) => {}
                Err(error @ Error::Unavailable(_)) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        if !due.is_empty() {
            ctx.wake.queue(Queue::Default);
        }
        match due.last() {
            Some(last) if due.len() == BATCH as usize => place = (last.expires_at, last.submission_id),
            _ => return failed.map_or(Ok(()), Err),
        }
    }
}

async fn expire(ctx: &Context, user_id: Uuid) -> Result<()> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    // erased, or done by another body meanwhile
    if store::lock_owner(&mut tx, user_id).await?.is_none()
        || !store::set_expired(&mut tx, user_id, now).await?
    {
        return Ok(());
    }
    store::set_status(&mut tx, user_id).await?;
    store::insert_expired(&mut tx, user_id, now).await?;
    let told = Told { user_id, message: Message::KycExpired, facts: Facts::at(now) };
    notify::tell(&mut tx, ctx, None, &told).await?;
    tx.commit().await?;
    Ok(())
}
