//! The SQL of pictures: one statement a function, rows out, no decisions. A change of a picture is one of the
//! profile's version, which never goes back, whatever the clock of this process says.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

type Sql<T> = Result<T, sqlx::Error>;

/// The uploads that are somebody's picture.
#[derive(Default)]
pub struct Held {
    pub is_deleted: bool,
    pub large: Option<Uuid>,
    pub small: Option<Uuid>,
    /// Yet to be made into those.
    pub waiting: Option<Uuid>,
}

/// Somebody's picture. None: nobody.
pub async fn find(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Held>> {
    sqlx::query_as!(
        Held,
        r#"SELECT u.status = 'deleted' AS "is_deleted!", p.picture_large AS "large?", p.picture_small AS "small?",
                  p.picture_waiting AS "waiting?"
           FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// A picture that is yet to be made ready.
pub struct Waiting {
    pub user_id: Uuid,
    pub upload_id: Uuid,
}

/// Pictures that are yet to be made ready, after a person.
pub async fn list_waiting(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Sql<Vec<Waiting>> {
    sqlx::query_as!(
        Waiting,
        r#"SELECT user_id, picture_waiting AS "upload_id!" FROM profiles
           WHERE picture_waiting IS NOT NULL AND user_id > $1 ORDER BY user_id LIMIT $2"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Locks somebody, so that their picture changes by one at a time. False: nobody.
pub async fn lock(tx: &mut PgConnection, user_id: Uuid) -> Sql<bool> {
    let found = sqlx::query!("SELECT user_id FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id);
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// One is yet to be made ready.
pub async fn set_waiting(
    tx: &mut PgConnection,
    user_id: Uuid,
    upload_id: Uuid,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO profiles (user_id, picture_waiting, created_at, updated_at) VALUES ($1, $2, $3, $3)
         ON CONFLICT (user_id) DO UPDATE
         SET picture_waiting = $2, picture_failed_at = NULL,
             updated_at = greatest($3, profiles.updated_at + interval '1 microsecond')",
        user_id,
        upload_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The one that waited is ready.
pub async fn set_ready(
    tx: &mut PgConnection,
    user_id: Uuid,
    large: Uuid,
    small: Uuid,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE profiles SET picture_large = $2, picture_small = $3, picture_waiting = NULL,
                picture_failed_at = NULL, updated_at = greatest($4, updated_at + interval '1 microsecond')
         WHERE user_id = $1",
        user_id,
        large,
        small,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The one that waited could not be read; the one before stays.
pub async fn set_failed(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE profiles SET picture_waiting = NULL, picture_failed_at = $2,
                updated_at = greatest($2, updated_at + interval '1 microsecond')
         WHERE user_id = $1",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// There is none.
pub async fn set_none(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "UPDATE profiles SET picture_large = NULL, picture_small = NULL, picture_waiting = NULL,
                picture_failed_at = NULL, updated_at = greatest($2, updated_at + interval '1 microsecond')
         WHERE user_id = $1",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}
