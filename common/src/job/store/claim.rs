//! The claim fence.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Sql;
use crate::job::Queue;

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
