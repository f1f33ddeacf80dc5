//! The SQL of documents: one statement a function, rows out, no decisions. Whoever changes a document locks
//! its owner first ([`lock_owner`]), so that changes of one person's documents come one after the other.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::user::Status;

type Sql<T> = Result<T, sqlx::Error>;

/// A kind of document.
#[derive(Debug)]
pub struct DocumentType {
    pub name: String,
    pub pattern: String,
    pub rule: String,
    pub min_length: i16,
    pub max_length: i16,
    pub two_sided: bool,
    pub valid_days: Option<i32>,
}

/// A kind of document by its name.
pub async fn find_type(db: impl PgExecutor<'_>, document_type: &str) -> Sql<Option<DocumentType>> {
    sqlx::query_as!(
        DocumentType,
        "SELECT name, pattern, rule, min_length, max_length, two_sided, valid_days FROM kyc_document_types
         WHERE document_type = $1",
        document_type,
    )
    .fetch_optional(db)
    .await
}

/// The names of all kinds.
pub async fn list_types(db: impl PgExecutor<'_>) -> Sql<Vec<String>> {
    sqlx::query_scalar!("SELECT document_type FROM kyc_document_types ORDER BY document_type")
        .fetch_all(db)
        .await
}

/// Whose documents they are.
#[derive(Debug)]
pub struct Owner {
    pub username: String,
    pub rank: i16,
    pub is_superuser: bool,
    pub status: Status,
}

/// Locks the person whose documents change.
pub async fn lock_owner(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Owner>> {
    sqlx::query_as!(
        Owner,
        r#"SELECT u.username, r.rank, u.is_superuser, u.status AS "status: Status"
           FROM users u JOIN roles r ON r.role = u.role WHERE u.user_id = $1 FOR NO KEY UPDATE OF u"#,
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// The person whose documents are looked at.
pub async fn find_owner(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Owner>> {
    sqlx::query_as!(
        Owner,
        r#"SELECT u.username, r.rank, u.is_superuser, u.status AS "status: Status"
           FROM users u JOIN roles r ON r.role = u.role WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// A document.
#[derive(Clone, Debug)]
pub struct Row {
    pub submission_id: Uuid,
    pub user_id: Uuid,
    pub document_type: String,
    pub number_sealed: Vec<u8>,
    pub front_upload_id: Uuid,
    pub back_upload_id: Option<Uuid>,
    pub state: String,
    pub rejection_reason: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A document by its id.
pub async fn find(db: impl PgExecutor<'_>, submission_id: Uuid) -> Sql<Option<Row>> {
    sqlx::query_as!(
        Row,
        "SELECT submission_id, user_id, document_type, number_sealed, front_upload_id, back_upload_id, state,
                rejection_reason, decided_at, expires_at, created_at, updated_at
         FROM kyc_submissions WHERE submission_id = $1",
        submission_id,
    )
    .fetch_optional(db)
    .await
}

/// Somebody's documents, newest first.
pub async fn list_own(db: impl PgExecutor<'_>, user_id: Uuid, most: i64) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "SELECT submission_id, user_id, document_type, number_sealed, front_upload_id, back_upload_id, state,
                rejection_reason, decided_at, expires_at, created_at, updated_at
         FROM kyc_submissions WHERE user_id = $1 ORDER BY created_at DESC, submission_id DESC LIMIT $2",
        user_id,
        most,
    )
    .fetch_all(db)
    .await
}

/// What is written of a document that is handed in or changed.
#[derive(Debug)]
pub struct Written<'a> {
    pub submission_id: Uuid,
    pub document_type: &'a str,
    pub number_sealed: &'a [u8],
    pub number_hash: &'a [u8],
    pub front: Uuid,
    pub back: Option<Uuid>,
}

/// Inserts a document that waits. False: another one of the person does.
pub async fn insert(
    tx: &mut PgConnection,
    user_id: Uuid,
    new: &Written<'_>,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO kyc_submissions (submission_id, user_id, document_type, number_sealed, number_hash,
                                      front_upload_id, back_upload_id, state, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $8)
         ON CONFLICT (user_id) WHERE state = 'pending' DO NOTHING",
        new.submission_id,
        user_id,
        new.document_type,
        new.number_sealed,
        new.number_hash,
        new.front,
        new.back,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Writes other values into a document that waits.
pub async fn set(tx: &mut PgConnection, new: &Written<'_>, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE kyc_submissions SET document_type = $2, number_sealed = $3, number_hash = $4,
                front_upload_id = $5, back_upload_id = $6, updated_at = $7
         WHERE submission_id = $1",
        new.submission_id,
        new.document_type,
        new.number_sealed,
        new.number_hash,
        new.front,
        new.back,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether any document of somebody's shows this file.
pub async fn is_shown(tx: &mut PgConnection, user_id: Uuid, upload_id: Uuid) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM kyc_submissions
                          WHERE user_id = $1 AND (front_upload_id = $2 OR back_upload_id = $2)) AS "shown!""#,
        user_id,
        upload_id,
    )
    .fetch_one(tx)
    .await
}

/// The files of somebody's documents that were rejected or have run out, but for those that another one shows.
pub async fn list_past_files(tx: &mut PgConnection, user_id: Uuid) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"SELECT DISTINCT file AS "file!"
           FROM kyc_submissions k, unnest(ARRAY[k.front_upload_id, k.back_upload_id]) AS file
           WHERE k.user_id = $1 AND k.state IN ('rejected', 'expired') AND file IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM kyc_submissions o
                             WHERE o.user_id = $1 AND o.state IN ('pending', 'approved')
                               AND (o.front_upload_id = file OR o.back_upload_id = file))"#,
        user_id,
    )
    .fetch_all(tx)
    .await
}

/// Approves a document.
pub async fn set_approved(
    tx: &mut PgConnection,
    submission_id: Uuid,
    by: Uuid,
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE kyc_submissions SET state = 'approved', decided_by = $2, expires_at = $3, decided_at = $4,
                updated_at = $4
         WHERE submission_id = $1",
        submission_id,
        by,
        expires_at,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Rejects a document.
pub async fn set_rejected(
    tx: &mut PgConnection,
    submission_id: Uuid,
    by: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE kyc_submissions SET state = 'rejected', decided_by = $2, rejection_reason = $3, decided_at = $4,
                updated_at = $4
         WHERE submission_id = $1",
        submission_id,
        by,
        reason,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends what was approved of somebody before: another document takes its place.
pub async fn set_replaced(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE kyc_submissions SET state = 'expired', expires_at = $2, updated_at = $2
         WHERE user_id = $1 AND state = 'approved'",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends what has run out of somebody's. False: nothing has.
pub async fn set_expired(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE kyc_submissions SET state = 'expired', updated_at = $2
         WHERE user_id = $1 AND state = 'approved' AND expires_at <= $2",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Writes how far somebody is: approved as long as something is, else as their newest document.
pub async fn set_status(tx: &mut PgConnection, user_id: Uuid) -> Sql<()> {
    sqlx::query!(
        "UPDATE users SET kyc_status = coalesce(
             (SELECT state FROM kyc_submissions WHERE user_id = $1
              ORDER BY (state = 'approved') DESC, created_at DESC, submission_id DESC LIMIT 1), 'not_submitted')
         WHERE user_id = $1",
        user_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A document in the staff's list.
#[derive(Debug)]
pub struct Listed {
    pub submission_id: Uuid,
    pub user_id: Uuid,
    pub username: String,
    pub document_type: String,
    pub state: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Documents in a state, but for those of deleted accounts, oldest first, after a place.
pub async fn list_in_state(
    db: impl PgExecutor<'_>,
    state: &str,
    (at, id): (DateTime<Utc>, Uuid),
    most: i64,
) -> Sql<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "SELECT k.submission_id, k.user_id, u.username, k.document_type, k.state, k.created_at, k.updated_at
         FROM kyc_submissions k JOIN users u ON u.user_id = k.user_id
         WHERE k.state = $1 AND u.status <> 'deleted' AND (k.created_at, k.submission_id) > ($2, $3)
         ORDER BY k.created_at, k.submission_id LIMIT $4",
        state,
        at,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Documents of somebody, in a state if one is named, oldest first, after a place.
pub async fn list_of(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    state: Option<&str>,
    (at, id): (DateTime<Utc>, Uuid),
    most: i64,
) -> Sql<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "SELECT k.submission_id, k.user_id, u.username, k.document_type, k.state, k.created_at, k.updated_at
         FROM kyc_submissions k JOIN users u ON u.user_id = k.user_id
         WHERE k.user_id = $1 AND ($2::text IS NULL OR k.state = $2)
           AND (k.created_at, k.submission_id) > ($3, $4)
         ORDER BY k.created_at, k.submission_id LIMIT $5",
        user_id,
        state,
        at,
        id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Others of whom a document of the same kind with the same number is approved; `hashes` are of that number.
pub async fn list_same_number(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    document_type: &str,
    hashes: &[Vec<u8>],
    most: i64,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT DISTINCT user_id FROM kyc_submissions
         WHERE number_hash = ANY($3) AND state = 'approved' AND document_type = $2 AND user_id <> $1
         ORDER BY user_id LIMIT $4",
        user_id,
        document_type,
        hashes,
        most,
    )
    .fetch_all(db)
    .await
}

/// A document that has run out.
pub struct Due {
    pub submission_id: Uuid,
    pub user_id: Uuid,
    pub expires_at: DateTime<Utc>,
}

/// Documents that have run out, after this one in the order in which they did.
pub async fn list_expired(
    db: impl PgExecutor<'_>,
    now: DateTime<Utc>,
    (after_at, after_id): (DateTime<Utc>, Uuid),
    most: i64,
) -> Sql<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"SELECT submission_id, user_id, expires_at AS "expires_at!" FROM kyc_submissions
           WHERE state = 'approved' AND expires_at <= $1 AND (expires_at, submission_id) > ($2, $3)
           ORDER BY expires_at, submission_id LIMIT $4"#,
        now,
        after_at,
        after_id,
        most,
    )
    .fetch_all(db)
    .await
}

/// The line that says that somebody's document ran out.
pub async fn insert_expired(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        r#"INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details)
           VALUES ($1, $2, 'kyc.expired', 'user', $3::uuid::text, '{"by": "schedule"}')"#,
        crate::id::ordered(now),
        now,
        user_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}
