//! The counters all processes share: one script a decision, in Redis. Every call is answered within
//! the budget or not at all, and after a failure Redis is left alone for a while, so that a dead one
//! does not cost each request the budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Script;
use redis::aio::ConnectionManager;

use super::Bucket;
use super::window::{Counts, LENGTH, Taken};
use crate::error::Result;
use crate::job::wake;

/// How long a decision may take.
const BUDGET: Duration = Duration::from_millis(100);
/// How long Redis is left alone after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// Counts as `Counts::take` does. Keys: the client's. Arguments: limit, window and now in milliseconds.
const TAKE: &str = r"
local limit, window, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local start, count, previous = now, 0, 0
local kept = redis.call('GET', KEYS[1])
if kept then
  local a, b, c = string.match(kept, '^(%d+):(%d+):(%d+)$')
  if a then start, count, previous = tonumber(a), tonumber(b), tonumber(c) end
end
local past = now - start
if past >= 2 * window then start, count, previous = now, 0, 0
elseif past >= window then start, count, previous = start + window, 0, count end
past = math.min(math.max(now - start, 0), window)
local used = math.floor(previous * (window - past) / window) + count
local allowed = 0
if used < limit then
  allowed, count = 1, count + 1
  redis.call('SET', KEYS[1], string.format('%.0f:%.0f:%.0f', start, count, previous), 'PX', 2 * window)
end
return {allowed, start, count, previous}
";

pub(super) struct Shared {
    redis: ConnectionManager,
    script: Script,
    prefix: String,
    opened: Instant,
    /// Milliseconds after `opened` until which Redis is left alone; 0: it answers.
    rest_until: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Shared {
    pub fn open(url: &str, prefix: String) -> Result<Self> {
        let redis = wake::connect(url, BUDGET)?;
        Ok(Self {
            redis,
            script: Script::new(TAKE),
            prefix,
            opened: Instant::now(),
            rest_until: AtomicU64::new(0),
        })
    }

    pub async fn ping(&self) -> bool {
        let mut redis = self.redis.clone();
        redis::cmd("PING").exec_async(&mut redis).await.is_ok()
    }

    /// Counts a call; None without an answer.
    pub async fn take(&self, now: i64, limit: u32, bucket: Bucket, key: &str) -> Option<Taken> {
        if !self.may_ask() {
            return None;
        }
        let mut redis = self.redis.clone();
        let mut call = self.script.key(format!("{}:{}:{key}", self.prefix, bucket.name()));
        call.arg(limit).arg(LENGTH).arg(now);
        let answer =
            tokio::time::timeout(BUDGET, call.invoke_async::<(i64, i64, i64, i64)>(&mut redis)).await;
        match answer {
            Ok(Ok((allowed, start, count, previous))) => {
                self.rest_until.store(0, Ordering::Relaxed);
                Some(Taken { allowed: allowed == 1, counts: Counts { start, count, previous } })
            }
            Ok(Err(error)) => self.leave_alone(&error),
            Err(error) => self.leave_alone(&error),
        }
    }

    /// Whether Redis is to be asked. Of the calls after a rest, one asks and the others go on without.
    fn may_ask(&self) -> bool {
        let until = self.rest_until.load(Ordering::Relaxed);
        until == 0 || {
            let now = self.elapsed();
            let next = now + REST.as_millis() as u64;
            now >= until
                && self.rest_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        }
    }

    fn leave_alone(&self, error: &impl std::fmt::Display) -> Option<Taken> {
        let next = self.elapsed() + REST.as_millis() as u64;
        if self.rest_until.swap(next.max(1), Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "Redis does not answer: this process limits by itself");
        }
        None
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
