//! What is read off the ledger.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
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
