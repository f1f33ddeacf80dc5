//! What the ledger of jobs, the workers' leases and the schedules say, read when somebody looks and at
//! most once in [`FRESH`]. Both processes tell it: that no worker lives is told by the API.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use redis::aio::ConnectionManager;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Mutex, OnceCell};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::store::{self, Depth};
use crate::job::{Queue, schedule, wake};

/// How old what is told may be.
const FRESH: Duration = Duration::from_secs(5);
/// How long reading may take, waiting for a connection included.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows of a kind that are counted one by one; more of them are estimated.
const EXACT: i64 = 10_000;
/// Pages an estimate reads.
const PAGES: f64 = 1_000.0;
/// A worker that did not renew its lease for this long counts as gone.
const ALIVE: TimeDelta = TimeDelta::seconds(30);
/// What a job that is not over may be, as rows say it.
const STATES: [&str; 5] = ["scheduled", "available", "running", "retryable", "discarded"];

type Float = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    queue: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySchedule {
    schedule: String,
}

/// The gauges, and when they were last set.
#[derive(Default)]
pub(super) struct Ledger {
    read: Mutex<Option<Instant>>,
    redis: OnceCell<ConnectionManager>,
    jobs: Family<ByState, Gauge>,
    oldest: Family<ByQueue, Float>,
    relay_lag: Family<ByQueue, Float>,
    window: Family<ByQueue, Gauge>,
    paused: Family<ByQueue, Gauge>,
    schedule_lag: Family<BySchedule, Float>,
    workers: Gauge,
    postgres_up: Gauge,
    redis_up: Gauge,
    acquire: Float,
    took: Float,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

/// One reading.
struct Figures {
    depths: Vec<Depth>,
    oldest: Vec<store::Oldest>,
    queues: Vec<store::Paused>,
    workers: i64,
    schedules: Vec<store::Schedule>,
}

impl Ledger {
    /// Adds the families.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "jobs",
            "Jobs by queue and state; exact to 10,000 of a state, estimated above",
            self.jobs.clone(),
        );
        registry.register(
            "jobs_oldest_age_seconds",
            "For how long the oldest due job of a queue has waited for its start",
            self.oldest.clone(),
        );
        registry.register(
            "relay_lag_seconds",
            "For how long the oldest due job of a queue has waited for its push to Redis",
            self.relay_lag.clone(),
        );
        registry.register(
            "relay_window_jobs",
            "Jobs pushed to Redis that no worker claimed yet; the window holds 2,000",
            self.window.clone(),
        );
        registry.register("queue_paused", "1 while a queue is paused", self.paused.clone());
        registry.register(
            "schedule_lag_seconds",
            "For how long a schedule's tick has been due without a job; 0 when none is",
            self.schedule_lag.clone(),
        );
        registry.register("workers_alive", "Workers whose lease lives", self.workers.clone());
        registry.register("postgres_up", "1 while Postgres answers this process", self.postgres_up.clone());
        registry.register("redis_up", "1 while Redis answers this process", self.redis_up.clone());
        registry.register(
            "db_acquire_seconds",
            "How long this reading waited for a connection of the pool",
            self.acquire.clone(),
        );
        registry.register(
            "ledger_read_seconds",
            "How long it took to read the figures of the ledger",
            self.took.clone(),
        );
    }

    /// Reads anew if what is told is old. Without an answer from Postgres the ledger's figures go away:
    /// old ones would pass for new.
    pub async fn read(&self, ctx: &Context) {
        let mut read = self.read.lock().await;
        if read.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let (figures, redis) = tokio::join!(self.figures(ctx), self.redis_answers(ctx));
        self.redis_up.set(i64::from(redis));
        match figures {
            Ok(figures) => {
                self.postgres_up.set(1);
                self.set(&figures, ctx.now());
            }
            Err(error) => {
                tracing::debug!(%error, "the ledger was not read");
                // a pool of which every connection is busy says nothing about Postgres
                let busy = ctx.db.size() >= ctx.db.options().get_max_connections() && ctx.db.num_idle() == 0;
                self.postgres_up.set(i64::from(busy));
                self.clear();
            }
        }
        *read = Some(Instant::now());
    }

    async fn figures(&self, ctx: &Context) -> Result<Figures> {
        let began = Instant::now();
        let late = || Error::Unavailable("no answer from Postgres in time".into());
        let acquired = tokio::time::timeout(PATIENCE, ctx.db.acquire()).await;
        self.acquire.set(began.elapsed().as_secs_f64());
        let mut connection = acquired.map_err(|_| late())??;
        let acquired = Instant::now();
        let read = async {
            let mut tx = connection.begin().await?;
            let figures = figures(&mut tx, ctx.now()).await?;
            tx.commit().await?;
            self.took.set(acquired.elapsed().as_secs_f64());
            Ok(figures)
        };
        tokio::time::timeout(PATIENCE, read).await.map_err(|_| late())?
    }

    async fn redis_answers(&self, ctx: &Context) -> bool {
        let open = async || wake::connect(&ctx.config.redis_url, PATIENCE / 2);
        let Ok(redis) = self.redis.get_or_try_init(open).await else { return false };
        let mut redis = redis.clone();
        let ping = async move { redis::cmd("PING").exec_async(&mut redis).await.is_ok() };
        tokio::time::timeout(PATIENCE / 2, ping).await.unwrap_or(false)
    }

    fn set(&self, figures: &Figures, now: DateTime<Utc>) {
        for queue in Queue::ALL {
            let name = queue.name();
            let ours = || figures.depths.iter().filter(|depth| depth.queue == name);
            for state in STATES {
                let jobs = ours().filter(|depth| depth.state == state).map(|depth| depth.jobs).sum();
                self.jobs.get_or_create(&ByState { queue: name, state }).set(jobs);
            }
            let by_queue = ByQueue { queue: name };
            let pushed = ours().filter(|depth| depth.pushed && depth.state == "available");
            self.window.get_or_create(&by_queue).set(pushed.map(|depth| depth.jobs).sum());
            let waiting = figures.oldest.iter().filter(|oldest| oldest.queue == name);
            let age = |due: Option<DateTime<Utc>>| due.map_or(0.0, |due| seconds(now - due));
            let unpushed = waiting.clone().filter(|oldest| !oldest.pushed).map(|oldest| oldest.due).min();
            self.relay_lag.get_or_create(&by_queue).set(age(unpushed));
            self.oldest.get_or_create(&by_queue).set(age(waiting.map(|oldest| oldest.due).min()));
            let paused = figures.queues.iter().any(|queue| queue.queue == name && queue.paused);
            self.paused.get_or_create(&by_queue).set(i64::from(paused));
        }
        self.workers.set(figures.workers);
        self.schedule_lag.clear();
        for schedule in &figures.schedules {
            let labels = BySchedule { schedule: schedule.schedule.clone() };
            let late = lag(&schedule.expression, &schedule.catch_up, schedule.ticked_at, now);
            self.schedule_lag.get_or_create(&labels).set(late);
        }
    }

    fn clear(&self) {
        self.jobs.clear();
        self.oldest.clear();
        self.relay_lag.clear();
        self.window.clear();
        self.paused.clear();
        self.schedule_lag.clear();
    }
}

async fn figures(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<Figures> {
    store::walk_indexes(&mut *connection).await?;
    let mut depths = store::count_depths(&mut *connection, EXACT).await?;
    let total = |depths: &[Depth], what: fn(&Depth) -> bool| -> i64 {
        depths.iter().filter(|depth| what(depth)).map(|depth| depth.jobs).sum()
    };
    let many_ready = depths.iter().any(|depth| depth.jobs >= EXACT && is_ready(depth));
    let (waiting, dead) = (total(&depths, is_waiting), total(&depths, is_dead));
    if many_ready || waiting >= EXACT || dead >= EXACT {
        let pages = store::count_pages(&mut *connection).await?;
        let percent = (PAGES / f64::from(pages.max(1)) * 100.0).clamp(0.001, 100.0);
        let sampled = store::sample_depths(&mut *connection, percent).await?;
        merge(&mut depths, sampled);
    }
    Ok(Figures {
        depths,
        oldest: store::list_oldest(&mut *connection, now).await?,
        queues: store::list_paused(&mut *connection).await?,
        workers: store::count_workers(&mut *connection, now - ALIVE).await?,
        schedules: store::list_schedules(&mut *connection).await?,
    })
}

fn is_ready(depth: &Depth) -> bool {
    matches!(depth.state.as_str(), "available" | "running")
}

fn is_waiting(depth: &Depth) -> bool {
    matches!(depth.state.as_str(), "scheduled" | "retryable")
}

fn is_dead(depth: &Depth) -> bool {
    depth.state == "discarded"
}

/// What was counted whole stays; of what was not, the estimate counts where it is more.
fn merge(depths: &mut Vec<Depth>, sampled: Vec<Depth>) {
    let whole = |depths: &[Depth], what: fn(&Depth) -> bool| {
        depths.iter().filter(|depth| what(depth)).map(|depth| depth.jobs).sum::<i64>() < EXACT
    };
    let (waiting_whole, dead_whole) = (whole(depths, is_waiting), whole(depths, is_dead));
    for sample in sampled {
        let counted = depths.iter_mut().find(|depth| {
            (depth.queue == sample.queue && depth.state == sample.state) && depth.pushed == sample.pushed
        });
        let skip = match &counted {
            _ if is_waiting(&sample) => waiting_whole,
            _ if is_dead(&sample) => dead_whole,
            // counted queue by queue
            Some(depth) => depth.jobs < EXACT,
            None => true,
        };
        match counted {
            _ if skip => {}
            Some(depth) => depth.jobs = depth.jobs.max(sample.jobs),
            None => depths.push(sample),
        }
    }
}

/// For how long a tick has been due without its job. A schedule that skips lags only while its tick may
/// still be asked for; one that cannot be read lags since its last tick.
fn lag(expression: &str, catch_up: &str, ticked_at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    let Ok(cron) = schedule::parse(expression) else { return seconds(now - ticked_at) };
    let after = if catch_up == "skip" { ticked_at.max(now - TimeDelta::minutes(1)) } else { ticked_at };
    cron.after(&after).next().map_or(0.0, |due| seconds(now - due))
}

fn seconds(span: TimeDelta) -> f64 {
    (span.as_seconds_f64()).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(queue: &str, state: &str, pushed: bool, jobs: i64) -> Depth {
        Depth { queue: queue.into(), state: state.into(), pushed, jobs }
    }

    #[test]
    fn an_estimate_counts_only_where_counting_stopped() {
        let mut depths = vec![
            depth("critical", "available", false, 3),
            depth("bulk", "available", false, EXACT),
            depth("low", "retryable", false, 7),
        ];
        let sampled = vec![
            depth("critical", "available", false, 400),
            depth("bulk", "available", false, 950_000),
            depth("bulk", "running", true, 400),
            depth("low", "retryable", false, 0),
            depth("low", "discarded", false, 400),
        ];
        merge(&mut depths, sampled);
        let jobs: Vec<i64> = depths.iter().map(|depth| depth.jobs).collect();
        assert_eq!(jobs, [3, 950_000, 7]);
    }

    #[test]
    fn a_schedule_lags_by_its_oldest_tick_without_a_job() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect(text);
        let lag = |catch_up, now| lag("0 * * * * *", catch_up, at("2026-01-01T10:00:00Z"), at(now));
        for (catch_up, now, want) in [
            ("one", "2026-01-01T10:00:59Z", 0.0),
            ("one", "2026-01-01T10:01:05Z", 5.0),
            ("all", "2026-01-01T10:05:00Z", 240.0),
            ("skip", "2026-01-01T10:05:30Z", 30.0),
            ("one", "2025-01-01T10:00:00Z", 0.0),
        ] {
            assert_eq!(lag(catch_up, now), want, "{catch_up} {now}");
        }
    }
}
