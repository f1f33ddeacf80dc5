//! The SQL of bulk actions: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Failure;
use crate::audit::Client;

type Sql<T> = Result<T, sqlx::Error>;

/// An action to insert.
pub struct NewAction<'a> {
    pub bulk_action_id: Uuid,
    pub action: &'a str,
    pub reason: &'a str,
    pub role: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub message: Option<&'a str>,
    pub format: Option<&'a str>,
    pub filter: Option<&'a serde_json::Value>,
    pub created_by: Uuid,
    pub session_id: Uuid,
    pub client: &'a Client,
    pub expires_at: DateTime<Utc>,
    pub job_id: Uuid,
}

/// Inserts an action.
pub async fn insert(tx: &mut PgConnection, new: &NewAction<'_>, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO bulk_actions (bulk_action_id, action, reason, role, subject, message, filter, created_by,
                                   session_id, ip_address, user_agent, request_id, created_at, expires_at, format,
                                   job_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        new.bulk_action_id,
        new.action,
        new.reason,
        new.role,
        new.subject,
        new.message,
        new.filter,
        new.created_by,
        new.session_id,
        new.client.ip.to_string(),
        new.client.user_agent,
        new.client.request_id,
        now,
        new.expires_at,
        new.format,
        new.job_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Chooses these people, each once.
pub async fn insert_items(tx: &mut PgConnection, bulk_action_id: Uuid, ids: &[Uuid]) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO bulk_items (bulk_action_id, user_id) SELECT DISTINCT $1::uuid, id FROM unnest($2::uuid[]) AS id
         ON CONFLICT DO NOTHING",
        bulk_action_id,
        ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether one of these is somebody, but for `me`.
pub async fn is_any_known(tx: &mut PgConnection, ids: &[Uuid], me: Uuid) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE user_id = ANY($1) AND user_id <> $2) AS "known!""#,
        ids,
        me,
    )
    .fetch_one(tx)
    .await
}

/// An action.
#[derive(Debug)]
pub struct Order {
    pub bulk_action_id: Uuid,
    pub action: String,
    pub reason: String,
    pub role: Option<String>,
    pub subject: Option<String>,
    pub message: Option<String>,
    pub filter: Option<serde_json::Value>,
    pub created_by: Uuid,
    pub session_id: Uuid,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub selected_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub format: Option<String>,
    pub exported: i64,
    pub upload_id: Option<Uuid>,
    pub result_until: Option<DateTime<Utc>>,
    pub job_id: Option<Uuid>,
}

/// One action.
pub async fn find_order(db: impl PgExecutor<'_>, bulk_action_id: Uuid) -> Sql<Option<Order>> {
    sqlx::query_as!(
        Order,
        "SELECT bulk_action_id, action, reason, role, subject, message, filter, created_by, session_id, ip_address,
                user_agent, request_id, created_at, expires_at, selected_at, finished_at, format, exported, upload_id,
                result_until, job_id
         FROM bulk_actions WHERE bulk_action_id = $1",
        bulk_action_id,
    )
    .fetch_optional(db)
    .await
}

/// The last one chosen so far, by id.
pub async fn find_last_item(db: impl PgExecutor<'_>, bulk_action_id: Uuid) -> Sql<Option<Uuid>> {
    let last = sqlx::query_scalar!(
        "SELECT user_id FROM bulk_items WHERE bulk_action_id = $1 ORDER BY user_id DESC LIMIT 1",
        bulk_action_id,
    );
    last.fetch_optional(db).await
}

/// Locks an action whose people are still chosen. False: another body has chosen them all.
pub async fn lock_unselected(tx: &mut PgConnection, bulk_action_id: Uuid) -> Sql<bool> {
    let found = sqlx::query_scalar!(
        "SELECT bulk_action_id FROM bulk_actions WHERE bulk_action_id = $1 AND selected_at IS NULL FOR UPDATE",
        bulk_action_id,
    );
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// Everybody is chosen: by which text is not kept, it may be somebody's address.
pub async fn set_selected(tx: &mut PgConnection, bulk_action_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE bulk_actions SET selected_at = $2, filter = filter - 'search'
         WHERE bulk_action_id = $1 AND selected_at IS NULL",
        bulk_action_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The next people without an outcome.
pub async fn list_open(db: impl PgExecutor<'_>, bulk_action_id: Uuid, most: i64) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT user_id FROM bulk_items WHERE bulk_action_id = $1 AND outcome IS NULL ORDER BY user_id LIMIT $2",
        bulk_action_id,
        most,
    )
    .fetch_all(db)
    .await
}

/// Locks somebody without an outcome. False: they have one by now.
pub async fn lock_open(tx: &mut PgConnection, bulk_action_id: Uuid, user_id: Uuid) -> Sql<bool> {
    let found = sqlx::query_scalar!(
        "SELECT user_id FROM bulk_items
         WHERE bulk_action_id = $1 AND user_id = $2 AND outcome IS NULL FOR UPDATE",
        bulk_action_id,
        user_id,
    );
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// Writes what became of somebody.
pub async fn set_outcome(
    tx: &mut PgConnection,
    bulk_action_id: Uuid,
    user_id: Uuid,
    outcome: &str,
    code: Option<&str>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE bulk_items SET outcome = $3, code = $4 WHERE bulk_action_id = $1 AND user_id = $2",
        bulk_action_id,
        user_id,
        outcome,
        code,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Everybody is chosen and has an outcome.
pub async fn set_finished(db: impl PgExecutor<'_>, bulk_action_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE bulk_actions SET finished_at = $2
         WHERE bulk_action_id = $1 AND selected_at IS NOT NULL AND finished_at IS NULL",
        bulk_action_id,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many people of an action there are by outcome.
#[derive(Debug)]
pub struct Counts {
    pub total: i64,
    pub done: i64,
    pub failed: i64,
    pub skipped: i64,
}

/// Counts people by outcome.
pub async fn count_outcomes(db: impl PgExecutor<'_>, bulk_action_id: Uuid) -> Sql<Counts> {
    sqlx::query_as!(
        Counts,
        r#"SELECT count(*) AS "total!", count(*) FILTER (WHERE outcome = 'done') AS "done!",
                  count(*) FILTER (WHERE outcome = 'failed') AS "failed!",
                  count(*) FILTER (WHERE outcome = 'skipped') AS "skipped!"
           FROM bulk_items WHERE bulk_action_id = $1"#,
        bulk_action_id,
    )
    .fetch_one(db)
    .await
}

/// People it was not done to, by id.
pub async fn list_failures(
    db: impl PgExecutor<'_>,
    bulk_action_id: Uuid,
    after: Uuid,
    most: i64,
) -> Sql<Vec<Failure>> {
    sqlx::query_as!(
        Failure,
        r#"SELECT user_id, outcome AS "outcome!", coalesce(code, '') AS "code!" FROM bulk_items
           WHERE bulk_action_id = $1 AND user_id > $2 AND outcome IN ('failed', 'skipped')
           ORDER BY user_id LIMIT $3"#,
        bulk_action_id,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// The next people of an action who have no outcome, after this one by id.
pub async fn list_open_after(
    db: impl PgExecutor<'_>,
    bulk_action_id: Uuid,
    after: Uuid,
    most: i64,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT user_id FROM bulk_items WHERE bulk_action_id = $1 AND user_id > $2 AND outcome IS NULL
         ORDER BY user_id LIMIT $3",
        bulk_action_id,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Of how many people the file holds a row by now.
pub async fn set_exported(db: impl PgExecutor<'_>, bulk_action_id: Uuid, exported: i64) -> Sql<()> {
    sqlx::query!("UPDATE bulk_actions SET exported = $2 WHERE bulk_action_id = $1", bulk_action_id, exported)
        .execute(db)
        .await?;
    Ok(())
}

/// Writes what became of everybody who has no outcome.
pub async fn set_open_outcome(tx: &mut PgConnection, bulk_action_id: Uuid, code: &str) -> Sql<()> {
    sqlx::query!(
        "UPDATE bulk_items SET outcome = 'failed', code = $2 WHERE bulk_action_id = $1 AND outcome IS NULL",
        bulk_action_id,
        code,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes of these what became of them.
pub async fn set_outcomes(
    db: impl PgExecutor<'_>,
    bulk_action_id: Uuid,
    ids: &[Uuid],
    outcome: &str,
    code: &str,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE bulk_items SET outcome = $3, code = $4 WHERE bulk_action_id = $1 AND user_id = ANY($2)",
        bulk_action_id,
        ids,
        outcome,
        code,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The file is there. False: another body was first.
pub async fn set_result(
    tx: &mut PgConnection,
    bulk_action_id: Uuid,
    upload_id: Uuid,
    exported: i64,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE bulk_actions SET upload_id = $2, exported = $3, result_until = $4, finished_at = $5
         WHERE bulk_action_id = $1 AND finished_at IS NULL",
        bulk_action_id,
        upload_id,
        exported,
        until,
        now,
    );
    Ok(done.execute(tx).await?.rows_affected() == 1)
}

/// Takes the file from an action. Answers with which it was.
pub async fn take_result(tx: &mut PgConnection, bulk_action_id: Uuid) -> Sql<Option<Uuid>> {
    let taken = sqlx::query_scalar!(
        r#"WITH held AS (SELECT upload_id FROM bulk_actions WHERE bulk_action_id = $1 FOR UPDATE)
           UPDATE bulk_actions SET upload_id = NULL FROM held
           WHERE bulk_action_id = $1 AND held.upload_id IS NOT NULL RETURNING held.upload_id AS "upload_id!""#,
        bulk_action_id,
    );
    taken.fetch_optional(tx).await
}
