//! Queues, and the workers that work them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;

/// How many jobs of a queue are due, and since when the oldest.
pub async fn count_due(db: impl PgExecutor<'_>, queue: &str) -> Sql<(i64, Option<DateTime<Utc>>)> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "jobs!", min(greatest(created_at, run_at)) AS oldest_at
           FROM (SELECT created_at, run_at FROM jobs WHERE ready AND queue = $1 AND state = 'available'
                 ORDER BY pushed, priority, job_id LIMIT 100000) due"#,
        queue,
    )
    .fetch_one(db)
    .await?;
    Ok((row.jobs, row.oldest_at))
}

/// A queue and since when it is paused.
#[derive(Clone, Debug)]
pub struct Paused {
    /// Which.
    pub queue: String,
    /// None: it is worked.
    pub paused_at: Option<DateTime<Utc>>,
}

/// All queues.
pub async fn list_queues(db: impl PgExecutor<'_>) -> Sql<Vec<Paused>> {
    sqlx::query_as!(Paused, "SELECT queue, paused_at FROM queues").fetch_all(db).await
}

/// One queue, locked.
pub async fn lock_queue(tx: &mut PgConnection, queue: &str) -> Sql<Option<Paused>> {
    sqlx::query_as!(Paused, "SELECT queue, paused_at FROM queues WHERE queue = $1 FOR UPDATE", queue)
        .fetch_optional(tx)
        .await
}

/// Pauses a queue, or lets it go on.
pub async fn set_paused(tx: &mut PgConnection, queue: &str, at: Option<DateTime<Utc>>) -> Sql<()> {
    sqlx::query!("UPDATE queues SET paused_at = $2 WHERE queue = $1", queue, at).execute(tx).await?;
    Ok(())
}

/// A worker process.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its lease.
    pub lease_id: Uuid,
    /// Where.
    pub host: String,
    /// Its process.
    pub pid: i32,
    /// What it works.
    pub queues: Vec<String>,
    /// When it last gave a sign of life.
    pub renewed_at: DateTime<Utc>,
}

/// Workers, the last heard of first.
pub async fn list_workers(db: impl PgExecutor<'_>) -> Sql<Vec<Worker>> {
    sqlx::query_as!(
        Worker,
        "SELECT lease_id, host, pid, queues, renewed_at FROM worker_leases
         ORDER BY renewed_at DESC LIMIT 1000",
    )
    .fetch_all(db)
    .await
}
