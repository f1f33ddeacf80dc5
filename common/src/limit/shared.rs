//! The counters all processes share: one script a decision, in Redis. Every call is answered within
//! the budget or not at all, and after a failure Redis is left alone for a while, so that a dead one
//! does not cost each request the budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;
use redis::{FromRedisValue, Script};

use crate::error::Result;
use crate::job::wake;

/// How long a decision may take.
const BUDGET: Duration = Duration::from_millis(100);
/// How long Redis is left alone after it did not answer.
const REST: Duration = Duration::from_secs(1);

/// Redis as decisions see it: an answer within the budget, or none.
pub(super) struct Shared {
    redis: ConnectionManager,
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
        Ok(Self { redis, prefix, opened: Instant::now(), rest_until: AtomicU64::new(0) })
    }

    pub async fn ping(&self) -> bool {
        let mut redis = self.redis.clone();
        redis::cmd("PING").exec_async(&mut redis).await.is_ok()
    }

    /// Runs a script on these keys; None without an answer.
    pub async fn ask<T: FromRedisValue>(&self, script: &Script, keys: &[String], args: &[i64]) -> Option<T> {
        if !self.may_ask() {
            return None;
        }
        let mut redis = self.redis.clone();
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(format!("{}:{key}", self.prefix));
        }
        call.arg(args);
        match tokio::time::timeout(BUDGET, call.invoke_async::<T>(&mut redis)).await {
            Ok(Ok(answer)) => {
                self.rest_until.store(0, Ordering::Relaxed);
                Some(answer)
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

    fn leave_alone<T>(&self, error: &impl std::fmt::Display) -> Option<T> {
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
