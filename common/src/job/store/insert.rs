//! Asking for jobs.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::job::Queue;

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
             -- the later request is owed all it would have had, and no later; the relay promotes what is due
             run_at = CASE WHEN jobs.ready THEN jobs.run_at ELSE least(jobs.run_at, excluded.run_at) END,
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
