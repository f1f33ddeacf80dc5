//! When people were last here. Each process of the API gathers in memory who called, and every ten seconds,
//! or at 500 people, one durable job for all of them writes it down. What is gathered is bounded; it may be
//! lost with a process that is killed, for it is known to the minute alone.

mod jobs;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;
use uuid::Uuid;

pub use jobs::NoteSeen;

use crate::context::Context;
use crate::error::Result;
use crate::job::{self, Queue, Terms};

/// Seconds within which somebody is noted once.
const STEP: i64 = 60;
/// People of one job; so many are written down at once.
const BATCH: usize = 500;
/// People remembered as noted, about 50 bytes each, and people that may wait for a database that is down.
const MOST: usize = 50_000;
/// How long somebody waits to be written down.
const EVERY: Duration = Duration::from_secs(10);
/// How long a job for it is of use.
const LIFE: TimeDelta = TimeDelta::hours(1);

/// Who was here since the last flush.
pub struct Activity {
    /// Seconds since 1970 at which somebody was last noted.
    noted: Cache<Uuid, i64>,
    waiting: Mutex<HashMap<Uuid, DateTime<Utc>>>,
    full: tokio::sync::Notify,
    /// One flush at a time, so that the last one of a process leaves nothing to another under way.
    flushing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            noted: Cache::new(MOST),
            waiting: Mutex::default(),
            full: tokio::sync::Notify::new(),
            flushing: tokio::sync::Mutex::default(),
        }
    }
}

impl Activity {
    /// Notes that somebody called. Costs one look into a sharded map where they were noted within a minute.
    pub fn note(&self, user_id: Uuid, now: DateTime<Utc>) {
        let at = now.timestamp();
        if self.noted.get(&user_id).is_some_and(|last| (last..last + STEP).contains(&at)) {
            return;
        }
        self.noted.insert(user_id, at);
        if self.put(&[(user_id, now)]) >= BATCH {
            self.full.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Uuid, DateTime<Utc>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets people wait for the next flush, the newer time of each; beyond the bound they are left out.
    /// Answers with how many wait.
    fn put(&self, seen: &[(Uuid, DateTime<Utc>)]) -> usize {
        let mut waiting = self.waiting();
        for (user_id, at) in seen {
            if waiting.len() < MOST || waiting.contains_key(user_id) {
                let kept = waiting.entry(*user_id).or_insert(*at);
                *kept = (*kept).max(*at);
            }
        }
        waiting.len()
    }

    fn take(&self) -> Vec<(Uuid, DateTime<Utc>)> {
        let mut taken: Vec<_> = std::mem::take(&mut *self.waiting()).into_iter().collect();
        taken.sort_unstable();
        taken
    }
}

/// Asks for the jobs that write down who was here since the last flush. Answers with how many people. Those
/// whose job could not be asked for wait for the next flush.
///
/// # Errors
/// The database does not answer.
pub async fn flush(ctx: &Context) -> Result<usize> {
    let _alone = ctx.activity.flushing.lock().await;
    let seen = ctx.activity.take();
    if seen.is_empty() {
        return Ok(0);
    }
    match ask(ctx, &seen).await {
        Ok(()) => Ok(seen.len()),
        Err(error) => {
            ctx.activity.put(&seen);
            Err(error)
        }
    }
}

async fn ask(ctx: &Context, seen: &[(Uuid, DateTime<Utc>)]) -> Result<()> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    for batch in seen.chunks(BATCH) {
        let terms = Terms { expires_at: Some(now + LIFE), ..Terms::default() };
        job::enqueue(&mut tx, now, &NoteSeen { seen: batch.to_vec() }, terms).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Low);
    Ok(())
}

/// Flushes for as long as the process serves; whoever ends the process flushes once more.
pub async fn follow(ctx: Context) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = ctx.activity.full.notified() => {}
        }
        if let Err(error) = flush(&ctx).await {
            tracing::warn!(%error, "who was here is not written down yet");
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("time")
    }

    #[test]
    fn somebody_is_noted_once_a_minute_and_also_after_a_clock_went_back() {
        let activity = Activity::default();
        let one = Uuid::from_u128(1);
        for (second, wanted) in [(600, 1), (601, 0), (659, 0), (660, 1), (500, 1)] {
            activity.note(one, at(second));
            assert_eq!(activity.take().len(), wanted, "at {second}");
        }
    }

    #[test]
    fn the_newest_time_of_each_waits_and_no_more_people_than_the_bound() {
        let activity = Activity::default();
        let one = Uuid::from_u128(1);
        activity.put(&[(one, at(9)), (one, at(7))]);
        assert_eq!(activity.take(), [(one, at(9))]);
        let many: Vec<_> = (0..MOST as u128 + 10).map(|n| (Uuid::from_u128(n), at(1))).collect();
        assert_eq!(activity.put(&many), MOST);
        activity.put(&[(one, at(2))]);
        assert!(activity.take().contains(&(one, at(2))), "who waits already is brought up to date");
    }
}
