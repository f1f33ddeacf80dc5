//! The SQL of deliveries on the desk.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::notify::store::Row;

type Sql<T> = Result<T, sqlx::Error>;

/// Which deliveries are wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Before this place in the order.
    pub before_at: DateTime<Utc>,
    /// Before this place in the order.
    pub before_id: Uuid,
    /// Asked for at this moment or later.
    pub since: DateTime<Utc>,
    /// What waits after its time has expired, whether or not its row says so.
    pub now: DateTime<Utc>,
    /// In this state.
    pub state: Option<&'a str>,
    /// Of this kind.
    pub kind: Option<&'a str>,
    /// By this way.
    pub channel: Option<&'a str>,
    /// To this recipient.
    pub to: Option<&'a str>,
    /// About this account.
    pub user_id: Option<Uuid>,
    /// At most.
    pub limit: i64,
}

/// Deliveries before a place in the order, newest first.
pub async fn list(db: impl PgExecutor<'_>, wanted: &Wanted<'_>) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT delivery_id, created_at, kind, channel, recipient, language, purpose, sends,
                  state::text AS "state!", attempts, provider, provider_id, reason, expires_at, accepted_at,
                  finished_at, request_id
           FROM deliveries
           WHERE (created_at, delivery_id) < ($1, $2) AND created_at >= $3
             AND ($5::text IS NULL OR $5 = CASE WHEN expires_at <= $4 AND state IN ('queued', 'sending', 'unknown')
                                                THEN 'expired' ELSE state::text END)
             AND ($6::text IS NULL OR kind = $6) AND ($7::text IS NULL OR channel = $7)
             AND ($8::text IS NULL OR recipient = $8) AND ($9::uuid IS NULL OR user_id = $9)
           ORDER BY created_at DESC, delivery_id DESC LIMIT $10"#,
        wanted.before_at,
        wanted.before_id,
        wanted.since,
        wanted.now,
        wanted.state,
        wanted.kind,
        wanted.channel,
        wanted.to,
        wanted.user_id,
        wanted.limit,
    )
    .fetch_all(db)
    .await
}

/// Whether a provider is called at all, and when a worker first took it up.
pub async fn find_course(
    db: impl PgExecutor<'_>,
    delivery_id: Uuid,
) -> Sql<Option<(bool, Option<DateTime<Utc>>)>> {
    let row = sqlx::query!("SELECT sends, opened_at FROM deliveries WHERE delivery_id = $1", delivery_id)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| (row.sends, row.opened_at)))
}

/// The jobs that sent a delivery again.
pub async fn list_resent(db: impl PgExecutor<'_>, delivery_id: &str) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"SELECT (details->>'job_id')::uuid AS "job_id!" FROM audit
           WHERE entity_type = 'delivery' AND entity_id = $1 AND action = 'delivery.resent'
           ORDER BY at DESC LIMIT 20"#,
        delivery_id,
    )
    .fetch_all(db)
    .await
}

/// Locks the job of this kind that waits to send a delivery, if there is one.
pub async fn find_sender(
    tx: &mut PgConnection,
    (low, high): (Uuid, Uuid),
    others: &[Uuid],
    kind: &str,
    part: &Value,
) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!(
        "SELECT job_id FROM jobs
         WHERE (job_id BETWEEN $1 AND $2 OR job_id = ANY($3)) AND kind = $4 AND payload @> $5
           AND state IN ('available', 'scheduled', 'retryable')
         ORDER BY job_id DESC LIMIT 1 FOR UPDATE",
        low,
        high,
        others,
        kind,
        part,
    )
    .fetch_optional(tx)
    .await
}

/// A job that waits is due now.
pub async fn set_at_once(tx: &mut PgConnection, job_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE jobs SET state = 'available', ready = true, pushed = ready AND pushed, run_at = least(run_at, $2)
         WHERE job_id = $1 AND state IN ('available', 'scheduled', 'retryable')",
        job_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// By which way a delivery goes, and of which kind it is.
pub async fn find_channel(
    db: impl PgExecutor<'_>,
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
) -> Sql<Option<(String, String)>> {
    let row = sqlx::query!(
        "SELECT channel, kind FROM deliveries WHERE delivery_id = $1 AND created_at = $2",
        delivery_id,
        created_at,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.channel, row.kind)))
}
