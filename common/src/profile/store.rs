//! The SQL of profiles: one statement a function, rows out, no decisions.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::State;

type Sql<T> = Result<T, sqlx::Error>;

/// A profile with what it shares with the record.
pub struct Row {
    pub user_id: Uuid,
    pub full_name: Option<String>,
    pub date_of_birth: Option<NaiveDate>,
    pub address: Option<String>,
    pub emergency_contact: Option<String>,
    pub emergency_phone: Option<String>,
    pub language: String,
    pub notification_preferences: Option<Value>,
    pub picture_large: Option<Uuid>,
    pub picture_waiting: Option<Uuid>,
    pub picture_failed_at: Option<DateTime<Utc>>,
    /// First and last name are known.
    pub named: bool,
    /// An identifier is proved.
    pub identifier: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Profiles of these people. Planned once, see [`crate::database::options`].
pub async fn list(db: impl PgExecutor<'_>, people: &[Uuid]) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT u.user_id AS "user_id!", p.full_name AS "full_name?",
                  p.date_of_birth AS "date_of_birth?", u.address, p.emergency_contact AS "emergency_contact?",
                  p.emergency_phone AS "emergency_phone?", u.language AS "language!",
                  p.notification_preferences AS "notification_preferences?",
                  p.picture_large AS "picture_large?", p.picture_waiting AS "picture_waiting?",
                  p.picture_failed_at AS "picture_failed_at?",
                  (u.first_name IS NOT NULL AND u.last_name IS NOT NULL) AS "named!",
                  (u.email_verified_at IS NOT NULL OR u.phone_verified_at IS NOT NULL) AS "identifier!",
                  coalesce(p.created_at, u.created_at) AS "created_at!",
                  greatest(p.updated_at, u.updated_at) AS "updated_at!"
           FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id
           WHERE u.user_id = ANY((SELECT $1::uuid[])::uuid[])"#,
        people,
    )
    .fetch_all(db)
    .await
}

/// How high somebody stands.
pub struct Standing {
    pub rank: i16,
    pub is_superuser: bool,
}

/// Locks somebody, so that their profile changes by one at a time.
pub async fn lock(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Standing>> {
    sqlx::query_as!(
        Standing,
        "SELECT r.rank, u.is_superuser FROM users u JOIN roles r ON r.role = u.role
         WHERE u.user_id = $1 FOR NO KEY UPDATE OF u",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// Keeps what a profile says, but for what it shares with the record.
pub async fn set(tx: &mut PgConnection, user_id: Uuid, state: &State, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO profiles (user_id, full_name, date_of_birth, emergency_contact, emergency_phone, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (user_id) DO UPDATE
         SET full_name = $2, date_of_birth = $3, emergency_contact = $4, emergency_phone = $5, updated_at = $6",
        user_id,
        state.full_name,
        state.date_of_birth,
        state.emergency_contact,
        state.emergency_phone,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Keeps what a profile shares with the record.
pub async fn set_shared(tx: &mut PgConnection, user_id: Uuid, state: &State, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE users SET address = $2, language = $3, updated_at = $4 WHERE user_id = $1",
        user_id,
        state.address,
        state.preferred_language,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A change that was made.
pub struct Change {
    pub change_id: Uuid,
    pub at: DateTime<Utc>,
    pub actor: Uuid,
    pub restored: Option<Uuid>,
    pub sealed: Vec<u8>,
}

/// Keeps a change.
pub async fn insert_change(tx: &mut PgConnection, user_id: Uuid, change: &Change) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO profile_changes (change_id, user_id, at, actor, restored, sealed)
         VALUES ($1, $2, $3, $4, $5, $6)",
        change.change_id,
        user_id,
        change.at,
        change.actor,
        change.restored,
        change.sealed,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets somebody's changes before the newest `most`.
pub async fn delete_older_changes(tx: &mut PgConnection, user_id: Uuid, most: i64) -> Sql<()> {
    sqlx::query!(
        "DELETE FROM profile_changes WHERE change_id IN (
             SELECT change_id FROM profile_changes WHERE user_id = $1 ORDER BY at DESC, change_id DESC OFFSET $2)",
        user_id,
        most,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Somebody's changes before a place, newest first.
pub async fn list_changes(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    before: (DateTime<Utc>, Uuid),
    most: i64,
) -> Sql<Vec<Change>> {
    sqlx::query_as!(
        Change,
        "SELECT change_id, at, actor, restored, sealed FROM profile_changes
         WHERE user_id = $1 AND (at, change_id) < ($2, $3)
         ORDER BY at DESC, change_id DESC LIMIT $4",
        user_id,
        before.0,
        before.1,
        most,
    )
    .fetch_all(db)
    .await
}

/// What a change of somebody's sealed, and all after it, oldest first. Empty: there is no such change.
pub async fn list_changes_since(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    change_id: Uuid,
) -> Sql<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        "SELECT c.sealed FROM profile_changes c
         JOIN profile_changes f ON f.user_id = c.user_id AND (c.at, c.change_id) >= (f.at, f.change_id)
         WHERE f.change_id = $2 AND c.user_id = $1
         ORDER BY c.at, c.change_id",
        user_id,
        change_id,
    )
    .fetch_all(db)
    .await
}
