//! The SQL of people: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Identifier, Status};

mod erase;
mod inactive;
mod list;
mod record;
mod word;

pub use erase::*;
pub use inactive::*;
pub use list::*;
pub use record::*;
pub use word::*;

type Sql<T> = Result<T, sqlx::Error>;

/// A person to insert.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub user_id: Uuid,
    pub username: String,
    pub skeleton: String,
    pub email: Option<String>,
    pub phone_number: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub email_verified_at: Option<DateTime<Utc>>,
    pub phone_verified_at: Option<DateTime<Utc>>,
    pub language: String,
    pub role: String,
    pub is_superuser: bool,
    pub referral_code: String,
    pub referred_by: Option<Uuid>,
    /// The key that seals what audit lines say of the person, sealed.
    pub key: Vec<u8>,
    pub password: Option<String>,
}

/// Inserts a person with the rows everybody has. False: a name, identifier or code of theirs is taken.
pub async fn insert(tx: &mut PgConnection, new: &NewUser, now: DateTime<Utc>) -> Sql<bool> {
    let made = sqlx::query_scalar!(
        r#"WITH person AS (
               INSERT INTO users (user_id, username, username_skeleton, email, phone_number, email_verified_at,
                                  phone_verified_at, language, role, is_superuser, referral_code, referred_by,
                                  ever_verified_at, first_name, last_name, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                       coalesce($6::timestamptz, $7::timestamptz), $16, $17, $15, $15)
               ON CONFLICT DO NOTHING RETURNING user_id
           ), key AS (
               INSERT INTO user_keys (user_id, sealed) SELECT user_id, $13 FROM person
           ), profile AS (
               INSERT INTO profiles (user_id, created_at, updated_at) SELECT user_id, $15, $15 FROM person
           ), password AS (
               INSERT INTO passwords (user_id, hash, changed_at) SELECT user_id, $14, $15 FROM person
               WHERE $14::text IS NOT NULL
           )
           SELECT true AS "made!" FROM person"#,
        new.user_id,
        new.username,
        new.skeleton,
        new.email,
        new.phone_number,
        new.email_verified_at,
        new.phone_verified_at,
        new.language,
        new.role,
        new.is_superuser,
        new.referral_code,
        new.referred_by,
        new.key,
        new.password,
        now,
        new.first_name,
        new.last_name,
    )
    .fetch_optional(tx)
    .await?;
    Ok(made.is_some())
}

/// Whether a username, or one that looks like it, is taken.
pub async fn is_username_taken(db: impl PgExecutor<'_>, username: &str, skeleton: &str) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE username_skeleton = $2 AND status <> 'deleted')
               OR EXISTS (SELECT 1 FROM users WHERE lower(username) = lower($1) AND status <> 'deleted') AS "taken!""#,
        username,
        skeleton,
    )
    .fetch_one(db)
    .await
}

/// Somebody as a sign-in needs them.
#[derive(Clone)]
pub struct Found {
    /// Which.
    pub user_id: Uuid,
    /// Whether they may sign in.
    pub status: Status,
    /// Whether this identifier is proved.
    pub verified: bool,
    /// Whether any identifier of the account was ever proved.
    pub ever_verified: bool,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// Who has proved this identifier; else who holds it unproved: the account named, or the newest.
pub async fn find_by_identifier(
    db: impl PgExecutor<'_>,
    identifier: &Identifier,
    bound_to: Option<Uuid>,
) -> Sql<Option<Found>> {
    let (email, phone) = match identifier {
        Identifier::Email(text) => (Some(text.as_str()), None),
        Identifier::Phone(text) => (None, Some(text.as_str())),
    };
    sqlx::query_as!(
        Found,
        r#"WITH holder AS (
               (SELECT user_id, true AS verified FROM users
                WHERE email = $1 AND email_verified_at IS NOT NULL AND status <> 'deleted')
               UNION ALL
               (SELECT user_id, true FROM users
                WHERE phone_number = $2 AND phone_verified_at IS NOT NULL AND status <> 'deleted')
               UNION ALL
               (SELECT user_id, false FROM users
                WHERE email = $1 AND email_verified_at IS NULL AND status <> 'deleted'
                ORDER BY (user_id = $3) DESC NULLS LAST, created_at DESC LIMIT 1)
               UNION ALL
               (SELECT user_id, false FROM users
                WHERE phone_number = $2 AND phone_verified_at IS NULL AND status <> 'deleted'
                ORDER BY (user_id = $3) DESC NULLS LAST, created_at DESC LIMIT 1)
           )
           SELECT u.user_id, u.status AS "status: Status", h.verified AS "verified!",
                  u.ever_verified_at IS NOT NULL AS "ever_verified!"
           FROM holder h JOIN users u ON u.user_id = h.user_id
           ORDER BY h.verified DESC LIMIT 1"#,
        email,
        phone,
        bound_to,
    )
    .fetch_optional(db)
    .await
}

/// Whose referral code it is.
pub async fn find_by_referral(db: impl PgExecutor<'_>, code: &str) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!("SELECT user_id FROM users WHERE referral_code = $1 AND status = 'active'", code)
        .fetch_optional(db)
        .await
}
