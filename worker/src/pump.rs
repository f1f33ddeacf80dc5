//! The transport: messages of job ids through apalis over Redis. The only file that names apalis.
//!
//! apalis carries, the ledger decides: a handler here claims what a message names and answers Ok at
//! once; delays, order, attempts, leases and verdicts are rows. The odd settings are guards against
//! what apalis 1.0 was measured to do; `docs/guards.md` names each with its test.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Cx, Poll};
use std::time::{Duration, Instant};

use apalis_core::backend::codec::Codec;
use apalis_core::backend::ext::BackendExt;
use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_redis::{Config, RedisStorage, queries};
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use keryu_common::job::Queue;
use keryu_common::{id, secret};
use redis::aio::ConnectionManager;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use uuid::Uuid;

use crate::runner::{Pair, Runner};

/// Asks Redis at least this often; wake-ups make it sooner.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// Asks once more this long after a wake-up: the fetch under way may have started before the push.
const SECOND_LOOK: Duration = Duration::from_millis(2);
/// Messages per fetch. A message holds up to 200 jobs, so this stays small.
const FETCH: usize = 4;
/// Long enough that a short stall of Redis does not end the worker.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The queue's name in Redis.
pub fn redis_name(prefix: &str, queue: Queue) -> String {
    format!("{prefix}:{queue}")
}

fn config(prefix: &str, queue: Queue) -> Config {
    Config::default()
        .queue(redis_name(prefix, queue))
        .batch_size(FETCH)
        // orphan age 60 s, well over the 25 s of a drain
        .heartbeat_interval(Duration::from_secs(20))
        .missed_heartbeats(3)
        // leases are the ledger's; nobody listens to apalis' events
        .lock_tasks(false)
        .emit_events(false)
}

/// What a message carries. Decoding never fails: a payload nobody can read names no jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Whether the pairs need their serial keys taken.
    pub serial: bool,
    /// Job ids with the number of this push.
    pub pairs: Vec<Pair>,
}

/// `K1` or `K2` (serial), then 20 bytes a pair: the id, and the push number in network order.
#[derive(Clone, Debug)]
pub struct Wire;

impl Codec<Envelope> for Wire {
    type Error = Infallible;
    type Compact = Vec<u8>;

    fn encode(&self, envelope: &Envelope) -> Result<Vec<u8>, Infallible> {
        let mut bytes = Vec::with_capacity(2 + envelope.pairs.len() * 20);
        bytes.extend_from_slice(if envelope.serial { b"K2" } else { b"K1" });
        for (id, push) in &envelope.pairs {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&push.to_be_bytes());
        }
        Ok(bytes)
    }

    fn decode(&self, bytes: &Vec<u8>) -> Result<Envelope, Infallible> {
        let unreadable = Envelope { serial: false, pairs: Vec::new() };
        let Some((head, body)) = bytes.split_at_checked(2) else { return Ok(unreadable) };
        let serial = match head {
            b"K1" => false,
            b"K2" => true,
            _ => return Ok(unreadable),
        };
        let (chunks, rest) = body.as_chunks::<20>();
        if !rest.is_empty() {
            return Ok(unreadable);
        }
        let pair = |chunk: &[u8; 20]| {
            let (mut id, mut push) = ([0; 16], [0; 4]);
            id.copy_from_slice(&chunk[..16]);
            push.copy_from_slice(&chunk[16..]);
            (Uuid::from_bytes(id), i32::from_be_bytes(push))
        };
        Ok(Envelope { serial, pairs: chunks.iter().map(pair).collect() })
    }
}

/// Pushes messages, each under an id never used before: apalis ignores one it has seen.
///
/// # Errors
/// Redis did not answer; the rows are pushed again in time.
pub async fn push(
    redis: &mut ConnectionManager,
    prefix: &str,
    queue: Queue,
    envelopes: &[Envelope],
) -> Result<(), BoxDynError> {
    let tasks: Vec<Task<Vec<u8>>> = envelopes
        .iter()
        .map(|envelope| {
            let Ok(bytes) = Wire.encode(envelope);
            TaskBuilder::new(bytes).task_id(TaskId::from_string(secret::hex(&secret::random::<12>()))).build()
        })
        .collect();
    queries::push_tasks(redis, &config(prefix, queue), &tasks).await?;
    Ok(())
}

/// Rings the pump of one queue: messages were pushed.
#[derive(Debug)]
pub struct Bell {
    rung: AtomicU64,
    waker: AtomicWaker,
    since: Instant,
    polled: AtomicU64,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            rung: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            since: Instant::now(),
            polled: AtomicU64::new(0),
        }
    }
}

impl Bell {
    /// Wakes the pump.
    pub fn ring(&self) {
        self.rung.fetch_add(1, Ordering::Release);
        self.waker.wake();
    }

    /// Time since the pump last asked Redis for messages.
    pub fn idle(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.polled.load(Ordering::Relaxed)))
    }

    fn note_poll(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.polled.store(millis, Ordering::Relaxed);
    }
}

/// When to ask: at each ring, once more shortly after, and once a second. Re-arms *and* polls its
/// timer, so that no wake-up is lost.
struct Every {
    bell: Arc<Bell>,
    heard: u64,
    sleep: Pin<Box<Sleep>>,
}

impl PollStrategy for Every {
    fn poll_drive(&mut self, cx: &mut Cx<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        self.bell.waker.register(cx.waker());
        self.bell.note_poll();
        let rung = self.bell.rung.load(Ordering::Acquire);
        let mut fired = false;
        if rung != self.heard {
            self.heard = rung;
            fired = true;
            self.sleep.as_mut().reset(tokio::time::Instant::now() + SECOND_LOOK);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            fired = true;
            self.sleep.as_mut().reset(tokio::time::Instant::now() + IDLE_POLL);
        }
        if fired { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

/// The handler: open while a slot is free, claims what a message names, always answers Ok.
#[derive(Clone)]
struct Door {
    runner: Arc<Runner>,
    redis: ConnectionManager,
}

impl Service<Task<Envelope>> for Door {
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), BoxDynError>> {
        if self.runner.is_open() {
            return Poll::Ready(Ok(()));
        }
        self.runner.door.register(cx.waker());
        // a slot given back between the two looks would ring nobody
        if self.runner.is_open() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, task: Task<Envelope>) -> Self::Future {
        let (runner, redis) = (Arc::clone(&self.runner), self.redis.clone());
        let Envelope { serial, pairs } = task.args;
        Box::pin(async move {
            if pairs.is_empty() {
                tracing::warn!(queue = %runner.queue, "a message that names no jobs");
            }
            // in a task of its own: whatever happens there, apalis hears Ok
            let _ = tokio::spawn(take(runner, redis, pairs, serial)).await;
            Ok(())
        })
    }
}

/// What finds no slot here goes back to the queue as it is, for whoever has one: a message may hold more
/// jobs than a worker has slots.
async fn take(runner: Arc<Runner>, mut redis: ConnectionManager, pairs: Vec<Pair>, serial: bool) {
    let pairs = runner.take(pairs, serial).await;
    if pairs.is_empty() {
        return;
    }
    let prefix = runner.shared.ctx.config.job.prefix.clone();
    let envelope = Envelope { serial, pairs };
    if push(&mut redis, &prefix, runner.queue, std::slice::from_ref(&envelope)).await.is_err() {
        runner.hand_back(&envelope.pairs).await;
        return;
    }
    let channel = keryu_common::job::wake::channel(&prefix, "pushed");
    // unheard, the others' poll finds it
    let _: redis::RedisResult<i64> =
        redis::cmd("PUBLISH").arg(channel).arg(runner.queue.name()).query_async(&mut redis).await;
}

/// Fetches and hands over until told to stop, or until Redis fails: then the caller starts it anew.
///
/// # Errors
/// Whatever ended the apalis worker.
pub async fn run(
    redis: ConnectionManager,
    prefix: &str,
    runner: Arc<Runner>,
    bell: Arc<Bell>,
    stop: CancellationToken,
) -> Result<(), BoxDynError> {
    let queue = runner.queue;
    // a name cannot return within the orphan age, so each start has its own
    let name = format!("{queue}-{}-{}", host(), id::ordered(runner.shared.ctx.now()).simple());
    let config = config(prefix, queue);
    let strategy = Every { bell, heard: 0, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) };
    let backend = RedisStorage::<Envelope>::new(redis.clone())
        .with_config(config.clone())
        .with_codec(Wire)
        .poll_with_strategy(strategy);
    tokio::spawn(lapse(redis.clone(), config.worker_metadata_key(&WorkerContext::new(&name))));
    let door = Door { runner: Arc::clone(&runner), redis: redis.clone() };
    let worker = WorkerBuilder::new(WorkerContext::new(&name)).backend(backend).build(door);
    let result = worker
        .run_until(async move {
            stop.cancelled().await;
            Ok::<(), apalis_core::error::WorkerError>(())
        })
        .await;
    match leave(redis, &config, &name).await {
        Ok(pairs) if pairs.is_empty() => {}
        Ok(pairs) => runner.hand_back(&pairs).await,
        Err(error) => tracing::debug!(%error, "what was fetched is pushed again in time"),
    }
    result.map_err(Into::into)
}

/// A killed worker cannot forget its metadata key: it lapses.
async fn lapse(mut redis: ConnectionManager, key: String) {
    tokio::time::sleep(Duration::from_secs(5)).await; // apalis has registered by then, or never will
    let _: Result<i64, _> = redis::cmd("EXPIRE").arg(key).arg(86_400).query_async(&mut redis).await;
}

/// What apalis leaves behind at each end: the name, its metadata, and messages that were fetched and
/// not handled. Answers with the jobs these name; those that were claimed are not theirs to give back.
async fn leave(mut redis: ConnectionManager, config: &Config, name: &str) -> redis::RedisResult<Vec<Pair>> {
    let worker = WorkerContext::new(name);
    let inflight = config.inflight_set_for(&worker);
    let ids: Vec<String> = redis::cmd("SMEMBERS").arg(&inflight).query_async(&mut redis).await?;
    let mut pipe = redis::pipe();
    pipe.cmd("ZREM").arg(config.workers_set()).arg(name).ignore();
    pipe.cmd("UNLINK").arg(config.worker_metadata_key(&worker)).arg(&inflight).ignore();
    let mut pairs = Vec::new();
    if !ids.is_empty() {
        let data = config.job_data_hash();
        let messages: Vec<Option<Vec<u8>>> =
            redis::cmd("HMGET").arg(&data).arg(&ids).query_async(&mut redis).await?;
        for message in messages.into_iter().flatten() {
            let Ok(envelope) = Wire.decode(&message);
            pairs.extend(envelope.pairs);
        }
        pipe.cmd("HDEL").arg(data).arg(&ids).ignore();
        let metas: Vec<String> = ids.iter().map(|id| format!("{}:{id}", config.job_meta_hash())).collect();
        pipe.cmd("UNLINK").arg(&metas).ignore();
    }
    let () = pipe.query_async(&mut redis).await?;
    Ok(pairs)
}

/// Finished messages are never deleted by apalis: removes up to 500 of a queue, answers with how many.
///
/// # Errors
/// Redis did not answer.
pub async fn trim(redis: &mut ConnectionManager, prefix: &str, queue: Queue) -> redis::RedisResult<usize> {
    let config = config(prefix, queue);
    let mut gone: Vec<String> = Vec::new();
    for set in [config.done_jobs_set(), config.dead_jobs_set()] {
        let ids: Vec<String> = redis::cmd("SPOP").arg(set).arg(500).query_async(redis).await?;
        gone.extend(ids);
    }
    if gone.is_empty() {
        return Ok(0);
    }
    let mut pipe = redis::pipe();
    pipe.cmd("HDEL").arg(config.job_data_hash()).arg(&gone).ignore();
    let keys: Vec<String> = gone.iter().map(|id| format!("{}:{id}", config.job_meta_hash())).collect();
    pipe.cmd("UNLINK").arg(&keys).ignore();
    let () = pipe.query_async(redis).await?;
    Ok(gone.len())
}

/// How many apalis workers of the queue have a heartbeat: for sharing a batch out among them.
///
/// # Errors
/// Redis did not answer.
pub async fn count_workers(
    redis: &mut ConnectionManager,
    prefix: &str,
    queue: Queue,
) -> redis::RedisResult<usize> {
    redis::cmd("ZCARD").arg(config(prefix, queue).workers_set()).query_async(redis).await
}

pub(crate) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_decode() {
        let envelope =
            Envelope { serial: true, pairs: vec![(Uuid::from_u128(7), 3), (Uuid::from_u128(8), -1)] };
        let Ok(bytes) = Wire.encode(&envelope);
        assert_eq!(Wire.decode(&bytes), Ok(envelope));
        for garbage in [&b""[..], b"K", b"{\"v\":2}", b"K1short", b"K9\0\0\0\0"] {
            assert_eq!(Wire.decode(&garbage.to_vec()).map(|e| e.pairs.len()), Ok(0), "{garbage:?}");
        }
    }
}
