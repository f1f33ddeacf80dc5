//! The SQL of services' keys: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::ApiKey;

type Sql<T> = Result<T, sqlx::Error>;

/// Inserts a key by the hash of its text.
pub async fn insert(tx: &mut PgConnection, key: &ApiKey, hash: &[u8]) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO api_keys (api_key_id, name, secret_hash, scopes, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        key.api_key_id,
        key.name,
        hash,
        &key.scopes,
        key.created_by,
        key.created_at,
        key.expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A key by its hash.
#[derive(Debug)]
pub struct Found {
    pub secret_hash: Vec<u8>,
    pub api_key_id: Uuid,
    pub name: String,
    pub scopes: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// The keys of these hashes that are not revoked.
pub async fn list_by_hash(db: impl PgExecutor<'_>, hashes: &[Vec<u8>]) -> Sql<Vec<Found>> {
    sqlx::query_as!(
        Found,
        "SELECT secret_hash, api_key_id, name, scopes, expires_at, last_used_at FROM api_keys
         WHERE secret_hash = ANY((SELECT $1::bytea[])::bytea[]) AND revoked_at IS NULL",
        hashes,
    )
    .fetch_all(db)
    .await
}

/// Notes a use, unless one was noted after `since`.
pub async fn set_used(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: DateTime<Utc>,
    since: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = $2
         WHERE api_key_id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
        id,
        now,
        since,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// All keys, newest first.
pub async fn list(db: impl PgExecutor<'_>) -> Sql<Vec<ApiKey>> {
    sqlx::query_as!(
        ApiKey,
        "SELECT api_key_id, name, scopes, created_by, created_at, expires_at, last_used_at, revoked_at
         FROM api_keys ORDER BY created_at DESC, api_key_id DESC LIMIT 1000",
    )
    .fetch_all(db)
    .await
}

/// Revokes a key that is not revoked. Answers with its name.
pub async fn set_revoked(tx: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Sql<Option<String>> {
    sqlx::query_scalar!(
        "UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1 AND revoked_at IS NULL RETURNING name",
        id,
        now,
    )
    .fetch_optional(tx)
    .await
}
