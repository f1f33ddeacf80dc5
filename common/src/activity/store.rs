//! The SQL of activity.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

type Sql<T> = Result<T, sqlx::Error>;

/// Sets when people were last here, where that is later than what is known. Rows are locked in order, so that
/// two batches wait for each other.
pub async fn set_seen(db: impl PgExecutor<'_>, people: &[Uuid], times: &[DateTime<Utc>]) -> Sql<()> {
    sqlx::query!(
        "WITH seen AS (
             SELECT u.user_id, s.at FROM unnest($1::uuid[], $2::timestamptz[]) AS s(user_id, at)
             JOIN users u ON u.user_id = s.user_id
             WHERE u.last_activity_at IS NULL OR u.last_activity_at < s.at
             ORDER BY u.user_id FOR NO KEY UPDATE OF u
         )
         UPDATE users u SET last_activity_at = s.at FROM seen s
         WHERE u.user_id = s.user_id AND (u.last_activity_at IS NULL OR u.last_activity_at < s.at)",
        people,
        times,
    )
    .execute(db)
    .await?;
    Ok(())
}
