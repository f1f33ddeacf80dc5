//! Where passwords are hashed: a few threads of their own, each with its memory, behind a short queue.
//! Tasks that serve requests never hash, and the system's scheduler lets them go before.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::hash::{self, Cost, Memory};
use super::{BUSY, Config};
use crate::error::{Error, Result};
use crate::telemetry::Metrics;

/// How much work may wait.
const QUEUE: Duration = Duration::from_secs(2);
/// What a hash takes until one was timed.
const GUESS: Duration = Duration::from_millis(10);
/// Hashes that may always wait, however slow the machine. One that waits is its text and nothing more; a few
/// dozen callers who are told to come back, and do so at once, would keep the machine slow.
const LEAST: usize = 64;
/// The nice value of the threads: about a tenth of a core against a busy one that serves requests, all of
/// an idle one.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// Hashes and verifies passwords, away from the tasks that serve requests. Its threads start with the
/// first password.
pub struct Hasher {
    cost: Cost,
    threads: usize,
    pool: OnceLock<mpsc::Sender<Work>>,
    load: Arc<Load>,
    refused: Counter,
}

/// What waits, and how long one takes.
struct Load {
    waiting: AtomicUsize,
    shown: Gauge,
    micros: AtomicU64,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Hasher {
    /// Starts nothing yet.
    pub fn open(config: &Config, metrics: &Metrics) -> Self {
        let (refused, shown) = (Counter::default(), Gauge::default());
        metrics.register(|registry| {
            registry.register("passwords_refused", "Passwords not hashed for want of room", refused.clone());
            registry.register(
                "passwords_waiting",
                "Passwords that are hashed or wait for it just now",
                shown.clone(),
            );
        });
        Self {
            cost: config.cost,
            threads: config.threads,
            pool: OnceLock::new(),
            load: Arc::new(Load {
                waiting: AtomicUsize::new(0),
                shown,
                micros: AtomicU64::new(u64::try_from(GUESS.as_micros()).unwrap_or(u64::MAX)),
            }),
            refused,
        }
    }

    /// The hash of a new password, as a PHC string.
    ///
    /// # Errors
    /// `auth.busy` when too many wait.
    pub async fn hash(&self, text: &str) -> Result<String> {
        let (cost, text) = (self.cost, text.as_bytes().to_vec());
        self.run(move |memory| hash::hash(memory, cost, &text)).await
    }

    /// Whether the text is what was hashed. Without a hash: no, in the same time.
    ///
    /// # Errors
    /// `auth.busy` when too many wait.
    pub async fn verify(&self, stored: Option<&str>, text: &str) -> Result<bool> {
        let (cost, stored, text) = (self.cost, stored.map(ToOwned::to_owned), text.as_bytes().to_vec());
        self.run(move |memory| hash::verify(memory, cost, stored.as_deref(), &text)).await
    }

    /// Whether a stored hash was made at less than the present setting.
    pub fn needs_rehash(&self, stored: &str) -> bool {
        hash::needs_rehash(stored, self.cost)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.load.enter(self.threads).ok_or_else(|| {
            self.refused.inc();
            BUSY.refuse_for("Too many passwords are being checked just now.", QUEUE)
        })?;
        let (back, answer) = oneshot::channel();
        let work: Work = Box::new(move |memory| {
            let place = place;
            // whoever went away needs no answer
            if !back.is_closed() {
                let started = Instant::now();
                let done = work(memory);
                place.0.timed(started.elapsed());
                drop(place);
                let _ = back.send(done);
            }
        });
        let queue = self.pool.get_or_init(|| start(self.threads));
        queue.send(work).map_err(|_| Error::internal("no thread hashes passwords"))?;
        answer.await.map_err(|_| Error::internal("a thread that hashes passwords panicked"))?
    }
}

/// A place in the queue until it is dropped.
struct Place(Arc<Load>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.shown.dec();
    }
}

impl Load {
    fn enter(self: &Arc<Self>, threads: usize) -> Option<Place> {
        let most = most(Duration::from_micros(self.micros.load(Ordering::Relaxed)), threads);
        let room = |waiting: usize| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        self.shown.inc();
        Some(Place(Arc::clone(self)))
    }

    /// An eighth of the average is the newest.
    fn timed(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(1 << 32);
        let _ = self
            .micros
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |average| Some((average * 7 + took) / 8));
    }
}

/// How many may wait or be at work.
fn most(one: Duration, threads: usize) -> usize {
    let each = QUEUE.as_micros() / one.as_micros().max(1);
    usize::try_from(each).unwrap_or(usize::MAX).saturating_mul(threads).max(LEAST)
}

/// The threads end with the sender.
fn start(threads: usize) -> mpsc::Sender<Work> {
    let (queue, work) = mpsc::channel::<Work>();
    let work = Arc::new(Mutex::new(work));
    for _ in 0..threads {
        let work = Arc::clone(&work);
        let started = std::thread::Builder::new().name("hasher".to_owned()).spawn(move || {
            step_back();
            let mut memory = Memory::default();
            loop {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(next) = next else { return };
                // the caller sees its channel close; the thread goes on
                let _ = catch_unwind(AssertUnwindSafe(|| next(&mut memory)));
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "a thread that hashes passwords did not start");
        }
    }
    queue
}

/// On Linux the nice value is a thread's own; elsewhere it is the whole process', and is let be.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "passwords are hashed at the priority of requests");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, Stage};

    fn hasher(threads: &str) -> Hasher {
        let pairs = [("PASSWORD_MEMORY", "64"), ("PASSWORD_THREADS", threads)];
        Hasher::open(&Config::read(&mut Source::of(pairs), Stage::Development), &Metrics::default())
    }

    #[tokio::test]
    async fn passwords_are_hashed_and_verified_on_threads_of_their_own() {
        let hasher = hasher("2");
        let stored = hasher.hash("correct horse").await.expect("hash");
        assert!(hasher.verify(Some(&stored), "correct horse").await.expect("verdict"));
        assert!(!hasher.verify(Some(&stored), "battery staple").await.expect("verdict"));
        assert!(!hasher.verify(None, "correct horse").await.expect("verdict"));
        assert_eq!(hasher.load.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_says_when_to_come_back() {
        let hasher = hasher("1");
        let places: Vec<_> = std::iter::from_fn(|| hasher.load.enter(1)).collect();
        let Err(Error::Refusal(refusal)) = hasher.verify(None, "x").await else { panic!("let in") };
        assert_eq!((refusal.code, refusal.status, refusal.retry_after), (BUSY.code, 503, Some(QUEUE)));
        drop(places);
        assert!(hasher.verify(None, "x").await.is_ok(), "there is room again");
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_no_thread() {
        let hasher = hasher("1");
        let lost: Result<()> = hasher.run(|_| panic!("planted")).await;
        assert!(matches!(lost, Err(Error::Internal(_))));
        assert!(hasher.hash("x").await.is_ok());
        assert_eq!(hasher.load.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn two_seconds_of_work_may_wait() {
        assert_eq!(most(Duration::from_millis(10), 2), 400);
        assert_eq!(most(Duration::from_secs(60), 2), LEAST);
    }
}
