//! What was approved and has run out: a look each minute. People are told, a transaction for each of them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store;
use crate::context::Context;
use crate::error::Result;
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

async fn expire_all(ctx: &Context) -> Result<()> {
    loop {
        let due = store::list_expired(&ctx.db, ctx.now(), BATCH).await?;
        for user_id in &due {
            expire(ctx, *user_id).await?;
        }
        if !due.is_empty() {
            ctx.wake.queue(Queue::Default);
        }
        if due.len() < BATCH as usize {
            return Ok(());
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
