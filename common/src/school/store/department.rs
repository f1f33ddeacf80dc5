//! The rows of departments.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Rows, Sql, Wanted};
use crate::school::Department;

impl Rows for Department {
    async fn find(db: &PgPool, id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            Department,
            "SELECT department_id, name, description, created_at, updated_at
             FROM departments WHERE department_id = $1",
            id,
        )
        .fetch_optional(db)
        .await
    }

    async fn lock(tx: &mut PgConnection, id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            Department,
            "SELECT department_id, name, description, created_at, updated_at
             FROM departments WHERE department_id = $1 FOR NO KEY UPDATE",
            id,
        )
        .fetch_optional(tx)
        .await
    }

    async fn keep(tx: &mut PgConnection, id: Uuid) -> Sql<bool> {
        let row =
            sqlx::query!("SELECT department_id FROM departments WHERE department_id = $1 FOR KEY SHARE", id);
        Ok(row.fetch_optional(tx).await?.is_some())
    }

    async fn list(db: &PgPool, wanted: &Wanted) -> Sql<Vec<Self>> {
        sqlx::query_as!(
            Department,
            "SELECT department_id, name, description, created_at, updated_at FROM departments
             WHERE name_key >= $1 AND ($2::text IS NULL OR name_key < $2) AND name_key > $3 AND name_key LIKE $4
             ORDER BY name_key LIMIT $5",
            wanted.from,
            wanted.below,
            wanted.after,
            wanted.pattern,
            wanted.limit,
        )
        .fetch_all(db)
        .await
    }

    async fn insert(&self, tx: &mut PgConnection, name_key: &str) -> Sql<()> {
        sqlx::query!(
            "INSERT INTO departments (department_id, name, name_key, description, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
            self.department_id,
            self.name,
            name_key,
            self.description,
            self.created_at,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn set(&self, tx: &mut PgConnection, name_key: &str) -> Sql<()> {
        sqlx::query!(
            "UPDATE departments SET name = $2, name_key = $3, description = $4, updated_at = $5
             WHERE department_id = $1",
            self.department_id,
            self.name,
            name_key,
            self.description,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn delete(tx: &mut PgConnection, id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            Department,
            "DELETE FROM departments WHERE department_id = $1
             RETURNING department_id, name, description, created_at, updated_at",
            id,
        )
        .fetch_optional(tx)
        .await
    }
}
