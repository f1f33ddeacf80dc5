//! What is read off the ledger.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::job::Queue;

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

/// Those of these serial keys that a job has which waits or runs.
pub async fn list_owed(db: impl PgExecutor<'_>, serial_keys: &[String]) -> Sql<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT DISTINCT serial_key AS "serial_key!" FROM jobs
           WHERE serial_key = ANY($1) AND state <> 'discarded'"#,
        serial_keys,
    )
    .fetch_all(db)
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

/// For the rest of a transaction indexes are walked row by row: a fast-changing table has no statistics
/// that would say how far a bitmap reaches, and a counted walk ends early.
pub async fn walk_indexes(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SELECT set_config('enable_bitmapscan', 'off', true) AS off").fetch_one(tx).await?;
    Ok(())
}

/// How many jobs of a queue are in a state.
#[derive(Clone, Debug)]
pub struct Depth {
    /// Its name.
    pub queue: String,
    /// As rows say it.
    pub state: String,
    /// Whether they were pushed to Redis.
    pub pushed: bool,
    /// How many.
    pub jobs: i64,
}

/// Jobs by queue and state, each counted to `most`: what is ready queue by queue, what waits for its time
/// (soonest first) and what is dead (latest first) over all queues. Four partial indexes are walked that
/// far and no further, however many rows there are.
pub async fn count_depths(tx: impl PgExecutor<'_>, most: i64) -> Sql<Vec<Depth>> {
    sqlx::query_as!(
        Depth,
        r#"SELECT q.queue AS "queue!", d.state AS "state!", d.pushed AS "pushed!", d.n AS "jobs!"
           FROM queues q CROSS JOIN LATERAL (
               SELECT 'available' AS state, false AS pushed, count(*) AS n
               FROM (SELECT FROM jobs WHERE ready AND queue = q.queue AND NOT pushed LIMIT $1) w
               UNION ALL
               SELECT p.state::text, true, count(*)
               FROM (SELECT state FROM jobs WHERE ready AND queue = q.queue AND pushed LIMIT $1) p
               GROUP BY p.state
           ) d
           UNION ALL
           SELECT w.queue, w.state::text, false, count(*)
           FROM (SELECT queue, state FROM jobs WHERE NOT ready AND run_at < 'infinity'
                 ORDER BY run_at LIMIT $1) w
           GROUP BY w.queue, w.state
           UNION ALL
           SELECT d.queue, 'discarded', false, count(*)
           FROM (SELECT queue FROM jobs WHERE discarded_at IS NOT NULL ORDER BY discarded_at DESC LIMIT $1) d
           GROUP BY d.queue"#,
        most,
    )
    .fetch_all(tx)
    .await
}

/// How many pages the hot table has.
pub async fn count_pages(tx: impl PgExecutor<'_>) -> Sql<i32> {
    sqlx::query_scalar!(
        r#"SELECT (pg_relation_size('jobs') / current_setting('block_size')::bigint)::int AS "pages!""#
    )
    .fetch_one(tx)
    .await
}

/// Jobs by queue and state, estimated to about a tenth from this percentage of the table's pages (the same ones each time).
pub async fn sample_depths(tx: impl PgExecutor<'_>, percent: f64) -> Sql<Vec<Depth>> {
    sqlx::query_as!(
        Depth,
        r#"SELECT queue, state::text AS "state!", pushed, (count(*) * 100 / $1::float8)::bigint AS "jobs!"
           FROM jobs TABLESAMPLE SYSTEM ($1::float8) REPEATABLE (0)
           GROUP BY queue, state, pushed"#,
        percent,
    )
    .fetch_all(tx)
    .await
}

/// What has waited longest.
#[derive(Clone, Debug)]
pub struct Oldest {
    /// Of this queue.
    pub queue: String,
    /// Among what was pushed to Redis, or what was not.
    pub pushed: bool,
    /// Since when it could have started.
    pub due: DateTime<Utc>,
}

/// The oldest due jobs of each queue: the first few by age of each priority, and what came due and was not
/// promoted.
pub async fn list_oldest(tx: impl PgExecutor<'_>, now: DateTime<Utc>) -> Sql<Vec<Oldest>> {
    sqlx::query_as!(
        Oldest,
        r#"SELECT q.queue AS "queue!", side.pushed AS "pushed!", min(w.due) AS "due!"
           FROM queues q
           CROSS JOIN (VALUES (false), (true)) AS side(pushed)
           CROSS JOIN generate_series(0, 9) AS level(priority)
           CROSS JOIN LATERAL (
               SELECT greatest(j.created_at, j.run_at) AS due FROM jobs j
               WHERE j.ready AND j.queue = q.queue AND j.pushed = side.pushed
                 AND j.priority = level.priority AND j.state = 'available'
               ORDER BY j.job_id LIMIT 20) w
           GROUP BY q.queue, side.pushed
           UNION ALL
           SELECT late.queue, false, min(late.run_at)
           FROM (SELECT queue, run_at FROM jobs WHERE NOT ready AND run_at <= $1 ORDER BY run_at LIMIT 1000) late
           GROUP BY late.queue"#,
        now,
    )
    .fetch_all(tx)
    .await
}

/// Whether a queue is paused.
#[derive(Clone, Debug)]
pub struct Paused {
    /// Its name.
    pub queue: String,
    /// No job of it is started.
    pub paused: bool,
}

/// Every queue.
pub async fn list_paused(tx: impl PgExecutor<'_>) -> Sql<Vec<Paused>> {
    sqlx::query_as!(Paused, r#"SELECT queue, paused_at IS NOT NULL AS "paused!" FROM queues"#)
        .fetch_all(tx)
        .await
}

/// How many workers renewed their lease after this moment.
pub async fn count_workers(tx: impl PgExecutor<'_>, after: DateTime<Utc>) -> Sql<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "n!" FROM worker_leases WHERE renewed_at > $1"#, after)
        .fetch_one(tx)
        .await
}
