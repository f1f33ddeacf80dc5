//! Schedules as operators see and change them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;

/// A schedule with its last tick.
#[derive(Clone, Debug)]
pub struct ScheduleRow {
    /// Its name.
    pub schedule: String,
    /// What it asks for; none: no worker has said.
    pub kind: Option<String>,
    /// cron, UTC.
    pub expression: String,
    /// As the registry has it.
    pub default_expression: Option<String>,
    /// `skip`, `one` or `all`.
    pub catch_up: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Ticks up to here have their rows.
    pub ticked_at: DateTime<Utc>,
    /// The last tick that asked for a job.
    pub last_at: Option<DateTime<Utc>>,
    /// That job.
    pub last_job: Option<Uuid>,
}

/// All schedules, or one, by name.
pub async fn list_schedules(db: impl PgExecutor<'_>, name: Option<&str>) -> Sql<Vec<ScheduleRow>> {
    sqlx::query_as!(
        ScheduleRow,
        r#"SELECT s.schedule, s.kind, s.expression, s.default_expression, s.catch_up, s.enabled, s.ticked_at,
                  t.at AS "last_at?", t.job_id AS "last_job?"
           FROM schedules s
           LEFT JOIN LATERAL (SELECT at, job_id FROM ticks t WHERE t.schedule = s.schedule ORDER BY at DESC LIMIT 1) t
                  ON true
           WHERE $1::text IS NULL OR s.schedule = $1 ORDER BY s.schedule"#,
        name,
    )
    .fetch_all(db)
    .await
}

/// A schedule's settings, locked.
#[derive(Clone, Debug)]
pub struct Kept {
    /// cron, UTC.
    pub expression: String,
    /// `skip`, `one` or `all`.
    pub catch_up: String,
    /// Whether it is on.
    pub enabled: bool,
    /// What it asks for.
    pub kind: Option<String>,
}

/// Locks a schedule.
pub async fn lock_schedule(tx: &mut PgConnection, name: &str) -> Sql<Option<Kept>> {
    sqlx::query_as!(
        Kept,
        "SELECT expression, catch_up, enabled, kind FROM schedules WHERE schedule = $1 FOR UPDATE",
        name,
    )
    .fetch_optional(tx)
    .await
}

/// Changes a schedule. What lies before is not caught up by the new settings.
pub async fn set_schedule(
    tx: &mut PgConnection,
    name: &str,
    expression: &str,
    catch_up: &str,
    enabled: bool,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE schedules SET expression = $2, catch_up = $3, enabled = $4, ticked_at = greatest(ticked_at, $5)
         WHERE schedule = $1",
        name,
        expression,
        catch_up,
        enabled,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The job a schedule asks for, now and by hand. Answers with its queue.
pub async fn insert_by_hand(
    tx: &mut PgConnection,
    name: &str,
    job_id: Uuid,
    now: DateTime<Utc>,
    request_id: &str,
) -> Sql<Option<String>> {
    sqlx::query_scalar!(
        "INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload, run_at,
                           created_at, expires_at, request_id)
         SELECT $2, kind, version, queue, priority, 'available', true, max_attempts, payload, $3::timestamptz, $3,
                $3 + interval '24 hours', $4
         FROM schedules WHERE schedule = $1 AND kind IS NOT NULL
         RETURNING queue",
        name,
        job_id,
        now,
        request_id,
    )
    .fetch_optional(tx)
    .await
}
