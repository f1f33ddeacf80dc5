//! From the ledger to Redis: due rows, by priority, within the window. One relay leads each queue
//! (a session lock), so the window holds over all workers; the others stand by.
//!
//! The leader also keeps the queue in order: promotes what came due, hands back what nobody claimed,
//! reaps what a dead worker held, and finds out when Redis forgot.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keryu_common::job::{Queue, store};
use keryu_common::{Context, Error, database};
use redis::aio::ConnectionManager;
use sqlx::{Connection, PgConnection};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::pump::{self, Bell, Envelope};

/// Pushed and unclaimed rows per queue, over all relays: apalis wedges at 8,000 due messages.
pub const WINDOW: i64 = 2_000;
/// Rows one round takes.
const ROUND: i64 = 1_000;
/// How often the leader keeps house, and a standby tries to lead.
const TICK: Duration = Duration::from_secs(1);
/// How soon a full window is looked at again when nobody here claims.
const WINDOW_PATIENCE: Duration = Duration::from_millis(20);
/// A leader that says nothing for this long loses its session, and the lead with it.
const SESSION_PATIENCE: Duration = Duration::from_secs(4);
/// After an outage or a stall of Postgres, and at first, a leader reaps only after this long, so that
/// workers can renew before it looks.
const GRACE: Duration = Duration::from_secs(4);
/// A step that takes longer is waiting for an answer that will not come.
const STEP: Duration = Duration::from_secs(10);

/// Queues that were woken.
#[derive(Debug, Default)]
pub struct Woken {
    queues: std::sync::Mutex<BTreeSet<Queue>>,
    bell: Notify,
}

impl Woken {
    /// Rows of this queue were committed.
    pub fn wake(&self, queue: Queue) {
        if let Ok(mut queues) = self.queues.lock() {
            queues.insert(queue);
        }
        self.bell.notify_one();
    }

    fn take(&self) -> BTreeSet<Queue> {
        self.queues.lock().map(|mut queues| std::mem::take(&mut *queues)).unwrap_or_default()
    }
}

/// The relay of one process.
pub struct Relay {
    /// Database, settings, clock.
    pub ctx: Context,
    /// The queues this process works.
    pub queues: Vec<Queue>,
    /// Rung for queues whose rows were committed.
    pub woken: Arc<Woken>,
    /// Rung when a window may have room.
    pub freed: Arc<Notify>,
    /// Rung when messages were pushed, for the pumps of this process.
    pub bells: HashMap<Queue, Arc<Bell>>,
    /// Whether Redis answers.
    pub pulse: Pulse,
    /// Figures.
    pub metrics: Metrics,
}

/// What the leader of a queue remembers.
struct Lead {
    since: Instant,
    workers: usize,
    /// The window was full when last looked at.
    full: bool,
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq)]
enum Round {
    /// Nothing waits, or Redis does not answer.
    Rest,
    /// The round was full: there may be more.
    More,
    /// The window is full: there is more, and no room.
    Full,
}

impl Relay {
    /// Relays until stopped, on a connection of its own; any failure starts it anew.
    pub async fn run(self, redis: ConnectionManager, stop: CancellationToken) {
        database::clock_led(&self.ctx.clock).await;
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                ended = self.lead(redis.clone()) => ended,
                () = stop.cancelled() => return,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "the relay starts anew");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    async fn lead(&self, mut redis: ConnectionManager) -> keryu_common::Result<()> {
        let options = database::options(&self.ctx.config)?;
        let mut session = step(async { Ok(PgConnection::connect_with(&options).await?) }).await?;
        store::set_relay_session(&mut session, SESSION_PATIENCE).await?;
        let mut leads: HashMap<Queue, Lead> = HashMap::new();
        let mut next = Instant::now();
        let mut due = next;
        loop {
            let mut ready = self.woken.take();
            if next <= Instant::now() {
                if next.elapsed() > GRACE {
                    // somebody stood still: Postgres, or this process
                    leads.values_mut().for_each(|lead| lead.since = Instant::now());
                }
                next = Instant::now() + TICK;
                due = Instant::now();
                step(self.tick(&mut session, &mut redis, &mut leads)).await?;
                ready.extend(self.queues.iter().copied());
            }
            if due <= Instant::now() {
                due = step(self.promote(&mut session, next)).await?;
                ready.extend(self.woken.take());
            }
            let mut rest = Round::Rest;
            for queue in ready {
                if let Some(lead) = leads.get_mut(&queue) {
                    match step(self.round(&mut session, &mut redis, queue, lead)).await? {
                        Round::Rest => {}
                        again => {
                            self.woken.wake(queue);
                            if rest != Round::More {
                                rest = again;
                            }
                        }
                    }
                }
            }
            match rest {
                Round::More => {}
                Round::Full => {
                    let _ = tokio::time::timeout(WINDOW_PATIENCE, self.freed.notified()).await;
                }
                Round::Rest => {
                    let wait = due.min(next).saturating_duration_since(Instant::now());
                    let _ = tokio::time::timeout(wait, self.woken.bell.notified()).await;
                }
            }
        }
    }

    /// The second's housekeeping.
    async fn tick(
        &self,
        session: &mut PgConnection,
        redis: &mut ConnectionManager,
        leads: &mut HashMap<Queue, Lead>,
    ) -> keryu_common::Result<()> {
        let now = self.ctx.now();
        for &queue in &self.queues {
            if let Entry::Vacant(free) = leads.entry(queue) {
                if !store::try_lead(session, queue).await? {
                    continue;
                }
                tracing::info!(%queue, "leads the relay");
                free.insert(Lead { since: Instant::now(), workers: 1, full: false });
            }
            let expired = store::discard_expired(session, queue, now, 1_000).await?;
            self.metrics.expired(queue, expired);
            store::unpush_stale(session, queue, now, queue.push_patience()).await?;
            if let Some(lead) = leads.get_mut(&queue) {
                if lead.since.elapsed() > GRACE {
                    let reaped = store::reap(session, queue, now, now - queue.lease()).await?;
                    if reaped > 0 {
                        tracing::warn!(%queue, jobs = reaped, "a worker was lost: its jobs go on");
                    }
                    self.metrics.reaped(queue, reaped);
                }
                if self.pulse.beats() {
                    self.keep_redis(session, redis, queue, lead).await?;
                }
            }
        }
        if !leads.is_empty() {
            store::delete_idle_locks(session).await?;
        }
        Ok(())
    }

    /// Rows that came due become available, a batch at a time. Answers with when to look again.
    async fn promote(&self, session: &mut PgConnection, next: Instant) -> keryu_common::Result<Instant> {
        const MOST: i64 = 2_000;
        store::supersede(session, self.ctx.now()).await?;
        let queues = store::promote_due(session, self.ctx.now(), MOST).await?;
        for queue in queues.iter().filter_map(|name| name.parse().ok()) {
            self.woken.wake(queue);
        }
        if (queues.len() as i64) == MOST {
            return Ok(Instant::now());
        }
        let due = store::find_next_due(session).await?;
        let wait = due.map(|at| (at - self.ctx.now()).to_std().unwrap_or_default());
        Ok(wait.map_or(next, |wait| next.min(Instant::now() + wait)))
    }

    /// Trims what was handled, counts the workers, and compares the epochs.
    async fn keep_redis(
        &self,
        session: &mut PgConnection,
        redis: &mut ConnectionManager,
        queue: Queue,
        lead: &mut Lead,
    ) -> keryu_common::Result<()> {
        let prefix = &self.ctx.config.job.prefix;
        if let Ok(workers) = pump::count_workers(redis, prefix, queue).await {
            lead.workers = workers.max(1);
        }
        for _ in 0..20 {
            match pump::trim(redis, prefix, queue).await {
                Ok(500..) => {}
                _ => break,
            }
        }
        let key = format!("{prefix}:epoch:{queue}");
        let found: redis::RedisResult<Option<i64>> = redis::cmd("GET").arg(&key).query_async(redis).await;
        let Ok(found) = found else { return Ok(()) };
        let epoch = store::find_epoch(session, queue).await?;
        if found.is_some() && found == epoch {
            return Ok(());
        }
        let epoch = store::raise_epoch(session, queue).await?;
        let handed_back = store::unpush_all(session, queue).await?;
        tracing::warn!(%queue, jobs = handed_back, ?epoch, "Redis forgot the queue: everything unclaimed is pushed again");
        let _: redis::RedisResult<()> = redis::cmd("SET").arg(&key).arg(epoch).query_async(redis).await;
        Ok(())
    }

    /// One batch from the ledger to Redis.
    async fn round(
        &self,
        session: &mut PgConnection,
        redis: &mut ConnectionManager,
        queue: Queue,
        lead: &mut Lead,
    ) -> keryu_common::Result<Round> {
        if !self.pulse.beats() {
            return Ok(Round::Rest);
        }
        let mut rows = store::push_due(session, queue, self.ctx.now(), WINDOW, ROUND).await?;
        let Some(taken) = rows.first().map(|row| row.taken) else {
            if !std::mem::take(&mut lead.full) {
                return Ok(Round::Rest);
            }
            // no room yet; or some by now, and then another look tells whether anything is left
            lead.full = store::count_pushed(session, queue).await? >= WINDOW;
            return Ok(if lead.full { Round::Full } else { Round::More });
        };
        let workers = lead.workers;
        let count = rows.len();
        rows.sort_unstable_by_key(|row| (row.priority, row.job_id));
        let size = count.div_ceil(workers).clamp(1, queue.most_per_message());
        let mut envelopes = Vec::with_capacity(count / size + 1);
        for serial in [false, true] {
            let pairs: Vec<_> =
                rows.iter().filter(|row| row.serial == serial).map(|row| (row.job_id, row.push)).collect();
            envelopes.extend(pairs.chunks(size).map(|pairs| Envelope { serial, pairs: pairs.to_vec() }));
        }
        if let Err(error) = pump::push(redis, &self.ctx.config.job.prefix, queue, &envelopes).await {
            tracing::warn!(%queue, jobs = count, %error, "not pushed");
            let (ids, pushes): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.job_id, row.push)).unzip();
            store::unpush(&mut *session, &ids, &pushes).await?;
            return Ok(Round::Rest);
        }
        self.metrics.pushed(queue, count);
        if let Some(bell) = self.bells.get(&queue) {
            bell.ring();
        }
        if workers > 1 {
            let channel = keryu_common::job::wake::channel(&self.ctx.config.job.prefix, "pushed");
            let _: redis::RedisResult<i64> =
                redis::cmd("PUBLISH").arg(channel).arg(queue.name()).query_async(redis).await;
        }
        let count = i64::try_from(count).unwrap_or(ROUND);
        lead.full = taken + count >= WINDOW;
        Ok(if lead.full {
            Round::Full
        } else if count == ROUND {
            Round::More
        } else {
            Round::Rest
        })
    }
}

/// A step with the database, or the session is given up: without this a connection that nobody closes
/// and nobody answers holds the lead for as long as TCP hopes.
async fn step<T>(work: impl Future<Output = keryu_common::Result<T>>) -> keryu_common::Result<T> {
    match tokio::time::timeout(STEP, work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Unavailable("no answer from Postgres or Redis".into())),
    }
}
