//! The SQL of exports: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::Export;
use super::area::{Area, PARTLY};

type Sql<T> = Result<T, sqlx::Error>;

/// Inserts an export that waits. False: another one of the person waits.
pub async fn insert(tx: &mut PgConnection, user_id: Uuid, new: &Export) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO exports (export_id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) WHERE finished_at IS NULL DO NOTHING",
        new.export_id,
        user_id,
        new.created_at,
        new.expires_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes an export of somebody that was never gathered in time.
pub async fn delete_stale(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "DELETE FROM exports WHERE user_id = $1 AND finished_at IS NULL AND expires_at <= $2",
        user_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The export of somebody that waits.
pub async fn find_waiting(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Export>> {
    sqlx::query_as!(
        Export,
        "SELECT export_id, created_at, finished_at, expires_at, size FROM exports
         WHERE user_id = $1 AND finished_at IS NULL",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// An export of somebody that is kept.
pub async fn find(
    db: impl PgExecutor<'_>,
    export_id: Uuid,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Sql<Option<Export>> {
    sqlx::query_as!(
        Export,
        "SELECT export_id, created_at, finished_at, expires_at, size FROM exports
         WHERE export_id = $1 AND user_id = $2 AND expires_at > $3",
        export_id,
        user_id,
        now,
    )
    .fetch_optional(db)
    .await
}

/// The file of an export; none before it is gathered.
pub async fn find_upload(db: impl PgExecutor<'_>, export_id: Uuid) -> Sql<Option<Uuid>> {
    let found = sqlx::query_scalar!("SELECT upload_id FROM exports WHERE export_id = $1", export_id);
    Ok(found.fetch_optional(db).await?.flatten())
}

/// Whose export waits under this id.
pub async fn find_owner(db: impl PgExecutor<'_>, export_id: Uuid) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!("SELECT user_id FROM exports WHERE export_id = $1 AND finished_at IS NULL", export_id)
        .fetch_optional(db)
        .await
}

/// The export has its file. False: it had one before, or is gone.
pub async fn set_finished(
    tx: &mut PgConnection,
    export_id: Uuid,
    (upload_id, size): (Uuid, i64),
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "UPDATE exports SET upload_id = $2, size = $3, finished_at = $4, expires_at = $5
         WHERE export_id = $1 AND finished_at IS NULL",
        export_id,
        upload_id,
        size,
        now,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Deletes the finished exports of somebody but for this one. Answers with their files.
pub async fn delete_others(tx: &mut PgConnection, user_id: Uuid, export_id: Uuid) -> Sql<Vec<Option<Uuid>>> {
    sqlx::query_scalar!(
        "DELETE FROM exports WHERE user_id = $1 AND export_id <> $2 AND finished_at IS NOT NULL
         RETURNING upload_id",
        user_id,
        export_id,
    )
    .fetch_all(tx)
    .await
}

/// Deletes exports whose time is over. Answers with their files.
pub async fn delete_expired(tx: &mut PgConnection, now: DateTime<Utc>, most: i64) -> Sql<Vec<Option<Uuid>>> {
    sqlx::query_scalar!(
        "DELETE FROM exports WHERE export_id IN (
             SELECT export_id FROM exports WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING upload_id",
        now,
        most,
    )
    .fetch_all(tx)
    .await
}

/// A row of an area.
#[derive(sqlx::FromRow)]
pub struct Line {
    /// JSON text: decimals with every digit.
    pub row: String,
    /// Its place in the order, for the page after it.
    pub place: String,
}

/// The rows of an area behind a place in its order. What is written or deleted between two pages moves no other row.
#[expect(
    clippy::disallowed_methods,
    reason = "the list of areas is the statement; nothing of it comes from outside"
)]
pub async fn list_rows(
    db: &PgPool,
    area: &Area,
    user_id: Uuid,
    after: Option<&str>,
    most: i64,
) -> Sql<Vec<Line>> {
    let Area { table, whose, order, .. } = area;
    let opened = area.open.iter().flat_map(|one| [Some(one.column), one.owner()]).flatten();
    let mut columns: Vec<&str> = area.take.iter().copied().chain(opened).collect();
    columns.sort_unstable();
    columns.dedup();
    let columns: Vec<String> = columns.into_iter().map(|column| taken(table, column)).collect();
    let (columns, places) = (columns.join(", "), prefixed(order));
    let behind = match after {
        Some(_) => {
            format!("AND ({order}) > (SELECT {order} FROM jsonb_populate_record(NULL::{table}, $3::jsonb))")
        }
        None => "AND $3::text IS NULL".to_owned(),
    };
    let statement = format!(
        "SELECT to_jsonb(r)::text AS row, to_jsonb(p)::text AS place
         FROM (SELECT * FROM {table} WHERE {whose} {behind} ORDER BY {order} LIMIT $2) t
         CROSS JOIN LATERAL (SELECT {columns}) r CROSS JOIN LATERAL (SELECT {places}) p
         ORDER BY {places}"
    );
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(user_id).bind(most).bind(after);
    rows.fetch_all(db).await
}

/// A column of a row, or of some rows alone.
fn taken(table: &str, column: &str) -> String {
    match PARTLY.iter().find(|part| part.table == table && part.column == column) {
        Some(part) => format!("CASE WHEN {} THEN t.{column} END AS {column}", part.of),
        None => format!("t.{column}"),
    }
}

/// The columns of an order, each of the row.
fn prefixed(order: &str) -> String {
    order.split(", ").map(|column| format!("t.{column}")).collect::<Vec<_>>().join(", ")
}
