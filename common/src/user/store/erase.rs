//! The SQL of erasure.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Sql;

/// People whose grace time is over, after `after`.
pub async fn list_erasures(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    after: Uuid,
    most: i64,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT user_id FROM users WHERE erase_at <= $1 AND user_id > $2 AND status = 'deleted'
         ORDER BY user_id LIMIT $3",
        now,
        after,
        most,
    )
    .fetch_all(tx)
    .await
}

/// Somebody to erase.
pub struct Erased {
    pub email: Option<String>,
    pub phone_number: Option<String>,
}

/// Locks somebody whose grace time is over.
pub async fn lock_erasure(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<Option<Erased>> {
    sqlx::query_as!(
        Erased,
        "SELECT email, phone_number FROM users
         WHERE user_id = $1 AND status = 'deleted' AND erase_at <= $2 FOR UPDATE",
        user_id,
        now,
    )
    .fetch_optional(tx)
    .await
}

/// What the audit lines of changes of somebody's record have sealed.
pub async fn list_changes(tx: &mut PgConnection, entity_id: &str) -> Sql<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"SELECT sealed AS "sealed!" FROM audit
           WHERE entity_type = 'user' AND entity_id = $1 AND action = 'user.changed' AND sealed IS NOT NULL"#,
        entity_id,
    )
    .fetch_all(tx)
    .await
}

/// Those of these identifiers that nobody else has.
pub async fn list_free(tx: &mut PgConnection, user_id: Uuid, identifiers: &[String]) -> Sql<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT i AS "identifier!" FROM unnest($2::text[]) AS i
           WHERE NOT EXISTS (SELECT 1 FROM users WHERE email = i AND user_id <> $1)
             AND NOT EXISTS (SELECT 1 FROM users WHERE phone_number = i AND user_id <> $1)"#,
        user_id,
        identifiers,
    )
    .fetch_all(tx)
    .await
}

/// Takes accounts away that nobody came for: nothing was ever proved, nobody ever signed in, and they were
/// made before `before`.
pub async fn set_unused(
    tx: &mut PgConnection,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE users SET status = 'deleted', deleted_at = $2, erase_at = $2, updated_at = $2
         WHERE user_id IN (
             SELECT user_id FROM users
             WHERE ever_verified_at IS NULL AND last_login_at IS NULL AND status IN ('active', 'inactive')
               AND created_at < $1
             ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING user_id",
        before,
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// The lines that say so.
pub async fn insert_unused(
    tx: &mut PgConnection,
    lines: &[Uuid],
    people: &[Uuid],
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        r#"INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details)
           SELECT l.audit_id, $3, 'user.deleted', 'user', l.user_id::text, '{"by": "unused"}'
           FROM unnest($1::uuid[], $2::uuid[]) AS l(audit_id, user_id)"#,
        lines,
        people,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The tokens of somebody's known devices, as hashes.
pub async fn list_device_hashes(tx: &mut PgConnection, user_id: Uuid) -> Sql<Vec<Vec<u8>>> {
    sqlx::query_scalar!("SELECT token_hash FROM device_tokens WHERE user_id = $1", user_id)
        .fetch_all(tx)
        .await
}

/// Deletes codes asked for by or for somebody, and what they proved, but for those of who has the
/// identifier now.
pub async fn delete_codes(tx: &mut PgConnection, user_id: Uuid, identifiers: &[String]) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH tokens AS (
             DELETE FROM verification_tokens
             WHERE user_id = $1 OR challenge_id IN (
                 SELECT challenge_id FROM challenges WHERE identifier = ANY($2) AND user_id IS NULL)
         )
         DELETE FROM challenges WHERE user_id = $1 OR (identifier = ANY($2) AND user_id IS NULL)",
        user_id,
        identifiers,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes what is counted of identifiers.
pub async fn delete_counters(tx: &mut PgConnection, hashes: &[Vec<u8>]) -> Sql<u64> {
    let done = sqlx::query!(
        "WITH tries AS (DELETE FROM wrong_tries WHERE identifier_hash = ANY($1))
         DELETE FROM identifier_budgets WHERE identifier_hash = ANY($1)",
        hashes,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes messages to somebody, and the attempts at them. Answers with how many messages.
pub async fn delete_deliveries(tx: &mut PgConnection, user_id: Uuid, identifiers: &[String]) -> Sql<u64> {
    let gone = sqlx::query_scalar!(
        r#"WITH gone AS (
               DELETE FROM deliveries WHERE user_id = $1 OR (recipient = ANY($2) AND user_id IS NULL)
               RETURNING delivery_id
           ), attempts AS (
               DELETE FROM delivery_attempts a USING gone g WHERE a.delivery_id = g.delivery_id
           )
           SELECT count(*) AS "count!" FROM gone"#,
        user_id,
        identifiers,
    );
    Ok(u64::try_from(gone.fetch_one(tx).await?).unwrap_or_default())
}

/// Forgets who invited those whom somebody invited.
pub async fn set_referrals_blank(tx: &mut PgConnection, user_id: Uuid) -> Sql<u64> {
    let done = sqlx::query!("UPDATE users SET referred_by = NULL WHERE referred_by = $1", user_id);
    Ok(done.execute(tx).await?.rows_affected())
}

/// Blanks where from somebody acted. The lines stay, under an id that leads nowhere.
///
/// `hashes` are what lines before sign-in call their identifiers.
pub async fn set_audit_blank(tx: &mut PgConnection, user_id: Uuid, hashes: &[String]) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE audit SET ip_address = NULL, user_agent = NULL
         WHERE actor = $1 OR (entity_type = 'user' AND entity_id = $1::uuid::text AND actor IS NULL)
            OR (entity_type = 'identifier' AND entity_id = ANY($2))",
        user_id,
        hashes,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Blanks where from somebody asked for what was done to many.
pub async fn set_bulk_blank(tx: &mut PgConnection, user_id: Uuid) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE bulk_actions SET ip_address = NULL, user_agent = NULL WHERE created_by = $1",
        user_id,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes somebody, and with them all rows that refer to them.
pub async fn delete(tx: &mut PgConnection, user_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM users WHERE user_id = $1", user_id).execute(tx).await?;
    Ok(())
}

/// How many rows of a table name somebody. Table and column are of the list of what is covered; nothing of it
/// comes from outside.
pub async fn count_rows(tx: &mut PgConnection, table: &str, column: &str, user_id: Uuid) -> Sql<i64> {
    let statement = format!("SELECT count(*) FROM {table} WHERE {column} = $1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).bind(user_id).fetch_one(tx).await
}

/// The one line that says that it was done, and how much it was.
pub async fn insert_erased(
    tx: &mut PgConnection,
    user_id: Uuid,
    details: serde_json::Value,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details)
         VALUES ($1, $2, 'user.erased', 'user', $3::uuid::text, $4)",
        crate::id::ordered(now),
        now,
        user_id,
        details,
    )
    .execute(tx)
    .await?;
    Ok(())
}
