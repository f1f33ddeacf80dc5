//! The SQL of proofs: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::device_token::Known;
use super::otp::Seed;

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

/// A challenge whose link was opened.
#[derive(Clone)]
pub struct Linked {
    pub user_id: Option<Uuid>,
    pub identifier: String,
    pub purpose: String,
    pub key_id: String,
    pub nonce: Vec<u8>,
    pub digits: i16,
    pub expires_at: DateTime<Utc>,
    pub used_at: Option<DateTime<Utc>>,
    /// Whether the account still has the address.
    pub held: bool,
}

impl Linked {
    pub fn seed(&self) -> Seed {
        Seed {
            key_id: self.key_id.clone(),
            nonce: self.nonce.clone(),
            purpose: self.purpose.clone(),
            identifier: self.identifier.clone(),
            digits: self.digits,
        }
    }
}

/// Locks a challenge, so that of two who open its link one comes second.
pub async fn lock_challenge(tx: &mut PgConnection, challenge_id: Uuid, purpose: &str) -> Sql<Option<Linked>> {
    sqlx::query_as!(
        Linked,
        r#"SELECT c.user_id, c.identifier, c.purpose, c.key_id, c.nonce, c.digits, c.expires_at, c.used_at,
                  EXISTS (SELECT 1 FROM users u
                          WHERE u.user_id = c.user_id AND u.email = c.identifier AND u.status <> 'deleted') AS "held!"
           FROM challenges c WHERE c.challenge_id = $1 AND c.purpose = $2 FOR UPDATE OF c"#,
        challenge_id,
        purpose,
    )
    .fetch_optional(tx)
    .await
}

/// Uses a challenge up.
pub async fn set_challenge_used(tx: &mut PgConnection, challenge_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE challenges SET used_at = $2 WHERE challenge_id = $1", challenge_id, now)
        .execute(tx)
        .await?;
    Ok(())
}

/// A link or code that still works.
#[derive(Clone, Debug)]
pub struct Open {
    /// `sms` or `email`.
    pub channel: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// The newest challenge to these identifiers that is bound to this account and still works.
pub async fn find_open(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    identifiers: &[&str],
    purposes: &[&str],
    now: DateTime<Utc>,
) -> Sql<Option<Open>> {
    sqlx::query_as!(
        Open,
        "SELECT channel, created_at, expires_at FROM challenges
         WHERE identifier = ANY($2) AND purpose = ANY($3) AND user_id = $1 AND used_at IS NULL AND expires_at > $4
         ORDER BY created_at DESC LIMIT 1",
        user_id,
        identifiers as _,
        purposes as _,
        now,
    )
    .fetch_optional(db)
    .await
}

/// The device with this token.
pub async fn find_device(db: impl PgExecutor<'_>, hash: &[u8], now: DateTime<Utc>) -> Sql<Option<Known>> {
    sqlx::query_as!(
        Known,
        "SELECT device_token_id, user_id FROM device_tokens WHERE token_hash = $1 AND expires_at > $2",
        hash,
        now,
    )
    .fetch_optional(db)
    .await
}
