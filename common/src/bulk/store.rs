//! The SQL of bulk actions: one statement a function, rows out, no decisions.

use chrono::{DateTime, Days, NaiveTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Failure, Filter};
use crate::audit::Client;
use crate::user::{self, Status};

type Sql<T> = Result<T, sqlx::Error>;

/// An action to insert.
pub struct NewAction<'a> {
    pub bulk_action_id: Uuid,
    pub action: &'a str,
    pub reason: &'a str,
    pub role: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub message: Option<&'a str>,
    pub filter: Option<&'a serde_json::Value>,
    pub created_by: Uuid,
    pub session_id: Uuid,
    pub client: &'a Client,
    pub expires_at: DateTime<Utc>,
}

/// Inserts an action.
pub async fn insert(tx: &mut PgConnection, new: &NewAction<'_>, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO bulk_actions (bulk_action_id, action, reason, role, subject, message, filter, created_by,
                                   session_id, ip_address, user_agent, request_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
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
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Chooses these people, each once.
pub async fn insert_items(tx: &mut PgConnection, bulk_action_id: Uuid, ids: &[Uuid]) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO bulk_items (bulk_action_id, user_id) SELECT DISTINCT $1::uuid, id FROM unnest($2::uuid[]) AS id",
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

/// The moments between which people of a filter joined.
fn between(filter: &Filter, asked_at: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    let from = filter.start_date.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let until = filter.end_date.and_then(|day| day.checked_add_days(Days::new(1)));
    let until = until.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    // whoever joined in the moment of asking is in
    let asked_at = asked_at + chrono::TimeDelta::milliseconds(1);
    (from.unwrap_or(DateTime::UNIX_EPOCH), until.map_or(asked_at, |until| until.min(asked_at)))
}

/// Whether somebody fits the filter, but for `me`.
pub async fn is_anybody(
    tx: &mut PgConnection,
    filter: &Filter,
    me: Uuid,
    asked_at: DateTime<Utc>,
) -> Sql<bool> {
    let (from, until) = between(filter, asked_at);
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM users
               WHERE user_id <> $1 AND created_at >= $2 AND created_at < $3
                 AND CASE WHEN $4::user_status IS NULL THEN status <> 'deleted' ELSE status = $4 END
                 AND ($5::text IS NULL OR role = $5)
                 AND ($6::text IS NULL OR lower(username) LIKE $6 OR email LIKE $6 OR phone_number LIKE $6)
                 AND ($7::bool IS NULL OR (email_verified_at IS NOT NULL) = $7)
                 AND ($8::bool IS NULL OR (phone_verified_at IS NOT NULL) = $8)) AS "anybody!""#,
        me,
        from,
        until,
        filter.status as Option<Status>,
        filter.role,
        filter.search.as_deref().map(user::prefix),
        filter.email_verified,
        filter.phone_verified,
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
}

/// One action.
pub async fn find_order(db: impl PgExecutor<'_>, bulk_action_id: Uuid) -> Sql<Option<Order>> {
    sqlx::query_as!(
        Order,
        "SELECT bulk_action_id, action, reason, role, subject, message, filter, created_by, session_id, ip_address,
                user_agent, request_id, created_at, expires_at, selected_at, finished_at
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

/// Chooses the next people who fit the filter, by id. Answers with how many.
pub async fn insert_chosen(
    tx: &mut PgConnection,
    order: &Order,
    filter: &Filter,
    after: Uuid,
    most: i64,
) -> Sql<u64> {
    let (from, until) = between(filter, order.created_at);
    let done = sqlx::query!(
        "INSERT INTO bulk_items (bulk_action_id, user_id)
         SELECT $1, user_id FROM users
         WHERE user_id > $2 AND created_at >= $3 AND created_at < $4
           AND CASE WHEN $5::user_status IS NULL THEN status <> 'deleted' ELSE status = $5 END
           AND ($6::text IS NULL OR role = $6)
           AND ($7::text IS NULL OR lower(username) LIKE $7 OR email LIKE $7 OR phone_number LIKE $7)
           AND ($8::bool IS NULL OR (email_verified_at IS NOT NULL) = $8)
           AND ($9::bool IS NULL OR (phone_verified_at IS NOT NULL) = $9)
         ORDER BY user_id LIMIT $10
         ON CONFLICT DO NOTHING",
        order.bulk_action_id,
        after,
        from,
        until,
        filter.status as Option<Status>,
        filter.role,
        filter.search.as_deref().map(user::prefix),
        filter.email_verified,
        filter.phone_verified,
        most,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
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
