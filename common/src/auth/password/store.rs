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
    pub username_skeleton: String,
    pub email: Option<String>,
    pub phone_number: Option<String>,
    /// Whether any identifier is proved.
    pub any_verified: bool,
    /// None: they have no password.
    pub hash: Option<String>,
    /// Whether the device that was shown is theirs.
    pub known_device: bool,
}

impl Credential {
    pub fn names(&self) -> Names {
        let Self { username_skeleton, email, phone_number, .. } = self.clone();
        Names { username_skeleton, email, phone_number }
    }
}

/// The names somebody signs in by.
#[derive(Clone, Debug)]
pub struct Names {
    pub username_skeleton: String,
    pub email: Option<String>,
    pub phone_number: Option<String>,
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
           SELECT u.user_id, u.status AS "status: Status", u.username, u.username_skeleton, u.email,
                  u.phone_number, (u.email_verified_at IS NOT NULL OR u.phone_verified_at IS NOT NULL) AS "any_verified!",
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

/// Locks a person: the names they sign in by.
pub async fn lock_names(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Names>> {
    sqlx::query_as!(
        Names,
        "SELECT username_skeleton, email, phone_number FROM users WHERE user_id = $1 FOR NO KEY UPDATE",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// One more wrong password in each of these rows, in one order for all. Answers with those where it was
/// counted: the others are as long as they may be.
pub async fn count_failures(
    tx: &mut PgConnection,
    subjects: &[[u8; 32]],
    most: i32,
    now: DateTime<Utc>,
) -> Sql<Vec<Vec<u8>>> {
    let subjects: Vec<&[u8]> = subjects.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query_scalar!(
        "INSERT INTO login_failures AS f (subject_hash, in_a_row, touched_at)
         SELECT subject, 1, $3 FROM unnest($1::bytea[]) AS s(subject) ORDER BY subject
         ON CONFLICT (subject_hash) DO UPDATE SET in_a_row = f.in_a_row + 1, touched_at = excluded.touched_at
         WHERE f.in_a_row < $2
         RETURNING subject_hash",
        &subjects as _,
        most,
        now,
    )
    .fetch_all(tx)
    .await
}

/// What a right password is judged by, read where the rows of failures are ended.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The password as it is now; it stays so until the transaction ends.
    pub hash: String,
    /// How long the longest of the rows that count was.
    pub in_a_row: i32,
    /// Whether a second factor is confirmed.
    pub has_factor: bool,
}

/// Locks a person, then their password; ends those rows of failures of `all` that are shorter than `most`.
pub async fn settle(
    tx: &mut PgConnection,
    user_id: Uuid,
    counting: &[[u8; 32]],
    all: &[[u8; 32]],
    most: i32,
) -> Sql<Option<Settled>> {
    let counting: Vec<&[u8]> = counting.iter().map(<[u8; 32]>::as_slice).collect();
    let all: Vec<&[u8]> = all.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query_as!(
        Settled,
        r#"WITH person AS (
               SELECT user_id FROM users WHERE user_id = $1 FOR NO KEY UPDATE
           ), kept AS (
               SELECT f.subject_hash, f.in_a_row FROM person, login_failures f
               WHERE f.subject_hash = ANY($2) OR f.subject_hash = ANY($4)
               ORDER BY f.subject_hash FOR NO KEY UPDATE OF f
           ), reset AS (
               UPDATE login_failures f SET in_a_row = 0 FROM kept k
               WHERE f.subject_hash = k.subject_hash AND k.in_a_row > 0 AND k.in_a_row < $3
           )
           SELECT p.hash,
                  coalesce((SELECT max(in_a_row) FROM kept WHERE subject_hash = ANY($2)), 0) AS "in_a_row!",
                  (EXISTS (SELECT 1 FROM totp_factors t WHERE t.user_id = $1 AND t.confirmed_at IS NOT NULL)
                   OR EXISTS (SELECT 1 FROM passkeys k WHERE k.user_id = $1)) AS "has_factor!"
           FROM person JOIN passwords p ON p.user_id = person.user_id FOR NO KEY UPDATE OF p"#,
        user_id,
        &counting as _,
        most,
        &all as _,
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

/// Ends rows of failures, however long, in one order for all.
pub async fn set_no_failures(tx: &mut PgConnection, subjects: &[[u8; 32]]) -> Sql<()> {
    let subjects: Vec<&[u8]> = subjects.iter().map(<[u8; 32]>::as_slice).collect();
    sqlx::query!(
        "WITH kept AS (
             SELECT subject_hash FROM login_failures WHERE subject_hash = ANY($1) AND in_a_row > 0
             ORDER BY subject_hash FOR NO KEY UPDATE
         )
         UPDATE login_failures f SET in_a_row = 0 FROM kept k WHERE f.subject_hash = k.subject_hash",
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
