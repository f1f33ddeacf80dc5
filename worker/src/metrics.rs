//! The worker's figures, in Prometheus' words. Kinds and queues are those of the build: what it does not
//! know is counted as [`UNKNOWN`].

use std::sync::Arc;
use std::time::Duration;

use keryu_common::job::{Queue, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::registry::Registry as Kinds;

/// The kind of a job that this build has no handler for.
pub const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    queue: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    queue: &'static str,
    kind: &'static str,
    outcome: &'static str,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is owed any more.
    Completed,
    /// It is tried again.
    Failed,
    /// Not its fault: later.
    Snoozed,
    /// A dead letter.
    Discarded,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::Snoozed, Self::Discarded];

    /// What a verdict means, after the last attempt or before it.
    pub fn of(verdict: &Verdict, last: bool) -> Self {
        match verdict {
            Verdict::Done => Self::Completed,
            Verdict::Retry { .. } if !last => Self::Failed,
            Verdict::Snooze { .. } => Self::Snoozed,
            Verdict::Retry { .. } | Verdict::GiveUp(_) => Self::Discarded,
        }
    }

    /// As labels and spans say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Snoozed => "snoozed",
            Self::Discarded => "discarded",
        }
    }
}

/// Counts what the worker does.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    pushed: Family<ByQueue, Counter>,
    unclaimed: Family<ByQueue, Counter>,
    expired: Family<ByQueue, Counter>,
    reaped: Family<ByQueue, Counter>,
    lost: Family<ByQueue, Counter>,
    late: Family<ByQueue, Counter>,
    restarts: Family<ByQueue, Counter>,
    started: Family<ByKind, Counter>,
    finished: Family<ByOutcome, Counter>,
    wait: Family<ByKind, Histogram>,
    run: Family<ByKind, Histogram>,
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
            expired: Family::default(),
            reaped: Family::default(),
            lost: Family::default(),
            late: Family::default(),
            restarts: Family::default(),
            started: Family::default(),
            finished: Family::default(),
            wait: Family::new_with_constructor(histogram),
            run: Family::new_with_constructor(histogram),
        };
        for (name, help, family) in [
            ("jobs_pushed", "Job ids pushed to Redis", &f.pushed),
            ("jobs_unclaimed", "Pairs of a message that claimed nothing", &f.unclaimed),
            ("jobs_expired", "Jobs whose time was over before they could start", &f.expired),
            ("jobs_reaped", "Running jobs taken from a lost worker", &f.reaped),
            ("leases_lost", "Times this worker renewed its lease too late to keep its jobs", &f.lost),
            ("jobs_late", "Jobs finished after somebody else had them: they may run twice", &f.late),
            ("pump_restarts", "Times a queue's pump was started anew", &f.restarts),
        ] {
            registry.register(name, help, family.clone());
        }
        registry.register("jobs_started", "Attempts begun, by kind", f.started.clone());
        registry.register("jobs_finished", "Attempts ended, by kind and outcome", f.finished.clone());
        registry.register("job_start_seconds", "From commit (or due time) to start", f.wait.clone());
        registry.register("job_run_seconds", "From start to verdict", f.run.clone());
        Self(Arc::new(f))
    }

    /// This worker runs these kinds, of these queues.
    pub fn expect(&self, kinds: &Kinds, queues: impl Iterator<Item = Queue>) {
        let f = &*self.0;
        for queue in queues {
            let by_queue = ByQueue { queue: queue.name() };
            for family in [&f.pushed, &f.unclaimed, &f.expired, &f.reaped, &f.lost, &f.late, &f.restarts] {
                drop(family.get_or_create(&by_queue));
            }
            let ours = kinds.kinds().filter(|kind| kind.queue == queue).map(|kind| kind.name);
            for kind in ours.chain([UNKNOWN]) {
                let by_kind = ByKind { queue: queue.name(), kind };
                drop(f.started.get_or_create(&by_kind));
                drop(f.wait.get_or_create(&by_kind));
                drop(f.run.get_or_create(&by_kind));
                for outcome in Outcome::ALL.map(Outcome::name) {
                    drop(f.finished.get_or_create(&ByOutcome { queue: queue.name(), kind, outcome }));
                }
            }
        }
    }

    /// Rows went to Redis.
    pub fn pushed(&self, queue: Queue, jobs: usize) {
        self.0.pushed.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs as u64);
    }

    /// Pairs met a row that was gone, claimed or pushed anew.
    pub fn unclaimed(&self, queue: Queue, jobs: usize) {
        self.0.unclaimed.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs as u64);
    }

    /// Jobs became dead letters before they could start.
    pub fn expired(&self, queue: Queue, jobs: u64) {
        self.0.expired.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs);
    }

    /// A dead worker's jobs.
    pub fn reaped(&self, queue: Queue, jobs: u64) {
        self.0.reaped.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs);
    }

    /// The lease was renewed too late to be sure of this queue's jobs.
    pub fn lease_lost(&self, queue: Queue) {
        self.0.lost.get_or_create(&ByQueue { queue: queue.name() }).inc();
    }

    /// Jobs were done here that somebody else had by then.
    pub fn late(&self, queue: Queue, jobs: u64) {
        self.0.late.get_or_create(&ByQueue { queue: queue.name() }).inc_by(jobs);
    }

    /// A pump ended and is started anew.
    pub fn restarted(&self, queue: Queue) {
        self.0.restarts.get_or_create(&ByQueue { queue: queue.name() }).inc();
    }

    /// One job that was claimed.
    pub fn job(&self, queue: Queue, kind: &'static str) -> Job<'_> {
        Job { families: &self.0, queue: queue.name(), kind }
    }
}

/// Counts one attempt of a job.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    families: &'a Families,
    queue: &'static str,
    /// Its kind, if this build knows it.
    pub kind: &'static str,
}

impl Job<'_> {
    /// It starts, this long after it was due.
    pub fn started(&self, waited: Duration) {
        let labels = ByKind { queue: self.queue, kind: self.kind };
        self.families.started.get_or_create(&labels).inc();
        self.families.wait.get_or_create(&labels).observe(waited.as_secs_f64());
    }

    /// It ended.
    pub fn ended(&self, outcome: Outcome, took: Duration) {
        let (queue, kind) = (self.queue, self.kind);
        let labels = ByOutcome { queue, kind, outcome: outcome.name() };
        self.families.finished.get_or_create(&labels).inc();
        self.families.run.get_or_create(&ByKind { queue, kind }).observe(took.as_secs_f64());
    }
}
