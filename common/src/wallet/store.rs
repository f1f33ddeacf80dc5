//! The SQL of wallets: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

type Sql<T> = Result<T, sqlx::Error>;

/// What somebody has.
pub struct Held {
    pub balance: Decimal,
    pub points: Decimal,
    pub earned: Decimal,
    pub updated_at: Option<DateTime<Utc>>,
}

/// What somebody has: nothing, before the first posting.
pub async fn find(db: impl PgExecutor<'_>, user_id: Uuid, currency: &str) -> Sql<Held> {
    sqlx::query_as!(
        Held,
        r#"SELECT coalesce(max(balance) FILTER (WHERE unit = $2), 0) AS "balance!",
                  coalesce(max(balance) FILTER (WHERE unit = 'points'), 0) AS "points!",
                  coalesce(max(earned) FILTER (WHERE unit = 'points'), 0) AS "earned!",
                  max(updated_at) AS updated_at
           FROM ledger_accounts WHERE user_id = $1 AND unit IN ($2, 'points')"#,
        user_id,
        currency,
    )
    .fetch_one(db)
    .await
}

/// A posting with the entry of its person.
pub struct Row {
    pub posting_id: Uuid,
    pub reference: String,
    pub kind: String,
    pub unit: String,
    pub amount: Decimal,
    pub balance: Decimal,
    pub reason: String,
    pub at: DateTime<Utc>,
}

/// Somebody's postings before a place in the order, newest first. `points`: none: all units.
pub async fn list(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    points: Option<bool>,
    before_at: DateTime<Utc>,
    before_id: Uuid,
    limit: i64,
) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT p.posting_id, p.reference, p.kind, p.unit, e.amount, e.balance AS "balance!", p.reason, e.at
           FROM ledger_accounts a
           CROSS JOIN LATERAL (
               SELECT posting_id, amount, balance, at FROM entries
               WHERE ledger_account_id = a.ledger_account_id AND balance IS NOT NULL
                 AND (at, posting_id) < ($3, $4)
               ORDER BY at DESC, posting_id DESC LIMIT $5
           ) e
           JOIN postings p ON p.posting_id = e.posting_id
           WHERE a.user_id = $1 AND ($2::bool IS NULL OR (a.unit = 'points') = $2)
           ORDER BY e.at DESC, e.posting_id DESC LIMIT $5"#,
        user_id,
        points,
        before_at,
        before_id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// What one month did to a wallet.
#[derive(Clone, Debug)]
pub struct Month {
    /// `2026-11`, UTC.
    pub month: String,
    /// Money in.
    pub credited: Decimal,
    /// Money out.
    pub debited: Decimal,
    /// Points in.
    pub points: Decimal,
}

/// Somebody's months since a moment, oldest first.
pub async fn list_months(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    currency: &str,
    since: DateTime<Utc>,
) -> Sql<Vec<Month>> {
    sqlx::query_as!(
        Month,
        r#"SELECT to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM') AS "month!",
                  coalesce(sum(e.amount) FILTER (WHERE a.unit = $2 AND e.amount > 0), 0) AS "credited!",
                  coalesce(-sum(e.amount) FILTER (WHERE a.unit = $2 AND e.amount < 0), 0) AS "debited!",
                  coalesce(sum(e.amount) FILTER (WHERE a.unit = 'points' AND e.amount > 0), 0) AS "points!"
           FROM ledger_accounts a
           JOIN entries e ON e.ledger_account_id = a.ledger_account_id AND e.balance IS NOT NULL
           WHERE a.user_id = $1 AND e.at >= $3
           GROUP BY 1 ORDER BY 1"#,
        user_id,
        currency,
        since,
    )
    .fetch_all(db)
    .await
}

/// A posting to be written, with both of its entries.
pub struct NewPosting<'a> {
    pub posting_id: Uuid,
    pub source: &'a str,
    pub poster: &'a str,
    pub actor: Option<Uuid>,
    pub reference: &'a str,
    pub kind: &'a str,
    pub unit: &'a str,
    pub reason: &'a str,
    pub user_id: Uuid,
    /// Of the person's account, if it is their first posting of this unit.
    pub ledger_account_id: Uuid,
    pub house_account_id: Uuid,
    pub house: &'a str,
    /// What the person has more; negative: less.
    pub amount: Decimal,
}

/// Whose wallet it is.
pub struct Owner {
    pub rank: i16,
    pub is_superuser: bool,
}

/// What became of a posting.
pub struct Done {
    /// Of the person; none: there is no such account, or it is deleted, and nothing was written.
    rank: Option<i16>,
    is_superuser: Option<bool>,
    /// False: nothing was written, for want of the person or because the reference was used before.
    pub is_new: bool,
    /// After it. None with `is_new`: there is less than that, and the transaction must not commit.
    pub balance: Option<Decimal>,
    pub at: Option<DateTime<Utc>>,
}

impl Done {
    /// Whose wallet it is, if their account is not deleted.
    pub fn owner(&self) -> Option<Owner> {
        let (rank, is_superuser) = self.rank.zip(self.is_superuser)?;
        Some(Owner { rank, is_superuser })
    }
}

/// Writes a posting: its reference, the person's balance under the row's lock, and both entries.
pub async fn insert(tx: &mut PgConnection, new: &NewPosting<'_>, now: DateTime<Utc>) -> Sql<Done> {
    sqlx::query_as!(
        Done,
        r#"WITH owner AS (
               SELECT r.rank, u.is_superuser FROM users u JOIN roles r ON r.role = u.role
               WHERE u.user_id = $10 AND u.status <> 'deleted'
           ), posted AS (
               INSERT INTO postings (posting_id, source, poster, actor, reference, kind, unit, reason, at)
               SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 FROM owner
               ON CONFLICT (source, poster, reference) DO NOTHING RETURNING posting_id
           ), moved AS (
               INSERT INTO ledger_accounts AS a
                   (ledger_account_id, user_id, unit, balance, earned, created_at, updated_at)
               SELECT $11, $10, $7, greatest($14::numeric, 0), greatest($14::numeric, 0), $9, $9 FROM posted
               WHERE $14 > 0 OR EXISTS (SELECT 1 FROM ledger_accounts WHERE user_id = $10 AND unit = $7)
               ON CONFLICT (user_id, unit) WHERE user_id IS NOT NULL DO UPDATE
               SET balance = a.balance + $14, earned = a.earned + greatest($14, 0),
                   updated_at = greatest($9, a.updated_at + interval '1 microsecond')
               WHERE a.balance + $14 >= 0
               RETURNING ledger_account_id, balance, updated_at
           ), house AS (
               INSERT INTO ledger_accounts (ledger_account_id, house, unit, created_at, updated_at)
               SELECT $12, $13, $7, $9, $9 FROM moved
               WHERE NOT EXISTS (SELECT 1 FROM ledger_accounts WHERE ledger_account_id = $12)
               ON CONFLICT DO NOTHING
           ), written AS (
               INSERT INTO entries (posting_id, ledger_account_id, amount, balance, at)
               SELECT $1, ledger_account_id, $14, balance, updated_at FROM moved
               UNION ALL SELECT $1, $12, -$14, NULL, updated_at FROM moved
           )
           SELECT o.rank AS "rank?", o.is_superuser AS "is_superuser?",
                  EXISTS (SELECT 1 FROM posted) AS "is_new!", m.balance AS "balance?", m.updated_at AS "at?"
           FROM (SELECT 1) one LEFT JOIN owner o ON true LEFT JOIN moved m ON true"#,
        new.posting_id,
        new.source,
        new.poster,
        new.actor,
        new.reference,
        new.kind,
        new.unit,
        new.reason,
        now,
        new.user_id,
        new.ledger_account_id,
        new.house_account_id,
        new.house,
        new.amount,
    )
    .fetch_one(tx)
    .await
}

/// A posting and whose it is.
pub struct Known {
    pub user_id: Uuid,
    pub row: Row,
}

/// The posting of a reference.
pub async fn find_posting(
    tx: &mut PgConnection,
    source: &str,
    poster: &str,
    reference: &str,
) -> Sql<Option<Known>> {
    let found = sqlx::query!(
        r#"SELECT a.user_id AS "user_id!", p.posting_id, p.kind, p.unit, e.amount, e.balance AS "balance!",
                  p.reason, e.at
           FROM postings p
           JOIN entries e ON e.posting_id = p.posting_id AND e.balance IS NOT NULL
           JOIN ledger_accounts a ON a.ledger_account_id = e.ledger_account_id
           WHERE p.source = $1 AND p.poster = $2 AND p.reference = $3"#,
        source,
        poster,
        reference,
    )
    .fetch_optional(tx)
    .await?;
    Ok(found.map(|found| Known {
        user_id: found.user_id,
        row: Row {
            posting_id: found.posting_id,
            reference: reference.to_owned(),
            kind: found.kind,
            unit: found.unit,
            amount: found.amount,
            balance: found.balance,
            reason: found.reason,
            at: found.at,
        },
    }))
}

/// Who invited somebody, once an identifier of theirs is proved; none where either account is deleted or
/// banned.
pub async fn find_referrer(tx: &mut PgConnection, user_id: Uuid) -> Sql<Option<Uuid>> {
    sqlx::query_scalar!(
        "SELECT r.user_id FROM users u JOIN users r ON r.user_id = u.referred_by
         WHERE u.user_id = $1 AND r.user_id <> u.user_id AND u.ever_verified_at IS NOT NULL
           AND u.status NOT IN ('deleted', 'banned') AND r.status NOT IN ('deleted', 'banned')",
        user_id,
    )
    .fetch_optional(tx)
    .await
}

/// Whoever was referred and got no reward, of somebody and of those whom they referred, once an identifier is
/// proved.
pub async fn list_unrewarded(tx: &mut PgConnection, user_id: Uuid) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"SELECT u.user_id AS "user_id!" FROM (
               SELECT user_id, ever_verified_at FROM users WHERE user_id = $1 AND referred_by IS NOT NULL
               UNION ALL
               SELECT user_id, ever_verified_at FROM users WHERE referred_by = $1) u
           WHERE u.ever_verified_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM postings p
                             WHERE p.source = 'house' AND p.poster = 'keryu'
                               AND p.reference = 'referral:' || u.user_id::text)
           ORDER BY 1"#,
        user_id,
    )
    .fetch_all(tx)
    .await
}

/// How many accounts somebody has.
pub async fn count_accounts(tx: &mut PgConnection, user_id: Uuid) -> Sql<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM ledger_accounts WHERE user_id = $1"#, user_id)
        .fetch_one(tx)
        .await
}

/// How many postings there are to somebody's accounts.
pub async fn count_postings(tx: &mut PgConnection, user_id: Uuid) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM ledger_accounts a
           JOIN entries e ON e.ledger_account_id = a.ledger_account_id AND e.balance IS NOT NULL
           WHERE a.user_id = $1"#,
        user_id,
    )
    .fetch_one(tx)
    .await
}

/// Something that was looked at, and whether it does not add up.
pub struct Checked {
    pub id: Uuid,
    pub is_wrong: bool,
}

/// People's accounts after this one: whether what is kept is not the sum of the entries.
pub async fn list_balances(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Sql<Vec<Checked>> {
    sqlx::query_as!(
        Checked,
        r#"SELECT a.ledger_account_id AS id, (a.balance <> e.balance OR a.earned <> e.earned) AS "is_wrong!"
           FROM (SELECT ledger_account_id, balance, earned FROM ledger_accounts
                 WHERE ledger_account_id > $1 AND user_id IS NOT NULL
                 ORDER BY ledger_account_id LIMIT $2) a
           CROSS JOIN LATERAL (
               SELECT coalesce(sum(amount), 0) AS balance,
                      coalesce(sum(amount) FILTER (WHERE amount > 0), 0) AS earned
               FROM entries WHERE ledger_account_id = a.ledger_account_id AND balance IS NOT NULL
           ) e
           ORDER BY a.ledger_account_id"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}

/// Postings after this one: whether their entries do not sum to zero, are not two or more, or are of an account
/// that is not there or has another unit.
pub async fn list_sums(db: impl PgExecutor<'_>, after: Uuid, most: i64) -> Sql<Vec<Checked>> {
    sqlx::query_as!(
        Checked,
        r#"SELECT p.posting_id AS id,
                  (e.sum <> 0 OR e.count < 2 OR e.known < e.count) AS "is_wrong!"
           FROM (SELECT posting_id, unit FROM postings WHERE posting_id > $1 ORDER BY posting_id LIMIT $2) p
           CROSS JOIN LATERAL (
               SELECT coalesce(sum(e.amount), 0) AS sum, count(*) AS count,
                      count(*) FILTER (WHERE a.unit = p.unit AND (a.user_id IS NULL) = (e.balance IS NULL)) AS known
               FROM entries e LEFT JOIN ledger_accounts a ON a.ledger_account_id = e.ledger_account_id
               WHERE e.posting_id = p.posting_id
           ) e
           ORDER BY p.posting_id"#,
        after,
        most,
    )
    .fetch_all(db)
    .await
}
