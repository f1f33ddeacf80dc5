//! The SQL of passkeys: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::ceremony::{Credential, Use};

type Sql<T> = Result<T, sqlx::Error>;

/// A challenge to insert.
#[derive(Clone, Debug)]
pub struct NewChallenge {
    pub challenge_id: Uuid,
    pub challenge: [u8; 32],
    pub purpose: &'static str,
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub expires_at: DateTime<Utc>,
}

/// Inserts a challenge.
pub async fn insert_challenge(db: impl PgExecutor<'_>, new: &NewChallenge, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO passkey_challenges (challenge_id, challenge, purpose, user_id, session_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.challenge_id,
        new.challenge.as_slice(),
        new.purpose,
        new.user_id,
        new.session_id,
        now,
        new.expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A challenge that was answered.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub challenge: Vec<u8>,
    /// Whose answer alone will do.
    pub user_id: Option<Uuid>,
}

/// Uses a challenge up, whatever the answer is worth: one of this purpose and session, in time. None:
/// there is none.
pub async fn take_challenge(
    db: impl PgExecutor<'_>,
    challenge_id: Uuid,
    purpose: &str,
    session_id: Option<Uuid>,
    now: DateTime<Utc>,
) -> Sql<Option<Challenge>> {
    sqlx::query_as!(
        Challenge,
        "UPDATE passkey_challenges SET used_at = $4
         WHERE challenge_id = $1 AND purpose = $2 AND session_id IS NOT DISTINCT FROM $3
           AND used_at IS NULL AND expires_at > $4
         RETURNING challenge, user_id",
        challenge_id,
        purpose,
        session_id,
        now,
    )
    .fetch_optional(db)
    .await
}

/// A passkey as its owner sees it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Names it.
    pub passkey_id: Uuid,
    /// Chosen by the authenticator.
    pub credential_id: Vec<u8>,
    /// How the authenticator can be reached.
    pub transports: Vec<String>,
    /// What its owner calls it.
    pub name: String,
    /// Whether it is on other devices too.
    pub backed_up: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was used last.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Somebody's passkeys, oldest first.
pub async fn list(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "SELECT passkey_id, credential_id, transports, name, backed_up, created_at, last_used_at
         FROM passkeys WHERE user_id = $1 ORDER BY created_at, passkey_id",
        user_id,
    )
    .fetch_all(db)
    .await
}

/// A passkey as an answer is checked by.
#[derive(Clone, Debug)]
pub struct Known {
    pub passkey_id: Uuid,
    pub user_id: Uuid,
    pub public_key: Vec<u8>,
    pub backup_eligible: bool,
}

/// The passkey with this credential id.
pub async fn find_credential(db: impl PgExecutor<'_>, credential_id: &[u8]) -> Sql<Option<Known>> {
    sqlx::query_as!(
        Known,
        "SELECT passkey_id, user_id, public_key, backup_eligible FROM passkeys WHERE credential_id = $1",
        credential_id,
    )
    .fetch_optional(db)
    .await
}

/// Inserts a passkey. False: there is one with its credential id.
pub async fn insert(
    tx: &mut PgConnection,
    passkey_id: Uuid,
    user_id: Uuid,
    credential: &Credential,
    (transports, name): (&[String], &str),
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO passkeys (passkey_id, user_id, credential_id, public_key, sign_count, backup_eligible,
                               backed_up, transports, name, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (credential_id) DO NOTHING",
        passkey_id,
        user_id,
        credential.credential_id,
        credential.public_key,
        i64::from(credential.sign_count),
        credential.backup_eligible,
        credential.backed_up,
        transports,
        name,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes a use. False: the counter did not rise (WebAuthn Level 3, section 7.2, step 22), or the passkey
/// is gone.
pub async fn set_used(tx: &mut PgConnection, passkey_id: Uuid, used: Use, now: DateTime<Utc>) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE passkeys SET sign_count = $2, backed_up = $3, last_used_at = $4
         WHERE passkey_id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0))",
        passkey_id,
        i64::from(used.sign_count),
        used.backed_up,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Renames a passkey of somebody's.
pub async fn set_name(
    tx: &mut PgConnection,
    user_id: Uuid,
    passkey_id: Uuid,
    name: &str,
) -> Sql<Option<Listed>> {
    sqlx::query_as!(
        Listed,
        "UPDATE passkeys SET name = $3 WHERE user_id = $1 AND passkey_id = $2
         RETURNING passkey_id, credential_id, transports, name, backed_up, created_at, last_used_at",
        user_id,
        passkey_id,
        name,
    )
    .fetch_optional(tx)
    .await
}

/// Deletes a passkey of somebody's.
pub async fn delete(tx: &mut PgConnection, user_id: Uuid, passkey_id: Uuid) -> Sql<bool> {
    let done =
        sqlx::query!("DELETE FROM passkeys WHERE user_id = $1 AND passkey_id = $2", user_id, passkey_id)
            .execute(tx)
            .await?;
    Ok(done.rows_affected() > 0)
}

/// Whether somebody can sign in: by a proved identifier, a password, or a passkey.
pub async fn is_way_in(tx: &mut PgConnection, user_id: Uuid) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM users
               WHERE user_id = $1 AND (email_verified_at IS NOT NULL OR phone_verified_at IS NOT NULL)
               UNION ALL SELECT 1 FROM passwords WHERE user_id = $1
               UNION ALL SELECT 1 FROM passkeys WHERE user_id = $1
           ) AS "is!""#,
        user_id,
    )
    .fetch_one(tx)
    .await
}
