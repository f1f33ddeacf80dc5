//! The SQL of roles: one statement a function, rows out, no decisions.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Assignment, Role};
use crate::user::Status;

type Sql<T> = Result<T, sqlx::Error>;

/// All roles, the highest first.
pub async fn list(db: impl PgExecutor<'_>) -> Sql<Vec<Role>> {
    sqlx::query_as!(
        Role,
        "SELECT role, rank, is_staff, permissions, updated_at FROM roles ORDER BY rank DESC, role",
    )
    .fetch_all(db)
    .await
}

/// One role, until the transaction ends as it is.
pub async fn lock(tx: &mut PgConnection, role: &str) -> Sql<Option<Role>> {
    sqlx::query_as!(
        Role,
        "SELECT role, rank, is_staff, permissions, updated_at FROM roles WHERE role = $1 FOR NO KEY UPDATE",
        role,
    )
    .fetch_optional(tx)
    .await
}

/// Writes a role.
pub async fn set(tx: &mut PgConnection, role: &Role) -> Sql<()> {
    sqlx::query!(
        "UPDATE roles SET rank = $2, is_staff = $3, permissions = $4, updated_at = $5 WHERE role = $1",
        role.role,
        role.rank,
        role.is_staff,
        &role.permissions,
        role.updated_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Somebody's place, until the transaction ends as it is. People whose account is deleted are not found.
pub async fn lock_assignment(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Assignment>> {
    sqlx::query_as!(
        Assignment,
        "SELECT u.user_id, u.role, r.rank, u.is_superuser, u.updated_at FROM users u JOIN roles r ON r.role = u.role
         WHERE u.user_id = $1 AND u.status <> 'deleted' FOR NO KEY UPDATE OF u",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// Writes somebody's place.
pub async fn set_assignment(tx: &mut PgConnection, new: &Assignment) -> Sql<()> {
    sqlx::query!(
        "UPDATE users SET role = $2, is_superuser = $3, updated_at = $4 WHERE user_id = $1",
        new.user_id,
        new.role,
        new.is_superuser,
        new.updated_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// One at a time takes superusers away.
pub async fn lock_superusers(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('keryu.superusers'))").fetch_one(tx).await?;
    Ok(())
}

/// How many other superusers there are of a status.
pub async fn count_other_superusers(tx: &mut PgConnection, but: Uuid, status: Status) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM users WHERE is_superuser AND user_id <> $1 AND status = $2"#,
        but,
        status as Status,
    )
    .fetch_one(tx)
    .await
}
