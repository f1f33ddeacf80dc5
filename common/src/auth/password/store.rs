//! The SQL of passwords: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Name;
use crate::user::{Identifier, Status};

type Sql<T> = Result<T, sqlx::Error>;

/// Somebody who may be the one that signs in.
#[derive(Clone, Debug)]
pub struct Credential {
    pub user_id: Uuid,
    pub status: Status,
    pub username: String,
    pub email: Option<String>,
    pub phone_number: Option<String>,
    /// Whether any identifier is proved.
    pub any_verified: bool,
    /// None: they have no password.
    pub hash: Option<String>,
    /// Whether the device that was shown is theirs.
    pub known_device: bool,
}

/// Who has proved this identifier or bears this name; else the newest who holds the identifier unproved.
pub async fn find_credential(
    db: impl PgExecutor<'_>,
    name: &Name,
    device_hash: Option<&[u8]>,
    now: DateTime<Utc>,
) -> Sql<Option<Credential>> {
    let (email, phone, skeleton) = match name {
        Name::Identifier(Identifier::Email(text)) => (Some(text.as_str()), None, None),
        Name::Identifier(Identifier::Phone(text)) => (None, Some(text.as_str()), None),
        Name::Username(name) => (None, None, Some(name.skeleton())),
    };
    sqlx::query_as!(
        Credential,
        r#"WITH holder AS (
               (SELECT user_id, 0 AS place FROM users
                WHERE email = $1 AND email_verified_at IS NOT NULL AND status <> 'deleted')
               UNION ALL
               (SELECT user_id, 0 FROM users
                WHERE phone_number = $2 AND phone_verified_at IS NOT NULL AND status <> 'deleted')
               UNION ALL
               (SELECT user_id, 0 FROM users WHERE username_skeleton = $3 AND status <> 'deleted')
               UNION ALL
               (SELECT user_id, 1 FROM users
                WHERE email = $1 AND email_verified_at IS NULL AND status <> 'deleted'
                ORDER BY created_at DESC LIMIT 1)
               UNION ALL
               (SELECT user_id, 1 FROM users
                WHERE phone_number = $2 AND phone_verified_at IS NULL AND status <> 'deleted'
                ORDER BY created_at DESC LIMIT 1)
           )
           SELECT u.user_id, u.status AS "status: Status", u.username, u.email, u.phone_number,
                  (u.email_verified_at IS NOT NULL OR u.phone_verified_at IS NOT NULL) AS "any_verified!",
                  p.hash AS "hash?",
                  EXISTS (SELECT 1 FROM device_tokens d
                          WHERE d.token_hash = $4 AND d.user_id = u.user_id AND d.expires_at > $5) AS "known_device!"
           FROM holder h JOIN users u ON u.user_id = h.user_id LEFT JOIN passwords p ON p.user_id = u.user_id
           ORDER BY h.place LIMIT 1"#,
        email,
        phone,
        skeleton,
        device_hash,
        now,
    )
    .fetch_optional(db)
    .await
}

/// What somebody's password is changed against.
#[derive(Clone, Debug)]
pub struct Own {
    pub username: String,
    pub email: Option<String>,
    pub phone_number: Option<String>,
    pub hash: Option<String>,
}

/// A person's names and password.
pub async fn find_own(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Own>> {
    sqlx::query_as!(
        Own,
        r#"SELECT u.username, u.email, u.phone_number, p.hash AS "hash?"
           FROM users u LEFT JOIN passwords p ON p.user_id = u.user_id WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// One more wrong password in a row. None: the row is as long as it may be, and nothing was counted.
pub async fn count_failure(
    tx: &mut PgConnection,
    subject_hash: &[u8],
    most: i32,
    now: DateTime<Utc>,
) -> Sql<Option<i32>> {
    sqlx::query_scalar!(
        "INSERT INTO login_failures AS f (subject_hash, in_a_row, touched_at) VALUES ($1, 1, $3)
         ON CONFLICT (subject_hash) DO UPDATE SET in_a_row = f.in_a_row + 1, touched_at = excluded.touched_at
         WHERE f.in_a_row < $2
         RETURNING in_a_row",
        subject_hash,
        most,
        now,
    )
    .fetch_optional(tx)
    .await
}

/// What a right password is judged by, read where the row of failures is ended.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The password as it is now; it stays so until the transaction ends.
    pub hash: String,
    /// How long the row was.
    pub in_a_row: i32,
    /// Whether a second factor is confirmed.
    pub has_factor: bool,
}

/// Ends a row of failures that is shorter than `most`.
pub async fn settle(
    tx: &mut PgConnection,
    user_id: Uuid,
    subject_hash: &[u8],
    most: i32,
) -> Sql<Option<Settled>> {
    sqlx::query_as!(
        Settled,
        r#"WITH reset AS (
               UPDATE login_failures SET in_a_row = 0
               WHERE subject_hash = $2 AND in_a_row > 0 AND in_a_row < $3
           )
           SELECT p.hash,
                  coalesce((SELECT in_a_row FROM login_failures WHERE subject_hash = $2), 0) AS "in_a_row!",
                  (EXISTS (SELECT 1 FROM totp_factors t WHERE t.user_id = $1 AND t.confirmed_at IS NOT NULL)
                   OR EXISTS (SELECT 1 FROM passkeys k WHERE k.user_id = $1)) AS "has_factor!"
           FROM passwords p WHERE p.user_id = $1 FOR SHARE"#,
        user_id,
        subject_hash,
        most,
    )
    .fetch_optional(tx)
    .await
}

/// The known devices of somebody, as hashes of their tokens.
pub async fn list_devices(tx: &mut PgConnection, user_id: Uuid) -> Sql<Vec<Vec<u8>>> {
    sqlx::query_scalar!("SELECT token_hash FROM device_tokens WHERE user_id = $1", user_id)
        .fetch_all(tx)
        .await
}

/// Ends rows of failures, however long.
pub async fn set_no_failures(tx: &mut PgConnection, subjects: &[[u8; 32]]) -> Sql<()> {
    let subjects: Vec<&[u8]> = subjects.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query!(
        "UPDATE login_failures SET in_a_row = 0 WHERE subject_hash = ANY($1) AND in_a_row > 0",
        &subjects as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The same password, hashed anew.
pub async fn set_rehashed(tx: &mut PgConnection, user_id: Uuid, old: &str, new: &str) -> Sql<()> {
    sqlx::query!("UPDATE passwords SET hash = $3 WHERE user_id = $1 AND hash = $2", user_id, old, new)
        .execute(tx)
        .await?;
    Ok(())
}

/// A new password, if the old one is still `old` (none: whatever it was). Sign-ins that wait for a second
/// factor end. False: it was changed meanwhile.
pub async fn set_password(
    tx: &mut PgConnection,
    user_id: Uuid,
    old: Option<&str>,
    new: &str,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let set = sqlx::query_scalar!(
        r#"WITH password AS (
               INSERT INTO passwords AS p (user_id, hash, changed_at) VALUES ($1, $3, $4)
               ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at
               WHERE $2::text IS NULL OR p.hash = $2
               RETURNING user_id
           ), waiting AS (
               UPDATE mfa_challenges m SET used_at = $4 FROM password p
               WHERE m.user_id = p.user_id AND m.used_at IS NULL
           )
           SELECT true AS "set!" FROM password"#,
        user_id,
        old,
        new,
        now,
    )
    .fetch_optional(tx)
    .await?;
    Ok(set.is_some())
}
