//! Jobs as operators see and change them.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;

/// A job, live or finished.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Which.
    pub job_id: Uuid,
    /// `slice.verb_noun`.
    pub kind: String,
    /// Of the payload.
    pub version: i16,
    /// Where it waits.
    pub queue: String,
    /// 0 first.
    pub priority: i16,
    /// As the row says.
    pub state: String,
    /// Attempts so far.
    pub attempt: i16,
    /// Before it is a dead letter; none once it is finished.
    pub max_attempts: Option<i16>,
    /// Ids, never a secret.
    pub payload: Value,
    /// One waiting job per key and kind.
    pub unique_key: Option<String>,
    /// Never two running with one key.
    pub serial_key: Option<String>,
    /// Not before; none once it is dead or finished.
    pub run_at: Option<DateTime<Utc>>,
    /// Dead after.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When its last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it became a dead letter, or finished.
    pub ended_at: Option<DateTime<Utc>>,
    /// What its last attempt said.
    pub error: Option<String>,
    /// The request that asked.
    pub request_id: Option<String>,
    /// Who runs it.
    pub lease_id: Option<Uuid>,
}

/// Which jobs are wanted: every field narrows.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The first id, inclusive.
    pub low: Uuid,
    /// The first id of completed jobs, inclusive.
    pub completed_low: Uuid,
    /// The last id, inclusive.
    pub high: Uuid,
    /// Of these queues.
    pub queues: &'a [String],
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// Whose error holds this text, in any case.
    pub error: Option<&'a str>,
    /// In these states.
    pub states: &'a [String],
    /// At most.
    pub limit: i64,
}

/// Live jobs and dead letters, newest first. One branch for each way the table's indexes lead to a state, so
/// that none of them is found by reading all others; a branch that is not wanted is not run. What is pushed is
/// little: it is read whole (`OFFSET 0`), not looked for among all that waits.
pub async fn list_live(db: impl PgExecutor<'_>, wanted: &Wanted<'_>) -> Sql<Vec<JobRow>> {
    sqlx::query_as!(
        JobRow,
        r#"SELECT job_id AS "job_id!", kind AS "kind!", version AS "version!", queue AS "queue!",
                  priority AS "priority!", state::text AS "state!", attempt AS "attempt!", max_attempts,
                  payload AS "payload!", unique_key, serial_key,
                  CASE WHEN run_at < 'infinity' THEN run_at END AS run_at, expires_at,
                  created_at AS "created_at!", started_at, discarded_at AS ended_at, error, request_id, lease_id
           FROM (
               (SELECT * FROM (
                    SELECT * FROM jobs
                    WHERE 'running' = ANY($6::text[]) AND ready AND pushed AND queue = ANY($3::text[])
                      AND state = 'running' AND job_id BETWEEN $1 AND $2 AND ($4::text IS NULL OR kind = $4)
                      AND ($5::text IS NULL OR strpos(lower(error), lower($5)) > 0)
                    OFFSET 0) pushed
                ORDER BY job_id DESC LIMIT $7)
               UNION ALL
               (SELECT * FROM jobs
                WHERE 'available' = ANY($6) AND ready AND queue = ANY($3) AND state = 'available'
                  AND job_id BETWEEN $1 AND $2 AND ($4 IS NULL OR kind = $4)
                  AND ($5 IS NULL OR strpos(lower(error), lower($5)) > 0)
                ORDER BY job_id DESC LIMIT $7)
               UNION ALL
               (SELECT * FROM jobs
                WHERE $6 && '{scheduled,retryable}' AND NOT ready AND run_at < 'infinity' AND state::text = ANY($6)
                  AND queue = ANY($3) AND job_id BETWEEN $1 AND $2 AND ($4 IS NULL OR kind = $4)
                  AND ($5 IS NULL OR strpos(lower(error), lower($5)) > 0)
                ORDER BY job_id DESC LIMIT $7)
               UNION ALL
               (SELECT * FROM jobs
                WHERE 'discarded' = ANY($6) AND discarded_at IS NOT NULL
                  AND queue = ANY($3) AND job_id BETWEEN $1 AND $2 AND ($4 IS NULL OR kind = $4)
                  AND ($5 IS NULL OR strpos(lower(error), lower($5)) > 0)
                ORDER BY job_id DESC LIMIT $7)
           ) found ORDER BY job_id DESC LIMIT $7"#,
        wanted.low,
        wanted.high,
        wanted.queues,
        wanted.kind,
        wanted.error,
        wanted.states,
        wanted.limit,
    )
    .fetch_all(db)
    .await
}

/// Completed and cancelled jobs, newest first; the few cancelled ones by an index of their own.
pub async fn list_ended(db: impl PgExecutor<'_>, wanted: &Wanted<'_>) -> Sql<Vec<JobRow>> {
    sqlx::query_as!(
        JobRow,
        r#"SELECT job_id AS "job_id!", kind AS "kind!", version AS "version!", queue AS "queue!",
                  priority AS "priority!", state::text AS "state!", attempt AS "attempt!",
                  NULL::smallint AS max_attempts, payload AS "payload!", unique_key, NULL::text AS serial_key,
                  NULL::timestamptz AS run_at, NULL::timestamptz AS expires_at, created_at AS "created_at!", started_at,
                  finished_at AS "ended_at?", error, request_id, NULL::uuid AS lease_id
           FROM (
               (SELECT * FROM finished_jobs
                WHERE 'completed' = ANY($6::text[]) AND state = 'completed' AND queue = ANY($3::text[])
                  AND job_id BETWEEN $8 AND $2 AND ($4::text IS NULL OR kind = $4)
                  AND ($5::text IS NULL OR strpos(lower(error), lower($5)) > 0)
                ORDER BY job_id DESC LIMIT $7)
               UNION ALL
               (SELECT * FROM finished_jobs
                WHERE 'cancelled' = ANY($6) AND state = 'cancelled' AND queue = ANY($3)
                  AND job_id BETWEEN $1 AND $2 AND ($4 IS NULL OR kind = $4)
                  AND ($5 IS NULL OR strpos(lower(error), lower($5)) > 0)
                ORDER BY job_id DESC LIMIT $7)
           ) found ORDER BY job_id DESC LIMIT $7"#,
        wanted.low,
        wanted.high,
        wanted.queues,
        wanted.kind,
        wanted.error,
        wanted.states,
        wanted.limit,
        wanted.completed_low,
    )
    .fetch_all(db)
    .await
}

/// One job, live or finished.
pub async fn find(db: impl PgExecutor<'_>, job_id: Uuid) -> Sql<Option<JobRow>> {
    sqlx::query_as!(
        JobRow,
        r#"SELECT job_id AS "job_id!", kind AS "kind!", version AS "version!", queue AS "queue!",
                  priority AS "priority!", state::text AS "state!", attempt AS "attempt!", max_attempts,
                  payload AS "payload!", unique_key, serial_key,
                  CASE WHEN run_at < 'infinity' THEN run_at END AS run_at, expires_at,
                  created_at AS "created_at!", started_at, discarded_at AS ended_at, error, request_id, lease_id
           FROM jobs WHERE job_id = $1
           UNION ALL
           SELECT job_id, kind, version, queue, priority, state::text, attempt, NULL, payload, unique_key, NULL,
                  NULL, NULL, created_at, started_at, finished_at, error, request_id, NULL
           FROM finished_jobs WHERE job_id = $1
           LIMIT 1"#,
        job_id,
    )
    .fetch_optional(db)
    .await
}

/// The jobs that were asked for between two moments with this value in their payload, and these; newest
/// first. Ids are ordered by time, so that the payload of few is looked at.
pub async fn list_with(
    db: impl PgExecutor<'_>,
    (low, high): (Uuid, Uuid),
    part: &Value,
    ids: &[Uuid],
) -> Sql<Vec<JobRow>> {
    sqlx::query_as!(
        JobRow,
        r#"SELECT job_id AS "job_id!", kind AS "kind!", version AS "version!", queue AS "queue!",
                  priority AS "priority!", state::text AS "state!", attempt AS "attempt!", max_attempts,
                  payload AS "payload!", unique_key, serial_key,
                  CASE WHEN run_at < 'infinity' THEN run_at END AS run_at, expires_at,
                  created_at AS "created_at!", started_at, discarded_at AS ended_at, error, request_id, lease_id
           FROM jobs WHERE (job_id BETWEEN $1 AND $2 OR job_id = ANY($4)) AND payload @> $3
           UNION ALL
           SELECT job_id, kind, version, queue, priority, state::text, attempt, NULL, payload, unique_key, NULL,
                  NULL, NULL, created_at, started_at, finished_at, error, request_id, NULL
           FROM finished_jobs WHERE (job_id BETWEEN $1 AND $2 OR job_id = ANY($4)) AND payload @> $3
           ORDER BY 1 DESC LIMIT 20"#,
        low,
        high,
        part,
        ids,
    )
    .fetch_all(db)
    .await
}

/// A live job, locked.
pub struct Locked {
    /// As the row says.
    pub state: String,
    /// Which kind.
    pub kind: String,
    /// Dead after.
    pub expires_at: Option<DateTime<Utc>>,
    /// One waiting job per key and kind.
    pub unique_key: Option<String>,
}

/// Locks a live job against its claim.
pub async fn lock(tx: &mut PgConnection, job_id: Uuid) -> Sql<Option<Locked>> {
    sqlx::query_as!(
        Locked,
        r#"SELECT state::text AS "state!", kind, expires_at, unique_key FROM jobs WHERE job_id = $1 FOR UPDATE"#,
        job_id,
    )
    .fetch_optional(tx)
    .await
}

/// The job that waits with this key.
pub async fn find_waiting(tx: &mut PgConnection, kind: &str, unique_key: &str) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!("SELECT job_id FROM jobs WHERE kind = $1 AND waiting_key = $2", kind, unique_key)
        .fetch_optional(tx)
        .await
}

/// Makes dead letters and failed jobs available now. A dead letter gets as many attempts more as it had, 20
/// at most; the number of its attempts goes on, for late finishes are told by it.
pub async fn set_available(tx: &mut PgConnection, ids: &[Uuid], now: DateTime<Utc>) -> Sql<Vec<String>> {
    sqlx::query_scalar!(
        "UPDATE jobs SET state = 'available', ready = true, pushed = false, lease_id = NULL, run_at = $2,
                         discarded_at = NULL, waiting_key = unique_key,
                         max_attempts = CASE WHEN state = 'discarded'
                             THEN least(32767, attempt::int + least(max_attempts::int, 20))::smallint
                             ELSE max_attempts END
         WHERE job_id = ANY($1) AND state IN ('discarded', 'retryable')
         RETURNING queue",
        ids,
        now,
    )
    .fetch_all(tx)
    .await
}

/// Ends a job that waits, or a dead letter, as cancelled.
pub async fn cancel(tx: &mut PgConnection, job_id: Uuid, now: DateTime<Utc>, reason: &str) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH gone AS (DELETE FROM jobs WHERE job_id = $1 AND state <> 'running' RETURNING *)
         INSERT INTO finished_jobs (job_id, kind, version, queue, priority, state, attempt, payload, unique_key,
                                    created_at, started_at, finished_at, error, request_id, traceparent)
         SELECT job_id, kind, version, queue, priority, 'cancelled', attempt, payload, unique_key,
                created_at, started_at, $2, concat_ws('; ', $3::text, error), request_id, traceparent
         FROM gone",
        job_id,
        now,
        reason,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// A dead letter that may be tried again.
#[derive(Clone, Debug)]
pub struct Dead {
    /// Which.
    pub job_id: Uuid,
    /// Which kind.
    pub kind: String,
    /// One waiting job per key and kind.
    pub unique_key: Option<String>,
}

/// Locks dead letters before a place, newest first, that are not over and whose key nobody waits with. What
/// somebody else holds is left out.
#[expect(clippy::too_many_arguments, reason = "one for each part of the filter")]
pub async fn lock_dead(
    tx: &mut PgConnection,
    before: Uuid,
    now: DateTime<Utc>,
    queues: &[String],
    kind: Option<&str>,
    error: Option<&str>,
    since: Option<DateTime<Utc>>,
    limit: i64,
) -> Sql<Vec<Dead>> {
    sqlx::query_as!(
        Dead,
        "SELECT job_id, kind, unique_key FROM jobs j
         WHERE discarded_at IS NOT NULL AND job_id < $1 AND (expires_at IS NULL OR expires_at > $2)
           AND queue = ANY($3) AND ($4::text IS NULL OR kind = $4)
           AND ($5::text IS NULL OR strpos(lower(error), lower($5)) > 0)
           AND ($6::timestamptz IS NULL OR discarded_at >= $6)
           AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.kind = j.kind AND o.waiting_key = j.unique_key)
         ORDER BY job_id DESC LIMIT $7 FOR UPDATE SKIP LOCKED",
        before,
        now,
        queues,
        kind,
        error,
        since,
        limit,
    )
    .fetch_all(tx)
    .await
}
