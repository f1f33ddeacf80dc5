//! The SQL of proofs: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

type Sql<T> = Result<T, sqlx::Error>;

/// A verification token's row.
pub struct Token {
    pub purpose: String,
    pub identifier: String,
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub expires_at: DateTime<Utc>,
    pub used_at: Option<DateTime<Utc>>,
}

/// Locks a token, so that of two uses one comes second.
pub async fn lock_token(tx: &mut PgConnection, hash: &[u8]) -> Sql<Option<Token>> {
    sqlx::query_as!(
        Token,
        "SELECT purpose, identifier, user_id, session_id, expires_at, used_at FROM verification_tokens
         WHERE token_hash = $1 FOR UPDATE",
        hash,
    )
    .fetch_optional(tx)
    .await
}

/// Uses a token up.
pub async fn set_token_used(tx: &mut PgConnection, hash: &[u8], now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE verification_tokens SET used_at = $2 WHERE token_hash = $1", hash, now)
        .execute(tx)
        .await?;
    Ok(())
}
