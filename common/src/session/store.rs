//! The SQL of sessions and signing keys: one statement a function, rows out, no decisions.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::person::Person;
use crate::user::{Account, Status};

type Sql<T> = Result<T, sqlx::Error>;

/// A signing key's row.
#[derive(Clone, Debug)]
pub struct SigningKey {
    pub key_id: String,
    pub algorithm: String,
    pub sealed: Vec<u8>,
    pub public_key: serde_json::Value,
    pub created_at: DateTime<Utc>,
    pub active_from: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// The keys of tokens that may live, newest first.
pub async fn list_keys(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Sql<Vec<SigningKey>> {
    sqlx::query_as!(
        SigningKey,
        "SELECT key_id, algorithm, sealed, public_key, created_at, active_from, expires_at FROM signing_keys
         WHERE expires_at IS NULL OR expires_at > $1 ORDER BY active_from DESC, key_id",
        now,
    )
    .fetch_all(db)
    .await
}

/// Makes keys one at a time.
pub async fn lock_keys(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('keryu.signing_keys'))").fetch_one(tx).await?;
    Ok(())
}

/// Inserts a key, unless one was made after `newest`.
pub async fn insert_key(tx: &mut PgConnection, key: &SigningKey, newest: DateTime<Utc>) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO signing_keys (key_id, algorithm, sealed, public_key, created_at, active_from)
         SELECT $1, $2, $3, $4, $5, $6
         WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE created_at > $7)",
        key.key_id,
        key.algorithm,
        key.sealed,
        key.public_key,
        key.created_at,
        key.active_from,
        newest,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends all keys but one.
pub async fn set_keys_expiry(tx: &mut PgConnection, but: &str, at: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE signing_keys SET expires_at = $2 WHERE key_id <> $1 AND expires_at IS NULL",
        but,
        at
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A session to insert, with the device it came from.
pub struct NewSession<'a> {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub token_hash: [u8; 32],
    pub methods: &'a [&'a str],
    /// Hash of the device token that was shown.
    pub shown_device: Option<&'a [u8]>,
    /// For a device that is not known.
    pub device_token_id: Uuid,
    pub minted_hash: [u8; 32],
    pub device_expires_at: DateTime<Utc>,
    /// How many devices stay known.
    pub most_devices: i64,
    pub ip_address: String,
    pub user_agent: Option<&'a str>,
    pub expires_at: DateTime<Utc>,
}

/// What a new session was opened for.
pub struct Opened {
    pub role: String,
    pub status: Status,
    /// Whether the device was known.
    pub known: bool,
    /// The sign-in before this one.
    pub before: Option<DateTime<Utc>>,
}

/// Inserts a session; notes the sign-in at the user and the device, which is made known if it was not. Of a
/// user's devices the `most` last used stay known. The user's row is locked before those of devices.
pub async fn insert_session(tx: &mut PgConnection, new: &NewSession<'_>, now: DateTime<Utc>) -> Sql<Opened> {
    sqlx::query_as!(
        Opened,
        r#"WITH person AS (
               SELECT user_id, last_login_at AS before FROM users WHERE user_id = $2 FOR NO KEY UPDATE
           ), seen AS (
               UPDATE users u SET last_login_at = $12, last_login_ip = $10, last_login_device = $11
               FROM person p WHERE u.user_id = p.user_id
               RETURNING u.role, u.status, p.before
           ), known AS (
               UPDATE device_tokens d SET last_used_at = $12, expires_at = $8 FROM person p
               WHERE d.token_hash = $5 AND d.user_id = p.user_id AND d.expires_at > $12
               RETURNING d.device_token_id
           ), minted AS (
               INSERT INTO device_tokens (device_token_id, token_hash, user_id, created_at, last_used_at, expires_at)
               SELECT $6, $7, $2, $12, $12, $8 WHERE NOT EXISTS (SELECT 1 FROM known)
           ), forgotten AS (
               DELETE FROM device_tokens d USING person p
               WHERE d.user_id = p.user_id AND NOT EXISTS (SELECT 1 FROM known) AND d.device_token_id IN (
                   SELECT device_token_id FROM device_tokens WHERE user_id = $2
                   ORDER BY last_used_at DESC, device_token_id DESC OFFSET $13::bigint - 1)
           ), session AS (
               INSERT INTO sessions (session_id, user_id, token_hash, rotated_at, methods, authenticated_at,
                                     device_token_id, ip_address, user_agent, created_at, last_used_at, expires_at)
               SELECT $1, $2, $3, $12, $4, $12, coalesce((SELECT device_token_id FROM known), $6), $10, $11,
                      $12, $12, $9
           )
           SELECT role, status AS "status: Status", before, EXISTS (SELECT 1 FROM known) AS "known!" FROM seen"#,
        new.session_id,
        new.user_id,
        &new.token_hash,
        new.methods as _,
        new.shown_device,
        new.device_token_id,
        &new.minted_hash,
        new.device_expires_at,
        new.expires_at,
        new.ip_address,
        new.user_agent,
        now,
        new.most_devices,
    )
    .fetch_one(tx)
    .await
}

/// The people of these sessions, as they are now. Planned once, see [`crate::database::options`].
pub async fn list_persons(db: impl PgExecutor<'_>, sessions: &[Uuid]) -> Sql<Vec<Person>> {
    let rows = sqlx::query!(
        r#"SELECT s.session_id, s.authenticated_at, s.last_used_at, s.expires_at, s.ended_at IS NOT NULL AS "ended!",
                  u.user_id, u.username, u.status AS "status: Status", u.role, u.is_superuser, u.referral_code,
                  u.social_provider, u.language, u.email_verified_at IS NOT NULL AS "email_verified!",
                  u.phone_verified_at IS NOT NULL AS "phone_verified!", u.kyc_status, u.created_at,
                  r.rank, r.is_staff, r.permissions
           FROM sessions s JOIN users u ON u.user_id = s.user_id JOIN roles r ON r.role = u.role
           WHERE s.session_id = ANY((SELECT $1::uuid[])::uuid[])"#,
        sessions,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Person {
            session_id: row.session_id,
            account: Account {
                user_id: row.user_id,
                username: row.username,
                status: row.status,
                role: row.role,
                is_superuser: row.is_superuser,
                referral_code: row.referral_code,
                social_provider: row.social_provider,
                language: row.language,
                email_verified: row.email_verified,
                phone_verified: row.phone_verified,
                kyc_status: row.kyc_status,
                created_at: row.created_at,
            },
            authenticated_at: row.authenticated_at,
            rank: row.rank,
            is_staff: row.is_staff || row.is_superuser,
            permissions: row.permissions,
            ended: row.ended,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
        })
        .collect())
}

/// Somebody as they are now, for what they asked for in a session that is over.
pub async fn find_person(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    session_id: Uuid,
    asked_at: DateTime<Utc>,
) -> Sql<Option<Person>> {
    let row = sqlx::query!(
        r#"SELECT u.user_id, u.username, u.status AS "status: Status", u.role, u.is_superuser, u.referral_code,
                  u.social_provider, u.language, u.email_verified_at IS NOT NULL AS "email_verified!",
                  u.phone_verified_at IS NOT NULL AS "phone_verified!", u.kyc_status, u.created_at,
                  r.rank, r.is_staff, r.permissions
           FROM users u JOIN roles r ON r.role = u.role
           WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Person {
        session_id,
        account: Account {
            user_id: row.user_id,
            username: row.username,
            status: row.status,
            role: row.role,
            is_superuser: row.is_superuser,
            referral_code: row.referral_code,
            social_provider: row.social_provider,
            language: row.language,
            email_verified: row.email_verified,
            phone_verified: row.phone_verified,
            kyc_status: row.kyc_status,
            created_at: row.created_at,
        },
        authenticated_at: asked_at,
        rank: row.rank,
        is_staff: row.is_staff || row.is_superuser,
        permissions: row.permissions,
        ended: true,
        last_used_at: asked_at,
        expires_at: asked_at,
    }))
}

/// A rotation asked for.
pub struct Turn {
    pub session_id: Uuid,
    pub generation: i32,
    pub shown: [u8; 32],
    pub successor: [u8; 32],
}

/// A rotation done.
#[derive(Clone, Debug)]
pub struct Rotated {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub role: String,
}

/// Rotates the sessions whose present token was shown, that live, and whose user is active.
pub async fn set_rotated(
    db: impl PgExecutor<'_>,
    turns: &[Turn],
    now: DateTime<Utc>,
    idle: Duration,
) -> Sql<Vec<Rotated>> {
    let sessions: Vec<Uuid> = turns.iter().map(|turn| turn.session_id).collect();
    let generations: Vec<i32> = turns.iter().map(|turn| turn.generation).collect();
    let shown: Vec<&[u8]> = turns.iter().map(|turn| turn.shown.as_slice()).collect();
    let successors: Vec<&[u8]> = turns.iter().map(|turn| turn.successor.as_slice()).collect();
    sqlx::query_as!(
        Rotated,
        "WITH turn AS MATERIALIZED (
             SELECT t.*, u.role FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::bytea[])
                 AS t(session_id, generation, shown, successor)
             JOIN sessions s ON s.session_id = t.session_id
             JOIN users u ON u.user_id = s.user_id AND u.status = 'active'
             WHERE s.generation = t.generation AND s.token_hash = t.shown
             ORDER BY t.session_id FOR NO KEY UPDATE OF s
         )
         UPDATE sessions s SET generation = s.generation + 1, previous_hash = s.token_hash, token_hash = t.successor,
                previous_rotated_at = s.rotated_at, rotated_at = $5, last_used_at = $5
         FROM turn t
         WHERE s.session_id = t.session_id AND s.generation = t.generation AND s.token_hash = t.shown
           AND s.ended_at IS NULL AND s.expires_at > $5 AND s.last_used_at > $6
         RETURNING s.session_id, s.user_id, t.role",
        &sessions,
        &generations,
        &shown as _,
        &successors as _,
        now,
        now - TimeDelta::from_std(idle).unwrap_or_default(),
    )
    .fetch_all(db)
    .await
}

/// A session as the row says.
#[derive(Clone, Debug)]
pub struct Session {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub generation: i32,
    pub token_hash: Vec<u8>,
    pub previous_hash: Option<Vec<u8>>,
    pub rotated_at: DateTime<Utc>,
    pub previous_rotated_at: Option<DateTime<Utc>>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub role: String,
    pub status: Status,
}

/// One session.
pub async fn find_session(db: impl PgExecutor<'_>, session_id: Uuid) -> Sql<Option<Session>> {
    sqlx::query_as!(
        Session,
        r#"SELECT s.session_id, s.user_id, s.generation, s.token_hash, s.previous_hash, s.rotated_at,
                  s.previous_rotated_at, s.last_used_at, s.expires_at, s.ended_at, u.role, u.status AS "status: Status"
           FROM sessions s JOIN users u ON u.user_id = s.user_id WHERE s.session_id = $1"#,
        session_id,
    )
    .fetch_optional(db)
    .await
}

/// Ends sessions that are open. Answers with how many.
pub async fn set_ended(tx: &mut PgConnection, sessions: &[Uuid], why: &str, now: DateTime<Utc>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE sessions SET ended_at = $3, end_reason = $2 WHERE session_id = ANY($1) AND ended_at IS NULL",
        sessions,
        why,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Ends a user's open sessions, but for one. Answers with how many.
pub async fn set_all_ended(
    tx: &mut PgConnection,
    user_id: Uuid,
    but: Option<Uuid>,
    why: &str,
    now: DateTime<Utc>,
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE sessions SET ended_at = $4, end_reason = $3
         WHERE user_id = $1 AND session_id IS DISTINCT FROM $2 AND ended_at IS NULL",
        user_id,
        but,
        why,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// A session in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which.
    pub session_id: Uuid,
    /// Where it began.
    pub ip_address: Option<String>,
    /// In which browser or app.
    pub user_agent: Option<String>,
    /// By which proofs.
    pub methods: Vec<String>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last renewed.
    pub last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// The open sessions of a user, newest first.
pub async fn list_sessions(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    now: DateTime<Utc>,
    idle_since: DateTime<Utc>,
) -> Sql<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "SELECT session_id, ip_address, user_agent, methods, created_at, last_used_at, expires_at FROM sessions
         WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND last_used_at > $3
         ORDER BY created_at DESC LIMIT 200",
        user_id,
        now,
        idle_since,
    )
    .fetch_all(db)
    .await
}

/// Somebody has proved anew who they are.
pub async fn set_authenticated(tx: &mut PgConnection, session_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE sessions SET authenticated_at = $2 WHERE session_id = $1", session_id, now)
        .execute(tx)
        .await?;
    Ok(())
}
