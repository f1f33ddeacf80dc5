//! What is kept how long: one row per clean-up, run by schedules, in batches that never lock long. What is
//! blanked in place of being deleted is in `blank`.

pub mod blank;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};

/// Rows one statement may delete.
const BATCH: i64 = 5_000;

/// How long what found a table in use waits.
const IN_USE: Duration = Duration::from_secs(20);

/// How rows leave.
enum Rule {
    /// `DELETE … WHERE <condition on $1> LIMIT`: the text is from this file only.
    Rows(&'static str),
    /// Partitions that end before the moment are dropped, and the default one is swept by this column.
    Partitions(&'static str),
}

/// One clean-up.
struct CleanUp {
    table: &'static str,
    key: &'static str,
    rule: Rule,
    keep: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const NONE: Duration = Duration::ZERO;
/// How long staff can see that and why a session ended.
const ENDED_SESSIONS: Duration = Duration::from_secs(30 * 24 * 3600);
/// As long as wrong codes in a row are remembered.
const FAILURES: Duration = Duration::from_secs(90 * 24 * 3600);

/// Every minute: what ran out.
const EXPIRED: &[CleanUp] = &[
    CleanUp { table: "challenges", key: "challenge_id", rule: Rule::Rows("expires_at < $1"), keep: DAY },
    CleanUp {
        table: "verification_tokens",
        key: "token_hash",
        rule: Rule::Rows("expires_at < $1"),
        keep: NONE,
    },
    CleanUp { table: "sessions", key: "session_id", rule: Rule::Rows("expires_at < $1"), keep: NONE },
    CleanUp { table: "sessions", key: "session_id", rule: Rule::Rows("ended_at < $1"), keep: ENDED_SESSIONS },
    CleanUp {
        table: "device_tokens",
        key: "device_token_id",
        rule: Rule::Rows("expires_at < $1"),
        keep: NONE,
    },
    CleanUp { table: "mfa_challenges", key: "token_hash", rule: Rule::Rows("expires_at < $1"), keep: NONE },
    CleanUp {
        table: "passkey_challenges",
        key: "challenge_id",
        rule: Rule::Rows("expires_at < $1"),
        keep: NONE,
    },
    CleanUp { table: "signing_keys", key: "key_id", rule: Rule::Rows("expires_at < $1"), keep: DAY },
    CleanUp {
        table: "login_failures",
        key: "subject_hash",
        rule: Rule::Rows("touched_at < $1"),
        keep: FAILURES,
    },
    CleanUp {
        table: "factor_tries",
        key: "user_id, kind",
        rule: Rule::Rows("hour_started_at < $1"),
        keep: Duration::from_secs(7200),
    },
    CleanUp { table: "idempotency_keys", key: "key_hash", rule: Rule::Rows("expires_at < $1"), keep: NONE },
    CleanUp {
        table: "identifier_budgets",
        key: "identifier_hash",
        rule: Rule::Rows("day_started_at < $1 AND wrong_in_row = 0"),
        keep: Duration::from_secs(2 * 24 * 3600),
    },
    CleanUp {
        table: "wrong_tries",
        key: "identifier_hash, client",
        rule: Rule::Rows("hour_started_at < $1"),
        keep: Duration::from_secs(7200),
    },
    CleanUp {
        table: "sms_budgets",
        key: "day, prefix, shard",
        rule: Rule::Rows("day < ($1::timestamptz AT TIME ZONE 'UTC')::date"),
        keep: Duration::from_secs(2 * 24 * 3600),
    },
    CleanUp { table: "reports", key: "report_id", rule: Rule::Rows("expires_at < $1"), keep: NONE },
    CleanUp { table: "ip_blocks", key: "ip_block_id", rule: Rule::Rows("until < $1"), keep: NONE },
    CleanUp {
        table: "worker_leases",
        key: "lease_id",
        rule: Rule::Rows("renewed_at < $1"),
        keep: Duration::from_secs(3600),
    },
];

/// Daily: history.
fn history(keep: Duration) -> [CleanUp; 9] {
    [
        CleanUp {
            table: "usage_events",
            key: "service_id, event_id",
            rule: Rule::Rows("at < $1"),
            // an event that is not known any more is too old to be taken again
            keep: 401 * DAY,
        },
        CleanUp {
            table: "bulk_items",
            key: "bulk_action_id, user_id",
            rule: Rule::Rows(
                "bulk_action_id IN (SELECT bulk_action_id FROM bulk_actions WHERE created_at < $1)",
            ),
            keep: 90 * DAY,
        },
        CleanUp {
            table: "bulk_actions",
            key: "bulk_action_id",
            rule: Rule::Rows("created_at < $1"),
            keep: 90 * DAY,
        },
        CleanUp {
            table: "identifier_budgets",
            key: "identifier_hash",
            rule: Rule::Rows("touched_at < $1"),
            keep: 90 * DAY,
        },
        CleanUp { table: "finished_jobs", key: "job_id", rule: Rule::Partitions("finished_at"), keep },
        CleanUp { table: "jobs", key: "job_id", rule: Rule::Rows("discarded_at < $1"), keep: 30 * DAY },
        CleanUp { table: "ticks", key: "schedule, at", rule: Rule::Rows("at < $1"), keep: 30 * DAY },
        CleanUp {
            table: "deliveries",
            key: "delivery_id, created_at",
            rule: Rule::Partitions("created_at"),
            keep: 90 * DAY,
        },
        CleanUp {
            table: "delivery_attempts",
            key: "delivery_id, attempt, step, started_at",
            rule: Rule::Partitions("started_at"),
            keep: 90 * DAY,
        },
    ]
}

/// Daily: the audit log, after a year.
const AUDIT: &[CleanUp] = &[CleanUp {
    table: "audit",
    key: "audit_id",
    rule: Rule::Partitions("at"),
    keep: Duration::from_secs(365 * 24 * 3600),
}];

/// Deletes what ran out: codes, tokens, keys, budgets; marks deliveries nobody could make in time.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct CleanupExpired {}

impl Job for CleanupExpired {
    const KIND: &'static str = "retention.cleanup_expired";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 3;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        verdict(expired(ctx).await)
    }
}

/// Drops and makes partitions; deletes dead letters and ticks after 30 days, deliveries after 90.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct RetainJobs {}

impl Job for RetainJobs {
    const KIND: &'static str = "retention.retain_jobs";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;
    const TIMEOUT: Duration = Duration::from_secs(600);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        verdict(retain(ctx).await)
    }
}

/// Drops what the audit log holds for more than a year.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct CleanupAuditLogs {}

impl Job for CleanupAuditLogs {
    const KIND: &'static str = "retention.cleanup_audit_logs";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;
    const TIMEOUT: Duration = Duration::from_secs(600);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        verdict(all(ctx, AUDIT).await)
    }
}

fn verdict(result: Result<()>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        // whoever holds the table is done soon: that is no failed attempt
        Err(error) if is_in_use(&error) => Verdict::Snooze { after: IN_USE, reason: error.to_string() },
        Err(error) => error.into(),
    }
}

/// Whether a lock was not to be had for as long as is waited (55P03).
fn is_in_use(error: &Error) -> bool {
    let Error::Internal(source) = error else { return false };
    let database = source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database.and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

async fn expired(ctx: &Context) -> Result<()> {
    let cleaned = all(ctx, EXPIRED).await;
    crate::notify::expire(ctx).await?;
    crate::export::expire(ctx).await?;
    cleaned
}

/// Runs every clean-up, also after one failed; tells the last failure.
async fn all(ctx: &Context, clean_ups: &[CleanUp]) -> Result<()> {
    let mut result = Ok(());
    for clean_up in clean_ups {
        if let Err(error) = run(&ctx.db, clean_up, ctx.now()).await {
            tracing::warn!(table = clean_up.table, %error, "not cleaned up");
            result = Err(error);
        }
    }
    result
}

async fn retain(ctx: &Context) -> Result<()> {
    let prepared = prepare(&ctx.db, ctx.now()).await;
    all(ctx, &history(ctx.config.job.keep)).await?;
    prepared
}

/// Makes the partitions of the days and months ahead.
///
/// # Errors
/// The database does not answer.
pub async fn prepare(db: &PgPool, now: DateTime<Utc>) -> Result<()> {
    for (table, step, ahead, fill) in [
        ("finished_jobs", "day", 7, 100),
        ("audit", "month", 1, 100),
        ("deliveries", "month", 1, 50),
        ("delivery_attempts", "month", 1, 60),
    ] {
        sqlx::query!("SELECT ensure_partitions($1, $2, $3, $4, $5)", table, step, ahead, now, fill)
            .fetch_one(db)
            .await?;
    }
    Ok(())
}

async fn run(db: &PgPool, clean_up: &CleanUp, now: DateTime<Utc>) -> Result<()> {
    let before = now - clean_up.keep;
    let (table, condition) = match clean_up.rule {
        Rule::Rows(condition) => (clean_up.table.to_owned(), condition.to_owned()),
        Rule::Partitions(column) => {
            sqlx::query!("SELECT drop_partitions($1, $2)", clean_up.table, before).fetch_one(db).await?;
            (format!("{}_default", clean_up.table), format!("{column} < $1"))
        }
    };
    let key = clean_up.key;
    let statement = format!(
        "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT {BATCH} FOR UPDATE SKIP LOCKED)"
    );
    loop {
        let gone = delete(db, &statement, before).await?;
        if gone < BATCH as u64 {
            return Ok(());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the table's rows above are the statement; nothing of it comes from outside"
)]
async fn delete(db: &PgPool, statement: &str, before: DateTime<Utc>) -> Result<u64> {
    Ok(sqlx::query(sqlx::AssertSqlSafe(statement)).bind(before).execute(db).await?.rows_affected())
}
