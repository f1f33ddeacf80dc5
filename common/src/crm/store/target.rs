//! The SQL of targets.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;

/// Locks a target: whether it is on. None: it never was.
pub async fn lock_target(tx: &mut PgConnection, target: &str) -> Sql<Option<bool>> {
    sqlx::query_scalar!("SELECT enabled FROM crm_targets WHERE target = $1 FOR UPDATE", target)
        .fetch_optional(tx)
        .await
}

/// Switches a target on; it is to be told of everybody.
pub async fn set_on(tx: &mut PgConnection, target: &str) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO crm_targets (target, enabled, fill_after)
         VALUES ($1, true, '00000000-0000-0000-0000-000000000000')
         ON CONFLICT (target) DO UPDATE
         SET enabled = true, fill_after = excluded.fill_after, failures = 0, failing_since = NULL,
             held_until = NULL, reason = NULL",
        target,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Switches a target off.
pub async fn set_off(tx: &mut PgConnection, target: &str) -> Sql<()> {
    sqlx::query!("UPDATE crm_targets SET enabled = false WHERE target = $1", target).execute(tx).await?;
    Ok(())
}

/// A target that is on may be called at once. False: it is off.
pub async fn set_free(tx: &mut PgConnection, target: &str) -> Sql<bool> {
    let done = sqlx::query!("UPDATE crm_targets SET held_until = NULL WHERE target = $1 AND enabled", target)
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// A target and how it does.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// `hubspot`, `webhook`.
    pub target: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Up to whom everybody was marked; none: all are.
    #[serde(skip)]
    pub fill_after: Option<Uuid>,
    /// In a row.
    pub failures: i32,
    /// When the first of those was.
    pub failing_since: Option<DateTime<Utc>>,
    /// No call before.
    pub held_until: Option<DateTime<Utc>>,
    /// Of the last failure.
    pub reason: Option<String>,
    /// When it last took something.
    pub synced_at: Option<DateTime<Utc>>,
}

/// One target.
pub async fn find_target(db: impl PgExecutor<'_>, target: &str) -> Sql<Option<Target>> {
    sqlx::query_as!(
        Target,
        "SELECT target, enabled, fill_after, failures, failing_since, held_until, reason, synced_at
         FROM crm_targets WHERE target = $1",
        target,
    )
    .fetch_optional(db)
    .await
}

/// All targets.
pub async fn list_targets(db: impl PgExecutor<'_>) -> Sql<Vec<Target>> {
    sqlx::query_as!(
        Target,
        "SELECT target, enabled, fill_after, failures, failing_since, held_until, reason, synced_at
         FROM crm_targets ORDER BY target",
    )
    .fetch_all(db)
    .await
}

/// How far everybody is marked.
pub async fn set_filled(tx: &mut PgConnection, target: &str, after: Option<Uuid>) -> Sql<()> {
    sqlx::query!("UPDATE crm_targets SET fill_after = $2 WHERE target = $1", target, after)
        .execute(tx)
        .await?;
    Ok(())
}

/// A target took something.
pub async fn set_synced(db: impl PgExecutor<'_>, target: &str, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE crm_targets SET synced_at = $2, failures = 0, failing_since = NULL, held_until = NULL, reason = NULL
         WHERE target = $1",
        target,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A target took nothing: nobody calls it before `held_until`.
pub async fn set_failed(
    db: impl PgExecutor<'_>,
    target: &str,
    now: DateTime<Utc>,
    held_until: DateTime<Utc>,
    reason: &str,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE crm_targets SET failures = failures + 1, failing_since = coalesce(failing_since, $2),
                held_until = $3, reason = $4
         WHERE target = $1",
        target,
        now,
        held_until,
        reason,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The time a target has to get well begins anew.
pub async fn set_given_up(db: impl PgExecutor<'_>, target: &str) -> Sql<()> {
    sqlx::query!("UPDATE crm_targets SET failures = 0, failing_since = NULL WHERE target = $1", target)
        .execute(db)
        .await?;
    Ok(())
}
