//! Workers' leases.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Sql;

/// Renews a worker's lease, or takes it up for these queues.
pub async fn renew_lease(
    tx: impl PgExecutor<'_>,
    lease_id: Uuid,
    host: &str,
    pid: i32,
    queues: &[String],
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO worker_leases (lease_id, host, pid, started_at, renewed_at, queues) VALUES ($1, $2, $3, $4, $4, $5)
         ON CONFLICT (lease_id) DO UPDATE SET renewed_at = excluded.renewed_at",
        lease_id,
        host,
        pid,
        now,
        queues,
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

/// Whether a process with this id holds a lease.
pub async fn has_lease(tx: impl PgExecutor<'_>, pid: i32) -> Sql<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM worker_leases WHERE pid = $1) AS "held!""#, pid)
        .fetch_one(tx)
        .await
}
