//! The job engine by itself: a ledger of the test's own, claims by hand, and workers in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::clock::Clock;
use keryu_common::config::{Config, Source};
use keryu_common::job::store::{self, Claimed, Setback};
use keryu_common::job::{self, Holds, Job, Noop, Queue, Terms};
use keryu_worker::metrics::Metrics;
use keryu_worker::runner::{Pair, Runner, Shared};
use keryu_worker::watchdog::Watchdog;
use keryu_worker::worker::{Share, Worker};
use keryu_worker::{drain, relay};
use uuid::Uuid;

use super::kinds::{self, kinds};
use super::{World, eventually};

/// A ledger under test.
pub struct Engine {
    /// Its database.
    pub world: World,
    /// What jobs are given.
    pub ctx: Context,
}

impl Engine {
    /// Under a clock that stands still.
    pub async fn new() -> Self {
        let at = DateTime::from_timestamp(Utc::now().timestamp(), 0).expect("time");
        Self::on(World::new().await, Clock::fixed(at)).await
    }

    /// Under the real clock, for workers that run.
    pub async fn live() -> Self {
        Self::on(World::new().await, Clock::system()).await
    }

    /// In this world, by this clock.
    pub async fn on(world: World, clock: Clock) -> Self {
        world.execute(kinds::RAN).await;
        let config = Config::read(&mut Source::of(world.settings())).expect("settings");
        let db = keryu_common::database::pool(&config).expect("pool");
        let ctx = Context::with(config, db, clock).expect("context");
        Self { world, ctx }
    }

    /// Another process's view of the same ledger.
    pub fn another(&self) -> Context {
        let config = Config::read(&mut Source::of(self.world.settings())).expect("settings");
        let db = keryu_common::database::pool(&config).expect("pool");
        Context::with(config, db, self.ctx.clock.clone()).expect("context")
    }

    /// Asks for a job and commits. A millisecond goes by before, for ids are ordered by it.
    pub async fn ask<J: Job>(&self, job: &J, terms: Terms) -> Uuid {
        self.advance(Duration::from_millis(1));
        let mut tx = self.ctx.db.begin().await.expect("begin");
        let id = job::enqueue(&mut tx, self.ctx.now(), job, terms).await.expect("enqueue");
        tx.commit().await.expect("commit");
        self.ctx.wake.queue(J::QUEUE);
        id
    }

    /// Asks for a job that does nothing.
    pub async fn noop(&self) -> Uuid {
        self.ask(&Noop {}, Terms::default()).await
    }

    /// Asks for many jobs that do nothing, in one transaction.
    pub async fn noops(&self, count: usize) {
        let like = job::row(self.ctx.now(), &Noop {}, Terms::default()).expect("row");
        let ids: Vec<Uuid> = (0..count).map(|_| keryu_common::id::ordered(self.ctx.now())).collect();
        store::insert_many(&self.ctx.db, &like, &ids, &vec![like.payload.clone(); count])
            .await
            .expect("jobs");
        self.ctx.wake.queue(Queue::Default);
    }

    /// What a relay would push now.
    pub async fn push(&self) -> Vec<Pair> {
        let mut session = self.ctx.db.acquire().await.expect("session");
        let rows = store::push_due(&mut session, Queue::Default, self.ctx.now(), relay::WINDOW, 1_000).await;
        let mut rows = rows.expect("push");
        rows.sort_unstable_by_key(|row| (row.priority, row.job_id));
        rows.into_iter().map(|row| (row.job_id, row.push)).collect()
    }

    /// A claim of these pairs under a lease.
    pub async fn claim(&self, lease: Uuid, pairs: &[Pair]) -> Vec<Claimed> {
        let (ids, pushes): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let now = self.ctx.now();
        let mut all =
            store::claim(&self.ctx.db, Queue::Default, lease, now, &ids, &pushes).await.expect("claim");
        let serial = store::claim_serial(&self.ctx.db, Queue::Default, lease, now, &ids, &pushes).await;
        all.extend(serial.expect("claim"));
        all
    }

    /// A success of one attempt under a lease. Whether it counted.
    pub async fn finish(&self, lease: Uuid, id: Uuid, attempt: i16) -> bool {
        let now = self.ctx.now();
        store::complete(&self.ctx.db, lease, now, &[id], &[attempt], &[now]).await.expect("finish") == 1
    }

    /// A failure of one attempt under a lease, to be tried again after `wait`. Whether it counted.
    pub async fn set_back(&self, lease: Uuid, id: Uuid, attempt: i16, wait: Duration) -> bool {
        let run_at = Some(self.ctx.now() + wait);
        let back = Setback { job_id: id, attempt, run_at, counts: true, reason: "a test said so".to_owned() };
        store::set_back(&self.ctx.db, lease, self.ctx.now(), &back).await.expect("setback") == 1
    }

    /// A lease renewed now.
    pub async fn lease(&self) -> Uuid {
        let lease = keryu_common::id::ordered(self.ctx.now());
        store::renew_lease(&self.ctx.db, lease, "here", 1, &[], self.ctx.now()).await.expect("lease");
        lease
    }

    /// State and attempts, wherever the row is; none where there is no such job.
    pub async fn look(&self, id: Uuid) -> Option<(String, i16)> {
        sqlx::query_as(
            "SELECT state::text, attempt FROM jobs WHERE job_id = $1
             UNION ALL SELECT state::text, attempt FROM finished_jobs WHERE job_id = $1",
        )
        .bind(id)
        .fetch_optional(&self.world.db)
        .await
        .expect("job")
    }

    /// State alone.
    pub async fn state(&self, id: Uuid) -> String {
        self.look(id).await.expect("a row").0
    }

    /// Why it is not done.
    pub async fn error(&self, id: Uuid) -> String {
        let error: Option<String> = sqlx::query_scalar("SELECT error FROM jobs WHERE job_id = $1")
            .bind(id)
            .fetch_one(&self.world.db)
            .await
            .expect("job");
        error.unwrap_or_default()
    }

    /// What [`kinds::Note`] wrote, in order.
    pub async fn ran(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT tag FROM ran ORDER BY seq").fetch_all(&self.world.db).await.expect("ran")
    }

    /// Runs what is due, here and now.
    pub async fn drain(&self) -> usize {
        drain::due_of(&self.ctx, kinds()).await.expect("drain")
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.ctx.clock.advance(by);
    }

    /// What queues of one process share, under a lease renewed now.
    pub fn shared(&self) -> Shared {
        let holds = Holds::default();
        holds.renewed(Instant::now());
        Shared {
            ctx: self.ctx.clone(),
            registry: Arc::new(kinds()),
            lease_id: keryu_common::id::ordered(self.ctx.now()),
            holds,
            metrics: self.another().metrics.register(Metrics::new),
            watchdog: Watchdog::default(),
            freed: Arc::default(),
        }
    }

    /// The slots of one queue, without a transport.
    pub fn runner(&self, queue: Queue, slots: usize) -> Arc<Runner> {
        Runner::new(queue, slots, self.shared())
    }

    /// A whole worker in this process, with connections of its own.
    pub async fn worker(&self, shares: &[Share]) -> Worker {
        let ctx = self.another();
        let metrics = ctx.metrics.register(Metrics::new);
        Worker::start(ctx, kinds(), shares, metrics).await.expect("worker")
    }

    /// Waits until so many jobs completed.
    pub async fn until_completed(&self, count: i64, within: Duration) {
        eventually(&format!("{count} jobs completed"), within, || async {
            self.world.count("SELECT count(*) FROM finished_jobs WHERE state = 'completed'").await >= count
        })
        .await;
    }

    /// A connection to the test's Redis.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.world.redis_url.as_str()).expect("REDIS_URL");
        client.get_multiplexed_async_connection().await.expect("redis")
    }

    /// The names of all keys of this world in Redis.
    pub async fn keys(&self) -> Vec<String> {
        let mut redis = self.redis().await;
        let mut keys: Vec<String> = Vec::new();
        let mut cursor = 0u64;
        loop {
            let (next, some): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{}:*", self.world.prefix))
                .arg("COUNT")
                .arg(1_000)
                .query_async(&mut redis)
                .await
                .expect("scan");
            keys.extend(some);
            cursor = next;
            if cursor == 0 {
                keys.sort_unstable();
                keys.dedup();
                return keys;
            }
        }
    }
}
