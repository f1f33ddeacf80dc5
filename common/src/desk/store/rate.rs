//! Rates of providers, and whose turn is when.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::Sql;
use crate::desk::rate::Line;

/// A rate.
#[derive(Clone, Debug)]
pub struct RateRow {
    /// Whose.
    pub provider: String,
    /// Calls a second.
    pub per_second: f64,
    /// Since when.
    pub updated_at: DateTime<Utc>,
}

/// The rates operators set.
pub async fn list_rates(db: impl PgExecutor<'_>) -> Sql<Vec<RateRow>> {
    sqlx::query_as!(
        RateRow,
        "SELECT provider, per_second, updated_at FROM provider_rates ORDER BY provider LIMIT 1000"
    )
    .fetch_all(db)
    .await
}

/// Sets a rate.
pub async fn set_rate(tx: &mut PgConnection, provider: &str, per_second: f64, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO provider_rates (provider, per_second, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (provider) DO UPDATE SET per_second = excluded.per_second, updated_at = excluded.updated_at",
        provider,
        per_second,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes a rate back.
pub async fn delete_rate(tx: &mut PgConnection, provider: &str) -> Sql<u64> {
    let done = sqlx::query!("DELETE FROM provider_rates WHERE provider = $1", provider).execute(tx).await?;
    Ok(done.rows_affected())
}

/// A provider whose calls are counted from now on.
pub async fn insert_turns(tx: &mut PgConnection, provider: &str, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO provider_turns (provider, next_at, back_at, urgent_back_at) VALUES ($1, $2, $2, $2)
         ON CONFLICT DO NOTHING",
        provider,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// When the next call may be made, and when the next of those sent away come back; locked.
pub async fn lock_turns(tx: &mut PgConnection, provider: &str) -> Sql<Option<Line>> {
    sqlx::query_as!(
        Line,
        "SELECT next_at, back_at, urgent_back_at FROM provider_turns WHERE provider = $1 FOR UPDATE",
        provider,
    )
    .fetch_optional(tx)
    .await
}

/// Notes the turns given.
pub async fn set_turns(tx: &mut PgConnection, provider: &str, line: Line) -> Sql<()> {
    sqlx::query!(
        "UPDATE provider_turns SET next_at = $2, back_at = $3, urgent_back_at = $4 WHERE provider = $1",
        provider,
        line.next_at,
        line.back_at,
        line.urgent_back_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}
