//! The finish fence, and the ways a running job goes back.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::job::Queue;

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
             attempt = CASE WHEN $5 THEN jobs.attempt ELSE jobs.attempt - 1 END, losses = 0,
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

/// The reaper: running rows of a lease that is gone or was not renewed since `before` are available again at
/// once; after a second loss in a row they wait 8 s, then 32, then 128, for they may be what kills workers; after
/// the fifth, or if it was their last attempt, they are dead letters.
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
             state = CASE WHEN attempt >= max_attempts OR losses >= 4 THEN 'discarded'
                          WHEN losses = 0 THEN 'available' ELSE 'retryable' END::job_state,
             ready = attempt < max_attempts AND losses = 0, pushed = false, lease_id = NULL, losses = losses + 1,
             run_at = CASE WHEN attempt >= max_attempts OR losses >= 4 THEN 'infinity'
                           WHEN losses = 0 THEN run_at ELSE $2::timestamptz + make_interval(secs => 2 * 4 ^ losses) END,
             discarded_at = CASE WHEN attempt >= max_attempts OR losses >= 4 THEN $2 END,
             error = 'the worker that ran attempt ' || attempt || ' was lost'
                     || CASE WHEN losses >= 4 THEN ', the fifth in a row' ELSE '' END
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
