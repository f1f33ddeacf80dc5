//! Wallets: postings as a service might have made them, and the rewards of referrals as the product gives them.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::derived;
use super::life::{Life, ago};
use super::person::{Dice, SeedPerson};
use super::store::{self, Accounts, Entries, Postings};
use crate::context::Context;
use crate::error::Result;
use crate::wallet::{self, Kind, Unit, unit};

/// A posting to somebody.
pub struct Posting {
    pub kind: Kind,
    pub unit: Unit,
    /// Without a sign.
    pub amount: Decimal,
    pub reason: &'static str,
    /// Later than the one before it.
    pub at: DateTime<Utc>,
}

/// What was posted to somebody: to most of them something, and never more out than in.
pub fn postings(
    one: &SeedPerson,
    config: &wallet::Config,
    dice: &mut Dice,
    now: DateTime<Utc>,
) -> Vec<Posting> {
    let mut all = Vec::new();
    // a posting every nine days, the last ones lately
    let (money, points) = (dice.below(6), dice.below(4));
    let first = ago(one, 9 * (money + points + 1), now);
    for (unit, count) in [(Unit::Money, money), (Unit::Points, points)] {
        let mut held = 0;
        for n in 0..count {
            let most = if unit == Unit::Money { 5_000 } else { 50 };
            let out = held > 1 && n > 0 && dice.below(2) == 0;
            let amount = 1 + dice.below(if out { held } else { most });
            held = if out { held - amount } else { held + amount };
            let (kind, reason) = match (unit, out) {
                (Unit::Money, false) => (Kind::Credit, "Paid in"),
                (Unit::Money, true) => (Kind::Debit, "A rental"),
                (Unit::Points, false) => (Kind::Credit, "Returned in time"),
                (Unit::Points, true) => (Kind::Debit, "A ride for points"),
            };
            let digits = unit::digits(unit.row(config));
            let amount = Decimal::new(i64::try_from(amount).unwrap_or_default(), digits);
            let at = first + TimeDelta::days(9 * i64::try_from(all.len()).unwrap_or_default());
            // whoever joined just now has all of it within moments
            let at = at.min(now + TimeDelta::microseconds(i64::try_from(all.len()).unwrap_or_default()));
            all.push(Posting { kind, unit, amount, reason, at });
        }
    }
    all
}

/// Plants the wallets of people who have none. Whoever was erased and is planted again has one, for the ledger is
/// only added to.
pub async fn plant(
    tx: &mut PgConnection,
    ctx: &Context,
    lives: &[(Uuid, Life)],
    now: DateTime<Utc>,
) -> Result<()> {
    let config = &ctx.config.wallet;
    let people: Vec<Uuid> = lives.iter().map(|(user_id, _)| *user_id).collect();
    let known = store::list_wallets(&mut *tx, &people).await?;
    let (mut accounts, mut postings, mut entries) =
        (Accounts::default(), Postings::default(), Entries::default());
    for one in [Unit::Money, Unit::Points] {
        let unit = one.row(config);
        accounts.add_house(wallet::house(wallet::FUNDING, unit), wallet::FUNDING, unit, now);
    }
    for (user_id, life) in lives.iter().filter(|(user_id, _)| !known.contains(user_id)) {
        for (of, number) in [(Unit::Money, 0x50), (Unit::Points, 0x51)] {
            let (unit, account) = (of.row(config), derived(*user_id, number));
            let (mut balance, mut earned, mut times) = (Decimal::ZERO, Decimal::ZERO, None);
            let of = life.postings.iter().zip(0x60u8..).filter(|(posting, _)| posting.unit == of);
            for (posting, number) in of {
                let posting_id = derived(*user_id, number);
                let amount = if posting.kind == Kind::Debit { -posting.amount } else { posting.amount };
                balance += amount;
                earned += amount.max(Decimal::ZERO);
                times = Some((times.map_or(posting.at, |(first, _)| first), posting.at));
                let reference = format!("seed-{user_id}-{number}");
                postings.add(posting_id, reference, posting.kind.name(), unit, posting.reason, posting.at);
                entries.add(posting_id, account, amount, Some(balance), posting.at);
                let house = wallet::house(wallet::FUNDING, unit);
                entries.add(posting_id, house, -amount, None, posting.at);
            }
            if let Some(times) = times {
                accounts.add(account, *user_id, unit, (balance, earned), times);
            }
        }
    }
    store::insert_accounts(&mut *tx, &accounts).await?;
    store::insert_postings(&mut *tx, &postings).await?;
    Ok(store::insert_entries(tx, &entries).await?)
}

/// Gives the rewards of referrals, by the statements that give them otherwise. Nobody is told.
pub async fn reward(
    tx: &mut PgConnection,
    ctx: &Context,
    lives: &[(Uuid, Life)],
    now: DateTime<Utc>,
) -> Result<()> {
    let invited: Vec<(Uuid, Uuid)> =
        lives.iter().filter_map(|(user_id, life)| Some((*user_id, life.referrer?))).collect();
    let people: Vec<Uuid> = invited.iter().map(|(user_id, _)| *user_id).collect();
    // somebody of another name may have their place
    store::set_strangers_blank(&mut *tx, &people).await?;
    let points = ctx.config.wallet.referral_points;
    let there = store::list_referred(&mut *tx, &people).await?;
    for (user_id, referrer) in
        invited.into_iter().filter(|(user_id, _)| points > 0 && there.contains(user_id))
    {
        wallet::give_reward(&mut *tx, user_id, referrer, points, now).await?;
    }
    Ok(())
}
