//! The SQL of accounts that nobody uses. Somebody's last activity is the newest of joining, signing in, a
//! call, and a use of a session; the first conditions spare most rows the look at sessions.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Sql;

/// Marks people as warned, after `after`: active, none of staff, without activity since `idle_since`, and not
/// warned since their last activity. Who is locked just now waits for another day.
pub async fn set_warned(
    tx: &mut PgConnection,
    idle_since: DateTime<Utc>,
    after: Uuid,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE users SET inactivity_warned_at = $3
         WHERE user_id IN (
             SELECT u.user_id FROM users u JOIN roles r ON r.role = u.role
             CROSS JOIN LATERAL (SELECT greatest(u.created_at, u.last_login_at, u.last_activity_at,
                 (SELECT max(s.last_used_at) FROM sessions s WHERE s.user_id = u.user_id)) AS at) seen
             WHERE u.user_id > $2 AND u.status = 'active' AND NOT u.is_superuser AND NOT r.is_staff
               AND u.created_at <= $1 AND (u.last_login_at IS NULL OR u.last_login_at <= $1)
               AND (u.last_activity_at IS NULL OR u.last_activity_at <= $1) AND seen.at <= $1
               AND (u.inactivity_warned_at IS NULL OR u.inactivity_warned_at < seen.at)
             ORDER BY u.user_id LIMIT $4 FOR NO KEY UPDATE OF u SKIP LOCKED)
         RETURNING user_id",
        idle_since,
        after,
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// Sets people inactive, after `after`: as [`set_warned`], but warned since their last activity, and no later
/// than `warned_before`.
pub async fn set_lapsed(
    tx: &mut PgConnection,
    idle_since: DateTime<Utc>,
    warned_before: DateTime<Utc>,
    after: Uuid,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        "UPDATE users SET status = 'inactive', status_reason = 'Not used for six months', lapsed_at = $4,
                updated_at = $4
         WHERE user_id IN (
             SELECT u.user_id FROM users u JOIN roles r ON r.role = u.role
             CROSS JOIN LATERAL (SELECT greatest(u.created_at, u.last_login_at, u.last_activity_at,
                 (SELECT max(s.last_used_at) FROM sessions s WHERE s.user_id = u.user_id)) AS at) seen
             WHERE u.user_id > $3 AND u.status = 'active' AND NOT u.is_superuser AND NOT r.is_staff
               AND u.inactivity_warned_at <= $2 AND u.inactivity_warned_at >= seen.at AND seen.at <= $1
             ORDER BY u.user_id LIMIT $5 FOR NO KEY UPDATE OF u SKIP LOCKED)
         RETURNING user_id",
        idle_since,
        warned_before,
        after,
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// The lines that say so.
pub async fn insert_lapsed(
    tx: &mut PgConnection,
    lines: &[Uuid],
    people: &[Uuid],
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        r#"INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details, old_values, new_values)
           SELECT l.audit_id, $3, 'user.status_changed', 'user', l.user_id::text, '{"by": "inactivity"}',
                  '{"status": "active"}', '{"status": "inactive"}'
           FROM unnest($1::uuid[], $2::uuid[]) AS l(audit_id, user_id)"#,
        lines,
        people,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether want of activity made an account inactive, and nothing has happened to it since.
pub async fn is_lapsed(tx: &mut PgConnection, user_id: Uuid) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users
                          WHERE user_id = $1 AND status = 'inactive' AND lapsed_at IS NOT NULL) AS "lapsed!""#,
        user_id,
    )
    .fetch_one(tx)
    .await
}

/// Makes such an account active. False: it is none, or none any more.
pub async fn set_back(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE users SET status = 'active', status_reason = NULL, lapsed_at = NULL, inactivity_warned_at = NULL,
                updated_at = $2
         WHERE user_id = $1 AND status = 'inactive' AND lapsed_at IS NOT NULL",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}
