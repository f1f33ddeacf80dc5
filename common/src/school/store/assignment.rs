//! The rows of assignments.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Sql;
use crate::school::assignment::Assignment;

/// Somebody's assignments before a place, the last written down first.
pub async fn list_assignments(
    db: &PgPool,
    user_id: Uuid,
    before_at: DateTime<Utc>,
    before_id: Uuid,
    limit: i64,
) -> Sql<Vec<Assignment>> {
    sqlx::query_as!(
        Assignment,
        "SELECT assignment_id, user_id, department_id, programme_id, class_group_id, title, from_day, until_day,
                ended_at, created_at
         FROM assignments WHERE user_id = $1 AND (created_at, assignment_id) < ($2, $3)
         ORDER BY created_at DESC, assignment_id DESC LIMIT $4",
        user_id,
        before_at,
        before_id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// One of somebody's.
pub async fn find_assignment(
    tx: &mut PgConnection,
    user_id: Uuid,
    assignment_id: Uuid,
) -> Sql<Option<Assignment>> {
    sqlx::query_as!(
        Assignment,
        "SELECT assignment_id, user_id, department_id, programme_id, class_group_id, title, from_day, until_day,
                ended_at, created_at
         FROM assignments WHERE assignment_id = $1 AND user_id = $2",
        assignment_id,
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// Whether the same person has the same assignment on some of the same days. One that was ended by hand lasted to
/// the day before.
pub async fn overlaps(tx: &mut PgConnection, new: &Assignment, title_key: &str) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM assignments
               WHERE user_id = $1 AND title_key = $2 AND department_id IS NOT DISTINCT FROM $3
                 AND programme_id IS NOT DISTINCT FROM $4 AND class_group_id IS NOT DISTINCT FROM $5
                 AND from_day <= coalesce($7::date, 'infinity') AND coalesce(until_day, 'infinity') >= $6::date
                 AND (ended_at IS NULL OR (ended_at AT TIME ZONE 'UTC')::date > greatest(from_day, $6::date))
           ) AS "overlaps!""#,
        new.user_id,
        title_key,
        new.department_id,
        new.programme_id,
        new.class_group_id,
        new.from_day,
        new.until_day,
    )
    .fetch_one(tx)
    .await
}

/// Inserts one.
pub async fn insert_assignment(tx: &mut PgConnection, new: &Assignment, title_key: &str) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO assignments (assignment_id, user_id, department_id, programme_id, class_group_id, title, title_key,
                                  from_day, until_day, ended_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.assignment_id,
        new.user_id,
        new.department_id,
        new.programme_id,
        new.class_group_id,
        new.title,
        title_key,
        new.from_day,
        new.until_day,
        new.ended_at,
        new.created_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends one.
pub async fn set_ended(tx: &mut PgConnection, assignment_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!("UPDATE assignments SET ended_at = $2 WHERE assignment_id = $1", assignment_id, now)
        .execute(tx)
        .await?;
    Ok(())
}
