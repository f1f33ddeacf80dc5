//! Whether Redis answers and takes writes: a small one twice a second on a connection of its own. (A Redis
//! that is full, or a replica after a failover, answers every PING and carries nothing.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;

/// After this long without an answer the pump claims straight from the ledger.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last answer.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<(Instant, AtomicU64)>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }
}

impl Pulse {
    /// Whether Redis answered lately.
    pub fn beats(&self) -> bool {
        let last = Duration::from_millis(self.0.1.load(Ordering::Relaxed));
        self.0.0.elapsed().saturating_sub(last) < PATIENCE
    }

    /// Feels the pulse for as long as the process lives.
    pub async fn feel(self, mut redis: ConnectionManager, prefix: String) {
        let key = format!("{prefix}:pulse");
        let mut every = tokio::time::interval(Duration::from_millis(500));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut beat_before = true;
        loop {
            every.tick().await;
            let beat: redis::RedisResult<String> =
                redis::cmd("SET").arg(&key).arg(1).arg("EX").arg(60).query_async(&mut redis).await;
            if beat.is_ok() {
                let millis = u64::try_from(self.0.0.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.0.1.store(millis, Ordering::Relaxed);
            }
            let beats = self.beats();
            if beats != beat_before {
                beat_before = beats;
                if beats {
                    tracing::info!("Redis answers again");
                } else {
                    tracing::warn!("Redis does not answer: jobs are claimed straight from the ledger");
                }
            }
        }
    }
}
