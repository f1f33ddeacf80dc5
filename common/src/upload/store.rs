//! The SQL of uploads: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

type Sql<T> = Result<T, sqlx::Error>;

/// A row to insert.
pub struct NewUpload<'a> {
    pub upload_id: Uuid,
    pub user_id: Uuid,
    pub purpose: &'static str,
    pub content_type: &'a str,
    pub size: i64,
    pub object: String,
    pub sealed_key: Option<Vec<u8>>,
}

/// A row of somebody's.
pub struct Row {
    pub content_type: String,
    pub size: i64,
    pub object: String,
    pub sealed_key: Option<Vec<u8>>,
    pub created_at: DateTime<Utc>,
}

/// Something to delete.
pub struct Released {
    pub upload_id: Uuid,
    pub object: String,
    pub released_at: DateTime<Utc>,
}

/// Locks somebody, so that what they keep is counted by one at a time. False: they are gone.
pub async fn lock_owner(tx: &mut PgConnection, user_id: Uuid) -> Sql<bool> {
    let found = sqlx::query!("SELECT user_id FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id);
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// Bytes that somebody keeps or is about to: of all whose object may be there, but for exports.
pub async fn sum_size(tx: &mut PgConnection, user_id: Uuid) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(size), 0)::bigint AS "size!" FROM uploads
           WHERE user_id = $1 AND purpose <> 'export' AND (released_at IS NULL OR stored_at IS NOT NULL)"#,
        user_id,
    )
    .fetch_one(tx)
    .await
}

/// Inserts a row whose object is still to come.
pub async fn insert(tx: &mut PgConnection, new: &NewUpload<'_>, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO uploads (upload_id, user_id, purpose, content_type, size, object, sealed_key, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        new.upload_id,
        new.user_id,
        new.purpose,
        new.content_type,
        new.size,
        new.object,
        new.sealed_key,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How large it turned out.
pub async fn set_size(tx: &mut PgConnection, upload_id: Uuid, size: i64) -> Sql<()> {
    sqlx::query!("UPDATE uploads SET size = $2 WHERE upload_id = $1", upload_id, size).execute(tx).await?;
    Ok(())
}

/// The object is there. False: nobody wants it any more.
pub async fn set_stored(
    db: impl PgExecutor<'_>,
    upload_id: Uuid,
    size: i64,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let wanted = sqlx::query_scalar!(
        r#"UPDATE uploads SET stored_at = $3, size = $2 WHERE upload_id = $1
           RETURNING released_at IS NULL AS "wanted!""#,
        upload_id,
        size,
        now,
    );
    Ok(wanted.fetch_optional(db).await?.unwrap_or(false))
}

/// Something refers to it from now on. False: it is not there, another's, of another purpose, referred to
/// already or released.
pub async fn set_attached(
    tx: &mut PgConnection,
    upload_id: Uuid,
    user_id: Uuid,
    purpose: &str,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE uploads SET attached_at = $4
         WHERE upload_id = $1 AND user_id = $2 AND purpose = $3 AND stored_at IS NOT NULL
           AND attached_at IS NULL AND released_at IS NULL",
        upload_id,
        user_id,
        purpose,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Nobody wants it any more. False: so it was before, or it is gone.
pub async fn set_released(db: impl PgExecutor<'_>, upload_id: Uuid, now: DateTime<Utc>) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE uploads SET released_at = $2 WHERE upload_id = $1 AND released_at IS NULL",
        upload_id,
        now,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Nobody wants these any more. Answers with those that were wanted until now.
pub async fn set_many_released(
    tx: &mut PgConnection,
    uploads: &[Uuid],
    now: DateTime<Utc>,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE uploads SET released_at = $2 WHERE upload_id = ANY($1) AND released_at IS NULL
         RETURNING upload_id",
        uploads,
        now,
    )
    .fetch_all(tx)
    .await
}

/// Releases those of these that nothing refers to. Answers with those whose object is there.
pub async fn set_unattached_released(
    tx: &mut PgConnection,
    uploads: &[Uuid],
    now: DateTime<Utc>,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"WITH released AS (
               UPDATE uploads SET released_at = $2
               WHERE upload_id = ANY($1) AND attached_at IS NULL AND released_at IS NULL
               RETURNING upload_id, stored_at)
           SELECT upload_id AS "upload_id!" FROM released WHERE stored_at IS NOT NULL"#,
        uploads,
        now,
    )
    .fetch_all(tx)
    .await
}

/// Releases all that somebody keeps, and forgets whose it was.
pub async fn set_all_released(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE uploads SET released_at = coalesce(released_at, $2), user_id = NULL WHERE user_id = $1",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Releases what nothing came to refer to since before `before`. Answers with how many.
pub async fn set_stale_released(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE uploads SET released_at = $2 WHERE upload_id IN (
             SELECT upload_id FROM uploads WHERE attached_at IS NULL AND released_at IS NULL AND created_at < $1
             ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED)",
        before,
        now,
        most,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// What is to be deleted, after a place in the order in which it was released: what is no longer about to be
/// written.
pub async fn list_released(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    (released_at, upload_id): (DateTime<Utc>, Uuid),
    most: i64,
) -> Sql<Vec<Released>> {
    sqlx::query_as!(
        Released,
        r#"SELECT upload_id, object, released_at AS "released_at!" FROM uploads
           WHERE (released_at, upload_id) > ($2, $3) AND (stored_at IS NOT NULL OR created_at < $1)
           ORDER BY released_at, upload_id LIMIT $4"#,
        before,
        released_at,
        upload_id,
        most,
    )
    .fetch_all(db)
    .await
}

/// One that is to be deleted.
pub async fn find_released(db: impl PgExecutor<'_>, upload_id: Uuid) -> Sql<Option<Released>> {
    sqlx::query_as!(
        Released,
        r#"SELECT upload_id, object, released_at AS "released_at!" FROM uploads
           WHERE upload_id = $1 AND released_at IS NOT NULL AND stored_at IS NOT NULL"#,
        upload_id,
    )
    .fetch_optional(db)
    .await
}

/// Deletes a row whose object is deleted.
pub async fn delete(db: impl PgExecutor<'_>, upload_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM uploads WHERE upload_id = $1", upload_id).execute(db).await?;
    Ok(())
}

/// What somebody keeps for a purpose.
pub async fn find(
    db: impl PgExecutor<'_>,
    upload_id: Uuid,
    user_id: Uuid,
    purpose: &str,
) -> Sql<Option<Row>> {
    sqlx::query_as!(
        Row,
        "SELECT content_type, size, object, sealed_key, created_at FROM uploads
         WHERE upload_id = $1 AND user_id = $2 AND purpose = $3 AND stored_at IS NOT NULL
           AND released_at IS NULL",
        upload_id,
        user_id,
        purpose,
    )
    .fetch_optional(db)
    .await
}

/// A row in a list.
pub struct Listed {
    pub upload_id: Uuid,
    pub purpose: String,
    pub content_type: String,
    pub size: i64,
    pub created_at: DateTime<Utc>,
}

/// What somebody keeps, but for exports.
pub async fn list(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "SELECT upload_id, purpose, content_type, size, created_at FROM uploads
         WHERE user_id = $1 AND purpose <> 'export' AND stored_at IS NOT NULL AND released_at IS NULL
         ORDER BY upload_id",
        user_id,
    )
    .fetch_all(db)
    .await
}
