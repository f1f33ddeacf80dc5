//! Schedules and their ticks.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::{NewJob, Sql};

/// A schedule as it is stored.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name.
    pub schedule: String,
    /// cron.
    pub expression: String,
    /// `skip`, `one` or `all`.
    pub catch_up: String,
    /// The last tick that has its row.
    pub ticked_at: DateTime<Utc>,
}

/// What the registry says of a schedule. One that is known keeps what operators changed; an expression they
/// left as it was follows the registry's.
pub async fn upsert_schedule(
    tx: impl PgExecutor<'_>,
    name: &str,
    expression: &str,
    catch_up: &str,
    job: &NewJob,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO schedules AS s (schedule, expression, default_expression, catch_up, ticked_at,
                                     kind, version, queue, priority, max_attempts, payload)
         VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (schedule) DO UPDATE SET
             expression = CASE WHEN s.expression = s.default_expression THEN excluded.expression ELSE s.expression END,
             default_expression = excluded.default_expression, kind = excluded.kind, version = excluded.version,
             queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
             payload = excluded.payload
         WHERE (s.default_expression, s.kind, s.version, s.queue, s.priority, s.max_attempts, s.payload)
               IS DISTINCT FROM (excluded.default_expression, excluded.kind, excluded.version, excluded.queue,
                                 excluded.priority, excluded.max_attempts, excluded.payload)",
        name,
        expression,
        catch_up,
        job.created_at,
        job.kind,
        job.version,
        job.queue.name(),
        job.priority,
        job.max_attempts,
        job.payload,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Schedules that are on.
pub async fn list_schedules(tx: impl PgExecutor<'_>) -> Sql<Vec<Schedule>> {
    sqlx::query_as!(Schedule, "SELECT schedule, expression, catch_up, ticked_at FROM schedules WHERE enabled")
        .fetch_all(tx)
        .await
}

/// Locks a schedule that is on and as it was read, against changes of it and other schedulers. False: it is not.
pub async fn lock_schedule(tx: &mut PgConnection, read: &Schedule) -> Sql<bool> {
    let found = sqlx::query_scalar!(
        "SELECT schedule FROM schedules
         WHERE schedule = $1 AND enabled AND expression = $2 AND catch_up = $3 AND ticked_at = $4
         FOR NO KEY UPDATE",
        read.schedule,
        read.expression,
        read.catch_up,
        read.ticked_at,
    );
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// A tick and its job, or nothing if the tick has its row.
pub async fn insert_tick(tx: &mut PgConnection, name: &str, at: DateTime<Utc>, job: &NewJob) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH tick AS (
             INSERT INTO ticks (schedule, at, job_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING job_id
         )
         INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload, run_at,
                           created_at, expires_at)
         SELECT job_id, $4, $5, $6, $7,
                CASE WHEN $11::timestamptz <= $10::timestamptz THEN 'available' ELSE 'scheduled' END::job_state, $11 <= $10,
                $8, $9, $11, $10, $11 + interval '24 hours' FROM tick",
        name, at, job.job_id, job.kind, job.version, job.queue.name(), job.priority, job.max_attempts,
        job.payload, job.created_at, job.run_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Notes the last tick; never moves it back.
pub async fn set_ticked(tx: &mut PgConnection, name: &str, at: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE schedules SET ticked_at = greatest(ticked_at, $2) WHERE schedule = $1", name, at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes the last tick back to now, where it lies ahead.
pub async fn set_ticked_back(tx: impl PgExecutor<'_>, name: &str, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE schedules SET ticked_at = $2 WHERE schedule = $1 AND ticked_at > $2", name, now)
        .execute(tx)
        .await?;
    Ok(())
}
