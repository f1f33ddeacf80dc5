//! Erasing people for good, once the grace time of their deletion is over: a schedule asks for one job a
//! person; where from they acted is blanked in the log by steps, and all else goes in one transaction. What a table
//! keeps of a person, and how it goes, is said in [`COVERED`]; a test fails when a column that could name somebody
//! is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{audit, store};
use crate::auth::otp;
use crate::context::Context;
use crate::crm;
use crate::error::{Error, Result};
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::secret;
use crate::upload;
use crate::usage;
use crate::wallet;

/// How what a column keeps of a person goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With the row of the person that it refers to.
    Cascade,
    /// Deleted by [`EraseAccount`].
    Deleted,
    /// Emptied by [`EraseAccount`].
    Blanked,
    /// Kept under an id that leads nowhere any more, or as a keyed hash.
    Pseudonym,
}

/// Every column that could name a person, by table.
pub const COVERED: &[(&str, &str, Way)] = &[
    ("users", "user_id", Way::Deleted),
    ("users", "referred_by", Way::Blanked),
    ("users", "last_login_ip", Way::Deleted),
    ("user_words", "user_id", Way::Deleted), // by a trigger, with the row of the person
    ("user_keys", "user_id", Way::Cascade),
    ("profiles", "user_id", Way::Cascade),
    ("profile_changes", "user_id", Way::Cascade),
    ("profile_changes", "actor", Way::Pseudonym),
    ("passwords", "user_id", Way::Cascade),
    ("sessions", "user_id", Way::Cascade),
    ("sessions", "ip_address", Way::Cascade),
    ("sessions", "user_agent", Way::Cascade),
    ("mfa_challenges", "user_id", Way::Cascade),
    ("totp_factors", "user_id", Way::Cascade),
    ("recovery_codes", "user_id", Way::Cascade),
    ("factor_tries", "user_id", Way::Cascade),
    ("passkeys", "user_id", Way::Cascade),
    ("passkey_challenges", "user_id", Way::Cascade),
    ("device_tokens", "user_id", Way::Cascade),
    ("devices", "user_id", Way::Cascade),
    ("reminders", "user_id", Way::Cascade),
    ("reports", "user_id", Way::Cascade),
    ("uploads", "user_id", Way::Blanked),
    ("kyc_submissions", "user_id", Way::Cascade),
    ("kyc_submissions", "decided_by", Way::Pseudonym),
    ("consents", "user_id", Way::Cascade),
    ("consents", "ip_address", Way::Cascade),
    ("exports", "user_id", Way::Cascade),
    ("trainee_profiles", "user_id", Way::Cascade),
    ("trainer_profiles", "user_id", Way::Cascade),
    ("hod_profiles", "user_id", Way::Cascade),
    ("dp_academics_profiles", "user_id", Way::Cascade),
    ("assignments", "user_id", Way::Cascade),
    ("bulk_actions", "created_by", Way::Pseudonym),
    ("bulk_actions", "ip_address", Way::Blanked),
    ("bulk_actions", "user_agent", Way::Blanked),
    ("bulk_items", "user_id", Way::Pseudonym),
    ("challenges", "user_id", Way::Deleted),
    ("challenges", "identifier", Way::Deleted),
    ("challenges", "client", Way::Deleted),
    ("verification_tokens", "user_id", Way::Deleted),
    ("verification_tokens", "identifier", Way::Deleted),
    ("identifier_budgets", "identifier_hash", Way::Deleted),
    ("wrong_tries", "identifier_hash", Way::Deleted),
    ("wrong_tries", "client", Way::Deleted),
    ("login_failures", "subject_hash", Way::Pseudonym),
    ("crm_changes", "user_id", Way::Pseudonym),
    ("deliveries", "user_id", Way::Deleted),
    ("deliveries", "recipient", Way::Deleted),
    ("audit", "actor", Way::Pseudonym),
    ("audit", "entity_id", Way::Pseudonym),
    ("audit", "owner", Way::Pseudonym),
    ("audit", "ip_address", Way::Blanked),
    ("audit", "user_agent", Way::Blanked),
    ("api_keys", "created_by", Way::Pseudonym),
    ("ip_blocks", "created_by", Way::Pseudonym),
    ("ledger_accounts", "user_id", Way::Pseudonym),
    ("postings", "actor", Way::Pseudonym),
    ("usage_events", "user_id", Way::Deleted),
    ("usage_summaries", "user_id", Way::Cascade),
    ("usage_months", "user_id", Way::Cascade),
    ("usage_favourites", "user_id", Way::Cascade),
];

/// Asks for the erasures that are due.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct EraseDue {}

impl Job for EraseDue {
    const KIND: &'static str = "user.erase_due";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match ask(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn ask(ctx: &Context) -> Result<()> {
    const BATCH: i64 = 500;
    let now = ctx.now();
    let mut after = Uuid::nil();
    loop {
        let mut tx = ctx.db.begin().await?;
        let due = store::list_erasures(&mut tx, now, after, BATCH).await?;
        for user_id in &due {
            let terms = Terms { unique_key: Some(format!("user.erase:{user_id}")), ..Terms::default() };
            job::enqueue(&mut tx, now, &EraseAccount { user_id: *user_id }, terms).await?;
        }
        tx.commit().await?;
        match due.last() {
            Some(last) if due.len() == BATCH as usize => after = *last,
            _ => break,
        }
    }
    ctx.wake.queue(Queue::Bulk);
    Ok(())
}

/// Erases one person. A second run finds nobody and is done.
#[derive(Debug, Deserialize, Serialize)]
pub struct EraseAccount {
    /// Who.
    pub user_id: Uuid,
}

/// Audit lines of one transaction; the last ones go with the person.
const LINES: i64 = 5_000;

impl Job for EraseAccount {
    const KIND: &'static str = "user.erase_account";
    const QUEUE: Queue = Queue::Bulk;
    const MAX_ATTEMPTS: i16 = 20;
    const TIMEOUT: Duration = Duration::from_secs(1_800);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match erase(ctx, self.user_id, ctx.now()).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// Goes through what the log holds of somebody, from its beginning and so many lines at a time, each step
/// committed: however many they are, no statement is long. The person goes with the last step.
async fn erase(ctx: &Context, user_id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let (mut report, mut changes) = (Report::default(), Vec::new());
    let mut after = DateTime::UNIX_EPOCH;
    loop {
        let mut tx = ctx.db.begin().await?;
        // restored meanwhile, or erased before
        let Some(person) = store::lock_erasure(&mut tx, user_id, now).await? else { return Ok(()) };
        let until = store::find_audit_bound(&mut tx, user_id, after, LINES).await?;
        changes.extend(store::list_changes(&mut tx, &user_id.to_string(), after, until).await?);
        report.blanked("audit", store::set_audit_blank(&mut tx, user_id, after, until).await?);
        match until {
            Some(until) => after = until,
            None => {
                let identifiers = identifiers(&mut tx, ctx, user_id, person, &changes).await?;
                remove(&mut tx, ctx, user_id, &identifiers, report, now).await?;
                return Ok(tx.commit().await?);
            }
        }
        tx.commit().await?;
    }
}

async fn remove(
    tx: &mut PgConnection,
    ctx: &Context,
    user_id: Uuid,
    identifiers: &[String],
    mut report: Report,
    now: DateTime<Utc>,
) -> Result<()> {
    let tokens = store::list_device_hashes(&mut *tx, user_id).await?;
    let rows = identifiers.iter().flat_map(|text| otp::rows(&ctx.config, text, &tokens));
    let hashes: Vec<Vec<u8>> = rows.map(|row| row.to_vec()).collect();
    counted(&mut *tx, user_id, &mut report).await?;
    let counters = store::delete_counters(&mut *tx, &hashes).await?;
    report.deleted("identifier_budgets", counters.budgets);
    report.deleted("wrong_tries", counters.tries);
    let codes = store::delete_codes(&mut *tx, user_id, identifiers).await?;
    report.deleted("challenges", codes.codes);
    report.deleted("verification_tokens", codes.tokens);
    let messages = store::delete_deliveries(&mut *tx, user_id, identifiers).await?;
    report.deleted("deliveries", messages.deliveries);
    report.deleted("delivery_attempts", messages.attempts);
    report.deleted("usage_events", usage::erase(&mut *tx, user_id).await?);
    report.blanked("users", store::set_referrals_blank(&mut *tx, user_id).await?);
    let names: Vec<String> = hashes.iter().map(|hash| secret::hex(hash)).collect();
    report.blanked("audit", store::set_identifiers_blank(&mut *tx, &names).await?);
    report.blanked("bulk_actions", store::set_bulk_blank(&mut *tx, user_id).await?);
    let files = store::count_rows(&mut *tx, "uploads", "user_id", user_id).await?;
    report.blanked("uploads", u64::try_from(files).unwrap_or_default());
    upload::release_all(&mut *tx, user_id, now).await?;
    let kept = wallet::kept(&mut *tx, user_id).await?;
    report.kept("ledger_accounts", kept.accounts);
    report.kept("postings", kept.postings);
    store::delete(&mut *tx, user_id).await?;
    let details = serde_json::to_value(&report).map_err(Error::internal)?;
    store::insert_erased(&mut *tx, user_id, details, now).await?;
    crm::erased(tx, user_id, now).await
}

/// What an erasure did, by table: how many rows, and nothing that names the person.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Rows that went.
    deleted: BTreeMap<&'static str, u64>,
    /// Rows that stay and lead nowhere any more. Files among them are deleted by their own clean-up.
    blanked: BTreeMap<&'static str, u64>,
    /// Rows of the ledger that stay as they are, under an id that leads nowhere any more.
    kept: BTreeMap<&'static str, u64>,
}

impl Report {
    fn deleted(&mut self, table: &'static str, rows: i64) {
        add(&mut self.deleted, table, u64::try_from(rows).unwrap_or_default());
    }

    fn blanked(&mut self, table: &'static str, rows: u64) {
        add(&mut self.blanked, table, rows);
    }

    fn kept(&mut self, table: &'static str, rows: i64) {
        add(&mut self.kept, table, u64::try_from(rows).unwrap_or_default());
    }
}

fn add(to: &mut BTreeMap<&'static str, u64>, table: &'static str, rows: u64) {
    if rows > 0 {
        *to.entry(table).or_default() += rows;
    }
}

/// Counts what goes with the person's own row, by table.
async fn counted(tx: &mut PgConnection, user_id: Uuid, report: &mut Report) -> Result<()> {
    report.deleted("users", 1);
    report.deleted("user_words", store::count_words(&mut *tx, user_id).await?);
    let mut seen = BTreeSet::new();
    for (table, column, way) in COVERED {
        let names_them = *way == Way::Cascade && !matches!(*column, "ip_address" | "user_agent");
        if names_them && seen.insert(table) {
            report.deleted(table, store::count_rows(&mut *tx, table, column, user_id).await?);
        }
    }
    Ok(())
}

/// What somebody is known under, now or from the audit lines of their changes, and nobody else is: what is kept
/// under an identifier that has another owner by now is theirs. To be read before the key that seals the lines goes.
async fn identifiers(
    tx: &mut PgConnection,
    ctx: &Context,
    user_id: Uuid,
    person: store::Erased,
    changes: &[Vec<u8>],
) -> Result<Vec<String>> {
    let mut found: Vec<String> = [person.email, person.phone_number].into_iter().flatten().collect();
    if !changes.is_empty() {
        let key = audit::key(&mut *tx, ctx, user_id).await?;
        for line in changes.iter().filter_map(|sealed| audit::open(&key, sealed)) {
            for value in ["email", "phone_number"].iter().filter_map(|name| line.get(name)) {
                let both = [&value["old"], &value["new"]];
                found.extend(both.into_iter().filter_map(|text| text.as_str().map(str::to_owned)));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(store::list_free(tx, user_id, &found).await?)
}
