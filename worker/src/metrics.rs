//! The worker's figures, in Prometheus' words.

use std::sync::Arc;
use std::time::Duration;

use keryu_common::job::{Queue, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    queue: &'static str,
    kind: String,
    outcome: &'static str,
}

/// Counts what the worker does.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    pushed: Family<ByQueue, Counter>,
    unclaimed: Family<ByQueue, Counter>,
    reaped: Family<ByQueue, Counter>,
    restarts: Family<ByQueue, Counter>,
    finished: Family<ByKind, Counter>,
    wait: Family<ByQueue, Histogram>,
    run: Family<ByQueue, Histogram>,
}

/// Seconds: 1 ms to 2 minutes.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// Registers every family.
    pub fn new(registry: &mut Registry) -> Self {
        let f = Families {
            pushed: Family::default(),
            unclaimed: Family::default(),
            reaped: Family::default(),
            restarts: Family::default(),
            finished: Family::default(),
            wait: Family::new_with_constructor(histogram),
            run: Family::new_with_constructor(histogram),
        };
        registry.register("jobs_pushed", "Job ids pushed to Redis", f.pushed.clone());
        registry.register("jobs_unclaimed", "Pairs of a message that claimed nothing", f.unclaimed.clone());
        registry.register("jobs_reaped", "Running jobs taken from a lost worker", f.reaped.clone());
        registry.register("pump_restarts", "Times a queue's pump was started anew", f.restarts.clone());
        registry.register("jobs_finished", "Attempts ended, by kind and outcome", f.finished.clone());
        registry.register("job_start_seconds", "From commit (or due time) to start", f.wait.clone());
        registry.register("job_run_seconds", "From start to verdict", f.run.clone());
        Self(Arc::new(f))
    }

    /// Rows went to Redis.
    pub fn pushed(&self, queue: Queue, jobs: usize) {
        self.0.pushed.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs as u64);
    }

    /// Pairs met a row that was gone, claimed or pushed anew.
    pub fn unclaimed(&self, queue: Queue, jobs: usize) {
        self.0.unclaimed.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs as u64);
    }

    /// A dead worker's jobs.
    pub fn reaped(&self, queue: Queue, jobs: u64) {
        if jobs > 0 {
            self.0.reaped.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs);
        }
    }

    /// A pump ended and is started anew.
    pub fn restarted(&self, queue: Queue) {
        self.0.restarts.get_or_create(&ByQueue { queue: queue.name() }).inc();
    }

    /// A job starts, this long after it was due.
    pub fn started(&self, queue: Queue, waited: Duration) {
        self.0.wait.get_or_create(&ByQueue { queue: queue.name() }).observe(waited.as_secs_f64());
    }

    /// An attempt ended.
    pub fn finished(&self, queue: Queue, kind: &str, verdict: &Verdict, took: Duration) {
        let outcome = match verdict {
            Verdict::Done => "completed",
            Verdict::Retry { .. } => "retry",
            Verdict::Snooze { .. } => "snooze",
            Verdict::GiveUp(_) => "discarded",
        };
        self.0.finished.get_or_create(&ByKind { queue: queue.name(), kind: kind.to_owned(), outcome }).inc();
        self.0.run.get_or_create(&ByQueue { queue: queue.name() }).observe(took.as_secs_f64());
    }
}
