//! The wake-up: a Redis PUBLISH after commit, best effort and coalesced. Losing one costs a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::Notify;

use super::Queue;
use crate::error::{Error, Result};

/// The channel on which workers hear that rows wait (`rows`) or messages were pushed (`pushed`).
pub fn channel(prefix: &str, what: &str) -> String {
    format!("{prefix}:{what}")
}

/// Publishes wake-ups in the background: callers only raise a flag.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<(AtomicU8, Notify)>);

impl Wake {
    /// Starts the publisher. Redis need not be there.
    ///
    /// # Errors
    /// `REDIS_URL` is malformed.
    pub fn open(url: &str, prefix: &str) -> Result<Self> {
        let redis = connect(url, Duration::from_secs(2))?;
        let wake = Self::default();
        tokio::spawn(publish(wake.clone(), redis, channel(prefix, "rows")));
        Ok(wake)
    }

    /// Tells the workers that rows of this queue were committed.
    pub fn queue(&self, queue: Queue) {
        self.0.0.fetch_or(1 << queue as u8, Ordering::Relaxed);
        self.0.1.notify_one();
    }

    /// The queues woken since the last call.
    fn take(&self) -> Vec<&'static str> {
        let flags = self.0.0.swap(0, Ordering::Relaxed);
        Queue::ALL.into_iter().filter(|queue| flags & (1 << *queue as u8) != 0).map(Queue::name).collect()
    }
}

async fn publish(wake: Wake, mut redis: ConnectionManager, channel: String) {
    loop {
        wake.0.1.notified().await;
        let queues = wake.take();
        if !queues.is_empty() {
            let sent: redis::RedisResult<i64> =
                redis::cmd("PUBLISH").arg(&channel).arg(queues.join(",")).query_async(&mut redis).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "no wake-up: the relay's poll finds the rows");
            }
        }
    }
}

/// A Redis connection that comes back by itself and answers within `patience` or fails.
///
/// # Errors
/// The URL is malformed.
pub fn connect(url: &str, patience: Duration) -> Result<ConnectionManager> {
    let client = redis::Client::open(url).map_err(Error::internal)?;
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(patience))
        .set_connection_timeout(Some(patience))
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(500));
    ConnectionManager::new_lazy_with_config(client, config).map_err(Error::internal)
}
