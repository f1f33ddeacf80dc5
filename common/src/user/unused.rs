//! Accounts that nobody came for: made by form or by staff, nothing of them ever proved, nobody ever signed in.
//! They would keep their names from others for good.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::erase::EraseAccount;
use super::store;
use crate::context::Context;
use crate::error::Result;
use crate::id;
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};

/// How long an account waits for its owner.
const WAIT: TimeDelta = TimeDelta::days(90);
/// Accounts a transaction takes away.
const BATCH: i64 = 500;

/// Takes them away, 90 days after they were made: their names are free at once, and a job each erases them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct CleanupUnused {}

impl Job for CleanupUnused {
    const KIND: &'static str = "user.cleanup_unused";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 3;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match clean_up(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn clean_up(ctx: &Context) -> Result<()> {
    let now = ctx.now();
    loop {
        let mut tx = ctx.db.begin().await?;
        let unused = store::set_unused(&mut tx, now - WAIT, now, BATCH).await?;
        let lines: Vec<Uuid> = unused.iter().map(|_| id::ordered(now)).collect();
        store::insert_unused(&mut tx, &lines, &unused, now).await?;
        for user_id in &unused {
            let terms = Terms { unique_key: Some(format!("user.erase:{user_id}")), ..Terms::default() };
            job::enqueue(&mut tx, now, &EraseAccount { user_id: *user_id }, terms).await?;
        }
        tx.commit().await?;
        if unused.len() < BATCH as usize {
            break;
        }
    }
    ctx.wake.queue(Queue::Bulk);
    Ok(())
}
