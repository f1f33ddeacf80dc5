//! The job ledger: what a job is, how it is asked for, and the steps of its life. SQL in `store`,
//! the wake-up in `wake`. No Redis queue and no apalis here.

pub mod schedule;
pub mod store;
pub mod wake;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use uuid::Uuid;

pub use wake::Wake;

use crate::audit::Client;
use crate::config::Source;
use crate::context::Context;
use crate::desk::rate;
use crate::error::{Error, Result};
use crate::id;

/// Settings of the ledger.
#[derive(Clone, Debug)]
pub struct Config {
    /// `JOB_KEEP`: how long completed and cancelled jobs are kept.
    pub keep: Duration,
    /// `REDIS_PREFIX`: leads every key and channel, so that deployments can share a Redis.
    pub prefix: String,
    /// `PROVIDER_RATES`: how often providers may be called.
    pub rates: rate::Rates,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        Self {
            keep: source.span("JOB_KEEP", Duration::from_secs(24 * 3600)),
            prefix: source.get("REDIS_PREFIX", "keryu".to_owned()),
            rates: source.get("PROVIDER_RATES", rate::Rates::default()),
        }
    }
}

/// Where a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Codes: someone waits at a screen.
    Critical,
    /// Messages, synchronisation.
    Default,
    /// Reminders, reports, bookkeeping.
    Low,
    /// Pictures.
    Media,
    /// Imports, exports, bulk actions.
    Bulk,
}

impl Queue {
    /// All of them, most urgent first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::Default, Self::Low, Self::Media, Self::Bulk];

    /// The name on the wire, in commands and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::Low => "low",
            Self::Media => "media",
            Self::Bulk => "bulk",
        }
    }

    /// How long a lease lasts without renewal: a dead worker's job is back within 15 s for codes,
    /// 45 s for the rest.
    pub fn lease(self) -> Duration {
        Duration::from_secs(if self == Self::Critical { 9 } else { 30 })
    }

    /// How much of a lease may go by without renewal before its holder stops: two thirds.
    pub fn safe(self) -> Duration {
        self.lease() * 2 / 3
    }

    /// How long a push may stay unclaimed before it is pushed again.
    pub fn push_patience(self) -> Duration {
        Duration::from_secs(if self == Self::Critical { 5 } else { 30 })
    }

    /// How long a job rests that this build cannot run, before another worker may look at it.
    pub fn foreign_pause(self) -> Duration {
        Duration::from_secs(if self == Self::Critical { 1 } else { 10 })
    }

    /// The most job ids one message carries: long jobs travel alone, so that no worker hoards them.
    pub fn most_per_message(self) -> usize {
        match self {
            Self::Critical | Self::Default => 200,
            Self::Low => 20,
            Self::Media | Self::Bulk => 1,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Queue {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|queue| queue.name() == name);
        known.ok_or_else(|| format!("{name} is not a queue (critical, default, low, media, bulk)"))
    }
}

/// How a failed attempt is followed by the next: doubling from `base` up to `most`, ± a quarter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub base: Duration,
    /// Never longer than this.
    pub most: Duration,
}

impl Backoff {
    /// The wait after the attempt with this number (1 for the first). `luck` in 0..=255 spreads it.
    pub fn after(&self, attempt: i16, luck: u8) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(20);
        let wait = self.base.saturating_mul(1 << doublings).min(self.most);
        wait.mul_f64(0.75 + f64::from(luck) / 255.0 * 0.5)
    }
}

/// A kind of job: its arguments are the type's fields, its behaviour the constants and `run`.
/// The kind's name and the payload's shape are immutable once shipped: change the version instead.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `slice.verb_noun`.
    const KIND: &'static str;
    /// Raised when the payload's shape changes; `run` sees only payloads of known versions.
    const VERSION: i16 = 1;
    /// Where it waits.
    const QUEUE: Queue;
    /// 0 goes first, 9 last.
    const PRIORITY: i16 = 5;
    /// Attempts before it is a dead letter, counted at the claim.
    const MAX_ATTEMPTS: i16 = 20;
    /// How long one attempt may take.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// The waits between attempts.
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), most: Duration::from_secs(600) };

    /// The work. A missing row is `Done`.
    fn run(&self, ctx: &Context, lease: &Lease) -> impl Future<Output = Verdict> + Send;
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing is owed any more.
    Done,
    /// Try again, by the kind's backoff or after the time given.
    Retry {
        /// In place of the backoff, where the other side said so.
        after: Option<Duration>,
        /// For a person.
        reason: String,
    },
    /// Not now, and not the job's fault: the attempt does not count.
    Snooze {
        /// How long.
        after: Duration,
        /// For a person.
        reason: String,
    },
    /// A dead letter: trying again would not help.
    GiveUp(String),
}

impl From<Error> for Verdict {
    /// A part that does not answer is worth another try, and so is a defect until attempts run out.
    fn from(error: Error) -> Self {
        match error {
            Error::Refusal(refusal) if refusal.status == 503 => {
                Self::Retry { after: None, reason: refusal.to_string() }
            }
            Error::Refusal(refusal) => Self::GiveUp(refusal.to_string()),
            other => Self::Retry { after: None, reason: other.to_string() },
        }
    }
}

/// The right to run one attempt. Lost when the worker cannot renew it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The job.
    pub job_id: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: i16,
    /// How many there may be.
    pub max_attempts: i16,
    /// The request that asked for the job.
    pub request_id: Option<String>,
    /// Its trace.
    pub traceparent: Option<String>,
    holds: Holds,
    queue: Queue,
    /// When it was claimed, by the clock of `holds`.
    taken: u64,
}

impl Lease {
    /// A lease on one claimed job. `taken` is a reading of [`Holds::now`] from before the claim.
    pub fn new(claimed: &store::Claimed, queue: Queue, holds: Holds, taken: u64) -> Self {
        Self {
            job_id: claimed.job_id,
            attempt: claimed.attempt,
            max_attempts: claimed.max_attempts,
            request_id: claimed.request_id.clone(),
            traceparent: claimed.traceparent.clone(),
            holds,
            queue,
            taken,
        }
    }

    /// Whether an outside call may still be made: false once two thirds of the lease went by
    /// without a renewal, for somebody else may have the job soon. A renewal after that does not
    /// bring it back: somebody may have the job already.
    pub fn holds(&self) -> bool {
        self.holds.age() < self.queue.safe() && self.holds.lapsed(self.queue) <= self.taken
    }

    /// Whether this is the last attempt.
    pub fn is_last(&self) -> bool {
        self.attempt >= self.max_attempts
    }
}

/// When the process last renewed its lease (never, at first), and when it last was late with it.
#[derive(Clone, Debug)]
pub struct Holds(Arc<Renewals>);

const NEVER: u64 = u64::MAX;

/// Milliseconds since `since`.
#[derive(Debug)]
struct Renewals {
    since: Instant,
    last: AtomicU64,
    /// By queue: when a renewal came after more than the lease's safe part.
    lapsed: [AtomicU64; Queue::ALL.len()],
}

impl Default for Holds {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Holds {
    /// A process that began at this moment and holds nothing yet.
    pub fn since(since: Instant) -> Self {
        Self(Arc::new(Renewals { since, last: AtomicU64::new(NEVER), lapsed: Default::default() }))
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.0.since).as_millis()).unwrap_or(0)
    }

    /// Notes a renewal that was *sent* at `sent` (the earlier moment is the safe one).
    pub fn renewed(&self, sent: Instant) {
        let (sent, last) = (self.at(sent), self.0.last.load(Ordering::Relaxed));
        let gap = Duration::from_millis(if last == NEVER { 0 } else { sent.saturating_sub(last) });
        for queue in Queue::ALL.into_iter().filter(|queue| gap >= queue.safe()) {
            self.0.lapsed[queue as usize].store(self.now(), Ordering::Release);
        }
        self.0.last.store(sent, Ordering::Release);
    }

    /// Time since the last renewal.
    pub fn age(&self) -> Duration {
        match self.0.last.load(Ordering::Acquire) {
            NEVER => Duration::MAX,
            millis => self.0.since.elapsed().saturating_sub(Duration::from_millis(millis)),
        }
    }

    fn lapsed(&self, queue: Queue) -> u64 {
        self.0.lapsed[queue as usize].load(Ordering::Acquire)
    }
}

/// How a job is asked for, besides its kind.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Not before; now if absent.
    pub run_at: Option<DateTime<Utc>>,
    /// Dead after.
    pub expires_at: Option<DateTime<Utc>>,
    /// One waiting job per key: a later request replaces the payload of the waiting one.
    pub unique_key: Option<String>,
    /// Never two running with one key.
    pub serial_key: Option<String>,
    /// In place of the kind's.
    pub priority: Option<i16>,
    /// The request's id and trace.
    pub request_id: Option<String>,
    /// W3C `traceparent`.
    pub traceparent: Option<String>,
}

impl Terms {
    /// Terms that carry the caller's request and trace.
    pub fn of(client: &Client) -> Self {
        Self {
            request_id: Some(client.request_id.clone()),
            traceparent: client.traceparent.clone(),
            ..Self::default()
        }
    }
}

/// Asks for a job with the caller's transaction: it exists if and only if that commits.
/// Answers with the id of the job that will do the work (an earlier one, under a unique key).
///
/// # Errors
/// The payload does not serialise, or the database does not answer.
pub async fn enqueue<J: Job>(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    job: &J,
    terms: Terms,
) -> Result<Uuid> {
    let row = row(now, job, terms)?;
    Ok(store::insert(tx, &row).await?)
}

/// Those of these serial keys under which something is still to be done. Where there is nothing the last job ended,
/// well or not: a worker may have been lost with it, its time may be over, an operator may have cancelled it.
///
/// # Errors
/// The database does not answer.
pub async fn owed(ctx: &Context, serial_keys: &[String]) -> Result<HashSet<String>> {
    Ok(store::list_owed(&ctx.db, serial_keys).await?.into_iter().collect())
}

/// The row a job would have: for verbs that insert many, or their own rows, in one statement.
///
/// # Errors
/// The payload does not serialise.
pub fn row<J: Job>(now: DateTime<Utc>, job: &J, terms: Terms) -> Result<store::NewJob> {
    Ok(store::NewJob {
        job_id: id::ordered(now),
        kind: J::KIND,
        version: J::VERSION,
        queue: J::QUEUE,
        priority: terms.priority.unwrap_or(J::PRIORITY),
        max_attempts: J::MAX_ATTEMPTS,
        payload: serde_json::to_value(job).map_err(Error::internal)?,
        run_at: terms.run_at.unwrap_or(now),
        created_at: now,
        expires_at: terms.expires_at,
        unique_key: terms.unique_key,
        serial_key: terms.serial_key,
        request_id: terms.request_id,
        traceparent: terms.traceparent,
    })
}

/// Does nothing: what a durable job costs by itself, for `bench` and for trying things out.
#[derive(Debug, Default, serde::Deserialize, Serialize)]
pub struct Noop {}

impl Job for Noop {
    const KIND: &'static str = "job.noop";
    const QUEUE: Queue = Queue::Default;

    async fn run(&self, _: &Context, _: &Lease) -> Verdict {
        Verdict::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_stays_within_its_bounds() {
        let backoff = Backoff { base: Duration::from_secs(1), most: Duration::from_secs(30) };
        assert_eq!(backoff.after(1, 0), Duration::from_millis(750));
        assert_eq!(backoff.after(2, 255), Duration::from_millis(2500));
        assert_eq!(backoff.after(i16::MAX, 255), Duration::from_millis(37_500));
    }

    #[test]
    fn a_lease_is_lost_before_somebody_else_may_have_the_job() {
        let holds = Holds::default();
        assert!(holds.age() > Duration::from_secs(3600), "nothing is held before the first renewal");
        holds.renewed(Instant::now());
        assert!(holds.age() < Duration::from_secs(1));
        for queue in Queue::ALL {
            assert_eq!(queue.name().parse::<Queue>().as_ref(), Ok(&queue));
            assert!(queue.safe() < queue.lease());
            // reaped within lease + tick + election, well under the promise
            let promise = if queue == Queue::Critical { 15 } else { 45 };
            assert!(queue.lease() + Duration::from_secs(5) < Duration::from_secs(promise));
        }
    }
}
