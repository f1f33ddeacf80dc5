//! What the first people of a seed have besides an account: drawn by lot, the same for the same seed; times are
//! counted back from now, so that nothing of it is too old to be kept.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::paper::{Consent, Paper};
use super::person::{Dice, SeedPerson, person};
use super::{PROFILED, money, paper, rental};
use crate::context::Context;
use crate::error::Result;
use crate::usage::Event;
use crate::wallet;

/// What somebody has. Of later people nothing.
#[derive(Default)]
pub struct Life {
    /// What they say of themselves; none: not yet.
    pub profile: Option<Profile>,
    /// Who invited them.
    pub referrer: Option<Uuid>,
    /// Documents they handed in, oldest first.
    pub papers: Vec<Paper>,
    /// What they agreed to.
    pub consents: Vec<Consent>,
    /// What was posted to them.
    pub postings: Vec<money::Posting>,
    /// What they used.
    pub events: Vec<Event>,
}

/// What somebody says of themselves.
pub struct Profile {
    pub full_name: String,
    pub date_of_birth: NaiveDate,
    pub address: Option<String>,
    /// Name and number.
    pub emergency: Option<(String, String)>,
    /// What they switched off.
    pub preferences: Value,
}

impl Life {
    /// Of the `n`th person of a seed.
    pub fn of(config: &wallet::Config, seed: u64, n: u64, one: &SeedPerson, now: DateTime<Utc>) -> Self {
        if n >= PROFILED {
            return Self::default();
        }
        let mut dice = Dice(seed ^ n.wrapping_mul(0xa076_1d64_78bd_642f));
        Self {
            profile: (dice.below(10) < 8).then(|| profile(one, &mut dice)),
            referrer: (n > 0 && dice.below(20) == 0).then(|| person(seed, dice.below(n)).user_id),
            papers: paper::papers(one, &mut dice, now),
            consents: paper::consents(one, &mut dice, now),
            postings: money::postings(one, config, &mut dice, now),
            events: rental::events(one, (seed, n), config, &mut dice, now),
        }
    }

    /// How far the check of their documents is.
    pub fn kyc_status(&self) -> &'static str {
        self.papers.last().map_or(crate::kyc::NOT_SUBMITTED, |paper| paper.state.name())
    }

    /// Where they live.
    pub fn address(&self) -> Option<&str> {
        self.profile.as_ref()?.address.as_deref()
    }
}

fn profile(one: &SeedPerson, dice: &mut Dice) -> Profile {
    // 1966 to 2008
    let days = TimeDelta::days(i64::try_from(dice.below(15_700)).unwrap_or_default());
    let born = NaiveDate::from_ymd_opt(1966, 1, 1).unwrap_or_default();
    Profile {
        full_name: format!("{} {}", one.first_name, one.last_name),
        date_of_birth: born + days,
        // some are not complete
        address: (dice.below(10) < 9).then(|| one.home(dice)),
        emergency: (dice.below(10) < 8).then(|| one.relative(dice)),
        preferences: match dice.below(10) {
            0 => json!({ "report_ready": { "email": false } }),
            1 => json!({ "profile_completion_reminder": { "email": false, "sms": false },
                         "kyc_reminder": { "sms": false } }),
            _ => json!({}),
        },
    }
}

/// A moment this many days ago, but not before somebody joined.
pub fn ago(one: &SeedPerson, days: u64, now: DateTime<Utc>) -> DateTime<Utc> {
    let days = TimeDelta::days(i64::try_from(days).unwrap_or_default());
    (now - days).max(one.created_at).min(now)
}

/// Plants what people have who came just now.
pub async fn plant(
    tx: &mut PgConnection,
    ctx: &Context,
    mut lives: Vec<(Uuid, Life)>,
    now: DateTime<Utc>,
) -> Result<()> {
    paper::plant(&mut *tx, ctx, &lives, now).await?;
    money::plant(&mut *tx, ctx, &lives, now).await?;
    money::reward(&mut *tx, ctx, &lives, now).await?;
    let events: Vec<Event> =
        lives.iter_mut().flat_map(|(_, life)| std::mem::take(&mut life.events)).collect();
    rental::plant(tx, &events).await
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::user::Identifier;
    use crate::wallet::{Kind, Unit};

    #[test]
    fn the_same_seed_draws_the_same_life_and_none_that_the_product_would_not_take() {
        let config = wallet::Config { currency: "USD".to_owned(), referral_points: 100 };
        let now: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().expect("time");
        let of = |n| Life::of(&config, 42, n, &person(42, n), now);
        for n in 0..2_000 {
            let (life, again) = (of(n), of(n));
            assert_eq!((life.events.as_slice(), life.address()), (again.events.as_slice(), again.address()));
            let phone = life.profile.as_ref().and_then(|told| Some(told.emergency.as_ref()?.1.as_str()));
            if let Some(phone) = phone {
                assert_eq!(Identifier::parse(phone, None).expect(phone).as_str(), phone);
            }
            for unit in [Unit::Money, Unit::Points] {
                let mut held = Decimal::ZERO;
                for one in life.postings.iter().filter(|one| one.unit == unit) {
                    held += if one.kind == Kind::Debit { -one.amount } else { one.amount };
                    assert!(one.amount > Decimal::ZERO && held >= Decimal::ZERO, "{n}: {held}");
                }
            }
            assert!(life.postings.windows(2).all(|two| two[0].at < two[1].at), "{n}");
            assert!(life.events.iter().all(|event| event.at <= now && event.at > now - TimeDelta::days(400)));
            assert!(life.papers.windows(2).all(|two| two[0].created_at < two[1].created_at), "{n}");
        }
        let later = of(PROFILED);
        assert!(later.profile.is_none() && later.consents.is_empty() && later.postings.is_empty());
    }
}
