//! The SQL of the sync: one statement a function, rows out, no decisions. Targets in `target`.

mod target;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

pub use target::*;

use crate::user::Status;

type Sql<T> = Result<T, sqlx::Error>;

/// Waits for the commit of everybody who counted on this run's seeing their mark.
pub async fn pass_marks(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('keryu.crm'))").fetch_one(tx).await?;
    Ok(())
}

/// A mark, and who it is about.
#[derive(Clone)]
pub struct Open {
    /// Who.
    pub user_id: Uuid,
    /// Its number.
    pub change: i64,
    /// How often this person alone failed.
    pub tries: i16,
    /// As they are now; none: erased.
    pub person: Option<Person>,
}

/// Somebody to tell of.
#[derive(Clone)]
pub struct Person {
    pub username: String,
    pub email: Option<String>,
    pub email_verified: bool,
    pub phone_number: Option<String>,
    pub phone_verified: bool,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub status: Status,
    pub role: String,
    pub language: String,
    pub created_at: DateTime<Utc>,
}

/// The next marks after this number, oldest first, with the people as they are. One statement: both are of one
/// moment, so what is told is what the number stands for, and nobody is taken for erased who is not.
pub async fn list_open(
    db: impl PgExecutor<'_>,
    target: &str,
    after: i64,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Open>> {
    let rows = sqlx::query!(
        r#"SELECT c.user_id, c.change, c.tries, u.username AS "username?", u.email AS "email?",
                  u.email_verified_at IS NOT NULL AS "email_verified!", u.phone_number AS "phone_number?",
                  u.phone_verified_at IS NOT NULL AS "phone_verified!", u.first_name AS "first_name?",
                  u.last_name AS "last_name?", u.status AS "status?: Status", u.role AS "role?",
                  u.language AS "language?", u.created_at AS "created_at?"
           FROM (SELECT user_id, change, tries FROM crm_changes
                 WHERE target = $1 AND set_aside_at IS NULL AND change > $2 AND (due_at IS NULL OR due_at <= $3)
                 ORDER BY change LIMIT $4) c
           LEFT JOIN users u ON u.user_id = c.user_id ORDER BY c.change"#,
        target,
        after,
        now,
        most,
    )
    .fetch_all(db)
    .await?;
    let open = rows.into_iter().map(|row| {
        let person = match (row.username, row.status, row.role, row.language, row.created_at) {
            (Some(username), Some(status), Some(role), Some(language), Some(created_at)) => Some(Person {
                username,
                email: row.email,
                email_verified: row.email_verified,
                phone_number: row.phone_number,
                phone_verified: row.phone_verified,
                first_name: row.first_name,
                last_name: row.last_name,
                status,
                role,
                language,
                created_at,
            }),
            _ => None,
        };
        Open { user_id: row.user_id, change: row.change, tries: row.tries, person }
    });
    Ok(open.collect())
}

/// Strikes marks off, but for those with a later number. A mark that somebody is changing is left: it is to be
/// sent again anyway, and waiting for it could wait in a circle. Answers with how many went.
pub async fn delete_marks(db: impl PgExecutor<'_>, target: &str, ids: &[Uuid], changes: &[i64]) -> Sql<u64> {
    let done = sqlx::query!(
        "DELETE FROM crm_changes WHERE (target, user_id) IN (
             SELECT c.target, c.user_id
             FROM crm_changes c JOIN unnest($2::uuid[], $3::bigint[]) AS s(user_id, change)
                  ON c.user_id = s.user_id AND c.change = s.change
             WHERE c.target = $1 FOR UPDATE OF c SKIP LOCKED)",
        target,
        ids,
        changes,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// What was not taken of one person.
pub struct Missed {
    pub user_id: Uuid,
    pub change: i64,
    /// The next try; none: set aside.
    pub due_at: Option<DateTime<Utc>>,
    pub reason: String,
}

/// Notes a failed try for one person, but for a mark with a later number.
pub async fn set_missed(
    db: impl PgExecutor<'_>,
    target: &str,
    missed: &Missed,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE crm_changes SET tries = least(tries, 32000) + 1, due_at = $4, reason = $5,
                set_aside_at = CASE WHEN $4::timestamptz IS NULL THEN $6::timestamptz END
         WHERE target = $1 AND user_id = $2 AND change = $3",
        target,
        missed.user_id,
        missed.change,
        missed.due_at,
        missed.reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// When the next retry of one person is due.
pub async fn next_due(db: impl PgExecutor<'_>, target: &str) -> Sql<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "SELECT min(due_at) FROM crm_changes WHERE target = $1 AND due_at IS NOT NULL AND set_aside_at IS NULL",
        target,
    )
    .fetch_one(db)
    .await
}

/// Marks the next people of a target that is to be told of everybody. Answers with the last of them.
pub async fn insert_fill(
    tx: &mut PgConnection,
    target: &str,
    after: Uuid,
    now: DateTime<Utc>,
    most: i64,
) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!(
        r#"WITH next AS (
               SELECT user_id FROM users WHERE user_id > $2 ORDER BY user_id LIMIT $4
           ), marked AS (
               INSERT INTO crm_changes (target, user_id, change, changed_at)
               SELECT $1, user_id, nextval('crm_change_seq'), $3 FROM next
               ON CONFLICT (target, user_id) DO NOTHING
           )
           SELECT user_id AS "last!" FROM next ORDER BY user_id DESC LIMIT 1"#,
        target,
        after,
        now,
        most,
    )
    .fetch_optional(tx)
    .await
}

/// Marks somebody who is erased, wherever people were ever told of.
pub async fn insert_erased(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO crm_changes (target, user_id, change, changed_at)
         SELECT target, $1, nextval('crm_change_seq'), $2 FROM crm_targets ORDER BY target
         ON CONFLICT (target, user_id) DO UPDATE
         SET change = excluded.change, changed_at = excluded.changed_at, tries = 0, due_at = NULL,
             set_aside_at = NULL, reason = NULL",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Marks whoever was set aside anew.
pub async fn set_open(tx: &mut PgConnection, target: &str, now: DateTime<Utc>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE crm_changes SET change = nextval('crm_change_seq'), changed_at = $2, tries = 0, due_at = NULL,
                set_aside_at = NULL, reason = NULL
         WHERE set_aside_at IS NOT NULL AND target = $1",
        target,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// How many marks wait, and how many are set aside.
pub async fn count(db: impl PgExecutor<'_>, target: &str) -> Sql<(i64, i64)> {
    let row = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE set_aside_at IS NULL) AS "waiting!",
                  count(*) FILTER (WHERE set_aside_at IS NOT NULL) AS "aside!"
           FROM crm_changes WHERE target = $1"#,
        target,
    )
    .fetch_one(db)
    .await?;
    Ok((row.waiting, row.aside))
}

/// Somebody a target refused.
#[derive(Clone, Debug, Serialize)]
pub struct Aside {
    /// Who.
    pub user_id: Uuid,
    /// Why, for a person.
    pub reason: Option<String>,
    /// After how many tries.
    pub tries: i16,
    /// Since when; none for an erasure, which is tried on.
    pub set_aside_at: Option<DateTime<Utc>>,
}

/// The latest hundred whom a target refused, and first of all who is not erased there yet.
pub async fn list_aside(db: impl PgExecutor<'_>, target: &str) -> Sql<Vec<Aside>> {
    sqlx::query_as!(
        Aside,
        "SELECT user_id, reason, tries, set_aside_at FROM crm_changes c
         WHERE target = $1 AND (set_aside_at IS NOT NULL OR reason IS NOT NULL
                                AND NOT EXISTS (SELECT 1 FROM users u WHERE u.user_id = c.user_id))
         ORDER BY set_aside_at DESC NULLS FIRST LIMIT 100",
        target,
    )
    .fetch_all(db)
    .await
}
