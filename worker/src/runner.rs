//! Slots, claims and verdicts of one queue. Knows the ledger; knows neither Redis nor apalis.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::task::AtomicWaker;
use keryu_common::batch::Batcher;
use keryu_common::job::store::{self, Claimed, Setback};
use keryu_common::job::{Holds, Lease, Queue, Verdict};
use keryu_common::telemetry::trace::Span;
use keryu_common::{Context, secret};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::{Metrics, Outcome, UNKNOWN};
use crate::registry::Registry;
use crate::watchdog::Watchdog;

/// A job named by a message, with the number of the push that named it.
pub type Pair = (Uuid, i32);

/// What all queues of a process share.
#[derive(Clone)]
pub struct Shared {
    /// Database, settings, clock.
    pub ctx: Context,
    /// Kinds.
    pub registry: Arc<Registry>,
    /// The process's lease.
    pub lease_id: Uuid,
    /// When it was last renewed.
    pub holds: Holds,
    /// Figures.
    pub metrics: Metrics,
    /// Sees handlers that do not yield.
    pub watchdog: Watchdog,
    /// Rung when pushed rows were claimed here, so that the relay looks for the next ones.
    pub freed: Arc<Notify>,
}

/// Runs the jobs of one queue.
pub struct Runner {
    /// Which queue.
    pub queue: Queue,
    /// Shared with the other queues.
    pub shared: Shared,
    concurrency: usize,
    slots: Arc<Semaphore>,
    /// Pairs taken from a message that found no slot yet.
    waiting: AtomicUsize,
    closing: CancellationToken,
    /// What this process claimed or is about to: all else under its lease is a claim whose answer was lost.
    /// Counted, for a message may come twice: the second finds nothing to claim and lets go of its own.
    held: Mutex<HashMap<Uuid, usize>>,
    /// Held during a claim whose ids are not known before its answer.
    pub direct: tokio::sync::Mutex<()>,
    /// Woken when a slot is given back: the pump's door may open.
    pub door: AtomicWaker,
    finisher: Batcher<Finished, ()>,
}

/// A success to be written down.
struct Finished {
    job_id: Uuid,
    attempt: i16,
    started: DateTime<Utc>,
}

/// The wait before a verdict is written again that the database did not take.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the rest of a message may wait here for a slot.
const HOARD: Duration = Duration::from_millis(250);
/// How old a job is that waits in vain for a build that can run it. Less: a rolling deploy may bring one.
const FOREIGN: Duration = Duration::from_secs(3600);
/// The most rows one finishing statement takes.
const MOST_FINISHED: usize = 500;

impl Runner {
    /// A runner with this many slots.
    pub fn new(queue: Queue, concurrency: usize, shared: Shared) -> Arc<Self> {
        let writer = shared.clone();
        let finisher = Batcher::start(2, MOST_FINISHED, move |done| finish(writer.clone(), queue, done));
        Arc::new(Self {
            queue,
            shared,
            concurrency,
            slots: Arc::new(Semaphore::new(concurrency)),
            waiting: AtomicUsize::new(0),
            closing: CancellationToken::new(),
            held: Mutex::default(),
            direct: tokio::sync::Mutex::default(),
            door: AtomicWaker::new(),
            finisher,
        })
    }

    /// Whether another message may be fetched: a slot is free and nothing waits for one.
    pub fn is_open(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0 && self.slots.available_permits() > 0 && self.may_claim()
    }

    /// Not while closing, and not without the lease: what is claimed then would be reaped.
    fn may_claim(&self) -> bool {
        !self.closing.is_cancelled() && self.shared.holds.age() < self.queue.safe()
    }

    /// The jobs of this process.
    pub fn held(&self) -> Vec<Uuid> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn hold(&self, ids: impl IntoIterator<Item = Uuid>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            *held.entry(id).or_default() += 1;
        }
    }

    fn let_go<'a>(&self, ids: impl IntoIterator<Item = &'a Uuid>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            match held.get_mut(id) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(held.remove(id)),
            }
        }
    }

    /// How many jobs run.
    pub fn running(&self) -> usize {
        self.concurrency - self.slots.available_permits().min(self.concurrency)
    }

    /// Claims and starts the pairs of a message, as slots allow. Answers with those that found no slot in
    /// time: another worker may have one.
    pub async fn take(self: &Arc<Self>, mut pairs: Vec<Pair>, serial: bool) -> Vec<Pair> {
        self.waiting.fetch_add(pairs.len(), Ordering::AcqRel);
        while !pairs.is_empty() {
            let Some(permits) = self.permits(pairs.len()).await else { break };
            let now: Vec<Pair> = pairs.drain(..permits.num_permits()).collect();
            self.waiting.fetch_sub(now.len(), Ordering::AcqRel);
            self.claim(now, permits, serial).await;
        }
        if !pairs.is_empty() {
            self.waiting.fetch_sub(pairs.len(), Ordering::AcqRel);
            if self.closing.is_cancelled() {
                self.hand_back(&std::mem::take(&mut pairs)).await;
            }
        }
        pairs
    }

    /// Without Redis: fills the free slots straight from the ledger. Answers with how many started.
    pub async fn take_direct(self: &Arc<Self>) -> usize {
        let free = self.slots.available_permits().min(MOST_FINISHED);
        if free == 0 || !self.may_claim() {
            return 0;
        }
        let Ok(permits) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(free).unwrap_or(1))
        else {
            return 0;
        };
        let most = i64::try_from(free).unwrap_or(1);
        let Shared { ctx, lease_id, .. } = &self.shared;
        let _claiming = self.direct.lock().await;
        let (taken, now) = (self.shared.holds.now(), ctx.now());
        let mut claimed = store::claim_direct(&ctx.db, self.queue, *lease_id, now, most).await;
        if let Ok(claimed) = &mut claimed
            && claimed.len() < free
        {
            let rest = most - i64::try_from(claimed.len()).unwrap_or(0);
            match store::claim_direct_serial(&ctx.db, self.queue, *lease_id, now, rest).await {
                Ok(serial) => claimed.extend(serial),
                Err(error) => tracing::warn!(queue = %self.queue, %error, "no serial claim without Redis"),
            }
        }
        match claimed {
            Ok(claimed) => {
                let count = claimed.len();
                self.hold(claimed.iter().map(|job| job.job_id));
                self.start(claimed, permits, taken);
                count
            }
            Err(error) => {
                tracing::warn!(queue = %self.queue, %error, "no claim without Redis");
                0
            }
        }
    }

    /// At least one slot, and as many more as are free, up to `most`. None when closing, or when none is
    /// free for long.
    async fn permits(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let mut permits = tokio::select! {
            biased;
            () = self.closing.cancelled() => return None,
            permits = Arc::clone(&self.slots).acquire_owned() => permits.ok()?,
            () = tokio::time::sleep(HOARD) => return None,
        };
        let more = self.slots.available_permits().min(most - 1);
        if more > 0
            && let Ok(rest) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0))
        {
            permits.merge(rest);
        }
        Some(permits)
    }

    async fn claim(self: &Arc<Self>, pairs: Vec<Pair>, permits: OwnedSemaphorePermit, serial: bool) {
        let (ids, pushes): (Vec<Uuid>, Vec<i32>) = pairs.iter().copied().unzip();
        let Shared { ctx, lease_id, metrics, freed, holds, .. } = &self.shared;
        let taken = holds.now();
        self.hold(ids.iter().copied());
        let claimed = if serial {
            store::claim_serial(&ctx.db, self.queue, *lease_id, ctx.now(), &ids, &pushes).await
        } else {
            store::claim(&ctx.db, self.queue, *lease_id, ctx.now(), &ids, &pushes).await
        };
        freed.notify_one();
        match claimed {
            Ok(claimed) => {
                if claimed.len() < pairs.len() {
                    metrics.unclaimed(self.queue, pairs.len() - claimed.len());
                    let got: HashSet<Uuid> = claimed.iter().map(|job| job.job_id).collect();
                    self.let_go(ids.iter().filter(|id| !got.contains(id)));
                    // a paused queue or a taken serial key: the rows go back; all else is gone anyway
                    self.hand_back(&pairs).await;
                }
                self.start(claimed, permits, taken);
            }
            // what was not claimed goes back as soon as the database is there; what was, and its answer
            // lost, is found under our lease and not among what we hold
            Err(error) => {
                tracing::warn!(queue = %self.queue, %error, jobs = pairs.len(), "no claim");
                self.let_go(&ids);
                drop(permits);
                while !self.hand_back(&pairs).await && !self.closing.is_cancelled() {
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Pushed rows that will not be claimed here go back to the relay. False if the database does not
    /// answer: then they are pushed again after the queue's patience.
    pub async fn hand_back(&self, pairs: &[Pair]) -> bool {
        let (ids, pushes): (Vec<Uuid>, Vec<i32>) = pairs.iter().copied().unzip();
        match store::unpush(&self.shared.ctx.db, &ids, &pushes).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(queue = %self.queue, %error, "not handed back");
                false
            }
        }
    }

    fn start(self: &Arc<Self>, claimed: Vec<Claimed>, mut permits: OwnedSemaphorePermit, taken: u64) {
        for job in claimed {
            let permit = permits.split(1);
            let runner = Arc::clone(self);
            tokio::spawn(async move {
                let id = job.job_id;
                runner.run(job, taken).await;
                runner.let_go(&[id]);
                drop(permit);
                runner.door.wake();
            });
        }
        drop(permits);
        self.door.wake();
    }

    async fn run(&self, claimed: Claimed, taken: u64) {
        let Shared { ctx, registry, holds, metrics, watchdog, .. } = &self.shared;
        let started = ctx.now();
        let lease = Lease::new(&claimed, self.queue, holds.clone(), taken);
        let (kind_name, created_at, run_at) = (claimed.kind.clone(), claimed.created_at, claimed.run_at);
        let kind = registry.of(&claimed);
        let job = metrics.job(self.queue, kind.as_ref().map_or(UNKNOWN, |kind| kind.name));
        job.started((started - run_at.max(created_at)).to_std().unwrap_or_default());
        let trace = lease.traceparent.as_deref();
        let span = Span::job(job.kind, self.queue, lease.job_id, lease.attempt, trace);
        let (verdict, backoff) = match kind {
            _ if claimed.expires_at.is_some_and(|at| at <= started) => {
                (Verdict::GiveUp("expired before it could run".to_owned()), None)
            }
            Ok(kind) => {
                let _watched = watchdog.watch(&lease, kind.name, kind.timeout);
                (span.around(kind.attempt(ctx, &lease, claimed)).await, Some(kind.backoff))
            }
            Err(reason) if (started - created_at).to_std().is_ok_and(|age| age > FOREIGN) => {
                (Verdict::GiveUp(reason), None)
            }
            Err(reason) => (Verdict::Snooze { after: self.queue.foreign_pause(), reason }, None),
        };
        let took = (ctx.now() - started).to_std().unwrap_or_default();
        let outcome = Outcome::of(&verdict, lease.is_last());
        job.ended(outcome, took);
        span.ended(outcome.name(), matches!(outcome, Outcome::Completed | Outcome::Snoozed));
        if verdict == Verdict::Done {
            let done = Finished { job_id: lease.job_id, attempt: lease.attempt, started };
            if let Err(error) = self.finisher.call(done).await {
                tracing::error!(job_id = %lease.job_id, %error, "finished, but not written down: it may run again");
            }
            return;
        }
        let back = setback(&lease, &verdict, backoff, ctx.now());
        tracing::warn!(
            job_id = %lease.job_id, kind = %kind_name, attempt = lease.attempt, reason = %back.reason,
            request_id = lease.request_id, next = ?back.run_at, "attempt failed"
        );
        self.write_back(back).await;
    }

    /// Until it is written: the fence decides whether it still counts.
    async fn write_back(&self, back: Setback) {
        let Shared { ctx, lease_id, .. } = &self.shared;
        while let Err(error) = store::set_back(&ctx.db, *lease_id, ctx.now(), &back).await {
            tracing::warn!(job_id = %back.job_id, %error, "verdict not written yet");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Waits until nothing runs.
    pub async fn settle(&self) {
        let all = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        // closed only with the runner
        let _ = self.slots.acquire_many(all).await;
    }

    /// Takes no more, and waits until nothing runs or the time is up. Answers with what still runs.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.closing.cancel();
        let _ = tokio::time::timeout(patience, self.settle()).await;
        self.running()
    }
}

/// The finish of many at once, until it is written: the fence decides which still count.
async fn finish(shared: Shared, queue: Queue, done: Vec<Finished>) -> keryu_common::Result<Vec<()>> {
    let ids: Vec<Uuid> = done.iter().map(|f| f.job_id).collect();
    let attempts: Vec<i16> = done.iter().map(|f| f.attempt).collect();
    let started: Vec<DateTime<Utc>> = done.iter().map(|f| f.started).collect();
    let Shared { ctx, lease_id, .. } = &shared;
    let rows = loop {
        match store::complete(&ctx.db, *lease_id, ctx.now(), &ids, &attempts, &started).await {
            Ok(rows) => break rows,
            Err(error) => tracing::warn!(%error, jobs = ids.len(), "finish not written yet"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    if rows < ids.len() as u64 {
        shared.metrics.late(queue, ids.len() as u64 - rows);
        tracing::warn!(
            late = ids.len() as u64 - rows,
            "finished after the lease was lost, or twice: not counted"
        );
    }
    Ok(done.iter().map(|_| ()).collect())
}

fn setback(
    lease: &Lease,
    verdict: &Verdict,
    backoff: Option<keryu_common::job::Backoff>,
    now: DateTime<Utc>,
) -> Setback {
    let [luck] = secret::random::<1>();
    let (run_at, counts, reason) = match verdict {
        Verdict::Done => (None, true, String::new()),
        Verdict::Snooze { after, reason } => (Some(now + *after), false, reason.clone()),
        Verdict::GiveUp(reason) => (None, true, reason.clone()),
        Verdict::Retry { reason, .. } if lease.is_last() => {
            (None, true, format!("{reason}; no attempts left"))
        }
        Verdict::Retry { after, reason } => {
            let wait =
                after.or(backoff.map(|b| b.after(lease.attempt, luck))).unwrap_or(Duration::from_secs(10));
            (Some(now + wait), true, reason.clone())
        }
    };
    // Postgres takes no NUL, and a verdict must be written
    let reason = reason.replace('\0', "");
    Setback { job_id: lease.job_id, attempt: lease.attempt, run_at, counts, reason }
}
