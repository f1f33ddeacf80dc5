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

/// Where a step through the lines of somebody ends: at the time of the `most`th line after `after`. None: there are
/// fewer.
pub async fn find_audit_bound(
    tx: &mut PgConnection,
    user_id: Uuid,
    after: DateTime<Utc>,
    most: i64,
) -> Sql<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        r#"SELECT at AS "at!" FROM (
               (SELECT at FROM audit WHERE actor = $1 AND at > $2 ORDER BY at LIMIT $3)
               UNION ALL
               (SELECT at FROM audit WHERE entity_type = 'user' AND entity_id = $1::uuid::text AND at > $2
                ORDER BY at LIMIT $3)) AS lines
           ORDER BY at OFFSET $3 - 1 LIMIT 1"#,
        user_id,
        after,
        most,
    )
    .fetch_optional(tx)
    .await
}

/// What the audit lines of changes of somebody's record between two moments have sealed.
pub async fn list_changes(
    tx: &mut PgConnection,
    entity_id: &str,
    after: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Sql<Vec<Vec<u8>>> {
    sqlx::query_scalar!(
        r#"SELECT sealed AS "sealed!" FROM audit
           WHERE entity_type = 'user' AND entity_id = $1 AND action = 'user.changed' AND sealed IS NOT NULL
             AND at > $2 AND at <= coalesce($3, 'infinity'::timestamptz)"#,
        entity_id,
        after,
        until,
    )
    .fetch_all(tx)
    .await
}

/// Those of these identifiers that nobody else has, proved or not. Each part is a look into one of the indexes of
/// identifiers, which tell proved ones and others apart and hold nobody who is deleted.
pub async fn list_free(tx: &mut PgConnection, user_id: Uuid, identifiers: &[String]) -> Sql<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT i AS "identifier!" FROM unnest($2::text[]) AS i
           WHERE NOT EXISTS (SELECT 1 FROM users WHERE email = i AND user_id <> $1
                             AND email_verified_at IS NOT NULL AND status <> 'deleted')
             AND NOT EXISTS (SELECT 1 FROM users WHERE email = i AND user_id <> $1
                             AND email_verified_at IS NULL AND status <> 'deleted')
             AND NOT EXISTS (SELECT 1 FROM users WHERE phone_number = i AND user_id <> $1
                             AND phone_verified_at IS NOT NULL AND status <> 'deleted')
             AND NOT EXISTS (SELECT 1 FROM users WHERE phone_number = i AND user_id <> $1
                             AND phone_verified_at IS NULL AND status <> 'deleted')"#,
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

/// How many codes went, and what they proved.
pub struct Codes {
    pub codes: i64,
    pub tokens: i64,
}

/// Deletes codes asked for by or for somebody, and what they proved, but for those of who has the
/// identifier now.
pub async fn delete_codes(tx: &mut PgConnection, user_id: Uuid, identifiers: &[String]) -> Sql<Codes> {
    sqlx::query_as!(
        Codes,
        r#"WITH tokens AS (
               DELETE FROM verification_tokens
               WHERE user_id = $1 OR challenge_id IN (
                   SELECT challenge_id FROM challenges WHERE identifier = ANY($2) AND user_id IS NULL)
               RETURNING 1
           ), codes AS (
               DELETE FROM challenges WHERE user_id = $1 OR (identifier = ANY($2) AND user_id IS NULL)
               RETURNING 1
           )
           SELECT (SELECT count(*) FROM codes) AS "codes!", (SELECT count(*) FROM tokens) AS "tokens!""#,
        user_id,
        identifiers,
    )
    .fetch_one(tx)
    .await
}

/// How many counters went.
pub struct Counters {
    pub budgets: i64,
    pub tries: i64,
}

/// Deletes what is counted of identifiers.
pub async fn delete_counters(tx: &mut PgConnection, hashes: &[Vec<u8>]) -> Sql<Counters> {
    sqlx::query_as!(
        Counters,
        r#"WITH tries AS (
               DELETE FROM wrong_tries WHERE identifier_hash = ANY($1) RETURNING 1
           ), budgets AS (
               DELETE FROM identifier_budgets WHERE identifier_hash = ANY($1) RETURNING 1
           )
           SELECT (SELECT count(*) FROM budgets) AS "budgets!", (SELECT count(*) FROM tries) AS "tries!""#,
        hashes,
    )
    .fetch_one(tx)
    .await
}

/// How many messages went, and attempts at them.
pub struct Messages {
    pub deliveries: i64,
    pub attempts: i64,
}

/// Deletes messages to somebody, and the attempts at them.
pub async fn delete_deliveries(
    tx: &mut PgConnection,
    user_id: Uuid,
    identifiers: &[String],
) -> Sql<Messages> {
    sqlx::query_as!(
        Messages,
        r#"WITH gone AS (
               DELETE FROM deliveries WHERE user_id = $1 OR (recipient = ANY($2) AND user_id IS NULL)
               RETURNING delivery_id
           ), attempts AS (
               DELETE FROM delivery_attempts a USING gone g WHERE a.delivery_id = g.delivery_id RETURNING 1
           )
           SELECT (SELECT count(*) FROM gone) AS "deliveries!", (SELECT count(*) FROM attempts) AS "attempts!""#,
        user_id,
        identifiers,
    )
    .fetch_one(tx)
    .await
}

/// Forgets who invited those whom somebody invited.
pub async fn set_referrals_blank(tx: &mut PgConnection, user_id: Uuid) -> Sql<u64> {
    let done = sqlx::query!("UPDATE users SET referred_by = NULL WHERE referred_by = $1", user_id);
    Ok(done.execute(tx).await?.rows_affected())
}

/// Blanks where from somebody acted between two moments. The lines stay, under an id that leads nowhere.
pub async fn set_audit_blank(
    tx: &mut PgConnection,
    user_id: Uuid,
    after: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE audit SET ip_address = NULL, user_agent = NULL
         WHERE (actor = $1 OR (entity_type = 'user' AND entity_id = $1::uuid::text AND actor IS NULL))
           AND at > $2 AND at <= coalesce($3, 'infinity'::timestamptz)
           AND (ip_address IS NOT NULL OR user_agent IS NOT NULL)",
        user_id,
        after,
        until,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Blanks where from somebody tried to get in. `hashes` are what lines before sign-in call their identifiers.
pub async fn set_identifiers_blank(tx: &mut PgConnection, hashes: &[String]) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE audit SET ip_address = NULL, user_agent = NULL
         WHERE entity_type = 'identifier' AND entity_id = ANY($1)
           AND (ip_address IS NOT NULL OR user_agent IS NOT NULL)",
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

/// How many words somebody is found by.
pub async fn count_words(tx: &mut PgConnection, user_id: Uuid) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM users u
           CROSS JOIN LATERAL unnest(text_words(u.search_text) || text_pairs(u.search_text)
                                     || text_beginnings(u.search_text)) AS n(word)
           JOIN user_words w ON w.word = n.word AND w.status = u.status AND w.created_at = u.created_at
                            AND w.user_id = u.user_id
           WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_one(tx)
    .await
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
