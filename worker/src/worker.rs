//! One worker process: its queues, its lease, and a stop that loses nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keryu_common::job::{Holds, Queue, store, wake};
use keryu_common::{Context, database, id};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::pump::{self, Bell};
use crate::registry::Registry;
use crate::relay::{Relay, Woken};
use crate::runner::{Runner, Shared};
use crate::watchdog::Watchdog;
use crate::{scheduler, supervise};

/// How long running jobs may go on after SIGTERM; what is left is given back.
pub const DRAIN: Duration = Duration::from_secs(25);

/// A queue with its number of slots.
pub type Share = (Queue, usize);

/// A worker that runs.
pub struct Worker {
    shared: Shared,
    runners: Vec<Arc<Runner>>,
    bells: HashMap<Queue, Arc<Bell>>,
    pulse: Pulse,
    pumps: JoinSet<()>,
    stop: CancellationToken,
    /// Ends what must outlive the drain.
    end: CancellationToken,
}

impl Worker {
    /// Starts every part. Neither Postgres nor Redis need be there.
    ///
    /// # Errors
    /// A malformed URL.
    pub async fn start(
        ctx: Context,
        registry: Registry,
        shares: &[Share],
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let shared = Shared {
            ctx: ctx.clone(),
            registry: Arc::new(registry),
            lease_id: id::ordered(ctx.now()),
            holds: Holds::default(),
            metrics: metrics.clone(),
            watchdog: Watchdog::default(),
            freed: Arc::new(Notify::new()),
        };
        metrics.expect(&shared.registry, shares.iter().map(|(queue, _)| *queue));
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let pulse = Pulse::default();
        let quick = wake::connect(&ctx.config.redis_url, Duration::from_secs(1))?;
        let patient = wake::connect(&ctx.config.redis_url, pump::PATIENCE)?;
        let runners: Vec<_> = shares
            .iter()
            .map(|(queue, concurrency)| Runner::new(*queue, *concurrency, shared.clone()))
            .collect();
        let bells: HashMap<Queue, Arc<Bell>> =
            shares.iter().map(|(queue, _)| (*queue, Arc::default())).collect();
        let woken = Arc::new(Woken::default());

        tokio::spawn(database::follow_clock(ctx.db.clone(), ctx.clock.clone()));
        tokio::spawn(pulse.clone().feel(quick, ctx.config.job.prefix.clone()));
        tokio::spawn(supervise::lease(shared.clone(), runners.clone(), pump::host(), end.clone()));
        tokio::spawn(supervise::listen(ctx.clone(), Arc::clone(&woken), bells.clone(), stop.clone()));
        tokio::spawn(scheduler::run(
            ctx.clone(),
            Arc::clone(&shared.registry),
            Arc::clone(&woken),
            stop.clone(),
        ));
        let relay = Relay {
            ctx: ctx.clone(),
            queues: shares.iter().map(|(queue, _)| *queue).collect(),
            woken,
            freed: Arc::clone(&shared.freed),
            bells: bells.clone(),
            pulse: pulse.clone(),
            metrics,
        };
        tokio::spawn(relay.run(patient.clone(), stop.clone()));
        let mut pumps = JoinSet::new();
        for runner in &runners {
            let Some(bell) = bells.get(&runner.queue) else { continue };
            let (runner, stop) = (Arc::clone(runner), stop.clone());
            tokio::spawn(supervise::without_redis(Arc::clone(&runner), pulse.clone(), stop.clone()));
            pumps.spawn(supervise::pump(patient.clone(), runner, Arc::clone(bell), pulse.clone(), stop));
        }
        Ok(Self { shared, runners, bells, pulse, pumps, stop, end })
    }

    /// Stops taking, lets running jobs finish within [`DRAIN`], gives the rest back at once.
    pub async fn stop(self) {
        self.stop_within(DRAIN).await;
    }

    /// As [`Worker::stop`], with this patience.
    pub async fn stop_within(self, patience: Duration) {
        self.stop.cancel();
        let drained = futures::future::join_all(self.runners.iter().map(|runner| runner.drain(patience)));
        // the pumps hand back what they fetched; without Redis that takes care of itself
        let emptied = tokio::time::timeout(Duration::from_secs(6), self.pumps.join_all());
        let (left, _) = futures::future::join(drained, emptied).await;
        let left: usize = left.into_iter().sum();
        let Shared { ctx, lease_id, .. } = &self.shared;
        if left > 0 {
            let released = store::release(&ctx.db, *lease_id).await;
            tracing::warn!(jobs = left, ?released, "given back: they did not finish in time");
        }
        self.end.cancel();
        if let Err(error) = store::delete_lease(&ctx.db, *lease_id).await {
            tracing::warn!(%error, "the lease lapses by itself");
        }
    }

    /// Ends this process when a handler does not yield.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn watch(&self) -> std::io::Result<()> {
        self.shared.watchdog.start(self.shared.ctx.clone(), self.shared.lease_id)
    }

    /// What readiness looks at.
    pub fn health(&self) -> Health {
        let pumps = self
            .runners
            .iter()
            .filter_map(|runner| Some((Arc::clone(runner), Arc::clone(self.bells.get(&runner.queue)?))));
        Health { pumps: pumps.collect(), pulse: self.pulse.clone() }
    }
}

/// The signs of life of a worker.
pub struct Health {
    pumps: Vec<(Arc<Runner>, Arc<Bell>)>,
    pulse: Pulse,
}

impl Health {
    /// Whether Redis answered lately.
    pub fn redis_answers(&self) -> bool {
        self.pulse.beats()
    }

    /// Whether every queue's pump asked for messages lately, or needs none (all slots are taken, or Redis is
    /// known to be away).
    pub fn is_fetching(&self) -> bool {
        !self.pulse.beats()
            || self
                .pumps
                .iter()
                .all(|(runner, bell)| bell.idle() < Duration::from_secs(10) || !runner.is_open())
    }
}
