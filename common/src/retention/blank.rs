//! What is blanked after its time while its row stays: addresses, push tokens. In small batches of a
//! transaction each; what somebody holds is left for the next run.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::context::Context;
use crate::error::Result;
use crate::job::{Job, Lease, Queue, Verdict};

/// Rows one statement may change.
const BATCH: i64 = 2_000;
/// How long it is kept from where somebody came (SPEC: 90 days).
const ADDRESSES: Duration = Duration::from_secs(90 * 24 * 3600);

/// Blanks the push tokens of devices that are switched off: nothing is sent to them any more.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct CleanupPushTokens {}

impl Job for CleanupPushTokens {
    const KIND: &'static str = "device.cleanup_push_tokens";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 3;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        push_tokens(&ctx.db).await.map_or_else(Verdict::from, |()| Verdict::Done)
    }
}

/// Blanks addresses and user agents older than 90 days.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct BlankOldAddresses {}

impl Job for BlankOldAddresses {
    const KIND: &'static str = "retention.blank_old_addresses";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;
    const TIMEOUT: Duration = Duration::from_secs(1_800);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        addresses(&ctx.db, ctx.now() - ADDRESSES).await.map_or_else(Verdict::from, |()| Verdict::Done)
    }
}

/// Whether a batch was the last.
fn is_last(changed: u64) -> bool {
    changed < BATCH as u64
}

async fn push_tokens(db: &PgPool) -> Result<()> {
    loop {
        let done = sqlx::query!(
            "UPDATE devices SET fcm_token = ''
             WHERE id IN (SELECT id FROM devices WHERE NOT is_active AND fcm_token <> ''
                          LIMIT $1 FOR UPDATE SKIP LOCKED)",
            BATCH,
        )
        .execute(db)
        .await?;
        if is_last(done.rows_affected()) {
            return Ok(());
        }
    }
}

async fn addresses(db: &PgPool, before: DateTime<Utc>) -> Result<()> {
    audit(db, before).await?;
    loop {
        let done = sqlx::query!(
            "UPDATE consents SET ip_address = NULL
             WHERE consent_id IN (SELECT consent_id FROM consents WHERE at < $1 AND ip_address IS NOT NULL
                                  ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            BATCH,
        )
        .execute(db)
        .await?;
        if is_last(done.rows_affected()) {
            break;
        }
    }
    loop {
        let done = sqlx::query!(
            "UPDATE sessions SET ip_address = NULL, user_agent = NULL
             WHERE session_id IN (SELECT session_id FROM sessions
                                  WHERE last_used_at < $1 AND (ip_address IS NOT NULL OR user_agent IS NOT NULL)
                                  LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            BATCH,
        )
        .execute(db)
        .await?;
        if is_last(done.rows_affected()) {
            break;
        }
    }
    loop {
        let done = sqlx::query!(
            "UPDATE users SET last_login_ip = NULL, last_login_device = NULL
             WHERE user_id IN (SELECT user_id FROM users
                               WHERE last_login_at < $1 AND (last_login_ip IS NOT NULL OR last_login_device IS NOT NULL)
                               LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            BATCH,
        )
        .execute(db)
        .await?;
        if is_last(done.rows_affected()) {
            return Ok(());
        }
    }
}

/// The audit log, partition by partition, by pages of the table: each is read once a run, and none is
/// searched from its beginning for every batch.
async fn audit(db: &PgPool, before: DateTime<Utc>) -> Result<()> {
    let partitions = sqlx::query_scalar!(
        r#"SELECT c.oid::regclass::text AS "name!" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'audit'::regclass
             AND coalesce((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\)'))[1]::timestamptz,
                          '-infinity') < $1"#,
        before,
    )
    .fetch_all(db)
    .await?;
    for partition in partitions {
        let mut from = 0;
        while from < pages(db, &partition).await? {
            let to = from + PAGES;
            blank_pages(db, &partition, (from, to), before).await?;
            from = to;
        }
    }
    Ok(())
}

/// Pages of 8 KiB one statement reads: about as many rows as a batch.
const PAGES: i64 = 64;

async fn pages(db: &PgPool, table: &str) -> Result<i64> {
    let pages = sqlx::query_scalar!(
        r#"SELECT pg_relation_size(to_regclass($1)::oid) / current_setting('block_size')::bigint AS "pages!""#,
        table,
    );
    Ok(pages.fetch_one(db).await?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a partition's name as Postgres wrote it, quoted; nothing of it comes from outside"
)]
async fn blank_pages(db: &PgPool, table: &str, (from, to): (i64, i64), before: DateTime<Utc>) -> Result<()> {
    let statement = format!(
        "UPDATE {table} SET ip_address = NULL, user_agent = NULL
         WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid AND at < $1
           AND (ip_address IS NOT NULL OR user_agent IS NOT NULL)"
    );
    sqlx::query(sqlx::AssertSqlSafe(statement)).bind(before).execute(db).await?;
    Ok(())
}
