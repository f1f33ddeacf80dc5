//! The rows of class groups.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Rows, Sql, Wanted};
use crate::school::ClassGroup;

impl Rows for ClassGroup {
    async fn find(db: &PgPool, id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            ClassGroup,
            "SELECT class_group_id, programme_id, name, intake, capacity, created_at, updated_at
             FROM class_groups WHERE class_group_id = $1",
            id,
        )
        .fetch_optional(db)
        .await
    }

    async fn lock(tx: &mut PgConnection, id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            ClassGroup,
            "SELECT class_group_id, programme_id, name, intake, capacity, created_at, updated_at
             FROM class_groups WHERE class_group_id = $1 FOR NO KEY UPDATE",
            id,
        )
        .fetch_optional(tx)
        .await
    }

    async fn keep(tx: &mut PgConnection, id: Uuid) -> Sql<bool> {
        let row = sqlx::query!(
            "SELECT class_group_id FROM class_groups WHERE class_group_id = $1 FOR KEY SHARE",
            id
        );
        Ok(row.fetch_optional(tx).await?.is_some())
    }

    async fn list(db: &PgPool, wanted: &Wanted) -> Sql<Vec<Self>> {
        match wanted.within {
            None => {
                sqlx::query_as!(
                    ClassGroup,
                    "SELECT class_group_id, programme_id, name, intake, capacity, created_at, updated_at FROM class_groups
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
            Some(within) => {
                sqlx::query_as!(
                    ClassGroup,
                    "SELECT class_group_id, programme_id, name, intake, capacity, created_at, updated_at FROM class_groups
                     WHERE name_key >= $1 AND ($2::text IS NULL OR name_key < $2) AND name_key > $3 AND name_key LIKE $4
                       AND programme_id = $6
                     ORDER BY name_key LIMIT $5",
                    wanted.from,
                    wanted.below,
                    wanted.after,
                    wanted.pattern,
                    wanted.limit,
                within,
                )
                .fetch_all(db)
                .await
            }
        }
    }

    async fn insert(&self, tx: &mut PgConnection, name_key: &str) -> Sql<()> {
        sqlx::query!(
            "INSERT INTO class_groups (class_group_id, programme_id, name, name_key, intake, capacity, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            self.class_group_id,
            self.programme_id,
            self.name,
            name_key,
            self.intake,
            self.capacity,
            self.created_at,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn set(&self, tx: &mut PgConnection, name_key: &str) -> Sql<()> {
        sqlx::query!(
            "UPDATE class_groups SET programme_id = $2, name = $3, name_key = $4, intake = $5, capacity = $6, updated_at = $7
             WHERE class_group_id = $1",
            self.class_group_id,
            self.programme_id,
            self.name,
            name_key,
            self.intake,
            self.capacity,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn delete(tx: &mut PgConnection, id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            ClassGroup,
            "DELETE FROM class_groups WHERE class_group_id = $1
             RETURNING class_group_id, programme_id, name, intake, capacity, created_at, updated_at",
            id,
        )
        .fetch_optional(tx)
        .await
    }
}
