//! The ledger's SQL: one statement a function, rows out, no decisions.
//!
//! Hot statements work on arrays: one claims a batch, one finishes it. They touch no indexed column
//! on the way from available to running (see the migration), so that a job costs what a row costs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Queue;

type Sql<T> = Result<T, sqlx::Error>;

/// A job to insert.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Chosen by the caller, so that it can be told before the commit.
    pub job_id: Uuid,
    /// `slice.verb_noun`.
    pub kind: &'static str,
    /// Of the payload.
    pub version: i16,
    /// Where it waits.
    pub queue: Queue,
    /// 0 first.
    pub priority: i16,
    /// Before it is a dead letter.
    pub max_attempts: i16,
    /// Ids, never a secret.
    pub payload: Value,
    /// Not before.
    pub run_at: DateTime<Utc>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Dead after.
    pub expires_at: Option<DateTime<Utc>>,
    /// One waiting job per key and kind.
    pub unique_key: Option<String>,
    /// Never two running with one key.
    pub serial_key: Option<String>,
    /// The request that asked.
    pub request_id: Option<String>,
    /// Its trace.
    pub traceparent: Option<String>,
}

/// Inserts a job, or hands its payload to the waiting one with the same unique key. That locks the
/// waiting row, so no claim passes before the caller commits.
pub async fn insert(tx: &mut PgConnection, job: &NewJob) -> Sql<Uuid> {
    sqlx::query_scalar!(
        "INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload,
                           unique_key, waiting_key, serial_key, run_at, expires_at, created_at,
                           request_id, traceparent)
         VALUES ($1, $2, $3, $4, $5,
                 CASE WHEN $6::timestamptz <= $7::timestamptz THEN 'available' ELSE 'scheduled' END::job_state, $6 <= $7,
                 $8, $9, $10, $10, $11, $6, $12, $7, $13, $14)
         ON CONFLICT (kind, waiting_key) WHERE waiting_key IS NOT NULL
         DO UPDATE SET payload = excluded.payload, version = excluded.version,
             -- the later request is owed all it would have had
             expires_at = CASE WHEN jobs.expires_at IS NULL OR excluded.expires_at IS NULL THEN NULL
                               ELSE greatest(jobs.expires_at, excluded.expires_at) END,
             priority = least(jobs.priority, excluded.priority),
             max_attempts = jobs.attempt + excluded.max_attempts
         RETURNING job_id",
        job.job_id, job.kind, job.version, job.queue.name(), job.priority, job.run_at, job.created_at,
        job.max_attempts, job.payload, job.unique_key, job.serial_key, job.expires_at,
        job.request_id, job.traceparent,
    )
    .fetch_one(tx)
    .await
}

/// Inserts many jobs of one kind that are due at `run_at`, without unique keys.
pub async fn insert_many(
    tx: impl PgExecutor<'_>,
    like: &NewJob,
    ids: &[Uuid],
    payloads: &[Value],
) -> Sql<u64> {
    let done = sqlx::query!(
        "INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload,
                           run_at, expires_at, created_at)
         SELECT id, $3, $4, $5, $6,
                CASE WHEN $7::timestamptz <= $8::timestamptz THEN 'available' ELSE 'scheduled' END::job_state, $7 <= $8,
                $9, payload, $7, $10, $8
         FROM unnest($1::uuid[], $2::jsonb[]) AS n(id, payload)",
        ids, payloads, like.kind, like.version, like.queue.name(), like.priority, like.run_at,
        like.created_at, like.max_attempts, like.expires_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

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

/// A claimed job, as its handler needs it.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The job.
    pub job_id: Uuid,
    /// Which handler.
    pub kind: String,
    /// Of the payload.
    pub version: i16,
    /// Undecoded.
    pub payload: Value,
    /// From 1; this claim included.
    pub attempt: i16,
    /// Before it is a dead letter.
    pub max_attempts: i16,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it came due.
    pub run_at: DateTime<Utc>,
    /// Dead after.
    pub expires_at: Option<DateTime<Utc>>,
    /// The request that asked.
    pub request_id: Option<String>,
    /// Its trace.
    pub traceparent: Option<String>,
}

/// The claim fence: takes each pair whose number is still the row's, counts the attempt, and leaves
/// out what is gone, claimed, re-pushed, serial, or in a paused queue.
pub async fn claim(
    tx: impl PgExecutor<'_>,
    queue: Queue,
    lease_id: Uuid,
    now: DateTime<Utc>,
    ids: &[Uuid],
    pushes: &[i32],
) -> Sql<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_id = $4, started_at = $5,
                         waiting_key = NULL
         FROM unnest($2::uuid[], $3::int[]) AS p(id, push)
         WHERE job_id = p.id AND jobs.push = p.push AND pushed AND state = 'available'
           AND serial_key IS NULL
           AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.queue = $1 AND q.paused_at IS NOT NULL)
         RETURNING job_id, kind, version, payload, attempt, max_attempts, created_at, run_at, expires_at,
                   request_id, traceparent",
        queue.name(),
        ids,
        pushes,
        lease_id,
        now,
    )
    .fetch_all(tx)
    .await
}

/// As [`claim`], for rows with a serial key: the key is taken first, and who does not get it stays.
pub async fn claim_serial(
    tx: impl PgExecutor<'_>,
    queue: Queue,
    lease_id: Uuid,
    now: DateTime<Utc>,
    ids: &[Uuid],
    pushes: &[i32],
) -> Sql<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        "WITH locked AS (
             INSERT INTO serial_locks (serial_key, job_id)
             SELECT DISTINCT ON (serial_key) serial_key, job_id
             FROM jobs JOIN unnest($2::uuid[], $3::int[]) AS p(id, push) ON job_id = p.id AND jobs.push = p.push
             WHERE state = 'available' AND pushed AND serial_key IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.queue = $1 AND q.paused_at IS NOT NULL)
             ORDER BY serial_key, job_id
             ON CONFLICT DO NOTHING RETURNING serial_locks.job_id
         )
         UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_id = $4, started_at = $5,
                         waiting_key = NULL
         FROM unnest($2::uuid[], $3::int[]) AS p(id, push)
         WHERE jobs.job_id = p.id AND jobs.push = p.push AND pushed AND state = 'available'
           AND jobs.job_id IN (SELECT job_id FROM locked)
         RETURNING jobs.job_id, kind, version, payload, attempt, max_attempts, created_at, run_at, expires_at,
                   request_id, traceparent",
        queue.name(), ids, pushes, lease_id, now,
    )
    .fetch_all(tx)
    .await
}

/// Claims without Redis: the most urgent waiting rows, pushed or not, under a new push number so that
/// a message still on its way claims nothing.
pub async fn claim_direct(
    tx: impl PgExecutor<'_>,
    queue: Queue,
    lease_id: Uuid,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_id = $2, started_at = $3,
                         waiting_key = NULL, pushed = true, push = push + 1, pushed_at = $3
         WHERE job_id IN (
             SELECT job_id FROM jobs
             WHERE ready AND queue = $1 AND state = 'available' AND serial_key IS NULL
               AND (expires_at IS NULL OR expires_at > $3)
               AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.queue = $1 AND q.paused_at IS NOT NULL)
             ORDER BY priority, job_id LIMIT $4 FOR UPDATE SKIP LOCKED)
         RETURNING job_id, kind, version, payload, attempt, max_attempts, created_at, run_at, expires_at,
                   request_id, traceparent",
        queue.name(),
        lease_id,
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// As [`claim_direct`], for rows with a serial key: the oldest of each key that nobody runs.
pub async fn claim_direct_serial(
    tx: impl PgExecutor<'_>,
    queue: Queue,
    lease_id: Uuid,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Claimed>> {
    sqlx::query_as!(
        Claimed,
        "WITH due AS (
             SELECT job_id, serial_key FROM jobs j
             WHERE ready AND queue = $1 AND state = 'available' AND serial_key IS NOT NULL
               AND (expires_at IS NULL OR expires_at > $3)
               AND NOT EXISTS (SELECT 1 FROM serial_locks s WHERE s.serial_key = j.serial_key)
               AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.serial_key = j.serial_key AND o.ready AND o.job_id < j.job_id)
               AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.queue = $1 AND q.paused_at IS NOT NULL)
             ORDER BY priority, job_id LIMIT $4 FOR UPDATE SKIP LOCKED
         ), locked AS (
             INSERT INTO serial_locks (serial_key, job_id) SELECT serial_key, job_id FROM due
             ON CONFLICT DO NOTHING RETURNING serial_locks.job_id
         )
         UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_id = $2, started_at = $3,
                         waiting_key = NULL, pushed = true, push = push + 1, pushed_at = $3
         WHERE job_id IN (SELECT job_id FROM locked)
         RETURNING job_id, kind, version, payload, attempt, max_attempts, created_at, run_at, expires_at,
                   request_id, traceparent",
        queue.name(),
        lease_id,
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// The finish fence, for success: rows that are still this attempt of this lease leave the hot table.
/// Answers with the ids that did.
pub async fn complete(
    tx: impl PgExecutor<'_>,
    lease_id: Uuid,
    now: DateTime<Utc>,
    ids: &[Uuid],
    attempts: &[i16],
    started: &[DateTime<Utc>],
) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH gone AS (
             DELETE FROM jobs USING unnest($3::uuid[], $4::smallint[], $5::timestamptz[]) AS f(id, attempt, started)
             WHERE job_id = f.id AND jobs.attempt = f.attempt AND lease_id = $1 AND state = 'running'
             RETURNING jobs.*, f.started
         ), unlocked AS (
             DELETE FROM serial_locks s USING gone
             WHERE gone.serial_key IS NOT NULL AND s.serial_key = gone.serial_key AND s.job_id = gone.job_id
         )
         INSERT INTO finished_jobs (job_id, kind, version, queue, priority, state, attempt, payload, unique_key,
                                    created_at, started_at, finished_at, error, request_id, traceparent)
         SELECT job_id, kind, version, queue, priority, 'completed', attempt, payload, unique_key,
                created_at, started, $2, error, request_id, traceparent FROM gone",
        lease_id, now, ids, attempts, started,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// How a job goes on that did not succeed.
#[derive(Clone, Debug)]
pub struct Setback {
    /// The job.
    pub job_id: Uuid,
    /// The attempt that ends.
    pub attempt: i16,
    /// The next try; none makes it a dead letter.
    pub run_at: Option<DateTime<Utc>>,
    /// Whether the attempt counts.
    pub counts: bool,
    /// For a person.
    pub reason: String,
}

/// The finish fence, for a retry, a snooze or a dead letter. A waiting job with the same unique key
/// takes over: then this one ends as cancelled at its next step, by [`supersede`].
pub async fn set_back(
    tx: impl PgExecutor<'_>,
    lease_id: Uuid,
    now: DateTime<Utc>,
    back: &Setback,
) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"WITH back AS (UPDATE jobs SET
             state = CASE WHEN $4::timestamptz IS NULL THEN 'discarded' ELSE 'retryable' END::job_state,
             ready = false, pushed = false, lease_id = NULL,
             run_at = coalesce($4, 'infinity'),
             discarded_at = CASE WHEN $4::timestamptz IS NULL THEN $7::timestamptz END,
             attempt = CASE WHEN $5 THEN jobs.attempt ELSE jobs.attempt - 1 END,
             waiting_key = CASE WHEN $4::timestamptz IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM jobs o WHERE o.kind = jobs.kind AND o.waiting_key = jobs.unique_key)
                 THEN unique_key END,
             error = $6
         WHERE job_id = $2 AND attempt = $3 AND lease_id = $1 AND state = 'running'
         RETURNING job_id), unlocked AS (
             DELETE FROM serial_locks USING back WHERE serial_locks.job_id = back.job_id)
         SELECT count(*) AS "n!" FROM back"#,
        lease_id,
        back.job_id,
        back.attempt,
        back.run_at,
        back.counts,
        back.reason,
        now,
    )
    .fetch_one(tx)
    .await
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

/// The reaper: running rows of a lease that is gone or was not renewed since `before` are available
/// again at once, or dead letters if that was their last attempt.
pub async fn reap(
    tx: &mut PgConnection,
    queue: Queue,
    now: DateTime<Utc>,
    before: DateTime<Utc>,
) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH lost AS (
             SELECT job_id FROM jobs j
             WHERE ready AND queue = $1 AND pushed AND state = 'running'
               AND NOT EXISTS (SELECT 1 FROM worker_leases w
                               WHERE w.lease_id = j.lease_id AND w.renewed_at > $3)
             FOR UPDATE SKIP LOCKED
         ), unlocked AS (DELETE FROM serial_locks USING lost WHERE serial_locks.job_id = lost.job_id)
         UPDATE jobs SET
             state = CASE WHEN attempt < max_attempts THEN 'available' ELSE 'discarded' END::job_state,
             ready = attempt < max_attempts, pushed = false, lease_id = NULL,
             run_at = CASE WHEN attempt < max_attempts THEN run_at ELSE 'infinity' END,
             discarded_at = CASE WHEN attempt < max_attempts THEN NULL ELSE $2::timestamptz END,
             error = 'the worker that ran attempt ' || attempt || ' was lost'
         FROM lost WHERE jobs.job_id = lost.job_id",
        queue.name(),
        now,
        before,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// At a graceful stop: what could not be finished in time goes back at once.
pub async fn release(tx: impl PgExecutor<'_>, lease_id: Uuid) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH unlocked AS (DELETE FROM serial_locks s USING jobs j
                           WHERE j.lease_id = $1 AND j.state = 'running' AND s.job_id = j.job_id)
         UPDATE jobs SET state = 'available', pushed = false, lease_id = NULL,
                         error = 'the worker stopped during attempt ' || attempt
         WHERE ready AND pushed AND state = 'running' AND lease_id = $1",
        lease_id,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Running rows under a lease that its holder does not know of (the answer to their claim was lost on
/// the way) are available again.
pub async fn release_unknown(
    tx: impl PgExecutor<'_>,
    lease_id: Uuid,
    before: DateTime<Utc>,
    held: &[Uuid],
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE jobs SET state = 'available', pushed = false, lease_id = NULL,
                         error = 'the answer to the claim of attempt ' || attempt || ' was lost'
         WHERE ready AND pushed AND state = 'running' AND lease_id = $1 AND started_at < $2
           AND NOT job_id = ANY($3)",
        lease_id,
        before,
        held,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Serial keys whose job does not run (its claim met a cancelled row) are given back.
pub async fn delete_idle_locks(tx: &mut PgConnection) -> Sql<u64> {
    let done = sqlx::query!(
        "DELETE FROM serial_locks s
         WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = s.job_id AND j.state = 'running')",
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Renews a worker's lease, or takes it up.
pub async fn renew_lease(
    tx: impl PgExecutor<'_>,
    lease_id: Uuid,
    host: &str,
    pid: i32,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO worker_leases (lease_id, host, pid, started_at, renewed_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (lease_id) DO UPDATE SET renewed_at = excluded.renewed_at",
        lease_id,
        host,
        pid,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives a lease up: whatever still runs under it may be reaped at once.
pub async fn delete_lease(tx: impl PgExecutor<'_>, lease_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM worker_leases WHERE lease_id = $1", lease_id).execute(tx).await?;
    Ok(())
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

/// A schedule as it is stored.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name.
    pub schedule: String,
    /// cron.
    pub expression: String,
    /// `skip`, `one` or `all`.
    pub catch_up: String,
    /// The last tick that has its row.
    pub ticked_at: DateTime<Utc>,
}

/// A schedule the database does not know yet.
pub async fn insert_schedule(
    tx: impl PgExecutor<'_>,
    name: &str,
    expression: &str,
    catch_up: &str,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO schedules (schedule, expression, catch_up, ticked_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (schedule) DO NOTHING",
        name,
        expression,
        catch_up,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Schedules that are on.
pub async fn list_schedules(tx: impl PgExecutor<'_>) -> Sql<Vec<Schedule>> {
    sqlx::query_as!(Schedule, "SELECT schedule, expression, catch_up, ticked_at FROM schedules WHERE enabled")
        .fetch_all(tx)
        .await
}

/// A tick and its job, or nothing if the tick has its row.
pub async fn insert_tick(tx: &mut PgConnection, name: &str, at: DateTime<Utc>, job: &NewJob) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH tick AS (
             INSERT INTO ticks (schedule, at, job_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING job_id
         )
         INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload, run_at,
                           created_at, expires_at)
         SELECT job_id, $4, $5, $6, $7, 'available', true, $8, $9, $10::timestamptz, $10, $10 + interval '24 hours' FROM tick",
        name, at, job.job_id, job.kind, job.version, job.queue.name(), job.priority, job.max_attempts,
        job.payload, job.created_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Notes the last tick; never moves it back.
pub async fn set_ticked(tx: &mut PgConnection, name: &str, at: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE schedules SET ticked_at = greatest(ticked_at, $2) WHERE schedule = $1", name, at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Postgres' clock.
pub async fn now(tx: impl PgExecutor<'_>) -> Sql<DateTime<Utc>> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(tx).await
}

/// How many jobs of a queue are not finished (dead letters do not count).
pub async fn count_live(tx: impl PgExecutor<'_>, queue: Queue) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM jobs WHERE queue = $1 AND state <> 'discarded'"#,
        queue.name(),
    )
    .fetch_one(tx)
    .await
}

/// Whether a process with this id holds a lease.
pub async fn has_lease(tx: impl PgExecutor<'_>, pid: i32) -> Sql<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM worker_leases WHERE pid = $1) AS "held!""#, pid)
        .fetch_one(tx)
        .await
}

/// When a job was asked for, started and finished.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The job.
    pub job_id: Uuid,
    /// Asked for.
    pub created_at: DateTime<Utc>,
    /// Its handler began.
    pub started_at: Option<DateTime<Utc>>,
    /// It left the hot table.
    pub finished_at: DateTime<Utc>,
}

/// Completed jobs of one kind asked for since a moment: what `bench` reads off.
pub async fn list_finished(tx: impl PgExecutor<'_>, kind: &str, since: DateTime<Utc>) -> Sql<Vec<Finished>> {
    sqlx::query_as!(
        Finished,
        "SELECT job_id, created_at, started_at, finished_at FROM finished_jobs
         WHERE kind = $1 AND created_at >= $2 AND state = 'completed'",
        kind,
        since,
    )
    .fetch_all(tx)
    .await
}
