//! What was approved and has run out: a look each minute asks for a job for each person, who is told by it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store;
use crate::context::Context;
use crate::error::Result;
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::notify::{self, Facts, Message, Told};

/// Documents that are looked up at once.
const BATCH: i64 = 500;

/// Asks for the end of documents whose time is over.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct ExpireDocuments {}

impl Job for ExpireDocuments {
    const KIND: &'static str = "kyc.expire_documents";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match ask(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn ask(ctx: &Context) -> Result<()> {
    let now = ctx.now();
    let mut place = (DateTime::<Utc>::UNIX_EPOCH, Uuid::nil());
    loop {
        let mut tx = ctx.db.begin().await?;
        let due = store::list_expired(&mut *tx, now, place, BATCH).await?;
        for document in &due {
            let (user_id, key) = (document.user_id, format!("kyc.expire:{}", document.user_id));
            let terms = Terms { unique_key: Some(key), ..Terms::default() };
            job::enqueue(&mut tx, now, &ExpireDocument { user_id }, terms).await?;
        }
        tx.commit().await?;
        match due.last() {
            Some(last) if due.len() == BATCH as usize => place = (last.expires_at, last.submission_id),
            _ => break,
        }
    }
    ctx.wake.queue(Queue::Low);
    Ok(())
}

/// Ends what has run out of one person, and tells them. A second body finds nothing.
#[derive(Debug, Deserialize, Serialize)]
pub struct ExpireDocument {
    /// Whose.
    pub user_id: Uuid,
}

impl Job for ExpireDocument {
    const KIND: &'static str = "kyc.expire_document";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match expire(ctx, self.user_id).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
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
    ctx.wake.queue(Queue::Default);
    Ok(())
}
