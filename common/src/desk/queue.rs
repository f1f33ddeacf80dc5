//! Queues on the desk: depths, pausing, and why a queue is not worked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use super::store::{self, Worker};
use super::{Hand, QUEUE_NOT_FOUND};
use crate::context::Context;
use crate::error::Result;
use crate::job::Queue;
use crate::job::store::{self as ledger, Depth};
use crate::role::Permission;

/// How long a worker may be silent and count as alive.
const ALIVE: Duration = Duration::from_secs(30);
/// How far jobs are counted, by queue and state: what waits for its time and what is dead over all queues.
pub const COUNTED: i64 = 100_000;

/// A queue as it is shown. Jobs are counted up to [`COUNTED`]; none: they could not be counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueueState {
    /// Its name.
    pub queue: String,
    /// Since when it is paused; none: it is worked.
    pub paused_at: Option<DateTime<Utc>>,
    /// Jobs whose time has not come.
    pub scheduled: Option<i64>,
    /// Jobs that are due.
    pub available: Option<i64>,
    /// Of the jobs that are due, those handed to Redis: at most 2,000 over all workers.
    pub pushed: Option<i64>,
    /// Jobs that run.
    pub running: Option<i64>,
    /// Jobs that wait for their next try.
    pub retryable: Option<i64>,
    /// Dead letters.
    pub discarded: Option<i64>,
    /// How long the oldest due job has waited, in seconds.
    pub oldest_seconds: Option<i64>,
    /// Workers that work it and are alive.
    pub workers: Option<i64>,
}

/// All queues, most urgent first.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn list(ctx: &Context, hand: Hand<'_>) -> Result<Vec<QueueState>> {
    hand.may(Permission::JobsRead)?;
    let now = ctx.now();
    let paused = store::list_queues(&ctx.db).await?;
    let workers = store::list_workers(&ctx.db).await?;
    let mut tx = ctx.db.begin().await?;
    ledger::walk_indexes(&mut tx).await?;
    let depths = ledger::count_depths(&mut *tx, COUNTED).await?;
    let oldest = ledger::list_oldest(&mut *tx, now).await?;
    tx.commit().await?;
    let states = Queue::ALL.iter().map(|queue| {
        let name = queue.name();
        let count = |is: fn(&Depth) -> bool| {
            let its = depths.iter().filter(|depth| depth.queue == name && is(depth));
            Some(its.map(|depth| depth.jobs).sum::<i64>())
        };
        let works = |worker: &&Worker| is_alive(worker, now) && works(worker, name);
        let due = oldest.iter().filter(|oldest| oldest.queue == name).map(|oldest| oldest.due).min();
        QueueState {
            queue: name.to_owned(),
            paused_at: paused.iter().find(|row| row.queue == name).and_then(|row| row.paused_at),
            scheduled: count(|depth| depth.state == "scheduled"),
            available: count(|depth| depth.state == "available"),
            pushed: count(|depth| depth.state == "available" && depth.pushed),
            running: count(|depth| depth.state == "running"),
            retryable: count(|depth| depth.state == "retryable"),
            discarded: count(|depth| depth.state == "discarded"),
            oldest_seconds: due.map(|at| (now - at).num_seconds().max(0)),
            workers: i64::try_from(workers.iter().filter(works).count()).ok(),
        }
    });
    Ok(states.collect())
}

fn is_alive(worker: &Worker, now: DateTime<Utc>) -> bool {
    worker.renewed_at + ALIVE > now
}

/// A worker of an older build does not say what it works: it may work everything.
fn works(worker: &Worker, queue: &str) -> bool {
    worker.queues.is_empty() || worker.queues.iter().any(|name| name == queue)
}

/// Why a queue is not worked, and what to do: paused, or no worker. None where it is.
pub(crate) async fn obstacle(ctx: &Context, queue: &str) -> Result<Option<String>> {
    let paused = store::list_queues(&ctx.db).await?;
    if let Some(at) = paused.iter().find(|row| row.queue == queue).and_then(|row| row.paused_at) {
        let since = super::job::at(at);
        return Ok(Some(format!(
            "the queue {queue} is paused since {since}: `queues resume {queue}` lets it go on."
        )));
    }
    let workers = store::list_workers(&ctx.db).await?;
    let mut working = workers.iter().filter(|worker| works(worker, queue));
    let Some(last) = working.next() else {
        return Ok(Some(format!("no worker works the queue {queue}: start one, `keryu-worker run`.")));
    };
    if is_alive(last, ctx.now()) {
        return Ok(None);
    }
    let seen = super::job::at(last.renewed_at);
    Ok(Some(format!(
        "no worker that works the queue {queue} is alive (the last was {} on {}, seen {seen}): start one, `keryu-worker run`.",
        last.pid, last.host
    )))
}

/// Pauses a queue: from now on no worker begins a job of it, until it is resumed; also over restarts. What
/// runs goes on.
///
/// # Errors
/// `auth.forbidden`, `queue.not_found`, or the database does not answer.
pub async fn pause(ctx: &Context, hand: Hand<'_>, name: &str) -> Result<QueueState> {
    set(ctx, hand, name, true).await
}

/// Lets a paused queue go on.
///
/// # Errors
/// As [`pause`].
pub async fn resume(ctx: &Context, hand: Hand<'_>, name: &str) -> Result<QueueState> {
    set(ctx, hand, name, false).await
}

async fn set(ctx: &Context, hand: Hand<'_>, name: &str, paused: bool) -> Result<QueueState> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let found = store::lock_queue(&mut tx, name).await?;
    let found = found.ok_or_else(|| QUEUE_NOT_FOUND.refuse("There is no queue with this name."))?;
    // asked for twice: the first holds
    if found.paused_at.is_some() != paused {
        store::set_paused(&mut tx, name, paused.then_some(now)).await?;
        let action = if paused { "queue.paused" } else { "queue.resumed" };
        let details = json!({ "paused_at": found.paused_at });
        hand.note(&mut tx, action, ("queue", name.to_owned()), details, now).await?;
    }
    tx.commit().await?;
    if let Ok(queue) = name.parse() {
        ctx.wake.queue(queue);
    }
    // it is done, whether or not its jobs can be counted
    let states = list(ctx, Hand { person: None, ..hand }).await.unwrap_or_else(|error| {
        tracing::warn!(%error, queue = name, "not counted");
        Vec::new()
    });
    let paused_at = if paused { found.paused_at.or(Some(now)) } else { None };
    let state = states.into_iter().find(|state| state.queue == name);
    Ok(state.unwrap_or_else(|| QueueState { queue: name.to_owned(), paused_at, ..QueueState::default() }))
}
