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

/// A schedule the database does not know yet.
pub async fn insert_schedule(
    tx: impl PgExecutor<'_>,
    name: &str,
    expression: &str,
    catch_up: &str,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO schedules (schedule, expression, catch_up, ticked_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (schedule) DO NOTHING",
        name,
        expression,
        catch_up,
        now,
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

/// A tick and its job, or nothing if the tick has its row.
pub async fn insert_tick(tx: &mut PgConnection, name: &str, at: DateTime<Utc>, job: &NewJob) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH tick AS (
             INSERT INTO ticks (schedule, at, job_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING job_id
         )
         INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload, run_at,
                           created_at, expires_at)
         SELECT job_id, $4, $5, $6, $7, 'available', true, $8, $9, $10::timestamptz, $10, $10 + interval '24 hours' FROM tick",
        name, at, job.job_id, job.kind, job.version, job.queue.name(), job.priority, job.max_attempts,
        job.payload, job.created_at,
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
