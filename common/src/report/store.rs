//! The SQL of reports: one statement a function, rows out, no decisions.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Report;

type Sql<T> = Result<T, sqlx::Error>;

/// Inserts a report that waits. False: another one of the person waits.
pub async fn insert(tx: &mut PgConnection, user_id: Uuid, new: &Report) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO reports (report_id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) WHERE finished_at IS NULL DO NOTHING",
        new.report_id,
        user_id,
        new.created_at,
        new.expires_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes reports of people that were never built in time.
pub async fn delete_stale(tx: &mut PgConnection, people: &[Uuid], now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "DELETE FROM reports WHERE user_id = ANY($1) AND finished_at IS NULL AND expires_at <= $2",
        people,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Somebody who used something in a month.
pub struct User {
    pub user_id: Uuid,
    /// What they want to be told, by kind and channel.
    pub preferences: Value,
    /// Whether their report of the month was asked for.
    pub is_asked: bool,
}

/// Active people who used something in a month (its first day), after this one.
pub async fn list_users(db: impl PgExecutor<'_>, month: NaiveDate, after: Uuid, most: i64) -> Sql<Vec<User>> {
    sqlx::query_as!(
        User,
        r#"SELECT m.user_id, coalesce(p.notification_preferences, '{}') AS "preferences!",
                  EXISTS (SELECT 1 FROM reports r WHERE r.user_id = m.user_id AND r.month = $1) AS "is_asked!"
           FROM usage_months m
           JOIN users u ON u.user_id = m.user_id AND u.status = 'active'
           LEFT JOIN profiles p ON p.user_id = m.user_id
           WHERE m.month = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3"#,
        month,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Inserts reports of a month that wait, but for people who have one, or wait for another. Answers with those
/// inserted.
pub async fn insert_monthly(
    tx: &mut PgConnection,
    (reports, people): (&[Uuid], &[Uuid]),
    month: NaiveDate,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "INSERT INTO reports (report_id, user_id, month, created_at, expires_at)
         SELECT n.report_id, n.user_id, $3, $4, $5 FROM unnest($1::uuid[], $2::uuid[]) AS n(report_id, user_id)
         ON CONFLICT DO NOTHING RETURNING report_id",
        reports,
        people,
        month,
        now,
        expires_at,
    )
    .fetch_all(tx)
    .await
}

/// The report of somebody that waits.
pub async fn find_waiting(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Report>> {
    sqlx::query_as!(
        Report,
        "SELECT report_id, created_at, finished_at, expires_at FROM reports
         WHERE user_id = $1 AND finished_at IS NULL",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// A report of somebody that is kept.
pub async fn find(
    db: impl PgExecutor<'_>,
    report_id: Uuid,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Sql<Option<Report>> {
    sqlx::query_as!(
        Report,
        "SELECT report_id, created_at, finished_at, expires_at FROM reports
         WHERE report_id = $1 AND user_id = $2 AND expires_at > $3",
        report_id,
        user_id,
        now,
    )
    .fetch_optional(db)
    .await
}

/// One of the two forms of a report; none before it is built.
pub async fn find_content(db: impl PgExecutor<'_>, report_id: Uuid, html: bool) -> Sql<Option<Vec<u8>>> {
    let content = sqlx::query_scalar!(
        "SELECT CASE WHEN $2 THEN html ELSE json END AS content FROM reports WHERE report_id = $1",
        report_id,
        html,
    );
    Ok(content.fetch_optional(db).await?.flatten())
}

/// Whose report waits under this id.
pub async fn find_owner(db: impl PgExecutor<'_>, report_id: Uuid) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!("SELECT user_id FROM reports WHERE report_id = $1 AND finished_at IS NULL", report_id)
        .fetch_optional(db)
        .await
}

/// Writes a report's content. False: it was built before, or is gone.
pub async fn set_finished(
    tx: &mut PgConnection,
    report_id: Uuid,
    (json, html): (&[u8], &[u8]),
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE reports SET json = $2, html = $3, finished_at = $4, expires_at = $5
         WHERE report_id = $1 AND finished_at IS NULL",
        report_id,
        json,
        html,
        now,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes all of somebody's reports but the newest.
pub async fn delete_older(tx: &mut PgConnection, user_id: Uuid, most: i64) -> Sql<()> {
    sqlx::query!(
        "DELETE FROM reports WHERE report_id IN (
             SELECT report_id FROM reports WHERE user_id = $1 AND finished_at IS NOT NULL
             ORDER BY created_at DESC, report_id DESC OFFSET $2)",
        user_id,
        most,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Somebody's account, as a report tells of it.
pub struct Account {
    pub username: String,
    pub role: String,
    pub created_at: DateTime<Utc>,
    pub last_activity_at: Option<DateTime<Utc>>,
    pub email_verified: bool,
    pub phone_verified: bool,
    pub devices_known: i64,
}

/// Somebody's account; none where it is deleted.
pub async fn find_account(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Sql<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"SELECT username, role, created_at, greatest(last_activity_at, last_login_at) AS last_activity_at,
                  email_verified_at IS NOT NULL AS "email_verified!",
                  phone_verified_at IS NOT NULL AS "phone_verified!",
                  (SELECT count(*) FROM device_tokens d WHERE d.user_id = u.user_id AND d.expires_at > $2)
                      AS "devices_known!"
           FROM users u WHERE user_id = $1 AND status <> 'deleted'"#,
        user_id,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Sign-ins of one month in one way.
pub struct SignIns {
    /// `2026-11`, UTC.
    pub month: String,
    /// RFC 8176, in the order of proof.
    pub methods: Vec<String>,
    pub count: i64,
}

/// Somebody's sign-ins since a moment, by month and way.
pub async fn count_sign_ins(
    db: impl PgExecutor<'_>,
    entity_id: &str,
    since: DateTime<Utc>,
) -> Sql<Vec<SignIns>> {
    sqlx::query_as!(
        SignIns,
        r#"SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM') AS "month!",
                  ARRAY(SELECT jsonb_array_elements_text(details->'methods')) AS "methods!", count(*) AS "count!"
           FROM audit
           WHERE entity_type = 'user' AND entity_id = $1 AND at >= $2 AND action = 'auth.signed_in'
           GROUP BY 1, 2 ORDER BY 1, 2"#,
        entity_id,
        since,
    )
    .fetch_all(db)
    .await
}

/// Messages of one kind over one channel.
pub struct Messages {
    pub kind: String,
    pub channel: String,
    pub count: i64,
}

/// Messages to somebody since a moment.
pub async fn count_messages(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    since: DateTime<Utc>,
) -> Sql<Vec<Messages>> {
    sqlx::query_as!(
        Messages,
        r#"SELECT kind, channel, count(*) AS "count!" FROM deliveries
           WHERE user_id = $1 AND created_at >= $2 GROUP BY kind, channel ORDER BY 3 DESC, 1, 2"#,
        user_id,
        since,
    )
    .fetch_all(db)
    .await
}
