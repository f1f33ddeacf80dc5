//! The SQL of blocks: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::IpBlock;

type Sql<T> = Result<T, sqlx::Error>;

/// A block as its row says it.
struct Row {
    ip_block_id: Uuid,
    network: String,
    reason: String,
    until: Option<DateTime<Utc>>,
    created_by: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for IpBlock {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Sql<Self> {
        let Row { ip_block_id, network, reason, until, created_by, created_at } = row;
        let network = network.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Self { ip_block_id, network, reason, until, created_by, created_at })
    }
}

/// Every block that is not over, newest first.
pub async fn list_blocks(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Sql<Vec<IpBlock>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT ip_block_id, network::text AS "network!", reason, until, created_by, created_at FROM ip_blocks
           WHERE until IS NULL OR until > $1 ORDER BY created_at DESC, ip_block_id DESC"#,
        now,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Inserts a block.
pub async fn insert_block(tx: &mut PgConnection, new: &IpBlock) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO ip_blocks (ip_block_id, network, reason, until, created_by, created_at)
         VALUES ($1, $2::text::cidr, $3, $4, $5, $6)",
        new.ip_block_id,
        new.network.to_string(),
        new.reason,
        new.until,
        new.created_by,
        new.created_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes a block. Answers with its network.
pub async fn delete_block(tx: &mut PgConnection, ip_block_id: Uuid) -> Sql<Option<String>> {
    sqlx::query_scalar!(
        r#"DELETE FROM ip_blocks WHERE ip_block_id = $1 RETURNING network::text AS "network!""#,
        ip_block_id,
    )
    .fetch_optional(tx)
    .await
}
