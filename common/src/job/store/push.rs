//! What a relay does: due rows are pushed, those nobody claimed handed back; and who leads.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::job::Queue;

/// A row that was pushed just now.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The job.
    pub job_id: Uuid,
    /// The number of this push.
    pub push: i32,
    /// For the order of messages.
    pub priority: i16,
    /// Whether a serial key must be taken at the claim.
    pub serial: bool,
    /// How many rows of the queue were pushed and unclaimed before this round.
    pub taken: i64,
}

/// Marks the next due rows as pushed, by priority and age, while fewer than `window` pushed rows of
/// the queue are unclaimed. Only the relay that leads the queue calls this, so the count holds over
/// all relays. A row whose serial key is taken, or has an earlier ready row, waits.
pub async fn push_due(
    tx: &mut PgConnection,
    queue: Queue,
    now: DateTime<Utc>,
    window: i64,
    most: i64,
) -> Sql<Vec<Pushed>> {
    sqlx::query_as!(
        Pushed,
        r#"WITH taken AS (
               SELECT count(*) AS n FROM jobs
               WHERE ready AND queue = $1 AND pushed AND state = 'available'
           ), due AS (
               SELECT job_id FROM jobs j
               WHERE ready AND queue = $1 AND NOT pushed AND state = 'available'
                 AND (expires_at IS NULL OR expires_at > $2)
                 AND (serial_key IS NULL OR NOT (
                      EXISTS (SELECT 1 FROM serial_locks s WHERE s.serial_key = j.serial_key)
                      OR EXISTS (SELECT 1 FROM jobs o WHERE o.serial_key = j.serial_key AND o.ready
                                 AND o.job_id <> j.job_id AND (o.pushed OR o.job_id < j.job_id))))
                 AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.queue = $1 AND q.paused_at IS NOT NULL)
               ORDER BY priority, job_id
               LIMIT least($4, greatest($3 - (SELECT n FROM taken), 0))
           )
           UPDATE jobs SET pushed = true, push = push + 1, pushed_at = $2
           FROM due WHERE jobs.job_id = due.job_id AND NOT jobs.pushed AND jobs.state = 'available'
           RETURNING jobs.job_id, push, priority, serial_key IS NOT NULL AS "serial!",
                     (SELECT n FROM taken) AS "taken!""#,
        queue.name(),
        now,
        window,
        most,
    )
    .fetch_all(tx)
    .await
}

/// How many rows of a queue are pushed and unclaimed.
pub async fn count_pushed(tx: &mut PgConnection, queue: Queue) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM jobs WHERE ready AND queue = $1 AND pushed AND state = 'available'"#,
        queue.name(),
    )
    .fetch_one(tx)
    .await
}

/// Scheduled and retryable rows that came due become available, a batch at a time. Answers with
/// their queues.
pub async fn promote_due(tx: &mut PgConnection, now: DateTime<Utc>, most: i64) -> Sql<Vec<String>> {
    sqlx::query_scalar!(
        "UPDATE jobs SET state = 'available', ready = true, pushed = false
         WHERE job_id IN (SELECT job_id FROM jobs
                          WHERE NOT ready AND run_at <= $1 AND state IN ('scheduled', 'retryable')
                          ORDER BY run_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING queue",
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// Pushed rows nobody claimed in time are handed back, to be pushed again under a new number. The
/// patience doubles with each push that led to no attempt: where all slots are taken, messages wait in
/// Redis, and pushing more of them would not help.
pub async fn unpush_stale(
    tx: &mut PgConnection,
    queue: Queue,
    now: DateTime<Utc>,
    patience: Duration,
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE jobs SET pushed = false
         WHERE job_id IN (
             SELECT job_id FROM jobs
             WHERE ready AND queue = $1 AND pushed AND state = 'available'
               AND pushed_at + make_interval(secs => $3 * 2 ^ least(greatest(push - attempt - 1, 0), 6)) < $2
             FOR UPDATE SKIP LOCKED)",
        queue.name(),
        now,
        patience.as_secs_f64(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Hands every pushed, unclaimed row of a queue back: Redis forgot them.
pub async fn unpush_all(tx: &mut PgConnection, queue: Queue) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE jobs SET pushed = false
         WHERE job_id IN (SELECT job_id FROM jobs WHERE ready AND queue = $1 AND pushed AND state = 'available'
                          FOR UPDATE SKIP LOCKED)",
        queue.name(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Hands pushed, unclaimed rows back: a push that did not reach Redis, a paused queue, a taken serial key.
pub async fn unpush(tx: impl PgExecutor<'_>, ids: &[Uuid], pushes: &[i32]) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE jobs SET pushed = false FROM unnest($1::uuid[], $2::int[]) AS p(id, push)
         WHERE job_id = p.id AND jobs.push = p.push AND state = 'available' AND pushed",
        ids,
        pushes,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Retryable jobs whose unique key is now held by a younger waiting job are cancelled: that one will
/// do their work.
pub async fn supersede(tx: &mut PgConnection, now: DateTime<Utc>) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH gone AS (
             DELETE FROM jobs WHERE NOT ready AND state = 'retryable' AND unique_key IS NOT NULL
                 AND waiting_key IS NULL AND run_at <= $1
                 AND EXISTS (SELECT 1 FROM jobs o WHERE o.kind = jobs.kind AND o.waiting_key = jobs.unique_key)
             RETURNING *
         )
         INSERT INTO finished_jobs (job_id, kind, version, queue, priority, state, attempt, payload, unique_key,
                                    created_at, started_at, finished_at, error, request_id, traceparent)
         SELECT job_id, kind, version, queue, priority, 'cancelled', attempt, payload, unique_key,
                created_at, started_at, $1, 'a later job with the same key does the work', request_id, traceparent
         FROM gone",
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Waiting jobs past their expiry become dead letters with that reason.
pub async fn discard_expired(tx: &mut PgConnection, queue: Queue, now: DateTime<Utc>, most: i64) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE jobs SET state = 'discarded', ready = false, pushed = false, run_at = 'infinity',
                         discarded_at = $2, waiting_key = NULL,
                         error = concat_ws('; ', 'expired before it could run', error)
         WHERE job_id IN (SELECT job_id FROM jobs
                          WHERE ready AND queue = $1 AND NOT pushed AND state = 'available' AND expires_at <= $2
                          LIMIT $3 FOR UPDATE SKIP LOCKED)",
        queue.name(), now, most,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Tries to lead a queue's relay: a session lock, given back when the connection ends.
pub async fn try_lead(session: &mut PgConnection, queue: Queue) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtext('keryu.relay'), hashtext($1)) AS "led!""#,
        queue.name(),
    )
    .fetch_one(session)
    .await
}

/// Makes a session a relay's. Its statements walk the partial index in its order; sorting the backlog
/// would cost ten times more, and a fast-changing table has no statistics that would say so.
/// And the longest it may say nothing: a stalled leader loses the session, and the lead with it.
pub async fn set_relay_session(session: &mut PgConnection, patience: Duration) -> Sql<()> {
    sqlx::query!(
        "SELECT set_config('idle_session_timeout', $1, false) AS idle,
                set_config('idle_in_transaction_session_timeout', $1, false) AS in_transaction,
                set_config('enable_sort', 'off', false) AS sort,
                set_config('enable_bitmapscan', 'off', false) AS bitmapscan",
        format!("{}ms", patience.as_millis()),
    )
    .fetch_one(session)
    .await?;
    Ok(())
}

/// The queue's epoch: what a relay expects to find in Redis.
pub async fn find_epoch(tx: &mut PgConnection, queue: Queue) -> Sql<Option<i64>> {
    sqlx::query_scalar!("SELECT epoch FROM queues WHERE queue = $1", queue.name()).fetch_optional(tx).await
}

/// Starts a new epoch: Redis forgot the queue.
pub async fn raise_epoch(tx: &mut PgConnection, queue: Queue) -> Sql<Option<i64>> {
    sqlx::query_scalar!("UPDATE queues SET epoch = epoch + 1 WHERE queue = $1 RETURNING epoch", queue.name())
        .fetch_optional(tx)
        .await
}

/// When the next scheduled or retryable row comes due.
pub async fn find_next_due(tx: &mut PgConnection) -> Sql<Option<DateTime<Utc>>> {
    sqlx::query_scalar!("SELECT min(run_at) FROM jobs WHERE NOT ready AND run_at < 'infinity'")
        .fetch_one(tx)
        .await
}
