//! Wallets: a double-entry ledger of money and points that is only ever added to. A posting moves an amount
//! between a person's account and one of the house, in one statement (`store`) that also keeps the person's
//! balance under its row's lock; the house's rows are not touched. What is exact is said in `unit`, what
//! happens later (rewards of referrals, the standing check) in `jobs`.

mod jobs;
mod store;
pub mod unit;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use jobs::give as give_reward;
pub use jobs::{CheckLedger, RewardReferral};
pub use store::Month;
pub use unit::Unit;

use crate::api_key::{Reader, Scope};
use crate::audit::{self, Client, Line};
use crate::config::Source;
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Code, Error, Fault, Result, invalid};
use crate::idempotency::{self, Begun};
use crate::job::{self, Terms};
use crate::role::Permission;
use crate::secret::sha256;
use crate::session::FORBIDDEN;
use crate::{id, user};

/// There is less than the debit.
pub const INSUFFICIENT: Code = Code {
    code: "wallet.insufficient",
    status: 409,
    title: "The wallet does not hold that much",
    advice: "Post no more than the balance. Nothing was posted.",
};
/// The reference was used for something else.
pub const REFERENCE_TAKEN: Code = Code {
    code: "wallet.reference_taken",
    status: 409,
    title: "The reference was used for another posting",
    advice: "Give each posting a reference of its own; repeat one only with the same content, for the same person.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[INSUFFICIENT, REFERENCE_TAKEN];

/// Settings of wallets.
#[derive(Clone, Debug)]
pub struct Config {
    /// `WALLET_CURRENCY`: of all money (ISO 4217).
    pub currency: String,
    /// `REFERRAL_POINTS`: for each side of a referral; 0: none.
    pub referral_points: u32,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        let currency = source.get("WALLET_CURRENCY", "USD".to_owned());
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            source.fault("WALLET_CURRENCY: not three capital letters (ISO 4217)");
        }
        let referral_points = source.get("REFERRAL_POINTS", 100);
        if referral_points > 1_000_000 {
            source.fault("REFERRAL_POINTS: out of range (0 to 1000000)");
        }
        Self { currency, referral_points }
    }
}

/// The account of the house that money and points of postings come from and go to.
pub(crate) const FUNDING: &str = "funding";

/// Which way a posting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The person has more.
    Credit,
    /// The person has less.
    Debit,
    /// The person has more, for a referral.
    Referral,
}

impl Kind {
    /// As rows and the API say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Debit => "debit",
            Self::Referral => "referral",
        }
    }

    /// Where the other half is.
    fn house(self) -> &'static str {
        match self {
            Self::Credit | Self::Debit => FUNDING,
            Self::Referral => "referral_rewards",
        }
    }
}

/// A posting wanted.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The poster's own name for it, counted once.
    pub reference: String,
    /// Credit or debit.
    pub kind: Kind,
    /// Money or points.
    pub unit: Unit,
    /// More than zero.
    pub amount: Decimal,
    /// For the person to read.
    pub reason: String,
}

/// A posting, as its person sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Posting {
    /// Which.
    pub posting_id: Uuid,
    /// The poster's own name for it; none of a referral's, which would name the other side.
    pub reference: Option<String>,
    /// `credit`, `debit` or `referral`.
    pub kind: String,
    /// Money or points.
    pub unit: Unit,
    /// Of money.
    pub currency: Option<String>,
    /// How much, without a sign.
    pub amount: String,
    /// What the person has after it.
    pub balance: String,
    /// Why.
    pub reason: String,
    /// When; it rises with every posting of an account.
    pub at: DateTime<Utc>,
}

impl From<store::Row> for Posting {
    fn from(row: store::Row) -> Self {
        let unit = Unit::of(&row.unit);
        Self {
            posting_id: row.posting_id,
            reference: Some(row.reference).filter(|_| row.kind != Kind::Referral.name()),
            kind: row.kind,
            unit,
            amount: unit::text(row.amount.abs(), &row.unit),
            balance: unit::text(row.balance, &row.unit),
            currency: (unit == Unit::Money).then_some(row.unit),
            reason: row.reason,
            at: row.at,
        }
    }
}

/// What somebody has.
#[derive(Clone, Debug, PartialEq)]
pub struct Wallet {
    /// Money.
    pub balance: String,
    /// Of the money.
    pub currency: String,
    /// Points there are.
    pub points: String,
    /// Points ever earned.
    pub points_total: String,
    /// When anything was last posted.
    pub last_updated: Option<DateTime<Utc>>,
}

/// What somebody has at this moment.
///
/// # Errors
/// The database does not answer.
pub async fn show(ctx: &Context, user_id: Uuid) -> Result<Wallet> {
    let currency = &ctx.config.wallet.currency;
    let held = store::find(&ctx.db, user_id, currency).await?;
    Ok(Wallet {
        balance: unit::text(held.balance, currency),
        currency: currency.clone(),
        points: unit::text(held.points, unit::POINTS),
        points_total: unit::text(held.earned, unit::POINTS),
        last_updated: held.updated_at,
    })
}

/// A page of a statement.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Posting>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Somebody's postings, newest first; of one unit, where one is named.
///
/// # Errors
/// `request.invalid` for a cursor that is not one of this list of theirs.
pub async fn statement(
    ctx: &Context,
    user_id: Uuid,
    unit: Option<Unit>,
    limit: u16,
    cursor: Option<&str>,
) -> Result<Page> {
    let keys = &ctx.config.keys;
    let list = format!("wallet:{}", unit.map_or("all", Unit::name));
    let before = match cursor {
        Some(text) => cursor::read(keys, &list, user_id, text)?,
        // a wallet's times rise, so they may be ahead of the clock
        None => {
            Place { at: DateTime::from_timestamp(253_402_300_799, 0).unwrap_or_default(), id: Uuid::max() }
        }
    };
    let limit = usize::from(limit);
    // one more tells whether there is a next page
    let most = i64::try_from(limit + 1).map_err(Error::internal)?;
    let points = unit.map(|unit| unit == Unit::Points);
    let mut rows = store::list(&ctx.db, user_id, points, before.at, before.id, most).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| Place { at: row.at, id: row.posting_id });
    Ok(Page {
        items: rows.into_iter().map(Posting::from).collect(),
        next_cursor: last.map(|place| cursor::write(keys, &list, user_id, place)),
    })
}

/// Money in and out by month (UTC), and points, since a moment, oldest first.
///
/// # Errors
/// The database does not answer.
pub async fn months(ctx: &Context, user_id: Uuid, since: DateTime<Utc>) -> Result<Vec<Month>> {
    Ok(store::list_months(&ctx.db, user_id, &ctx.config.wallet.currency, since).await?)
}

/// Posts to somebody's wallet, as staff or as a service. A reference counts once for its poster: the same
/// content again gets the same posting.
///
/// # Errors
/// `auth.forbidden`, `user.self`, `user.not_found`, `request.invalid` (digits that the unit does not have),
/// `wallet.insufficient`, `wallet.reference_taken`, and the refusals of [`idempotency::begin`].
pub async fn post(
    ctx: &Context,
    client: &Client,
    by: Reader<'_>,
    user_id: Uuid,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Posting> {
    by.may(Permission::WalletWrite, Scope::WalletWrite)?;
    let row = ask.unit.row(&ctx.config.wallet);
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    // before all else: what was answered once is answered so again, whatever became of the person since
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let staff = by.actor().to_string();
    let new = New {
        source: if by.service().is_some() { "service" } else { "staff" },
        poster: by.service().unwrap_or(&staff),
        actor: Some(by.actor()),
        user_id,
        unit: row,
        ask: &ask,
    };
    let done = match may_ask(by, &new) {
        Ok(()) => put(&mut tx, &new, now, |owner| may_reach(by, owner)).await?,
        Err(refused) => known_or(&mut tx, &new, refused).await?,
    };
    let posting = match done {
        Put::Refused(refused) => return Err(refused),
        Put::New(posting) => {
            let details = details(&posting, by.service());
            let line = Line {
                action: "wallet.posted",
                entity_type: "user",
                entity_id: user_id.to_string(),
                actor: Some(by.actor()),
                session_id: by.session_id(),
                details,
                client,
                at: now,
            };
            audit::note(&mut tx, line).await?;
            posting
        }
        Put::Known(posting) => posting,
    };
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&posting).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    Ok(posting)
}

/// What an audit line says of a posting.
fn details(posting: &Posting, service: Option<&str>) -> serde_json::Value {
    json!({
        "posting_id": posting.posting_id, "kind": posting.kind, "unit": posting.unit.name(),
        "currency": posting.currency, "amount": posting.amount, "balance": posting.balance,
        "reference": posting.reference, "service": service,
    })
}

/// Nobody posts to themselves, or more digits than the unit has.
fn may_ask(by: Reader<'_>, new: &New<'_>) -> Result<()> {
    if matches!(by, Reader::Person(person) if person.user_id() == new.user_id) {
        return Err(user::SELF.refuse("Nobody posts to their own wallet.").into());
    }
    if !unit::is_exact(new.ask.amount, new.unit) {
        let told = format!("At most {} digits after the point in {}.", unit::digits(new.unit), new.unit);
        return Err(invalid(vec![Fault::at("/amount", "field.range", told)]).into());
    }
    Ok(())
}

/// Nobody posts to who stands above them.
fn may_reach(by: Reader<'_>, owner: &store::Owner) -> Result<()> {
    match by {
        Reader::Person(person) if !person.reaches(owner.rank, owner.is_superuser) => {
            Err(FORBIDDEN.refuse("This person stands above you.").into())
        }
        _ => Ok(()),
    }
}

/// A posting to be written.
struct New<'a> {
    source: &'static str,
    poster: &'a str,
    actor: Option<Uuid>,
    user_id: Uuid,
    /// As rows say it.
    unit: &'a str,
    ask: &'a Ask,
}

impl New<'_> {
    /// What the person has more; negative: less.
    fn amount(&self) -> Decimal {
        if self.ask.kind == Kind::Debit { -self.ask.amount } else { self.ask.amount }
    }

    /// Whether it is this one.
    fn is(&self, known: &store::Known) -> bool {
        known.user_id == self.user_id
            && known.row.kind == self.ask.kind.name()
            && known.row.unit == self.unit
            && known.row.amount == self.amount()
            && known.row.reason == self.ask.reason
    }
}

/// What became of it.
enum Put {
    /// It is written.
    New(Posting),
    /// It was before: what was answered once is answered so again, whatever became of the person since.
    Known(Posting),
    /// It is not, and the transaction must not commit.
    Refused(Error),
}

/// Writes a posting with the caller's transaction, if it may be to this person.
async fn put(
    tx: &mut PgConnection,
    new: &New<'_>,
    now: DateTime<Utc>,
    may: impl FnOnce(&store::Owner) -> Result<()>,
) -> Result<Put> {
    let (ask, amount) = (new.ask, new.amount());
    let posting_id = id::ordered(now);
    let row = store::NewPosting {
        posting_id,
        source: new.source,
        poster: new.poster,
        actor: new.actor,
        reference: &ask.reference,
        kind: ask.kind.name(),
        unit: new.unit,
        reason: &ask.reason,
        user_id: new.user_id,
        ledger_account_id: id::ordered(now),
        house_account_id: house(ask.kind.house(), new.unit),
        house: ask.kind.house(),
        amount,
    };
    let done = store::insert(tx, &row, now).await?;
    let allowed = match done.owner() {
        Some(owner) => may(&owner),
        None => Err(user::NOT_FOUND.refuse("There is no such user.").into()),
    };
    match (done.is_new, allowed, done.balance.zip(done.at)) {
        (false, Err(refused), _) => known_or(tx, new, refused).await,
        (false, Ok(()), _) => match find(tx, new).await? {
            Some(known) if new.is(&known) => Ok(Put::Known(known.row.into())),
            Some(_) => {
                let told = "This reference is that of a posting with other content.";
                Ok(Put::Refused(REFERENCE_TAKEN.refuse(told).into()))
            }
            None => Err(Error::internal("a reference is taken by a posting without entries")),
        },
        (true, Err(refused), _) => Ok(Put::Refused(refused)),
        (true, Ok(()), None) => {
            Ok(Put::Refused(INSUFFICIENT.refuse("The debit is more than the balance.").into()))
        }
        (true, Ok(()), Some((balance, at))) => {
            let (reference, kind) = (ask.reference.clone(), row.kind.to_owned());
            let (unit, reason) = (row.unit.to_owned(), ask.reason.clone());
            let row = store::Row { posting_id, reference, kind, unit, amount, balance, reason, at };
            Ok(Put::New(row.into()))
        }
    }
}

/// The posting that has the reference.
async fn find(tx: &mut PgConnection, new: &New<'_>) -> Result<Option<store::Known>> {
    Ok(store::find_posting(tx, new.source, new.poster, &new.ask.reference).await?)
}

/// The posting that has the reference, if it is this one.
async fn known_or(tx: &mut PgConnection, new: &New<'_>, refused: Error) -> Result<Put> {
    Ok(match find(tx, new).await?.filter(|known| new.is(known)) {
        Some(known) => Put::Known(known.row.into()),
        None => Put::Refused(refused),
    })
}

/// What stays of somebody who is erased: the ledger is only added to.
pub(crate) struct Kept {
    /// Their accounts.
    pub accounts: i64,
    /// What was posted to them.
    pub postings: i64,
}

/// Counts what stays of somebody who is erased.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn kept(tx: &mut PgConnection, user_id: Uuid) -> Result<Kept> {
    let accounts = store::count_accounts(&mut *tx, user_id).await?;
    Ok(Kept { accounts, postings: store::count_postings(tx, user_id).await? })
}

/// The id of an account of the house: the same everywhere, so that nobody has to look for it.
pub(crate) fn house(name: &str, unit: &str) -> Uuid {
    let hash = sha256(format!("keryu:ledger:{name}:{unit}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(id)
}

/// Asks for the reward of a referral with the caller's transaction, which proves the first identifier of
/// somebody who was referred. Any number of times: it is given once.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn ask_reward(tx: &mut PgConnection, now: DateTime<Utc>, user_id: Uuid) -> Result<()> {
    let terms = Terms { unique_key: Some(format!("wallet.referral:{user_id}")), ..Terms::default() };
    job::enqueue(tx, now, &RewardReferral { user_id }, terms).await?;
    Ok(())
}

/// Asks with the caller's transaction, which lets somebody in again, for the rewards that were not given because
/// they were not: for their own referral, and for whom they referred.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn ask_missed_rewards(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    user_id: Uuid,
) -> Result<()> {
    for referred in store::list_unrewarded(&mut *tx, user_id).await? {
        ask_reward(&mut *tx, now, referred).await?;
    }
    Ok(())
}
