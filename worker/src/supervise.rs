//! Keeps the parts of a worker running: pumps with backoff, the lease, the fallback without Redis,
//! and the ear for wake-ups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use keryu_common::job::{Queue, store, wake};
use keryu_common::{Context, database};
use redis::aio::ConnectionManager;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::pulse::Pulse;
use crate::pump::{self, Bell};
use crate::relay::Woken;
use crate::runner::{Runner, Shared};

/// How often the lease is renewed: four times within the shortest one.
const RENEW: Duration = Duration::from_secs(2);
/// How old a claim must be to count as lost.
const LOST: Duration = Duration::from_secs(5);
/// How often the ledger is asked while Redis is away.
const DIRECT: Duration = Duration::from_millis(200);

/// Runs a queue's pump for ever: apalis ends at any Redis error and never backs off by itself.
pub async fn pump(
    redis: ConnectionManager,
    runner: Arc<Runner>,
    bell: Arc<Bell>,
    pulse: Pulse,
    stop: CancellationToken,
) {
    let prefix = runner.shared.ctx.config.job.prefix.clone();
    let mut wait = Duration::from_millis(100);
    while !stop.is_cancelled() {
        let began = Instant::now();
        if pulse.beats() {
            let ended =
                pump::run(redis.clone(), &prefix, Arc::clone(&runner), Arc::clone(&bell), stop.clone()).await;
            if let Err(error) = ended {
                tracing::warn!(queue = %runner.queue, %error, "the pump starts anew");
                runner.shared.metrics.restarted(runner.queue);
            }
        }
        if began.elapsed() > Duration::from_secs(30) {
            wait = Duration::from_millis(100);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(2)),
            () = stop.cancelled() => {}
        }
    }
}

/// While Redis does not answer, fills free slots straight from the ledger.
pub async fn without_redis(runner: Arc<Runner>, pulse: Pulse, stop: CancellationToken) {
    let mut every = tokio::time::interval(DIRECT);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        every.tick().await;
        if !pulse.beats() {
            while runner.take_direct().await > 0 && !pulse.beats() {}
        }
    }
}

/// Renews the process's lease until stopped, and gives back what runs under it unknown to us.
pub async fn lease(shared: Shared, runners: Vec<Arc<Runner>>, host: String, stop: CancellationToken) {
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    let queues: Vec<String> = runners.iter().map(|runner| runner.queue.name().to_owned()).collect();
    let mut every = tokio::time::interval(RENEW);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    database::clock_led(&shared.ctx.clock).await;
    // a connection of its own: the pool's may all be busy, and a lapsed lease would have it all done again
    let mut session: Option<PgConnection> = None;
    while !stop.is_cancelled() {
        every.tick().await;
        let (sent, age) = (Instant::now(), shared.holds.age());
        let renewal = async {
            let mut connection = match session.take() {
                Some(connection) => connection,
                None => PgConnection::connect_with(&database::options(&shared.ctx.config)?).await?,
            };
            store::renew_lease(&mut connection, shared.lease_id, &host, pid, &queues, shared.ctx.now())
                .await?;
            Ok::<_, keryu_common::Error>(connection)
        };
        match tokio::time::timeout(RENEW, renewal).await {
            Ok(Ok(connection)) => {
                session = Some(connection);
                shared.holds.renewed(sent);
                // before the first renewal nothing was held
                for runner in runners.iter().filter(|_| age != Duration::MAX) {
                    if age >= runner.queue.safe() {
                        shared.metrics.lease_lost(runner.queue);
                    }
                }
                runners.iter().for_each(|runner| runner.door.wake());
                disown(&shared, &runners).await;
            }
            Ok(Err(error)) => tracing::warn!(%error, "lease not renewed"),
            Err(_) => tracing::warn!("lease not renewed: no answer"),
        }
    }
}

/// A claim whose answer was lost runs nowhere, and the lease would keep it so.
async fn disown(shared: &Shared, runners: &[Arc<Runner>]) {
    // a direct claim learns what it holds only from its answer
    let mut quiet = Vec::new();
    for runner in runners {
        quiet.push(runner.direct.lock().await);
    }
    // read before the rows are, so that what is claimed meanwhile is too young to matter
    let before = shared.ctx.now() - LOST;
    let held: Vec<_> = runners.iter().flat_map(|runner| runner.held()).collect();
    match store::release_unknown(&shared.ctx.db, shared.lease_id, before, &held).await {
        Ok(0) => {}
        Ok(jobs) => tracing::warn!(jobs, "claims whose answer was lost: given back"),
        Err(error) => tracing::warn!(%error, "lost claims not looked for"),
    }
}

/// Listens for wake-ups: rows committed (for the relay) and messages pushed (for the pumps).
pub async fn listen(
    ctx: Context,
    woken: Arc<Woken>,
    bells: HashMap<Queue, Arc<Bell>>,
    stop: CancellationToken,
) {
    let prefix = ctx.config.job.prefix.clone();
    let (rows, pushed) = (wake::channel(&prefix, "rows"), wake::channel(&prefix, "pushed"));
    while !stop.is_cancelled() {
        if let Err(error) = hear(&ctx.config.redis_url, &rows, &pushed, &woken, &bells).await {
            tracing::debug!(%error, "no wake-ups: polling goes on");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn hear(
    url: &str,
    rows: &str,
    pushed: &str,
    woken: &Woken,
    bells: &HashMap<Queue, Arc<Bell>>,
) -> redis::RedisResult<()> {
    let mut pubsub = redis::Client::open(url)?.get_async_pubsub().await?;
    pubsub.subscribe(&[rows, pushed]).await?;
    // whatever was said before the subscription
    bells.keys().for_each(|queue| woken.wake(*queue));
    let mut messages = pubsub.on_message();
    while let Some(message) = messages.next().await {
        let queues: String = message.get_payload()?;
        for queue in queues.split(',').filter_map(|name| name.parse::<Queue>().ok()) {
            if message.get_channel_name() == rows {
                if bells.contains_key(&queue) {
                    woken.wake(queue);
                }
            } else if let Some(bell) = bells.get(&queue) {
                bell.ring();
            }
        }
    }
    Ok(())
}
