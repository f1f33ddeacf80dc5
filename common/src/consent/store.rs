//! The SQL of consents: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::Consent;

type Sql<T> = Result<T, sqlx::Error>;

/// A line.
#[derive(Debug)]
pub struct Row {
    pub consent_id: Uuid,
    pub kind: String,
    pub text_version: String,
    pub given: bool,
    pub at: DateTime<Utc>,
    pub ip_address: Option<String>,
}

/// Locks somebody, so that their lines are written one after the other. False: nobody.
pub async fn lock_owner(tx: &mut PgConnection, user_id: Uuid) -> Sql<bool> {
    let found = sqlx::query!("SELECT user_id FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user_id);
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// When somebody's last line was written.
pub async fn find_last(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<DateTime<Utc>>> {
    sqlx::query_scalar!("SELECT max(at) FROM consents WHERE user_id = $1", user_id).fetch_one(tx).await
}

/// Somebody's lines since a moment, counted up to `most`.
pub async fn count_since(tx: &mut PgConnection, user_id: Uuid, since: DateTime<Utc>, most: i64) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM consents WHERE user_id = $1 AND at > $2 LIMIT $3) AS lines"#,
        user_id,
        since,
        most,
    )
    .fetch_one(tx)
    .await
}

/// Inserts a line.
pub async fn insert(tx: &mut PgConnection, user_id: Uuid, new: &Consent) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO consents (consent_id, user_id, kind, text_version, given, at, ip_address)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.consent_id,
        user_id,
        new.kind.name(),
        new.text_version,
        new.given,
        new.at,
        new.ip_address,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The newest line of each of these kinds.
pub async fn list_present(db: impl PgExecutor<'_>, user_id: Uuid, kinds: &[String]) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT c.consent_id, c.kind, c.text_version, c.given, c.at, c.ip_address
           FROM unnest($2::text[]) WITH ORDINALITY AS k(kind, place)
           CROSS JOIN LATERAL (SELECT * FROM consents WHERE user_id = $1 AND kind = k.kind
                               ORDER BY at DESC, consent_id DESC LIMIT 1) c
           ORDER BY k.place"#,
        user_id,
        kinds,
    )
    .fetch_all(db)
    .await
}

/// Somebody's lines before a place, newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    (at, id): (DateTime<Utc>, Uuid),
    most: i64,
) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "SELECT consent_id, kind, text_version, given, at, ip_address FROM consents
         WHERE user_id = $1 AND (at, consent_id) < ($2, $3)
         ORDER BY at DESC, consent_id DESC LIMIT $4",
        user_id,
        at,
        id,
        most,
    )
    .fetch_all(db)
    .await
}
