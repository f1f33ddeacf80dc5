//! The SQL of push devices: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Ask;
use crate::session::Person;

type Sql<T> = Result<T, sqlx::Error>;

/// A device. Its token is told to nobody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Which.
    pub id: Uuid,
    /// The app's own name for it.
    pub device_id: String,
    /// `android`, `ios` or `web`.
    pub device_type: String,
    /// For a person.
    pub device_name: String,
    /// Of the app.
    pub app_version: String,
    /// Of the system.
    pub os_version: String,
    /// Whether it gets messages.
    pub is_active: bool,
    /// When it was first registered.
    pub created_at: DateTime<Utc>,
    /// When it was last registered.
    pub last_used: DateTime<Utc>,
}

/// Registrations of one token, and of one person, wait for each other until the transaction ends. The
/// token first, for all: so nobody waits in a circle.
pub async fn lock(tx: &mut PgConnection, token: &str, user_id: Uuid) -> Sql<()> {
    sqlx::query!(
        "WITH token AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended('device.token:' || $1, 0)))
         SELECT u.user_id FROM token, users u WHERE u.user_id = $2 FOR NO KEY UPDATE OF u",
        token,
        user_id,
    )
    .fetch_optional(tx)
    .await?;
    Ok(())
}

/// How many other devices of a person are switched on.
pub async fn count_others(tx: &mut PgConnection, user_id: Uuid, device_id: &str) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM devices WHERE user_id = $1 AND is_active AND device_id <> $2"#,
        user_id,
        device_id,
    )
    .fetch_one(tx)
    .await
}

/// Switches off every other device that has this token. Answers with whose and which.
pub async fn set_token_taken(
    tx: &mut PgConnection,
    token: &str,
    user_id: Uuid,
    device_id: &str,
) -> Sql<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        "UPDATE devices SET is_active = false
         WHERE md5(fcm_token) = md5($1) AND fcm_token = $1 AND is_active AND NOT (user_id = $2 AND device_id = $3)
         RETURNING user_id, id",
        token,
        user_id,
        device_id,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.id)).collect())
}

/// Inserts a device, or renews the one with the person's name for it.
pub async fn upsert(
    tx: &mut PgConnection,
    id: Uuid,
    person: &Person,
    ask: &Ask,
    now: DateTime<Utc>,
) -> Sql<Device> {
    sqlx::query_as!(
        Device,
        "INSERT INTO devices (id, user_id, device_id, fcm_token, device_type, device_name, app_version, os_version,
                              is_active, created_at, last_used, session_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, $9, $9, $10)
         ON CONFLICT (user_id, device_id) DO UPDATE SET
             fcm_token = excluded.fcm_token, device_type = excluded.device_type,
             device_name = excluded.device_name, app_version = excluded.app_version,
             os_version = excluded.os_version, is_active = true, last_used = excluded.last_used,
             session_id = excluded.session_id
         RETURNING id, device_id, device_type, device_name, app_version, os_version, is_active, created_at, last_used",
        id,
        person.user_id(),
        ask.device_id,
        ask.fcm_token,
        ask.device_type,
        ask.device_name,
        ask.app_version,
        ask.os_version,
        now,
        person.session_id,
    )
    .fetch_one(tx)
    .await
}

/// Deletes what a person has beyond so many devices: of those switched off, the ones not used longest.
pub async fn delete_beyond(tx: &mut PgConnection, user_id: Uuid, most: i64) -> Sql<()> {
    sqlx::query!(
        "DELETE FROM devices WHERE NOT is_active AND id IN (
             SELECT id FROM devices WHERE user_id = $1 ORDER BY is_active DESC, last_used DESC, id DESC OFFSET $2
         )",
        user_id,
        most,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The devices of a person, the last used first.
pub async fn list(db: impl PgExecutor<'_>, user_id: Uuid, most: i64) -> Sql<Vec<Device>> {
    sqlx::query_as!(
        Device,
        "SELECT id, device_id, device_type, device_name, app_version, os_version, is_active, created_at, last_used
         FROM devices WHERE user_id = $1 ORDER BY last_used DESC, id DESC LIMIT $2",
        user_id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Switches a person's device off.
pub async fn set_inactive(tx: &mut PgConnection, user_id: Uuid, id: Uuid) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE devices SET is_active = false WHERE id = $1 AND user_id = $2 AND is_active",
        id,
        user_id,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// The token of a person's device that is switched on, in a sign-in that lasts.
pub async fn find_token(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
    idle_since: DateTime<Utc>,
) -> Sql<Option<String>> {
    sqlx::query_scalar!(
        "SELECT d.fcm_token FROM devices d JOIN sessions s ON s.session_id = d.session_id AND s.user_id = d.user_id
         WHERE d.id = $1 AND d.user_id = $2 AND d.is_active
           AND s.ended_at IS NULL AND s.expires_at > $3 AND s.last_used_at > $4",
        id,
        user_id,
        now,
        idle_since,
    )
    .fetch_optional(db)
    .await
}

/// Switches a device off that still has this token, with a line of it.
pub async fn set_dead(
    db: impl PgExecutor<'_>,
    id: Uuid,
    token: &str,
    line: Uuid,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "WITH gone AS (
             UPDATE devices SET is_active = false WHERE id = $1 AND fcm_token = $2 AND is_active RETURNING id, user_id
         )
         INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details)
         SELECT $3, $4, 'device.deactivated', 'user', user_id::text,
                jsonb_build_object('device', id, 'reason', 'the provider called its token dead')
         FROM gone",
        id,
        token,
        line,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}
