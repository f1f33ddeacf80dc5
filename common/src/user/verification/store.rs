//! The SQL of proved identifiers: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::user::Identifier;

type Sql<T> = Result<T, sqlx::Error>;

/// The account before an identifier of it was proved.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// Whether any identifier was ever proved.
    pub ever_verified: bool,
    /// Whether somebody invited the person.
    pub is_referred: bool,
}

/// Sets the time at which the account's own identifier was proved; a time set before stays. The unique
/// index says whether another account was first.
pub async fn set_proved(
    tx: &mut PgConnection,
    user_id: Uuid,
    identifier: &Identifier,
    now: DateTime<Utc>,
) -> Sql<Option<Before>> {
    let (email, phone) = identifier.columns();
    sqlx::query_as!(
        Before,
        r#"WITH before AS (
               SELECT user_id, ever_verified_at IS NOT NULL AS ever_verified,
                      referred_by IS NOT NULL AS is_referred
               FROM users WHERE user_id = $1 AND status <> 'deleted' AND (email = $2 OR phone_number = $3)
               FOR UPDATE
           )
           UPDATE users u
           SET email_verified_at = CASE WHEN $2::text IS NULL THEN email_verified_at
                                        ELSE coalesce(email_verified_at, $4) END,
               phone_verified_at = CASE WHEN $3::text IS NULL THEN phone_verified_at
                                        ELSE coalesce(phone_verified_at, $4) END,
               ever_verified_at = coalesce(ever_verified_at, $4), updated_at = $4
           FROM before b WHERE u.user_id = b.user_id
           RETURNING b.ever_verified AS "ever_verified!", b.is_referred AS "is_referred!""#,
        user_id,
        email,
        phone,
        now,
    )
    .fetch_optional(tx)
    .await
}

/// How much was taken away.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Voided {
    pub passwords: i64,
    pub totp: i64,
    pub passkeys: i64,
    pub recovery_codes: i64,
    pub devices: i64,
    pub sessions: i64,
}

/// Takes away everything by which somebody could come into the account.
pub async fn void_credentials(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<Voided> {
    sqlx::query_as!(
        Voided,
        r#"WITH password AS (DELETE FROM passwords WHERE user_id = $1 RETURNING 1),
                totp AS (DELETE FROM totp_factors WHERE user_id = $1 RETURNING confirmed_at),
                recovery AS (DELETE FROM recovery_codes WHERE user_id = $1 RETURNING 1),
                passkey AS (DELETE FROM passkeys WHERE user_id = $1 RETURNING 1),
                waiting AS (DELETE FROM mfa_challenges WHERE user_id = $1),
                device AS (DELETE FROM device_tokens WHERE user_id = $1 RETURNING 1),
                code AS (UPDATE verification_tokens SET used_at = $2
                         WHERE user_id = $1 AND session_id IS NOT NULL AND used_at IS NULL AND expires_at > $2),
                session AS (UPDATE sessions SET ended_at = $2, end_reason = 'claimed'
                            WHERE user_id = $1 AND ended_at IS NULL RETURNING 1)
           SELECT (SELECT count(*) FROM password) AS "passwords!",
                  (SELECT count(confirmed_at) FROM totp) AS "totp!", (SELECT count(*) FROM passkey) AS "passkeys!",
                  (SELECT count(*) FROM recovery) AS "recovery_codes!", (SELECT count(*) FROM device) AS "devices!",
                  (SELECT count(*) FROM session) AS "sessions!""#,
        user_id,
        now,
    )
    .fetch_one(tx)
    .await
}

/// Somebody whose identifiers are to be proved.
#[derive(Clone)]
pub struct Subject {
    /// Which.
    pub user_id: Uuid,
    /// Proved or not.
    pub email: Option<String>,
    /// Proved or not.
    pub phone_number: Option<String>,
    /// When the e-mail address was proved.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When the phone number was proved.
    pub phone_verified_at: Option<DateTime<Utc>>,
    /// How high their role stands.
    pub rank: i16,
    /// Stands above all roles.
    pub is_superuser: bool,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// Somebody whose account is not deleted.
pub async fn find_subject(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Subject>> {
    sqlx::query_as!(
        Subject,
        "SELECT u.user_id, u.email, u.phone_number, u.email_verified_at, u.phone_verified_at, r.rank, u.is_superuser
         FROM users u JOIN roles r ON r.role = u.role WHERE u.user_id = $1 AND u.status <> 'deleted'",
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// A line of the history.
#[derive(Clone, Debug)]
pub struct Row {
    pub at: DateTime<Utc>,
    pub channel: String,
    pub sealed: Option<Vec<u8>>,
    pub by: String,
    pub actor: Option<Uuid>,
    pub reason: Option<String>,
    pub outcome: String,
}

/// What happened to somebody's identifiers, newest first: from the audit log.
pub async fn list_events(db: impl PgExecutor<'_>, entity_id: &str, limit: i64) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT at AS "at!", coalesce(details->>'channel', details->'channels'->>0, '') AS "channel!",
                  sealed,
                  coalesce(details->>'by', 'registration') AS "by!", actor,
                  details->>'reason' AS reason, coalesce(details->>'outcome', 'verified') AS "outcome!"
           FROM audit
           WHERE entity_type = 'user' AND entity_id = $1
             AND (action IN ('verification.requested', 'verification.proved')
                  OR (action = 'user.created' AND details->>'verified' = 'true'))
           ORDER BY at DESC, audit_id DESC LIMIT $2"#,
        entity_id,
        limit,
    )
    .fetch_all(db)
    .await
}
