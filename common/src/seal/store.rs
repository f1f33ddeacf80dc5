//! The SQL of sealed columns: one statement a function for each of them, rows out, no decisions. What a
//! sealed value was sealed with stands at its beginning; `newest` is what those of the newest key begin with.

use sqlx::PgExecutor;
use uuid::Uuid;

type Sql<T> = Result<T, sqlx::Error>;

/// A sealed value and the row it is in.
#[derive(Clone, Debug)]
pub struct Sealed<K> {
    pub key: K,
    pub value: Vec<u8>,
}

/// Values to put in place of others, if those are still there.
pub struct Resealed<K> {
    pub keys: Vec<K>,
    pub old: Vec<Vec<u8>>,
    pub new: Vec<Vec<u8>>,
}

/// Signing keys after `after` that another key seals.
pub async fn list_signing_keys(
    db: impl PgExecutor<'_>,
    newest: &[u8],
    after: Option<&str>,
    most: i64,
) -> Sql<Vec<Sealed<String>>> {
    sqlx::query_as!(
        Sealed,
        r#"SELECT key_id AS key, sealed AS value FROM signing_keys
           WHERE ($2::text IS NULL OR key_id > $2) AND substring(sealed FROM 1 FOR length($1::bytea)) <> $1
           ORDER BY key_id LIMIT $3"#,
        newest,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Puts signing keys back, sealed anew.
pub async fn set_signing_keys(db: impl PgExecutor<'_>, rows: &Resealed<String>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE signing_keys t SET sealed = n.new FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS n(key, old, new)
         WHERE t.key_id = n.key AND t.sealed = n.old",
        &rows.keys,
        &rows.old,
        &rows.new,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// People's keys after `after` that another key seals.
pub async fn list_user_keys(
    db: impl PgExecutor<'_>,
    newest: &[u8],
    after: Option<Uuid>,
    most: i64,
) -> Sql<Vec<Sealed<Uuid>>> {
    sqlx::query_as!(
        Sealed,
        r#"SELECT user_id AS key, sealed AS value FROM user_keys
           WHERE ($2::uuid IS NULL OR user_id > $2) AND substring(sealed FROM 1 FOR length($1::bytea)) <> $1
           ORDER BY user_id LIMIT $3"#,
        newest,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Puts people's keys back, sealed anew.
pub async fn set_user_keys(db: impl PgExecutor<'_>, rows: &Resealed<Uuid>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE user_keys t SET sealed = n.new FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS n(key, old, new)
         WHERE t.user_id = n.key AND t.sealed = n.old",
        &rows.keys,
        &rows.old,
        &rows.new,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Secrets of authenticator apps after `after` that another key seals.
pub async fn list_totp_factors(
    db: impl PgExecutor<'_>,
    newest: &[u8],
    after: Option<Uuid>,
    most: i64,
) -> Sql<Vec<Sealed<Uuid>>> {
    sqlx::query_as!(
        Sealed,
        r#"SELECT factor_id AS key, sealed AS value FROM totp_factors
           WHERE ($2::uuid IS NULL OR factor_id > $2) AND substring(sealed FROM 1 FOR length($1::bytea)) <> $1
           ORDER BY factor_id LIMIT $3"#,
        newest,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Puts secrets of authenticator apps back, sealed anew.
pub async fn set_totp_factors(db: impl PgExecutor<'_>, rows: &Resealed<Uuid>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE totp_factors t SET sealed = n.new FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS n(key, old, new)
         WHERE t.factor_id = n.key AND t.sealed = n.old",
        &rows.keys,
        &rows.old,
        &rows.new,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// National ids after `after` that another key seals.
pub async fn list_national_ids(
    db: impl PgExecutor<'_>,
    newest: &[u8],
    after: Option<Uuid>,
    most: i64,
) -> Sql<Vec<Sealed<Uuid>>> {
    sqlx::query_as!(
        Sealed,
        r#"SELECT user_id AS key, national_id_sealed AS "value!" FROM users
           WHERE national_id_sealed IS NOT NULL AND ($2::uuid IS NULL OR user_id > $2)
             AND substring(national_id_sealed FROM 1 FOR length($1::bytea)) <> $1
           ORDER BY user_id LIMIT $3"#,
        newest,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Puts national ids back, sealed anew, with the hashes they are found by.
pub async fn set_national_ids(
    db: impl PgExecutor<'_>,
    rows: &Resealed<Uuid>,
    hashes: &[Vec<u8>],
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE users t SET national_id_sealed = n.new, national_id_hash = n.hash
         FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[]) AS n(key, old, new, hash)
         WHERE t.user_id = n.key AND t.national_id_sealed = n.old",
        &rows.keys,
        &rows.old,
        &rows.new,
        hashes,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Keys of uploads after `after` that another key seals.
pub async fn list_uploads(
    db: impl PgExecutor<'_>,
    newest: &[u8],
    after: Option<Uuid>,
    most: i64,
) -> Sql<Vec<Sealed<Uuid>>> {
    sqlx::query_as!(
        Sealed,
        r#"SELECT upload_id AS key, sealed_key AS "value!" FROM uploads
           WHERE sealed_key IS NOT NULL AND ($2::uuid IS NULL OR upload_id > $2)
             AND substring(sealed_key FROM 1 FOR length($1::bytea)) <> $1
           ORDER BY upload_id LIMIT $3"#,
        newest,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Puts keys of uploads back, sealed anew.
pub async fn set_uploads(db: impl PgExecutor<'_>, rows: &Resealed<Uuid>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE uploads t SET sealed_key = n.new FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS n(key, old, new)
         WHERE t.upload_id = n.key AND t.sealed_key = n.old",
        &rows.keys,
        &rows.old,
        &rows.new,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Numbers of documents after `after` that another key seals.
pub async fn list_document_numbers(
    db: impl PgExecutor<'_>,
    newest: &[u8],
    after: Option<Uuid>,
    most: i64,
) -> Sql<Vec<Sealed<Uuid>>> {
    sqlx::query_as!(
        Sealed,
        r#"SELECT submission_id AS key, number_sealed AS value FROM kyc_submissions
           WHERE ($2::uuid IS NULL OR submission_id > $2)
             AND substring(number_sealed FROM 1 FOR length($1::bytea)) <> $1
           ORDER BY submission_id LIMIT $3"#,
        newest,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Puts numbers of documents back, sealed anew, with the hashes they are compared by.
pub async fn set_document_numbers(
    db: impl PgExecutor<'_>,
    rows: &Resealed<Uuid>,
    hashes: &[Vec<u8>],
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE kyc_submissions t SET number_sealed = n.new, number_hash = n.hash
         FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bytea[]) AS n(key, old, new, hash)
         WHERE t.submission_id = n.key AND t.number_sealed = n.old",
        &rows.keys,
        &rows.old,
        &rows.new,
        hashes,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
