//! The SQL of records: reading and changing one.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Sql;
use crate::user::Status;
use crate::user::card::Card;
use crate::user::record::Record;

/// A record.
pub async fn find(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Record>> {
    sqlx::query_as!(
        Record,
        r#"SELECT u.user_id, u.username, u.email, u.phone_number, u.first_name, u.last_name, u.gender, u.address,
                  u.national_id_sealed, u.status AS "status: Status", u.status_reason, u.role, r.rank,
                  r.permissions,
                  (r.is_staff OR u.is_superuser) AS "is_staff!", u.is_superuser, u.referral_code, u.referred_by,
                  u.social_provider, u.last_login_at, u.last_login_ip, u.last_login_device,
                  greatest(u.last_activity_at, used.at) AS last_activity_at,
                  u.email_verified_at, u.phone_verified_at, u.kyc_status, u.deleted_at, u.erase_at, u.created_at,
                  u.updated_at, (u.before_deletion->>'status')::user_status AS "status_before: Status",
                  u.before_deletion->>'reason' AS reason_before,
                  (p.picture_large IS NOT NULL) AS "has_picture!"
           FROM users u JOIN roles r ON r.role = u.role LEFT JOIN profiles p ON p.user_id = u.user_id
           CROSS JOIN LATERAL (SELECT max(s.last_used_at) AS at FROM sessions s WHERE s.user_id = u.user_id) used
           WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// A record, locked.
pub async fn lock(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Record>> {
    sqlx::query!("SELECT user_id FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id)
        .fetch_optional(&mut *tx)
        .await?;
    find(tx, user_id).await
}

/// A national id's columns.
pub enum NationalId {
    /// As they are.
    Kept,
    /// Others.
    New { sealed: Vec<u8>, hash: [u8; 32] },
}

/// A record's new values.
pub struct Edit {
    /// None: as it is.
    pub username: Option<String>,
    pub skeleton: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub gender: Option<String>,
    pub address: Option<String>,
    pub national_id: Option<NationalId>,
    pub email: Option<String>,
    pub phone_number: Option<String>,
    pub email_verified_at: Option<DateTime<Utc>>,
    pub phone_verified_at: Option<DateTime<Utc>>,
}

/// Changes a record.
pub async fn set(tx: &mut PgConnection, user_id: Uuid, edit: &Edit, now: DateTime<Utc>) -> Sql<()> {
    let (kept, sealed, hash) = match &edit.national_id {
        None => (false, None, None),
        Some(NationalId::Kept) => (true, None, None),
        Some(NationalId::New { sealed, hash }) => (false, Some(sealed.as_slice()), Some(hash.as_slice())),
    };
    sqlx::query!(
        "UPDATE users SET username = coalesce($2, username), username_skeleton = coalesce($3, username_skeleton),
                first_name = $4, last_name = $5, gender = $6, address = $7,
                national_id_sealed = CASE WHEN $8 THEN national_id_sealed ELSE $9 END,
                national_id_hash = CASE WHEN $8 THEN national_id_hash ELSE $10 END,
                email = $11, phone_number = $12, email_verified_at = $13, phone_verified_at = $14,
                ever_verified_at = coalesce(ever_verified_at, $13, $14), updated_at = $15
         WHERE user_id = $1",
        user_id,
        edit.username,
        edit.skeleton,
        edit.first_name,
        edit.last_name,
        edit.gender,
        edit.address,
        kept,
        sealed,
        hash,
        edit.email,
        edit.phone_number,
        edit.email_verified_at,
        edit.phone_verified_at,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Sets a status of an account that is not deleted. What want of activity had led to is over: only a status set by
/// its schedule is taken back by a sign-in.
pub async fn set_status(
    tx: &mut PgConnection,
    user_id: Uuid,
    status: Status,
    reason: &str,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE users SET status = $2, status_reason = $3, lapsed_at = NULL, inactivity_warned_at = NULL,
                updated_at = $4
         WHERE user_id = $1",
        user_id,
        status as Status,
        reason,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes an account, to be erased then. What it was is kept beside, and what want of activity had led to.
pub async fn set_deleted(
    tx: &mut PgConnection,
    user_id: Uuid,
    reason: Option<&str>,
    erase_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE users SET before_deletion = jsonb_build_object('status', status, 'reason', status_reason),
                status = 'deleted', status_reason = $2, erase_at = $3, deleted_at = $4, inactivity_warned_at = NULL,
                updated_at = $4
         WHERE user_id = $1",
        user_id,
        reason,
        erase_at,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes a deletion back.
pub async fn set_restored(
    tx: &mut PgConnection,
    user_id: Uuid,
    status: Status,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE users SET status = $2, status_reason = $3, before_deletion = NULL, erase_at = NULL,
                deleted_at = NULL, updated_at = $4
         WHERE user_id = $1",
        user_id,
        status as Status,
        reason,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What lists know of these people, by id.
pub async fn list_cards(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Sql<Vec<Card>> {
    sqlx::query_as!(
        Card,
        r#"SELECT user_id, username, email, phone_number, first_name, last_name, status AS "status: Status", role,
                  email_verified_at IS NOT NULL AS "email_verified!",
                  phone_verified_at IS NOT NULL AS "phone_verified!", created_at, last_login_at
           FROM users WHERE user_id = ANY($1) ORDER BY user_id"#,
        ids,
    )
    .fetch_all(db)
    .await
}

/// The sealed key of somebody.
pub async fn find_key(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Vec<u8>> {
    sqlx::query_scalar!("SELECT sealed FROM user_keys WHERE user_id = $1", user_id).fetch_one(db).await
}

/// A person's key, sealed.
pub struct KeyRow {
    pub user_id: Uuid,
    pub sealed: Vec<u8>,
}

/// The keys that seal what audit lines say of these people.
pub async fn list_keys(db: impl PgExecutor<'_>, people: &[Uuid]) -> Sql<Vec<KeyRow>> {
    sqlx::query_as!(KeyRow, "SELECT user_id, sealed FROM user_keys WHERE user_id = ANY($1)", people)
        .fetch_all(db)
        .await
}
