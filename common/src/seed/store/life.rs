//! The SQL of seeding what people have: columns in, one statement a kind.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Sql;

/// Documents.
#[derive(Default)]
pub struct Papers {
    pub ids: Vec<Uuid>,
    pub people: Vec<Uuid>,
    pub kinds: Vec<&'static str>,
    pub sealed: Vec<Vec<u8>>,
    pub hashes: Vec<Vec<u8>>,
    pub fronts: Vec<Uuid>,
    pub backs: Vec<Option<Uuid>>,
    pub states: Vec<&'static str>,
    pub reasons: Vec<Option<&'static str>>,
    pub created: Vec<DateTime<Utc>>,
    pub decided: Vec<Option<DateTime<Utc>>>,
    pub expired: Vec<Option<DateTime<Utc>>>,
}

/// Inserts documents of the kinds that this deployment knows.
pub async fn insert_papers(tx: &mut PgConnection, new: &Papers) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO kyc_submissions (submission_id, user_id, document_type, number_sealed, number_hash,
                                      front_upload_id, back_upload_id, state, rejection_reason, decided_at,
                                      expires_at, created_at, updated_at)
         SELECT n.id, n.person, n.kind, n.sealed, n.hash, n.front, n.back, n.state, n.reason, n.decided,
                CASE n.state WHEN 'expired' THEN n.expired
                             WHEN 'approved' THEN n.decided + make_interval(days => t.valid_days) END,
                n.created, coalesce(n.expired, n.decided, n.created)
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::bytea[], $6::uuid[], $7::uuid[],
                     $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[])
              AS n(id, person, kind, sealed, hash, front, back, state, reason, created, decided, expired)
         JOIN kyc_document_types t ON t.document_type = n.kind
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.people,
        &new.kinds as _,
        &new.sealed,
        &new.hashes,
        &new.fronts,
        &new.backs as &[Option<Uuid>],
        &new.states as _,
        &new.reasons as _,
        &new.created,
        &new.decided as &[Option<DateTime<Utc>>],
        &new.expired as &[Option<DateTime<Utc>>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Says of people whose documents are of no kind that is known that they handed none in.
pub async fn set_statuses(tx: &mut PgConnection, people: &[Uuid]) -> Sql<()> {
    sqlx::query!(
        "UPDATE users u SET kyc_status = 'not_submitted'
         WHERE u.user_id = ANY($1)
           AND NOT EXISTS (SELECT 1 FROM kyc_submissions k WHERE k.user_id = u.user_id)",
        people,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Consents.
#[derive(Default)]
pub struct Agreed {
    pub ids: Vec<Uuid>,
    pub people: Vec<Uuid>,
    pub kinds: Vec<&'static str>,
    pub versions: Vec<&'static str>,
    pub given: Vec<bool>,
    pub at: Vec<DateTime<Utc>>,
}

/// Inserts consents; the address of those after `known`.
pub async fn insert_consents(tx: &mut PgConnection, new: &Agreed, known: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO consents (consent_id, user_id, kind, text_version, given, at, ip_address)
         SELECT n.id, n.person, n.kind, n.version, n.given, n.at,
                CASE WHEN n.at > $7 THEN '203.0.113.' || get_byte(uuid_send(n.person), 15) END
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bool[], $6::timestamptz[])
              AS n(id, person, kind, version, given, at)
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.people,
        &new.kinds as _,
        &new.versions as _,
        &new.given,
        &new.at,
        known,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Those of these people who have a wallet.
pub async fn list_wallets(tx: &mut PgConnection, people: &[Uuid]) -> Sql<HashSet<Uuid>> {
    let known = sqlx::query_scalar!(
        r#"SELECT DISTINCT user_id AS "user_id!" FROM ledger_accounts WHERE user_id = ANY($1)"#,
        people,
    );
    Ok(known.fetch_all(tx).await?.into_iter().collect())
}

/// Accounts of the ledger, of people and of the house.
#[derive(Default)]
pub struct Accounts {
    ids: Vec<Uuid>,
    people: Vec<Option<Uuid>>,
    houses: Vec<Option<&'static str>>,
    units: Vec<String>,
    balances: Vec<Option<Decimal>>,
    earned: Vec<Option<Decimal>>,
    created: Vec<DateTime<Utc>>,
    updated: Vec<DateTime<Utc>>,
}

impl Accounts {
    /// One of the house.
    pub fn add_house(&mut self, id: Uuid, house: &'static str, unit: &str, now: DateTime<Utc>) {
        self.push(id, (None, Some(house)), unit, (None, None), (now, now));
    }

    /// One of somebody's.
    pub fn add(
        &mut self,
        id: Uuid,
        user_id: Uuid,
        unit: &str,
        (balance, earned): (Decimal, Decimal),
        times: (DateTime<Utc>, DateTime<Utc>),
    ) {
        self.push(id, (Some(user_id), None), unit, (Some(balance), Some(earned)), times);
    }

    fn push(
        &mut self,
        id: Uuid,
        (person, house): (Option<Uuid>, Option<&'static str>),
        unit: &str,
        (balance, earned): (Option<Decimal>, Option<Decimal>),
        (created, updated): (DateTime<Utc>, DateTime<Utc>),
    ) {
        self.ids.push(id);
        self.people.push(person);
        self.houses.push(house);
        self.units.push(unit.to_owned());
        self.balances.push(balance);
        self.earned.push(earned);
        self.created.push(created);
        self.updated.push(updated);
    }
}

/// Inserts accounts; those of the house may be there.
pub async fn insert_accounts(tx: &mut PgConnection, new: &Accounts) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO ledger_accounts (ledger_account_id, user_id, house, unit, balance, earned, created_at, updated_at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::numeric[],
                              $7::timestamptz[], $8::timestamptz[])
         ON CONFLICT (ledger_account_id) DO NOTHING",
        &new.ids,
        &new.people as &[Option<Uuid>],
        &new.houses as _,
        &new.units,
        &new.balances as &[Option<Decimal>],
        &new.earned as &[Option<Decimal>],
        &new.created,
        &new.updated,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Postings of a service called `seed`.
#[derive(Default)]
pub struct Postings {
    ids: Vec<Uuid>,
    references: Vec<String>,
    kinds: Vec<&'static str>,
    units: Vec<String>,
    reasons: Vec<&'static str>,
    at: Vec<DateTime<Utc>>,
}

impl Postings {
    /// One.
    pub fn add(
        &mut self,
        id: Uuid,
        reference: String,
        kind: &'static str,
        unit: &str,
        reason: &'static str,
        at: DateTime<Utc>,
    ) {
        self.ids.push(id);
        self.references.push(reference);
        self.kinds.push(kind);
        self.units.push(unit.to_owned());
        self.reasons.push(reason);
        self.at.push(at);
    }
}

/// Inserts postings.
pub async fn insert_postings(tx: &mut PgConnection, new: &Postings) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO postings (posting_id, source, poster, reference, kind, unit, reason, at)
         SELECT n.id, 'service', 'seed', n.reference, n.kind, n.unit, n.reason, n.at
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
              AS n(id, reference, kind, unit, reason, at)",
        &new.ids,
        &new.references,
        &new.kinds as _,
        &new.units,
        &new.reasons as _,
        &new.at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Entries of the ledger.
#[derive(Default)]
pub struct Entries {
    postings: Vec<Uuid>,
    accounts: Vec<Uuid>,
    amounts: Vec<Decimal>,
    balances: Vec<Option<Decimal>>,
    at: Vec<DateTime<Utc>>,
}

impl Entries {
    /// One; a balance after it is of people alone.
    pub fn add(
        &mut self,
        posting: Uuid,
        account: Uuid,
        amount: Decimal,
        balance: Option<Decimal>,
        at: DateTime<Utc>,
    ) {
        self.postings.push(posting);
        self.accounts.push(account);
        self.amounts.push(amount);
        self.balances.push(balance);
        self.at.push(at);
    }
}

/// Inserts entries. The database refuses them where they do not sum to zero.
pub async fn insert_entries(tx: &mut PgConnection, new: &Entries) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO entries (posting_id, ledger_account_id, amount, balance, at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::numeric[], $4::numeric[], $5::timestamptz[])",
        &new.postings,
        &new.accounts,
        &new.amounts,
        &new.balances as &[Option<Decimal>],
        &new.at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets who invited these people where nobody has that id.
pub async fn set_strangers_blank(tx: &mut PgConnection, people: &[Uuid]) -> Sql<()> {
    sqlx::query!(
        "UPDATE users u SET referred_by = NULL
         WHERE u.user_id = ANY($1) AND NOT EXISTS (SELECT 1 FROM users r WHERE r.user_id = u.referred_by)",
        people,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Those of these people whom somebody invited.
pub async fn list_referred(tx: &mut PgConnection, people: &[Uuid]) -> Sql<HashSet<Uuid>> {
    let there = sqlx::query_scalar!(
        "SELECT u.user_id FROM users u JOIN users r ON r.user_id = u.referred_by
         WHERE u.user_id = ANY($1) AND u.status <> 'deleted' AND r.status <> 'deleted'",
        people,
    );
    Ok(there.fetch_all(tx).await?.into_iter().collect())
}
