//! The SQL of factors that are typed, and of sign-ins that wait for one: one statement a function, rows
//! out, no decisions. That of passkeys is theirs.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::user::Status;

type Sql<T> = Result<T, sqlx::Error>;

/// Locks a person, so that what is decided about all their factors holds until the commit. Every transaction
/// that locks a factor locks its person first: so nobody waits in a circle. Answers with their status; None:
/// there is no such person any more.
pub async fn lock_user(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Status>> {
    sqlx::query_scalar!(
        r#"SELECT status AS "status: Status" FROM users WHERE user_id = $1 FOR NO KEY UPDATE"#,
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// What somebody has.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub totp: bool,
    pub passkeys: i64,
    /// Recovery codes, used or not.
    pub recovery_codes: i64,
    pub recovery_codes_left: i64,
}

/// What somebody has: confirmed factors, recovery codes.
pub async fn count_held(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Held> {
    sqlx::query_as!(
        Held,
        r#"SELECT EXISTS (SELECT 1 FROM totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL) AS "totp!",
                  (SELECT count(*) FROM passkeys WHERE user_id = $1) AS "passkeys!",
                  count(number) AS "recovery_codes!",
                  count(number) FILTER (WHERE used_at IS NULL) AS "recovery_codes_left!"
           FROM recovery_codes WHERE user_id = $1"#,
        user_id,
    )
    .fetch_one(db)
    .await
}

/// Tries at one kind of code, this one among them.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    pub hour_started_at: DateTime<Utc>,
    pub tries: i32,
}

/// Counts a try. An hour begins with the first after `hour_ago`.
pub async fn count_try(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    kind: &str,
    now: DateTime<Utc>,
    hour_ago: DateTime<Utc>,
) -> Sql<Tries> {
    sqlx::query_as!(
        Tries,
        "INSERT INTO factor_tries AS t (user_id, kind, hour_started_at, tries) VALUES ($1, $2, $3, 1)
         ON CONFLICT (user_id, kind) DO UPDATE SET
             hour_started_at = CASE WHEN t.hour_started_at <= $4 THEN $3 ELSE t.hour_started_at END,
             tries = CASE WHEN t.hour_started_at <= $4 THEN 1 ELSE t.tries + 1 END
         RETURNING hour_started_at, tries",
        user_id,
        kind,
        now,
        hour_ago,
    )
    .fetch_one(db)
    .await
}

/// A try that was right does not count.
pub async fn give_back_try(db: impl PgExecutor<'_>, user_id: Uuid, kind: &str) -> Sql<()> {
    sqlx::query!(
        "UPDATE factor_tries SET tries = greatest(tries - 1, 0) WHERE user_id = $1 AND kind = $2",
        user_id,
        kind,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An authenticator app.
#[derive(Clone, Debug)]
pub struct Totp {
    pub factor_id: Uuid,
    pub sealed: Vec<u8>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub last_step: i64,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Somebody's authenticator app, confirmed or not.
pub async fn find_totp(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Totp>> {
    sqlx::query_as!(
        Totp,
        "SELECT factor_id, sealed, confirmed_at, last_step, last_used_at
         FROM totp_factors WHERE user_id = $1",
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// The same, locked.
pub async fn lock_totp(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Totp>> {
    sqlx::query_as!(
        Totp,
        "SELECT factor_id, sealed, confirmed_at, last_step, last_used_at
         FROM totp_factors WHERE user_id = $1 FOR UPDATE",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// Inserts an unconfirmed app in place of another unconfirmed one. False: one is confirmed.
pub async fn insert_totp(
    tx: &mut PgConnection,
    factor_id: Uuid,
    user_id: Uuid,
    sealed: &[u8],
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO totp_factors AS t (factor_id, user_id, sealed, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE SET factor_id = excluded.factor_id, sealed = excluded.sealed,
             created_at = excluded.created_at, last_step = 0
         WHERE t.confirmed_at IS NULL",
        factor_id,
        user_id,
        sealed,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Accepts a step, and confirms the app with its first. False: that step, or a later one, was accepted.
pub async fn set_step(tx: &mut PgConnection, factor_id: Uuid, step: i64, now: DateTime<Utc>) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE totp_factors SET last_step = $2, last_used_at = $3, confirmed_at = coalesce(confirmed_at, $3)
         WHERE factor_id = $1 AND last_step < $2",
        factor_id,
        step,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes somebody's confirmed app; `factor_id` where one in particular is meant.
pub async fn delete_totp(tx: &mut PgConnection, user_id: Uuid, factor_id: Option<Uuid>) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!(
        "DELETE FROM totp_factors
         WHERE user_id = $1 AND confirmed_at IS NOT NULL AND ($2::uuid IS NULL OR factor_id = $2)
         RETURNING factor_id",
        user_id,
        factor_id,
    )
    .fetch_optional(tx)
    .await
}

/// The hash of a recovery code that is not used.
pub async fn find_recovery_code(db: impl PgExecutor<'_>, user_id: Uuid, number: i16) -> Sql<Option<String>> {
    sqlx::query_scalar!(
        "SELECT hash FROM recovery_codes WHERE user_id = $1 AND number = $2 AND used_at IS NULL",
        user_id,
        number,
    )
    .fetch_optional(db)
    .await
}

/// Uses a recovery code up. False: it was used meanwhile, or its set was replaced.
pub async fn set_recovery_code_used(
    tx: &mut PgConnection,
    user_id: Uuid,
    number: i16,
    hash: &str,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE recovery_codes SET used_at = $4 WHERE user_id = $1 AND number = $2 AND hash = $3 AND used_at IS NULL",
        user_id,
        number,
        hash,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Inserts a set, numbered from 0.
pub async fn insert_recovery_codes(
    tx: &mut PgConnection,
    user_id: Uuid,
    hashes: &[String],
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO recovery_codes (user_id, number, hash, created_at)
         SELECT $1, (n - 1)::smallint, hash, $3 FROM unnest($2::text[]) WITH ORDINALITY AS h(hash, n)",
        user_id,
        hashes,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes somebody's set.
pub async fn delete_recovery_codes(tx: &mut PgConnection, user_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM recovery_codes WHERE user_id = $1", user_id).execute(tx).await?;
    Ok(())
}

/// Inserts a sign-in that waits for a factor.
pub async fn insert_challenge(
    tx: &mut PgConnection,
    token_hash: &[u8],
    user_id: Uuid,
    methods: &[&str],
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO mfa_challenges (token_hash, user_id, methods, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
        token_hash,
        user_id,
        methods as _,
        now,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whose sign-in waits.
pub async fn find_challenge(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!(
        "SELECT user_id FROM mfa_challenges
         WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2",
        token_hash,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Whose sign-in waited, or waits still, with this token.
pub async fn find_challenge_owner(db: impl PgExecutor<'_>, token_hash: &[u8]) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!("SELECT user_id FROM mfa_challenges WHERE token_hash = $1", token_hash)
        .fetch_optional(db)
        .await
}

/// Counts a try at a sign-in that waits, while it has any left: whose it is.
pub async fn take_challenge_try(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
    most: i16,
) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE mfa_challenges SET tries = tries + 1
         WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2 AND tries < $3
         RETURNING user_id",
        token_hash,
        now,
        most,
    )
    .fetch_optional(db)
    .await
}

/// Ends the waiting. None: it has ended.
pub async fn set_challenge_used(
    tx: &mut PgConnection,
    token_hash: &[u8],
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Sql<Option<Vec<String>>> {
    sqlx::query_scalar!(
        "UPDATE mfa_challenges SET used_at = $3
         WHERE token_hash = $1 AND user_id = $2 AND used_at IS NULL AND expires_at > $3
         RETURNING methods",
        token_hash,
        user_id,
        now,
    )
    .fetch_optional(tx)
    .await
}

/// Deletes everything of somebody's that waits for a factor.
pub async fn delete_challenges(tx: &mut PgConnection, user_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM mfa_challenges WHERE user_id = $1", user_id).execute(tx).await?;
    Ok(())
}

/// The hash of somebody's password.
pub async fn find_password(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<String>> {
    sqlx::query_scalar!("SELECT hash FROM passwords WHERE user_id = $1", user_id).fetch_optional(db).await
}

/// How high somebody stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub rank: i16,
    pub is_superuser: bool,
}

/// Locks a person and says how high they stand.
pub async fn lock_standing(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Standing>> {
    sqlx::query_as!(
        Standing,
        "SELECT rank, is_superuser FROM users JOIN roles USING (role)
         WHERE user_id = $1 FOR NO KEY UPDATE OF users",
        user_id,
    )
    .fetch_optional(tx)
    .await
}
