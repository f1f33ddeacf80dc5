//! How often a provider may be called, over all workers: N calls a second, evenly.
//!
//! Whose turn is when stands in a row of Postgres, which must be there for a job to run at all; so the rate
//! holds whatever becomes of Redis. Calls that come together share a lock of it. A call whose turn comes
//! within a second waits for it; others are sent away until theirs, one after the other, and that is no
//! failed attempt. Without a rate nothing is asked.
//!
//! Codes go first: what is not urgent is given turns half as far ahead, so that a code finds one behind few
//! others however many wait, and none while codes that were sent away are still to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Mutex as Gate;

use super::{Hand, store};
use crate::batch::Batcher;
use crate::context::Context;
use crate::error::Result;
use crate::provider::{crm, fcm, gateway, inbox, smtp, twilio};
use crate::role::Permission;

/// Every provider a rate can be set for.
pub const PROVIDERS: [&str; 7] =
    [twilio::NAME, gateway::NAME, smtp::NAME, fcm::NAME, inbox::NAME, crm::hubspot::NAME, crm::webhook::NAME];

/// How long a call waits for its turn, holding a slot.
const PATIENCE: TimeDelta = TimeDelta::seconds(1);
/// How long one that is not urgent does.
const LEISURE: TimeDelta = TimeDelta::milliseconds(500);
/// The longest that a call is sent away for.
const AWAY: TimeDelta = TimeDelta::seconds(60);
/// How old what is known of the rates may be.
const FRESH: Duration = Duration::from_secs(1);
/// The most calls that share a lock.
const MOST: usize = 500;

/// Calls a second by provider, as the setting says: `twilio=10,http=0.5`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates(HashMap<String, f64>);

impl std::str::FromStr for Rates {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let rate = |part: &str| {
            let pair = part.split_once('=').map(|(name, rate)| (name.trim(), rate.trim().parse::<f64>()));
            match pair {
                Some((name, Ok(rate))) if is_rate(rate) => match PROVIDERS.contains(&name) {
                    true => Ok((name.to_owned(), rate)),
                    false => Err(format!("{name} is not a provider ({})", PROVIDERS.join(", "))),
                },
                _ => Err(format!("{part} is not of the form provider=calls a second (0.001 to 100000)")),
            }
        };
        Ok(Self(parts.map(rate).collect::<Result<_, _>>()?))
    }
}

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = self.0.iter().map(|(name, rate)| format!("{name}={rate}")).collect();
        parts.sort_unstable();
        f.write_str(&parts.join(","))
    }
}

/// Whether it is a rate that can be held.
pub fn is_rate(per_second: f64) -> bool {
    (0.001..=100_000.0).contains(&per_second)
}

/// A call's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// After this long; none where there is no rate.
    In(Duration),
    /// Not now: ask again after this long.
    Away(Duration),
}

/// A call that wants its turn.
#[derive(Clone, Debug)]
struct Ask {
    provider: &'static str,
    per_second: f64,
    urgent: bool,
    now: DateTime<Utc>,
}

/// Where calls to providers meet.
#[derive(Clone, Debug)]
pub struct Turns {
    setting: Rates,
    known: Arc<Mutex<Known>>,
    looking: Arc<Gate<()>>,
    lane: Batcher<Ask, Turn>,
}

#[derive(Debug, Default)]
struct Known {
    read: Option<Instant>,
    rates: HashMap<String, f64>,
}

impl Turns {
    /// Starts its lane.
    pub fn open(setting: Rates, db: &PgPool) -> Self {
        let db = db.clone();
        let lane = Batcher::start(1, MOST, move |asks: Vec<Ask>| {
            let db = db.clone();
            async move { give(&db, &asks).await }
        });
        Self { setting, known: Arc::default(), looking: Arc::default(), lane }
    }

    /// When a provider may be called with what can wait.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn of(&self, ctx: &Context, provider: &'static str) -> Result<Turn> {
        self.give(ctx, provider, false).await
    }

    /// When a provider may be called with a code: before all that can wait.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn urgent(&self, ctx: &Context, provider: &'static str) -> Result<Turn> {
        self.give(ctx, provider, true).await
    }

    async fn give(&self, ctx: &Context, provider: &'static str, urgent: bool) -> Result<Turn> {
        match self.rate(ctx, provider).await? {
            None => Ok(Turn::In(Duration::ZERO)),
            Some(per_second) => self.lane.call(Ask { provider, per_second, urgent, now: ctx.now() }).await,
        }
    }

    /// Whether any provider has a rate.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn any(&self, ctx: &Context) -> Result<bool> {
        self.look(ctx).await?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(!self.setting.0.is_empty() || !known.rates.is_empty())
    }

    async fn rate(&self, ctx: &Context, provider: &str) -> Result<Option<f64>> {
        self.look(ctx).await?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.rates.get(provider).or_else(|| self.setting.0.get(provider)).copied())
    }

    fn is_fresh(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.read.is_some_and(|read| read.elapsed() < FRESH)
    }

    /// Reads the operators' rates, once a second and process.
    async fn look(&self, ctx: &Context) -> Result<()> {
        if self.is_fresh() {
            return Ok(());
        }
        let _one = self.looking.lock().await;
        if self.is_fresh() {
            return Ok(());
        }
        let rows = store::list_rates(&ctx.db).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.rates = rows.into_iter().map(|row| (row.provider, row.per_second)).collect();
        known.read = Some(Instant::now());
        Ok(())
    }
}

/// Gives turns to calls that came together.
async fn give(db: &PgPool, asks: &[Ask]) -> Result<Vec<Turn>> {
    let mut turns = vec![Turn::In(Duration::ZERO); asks.len()];
    let mut providers: Vec<&'static str> = asks.iter().map(|ask| ask.provider).collect();
    providers.sort_unstable();
    providers.dedup();
    for provider in providers {
        let mut tx = db.begin().await?;
        let of = |ask: &&Ask| ask.provider == provider;
        let Some(now) = asks.iter().filter(of).map(|ask| ask.now).max() else { continue };
        store::insert_turns(&mut tx, provider, now).await?;
        let line = store::lock_turns(&mut tx, provider).await?;
        let mut line = line.unwrap_or(Line { next_at: now, back_at: now, urgent_back_at: now });
        for urgent in [true, false] {
            let them = asks.iter().zip(&mut turns).filter(|(ask, _)| of(ask) && ask.urgent == urgent);
            for (ask, turn) in them {
                *turn = line.take(now, ask.per_second, urgent);
            }
        }
        store::set_turns(&mut tx, provider, line).await?;
        tx.commit().await?;
    }
    Ok(turns)
}

/// The turns of one provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// The next call may be made then.
    pub(super) next_at: DateTime<Utc>,
    /// The next that is sent away comes back then.
    pub(super) back_at: DateTime<Utc>,
    /// The next code that is sent away comes back then.
    pub(super) urgent_back_at: DateTime<Utc>,
}

impl Line {
    fn take(&mut self, now: DateTime<Utc>, per_second: f64, urgent: bool) -> Turn {
        let step = TimeDelta::microseconds((1_000_000.0 / per_second) as i64);
        let until = |at: DateTime<Utc>| (at - now).to_std().unwrap_or_default();
        // no turn was given further ahead than these, unless a clock was: that one is not waited for
        let turn = self.next_at.max(now).min(now + PATIENCE + step);
        self.urgent_back_at = self.urgent_back_at.min(now + AWAY + step);
        let gives_way = !urgent && self.urgent_back_at > now;
        let patience = if urgent { PATIENCE } else { LEISURE };
        if turn <= now + patience && !gives_way {
            self.next_at = turn + step;
            return Turn::In(until(turn));
        }
        self.next_at = turn;
        let (line, from) = match urgent {
            true => (&mut self.urgent_back_at, turn),
            false => (&mut self.back_at, turn.max(self.urgent_back_at)),
        };
        let back = from.max(*line).min(now + AWAY);
        *line = back + step;
        Turn::Away(until(back))
    }
}

/// A rate as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Whose.
    pub provider: String,
    /// Calls a second, over all workers.
    pub per_second: f64,
    /// When an operator set it; none: it is a setting.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The rates that hold, by provider.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn list(ctx: &Context, hand: Hand<'_>) -> Result<Vec<Rate>> {
    hand.may(Permission::JobsRead)?;
    let set = store::list_rates(&ctx.db).await?;
    let mut all: Vec<Rate> = set
        .into_iter()
        .map(|row| Rate {
            provider: row.provider,
            per_second: row.per_second,
            updated_at: Some(row.updated_at),
        })
        .collect();
    for (provider, per_second) in &ctx.config.job.rates.0 {
        if all.iter().all(|rate| rate.provider != *provider) {
            all.push(Rate { provider: provider.clone(), per_second: *per_second, updated_at: None });
        }
    }
    all.sort_unstable_by(|a, b| a.provider.cmp(&b.provider));
    Ok(all)
}

/// Sets how often a provider may be called, or takes that back; every worker keeps to it within two seconds.
///
/// # Errors
/// `auth.forbidden`, or the database does not answer.
pub async fn set(ctx: &Context, hand: Hand<'_>, provider: &str, per_second: Option<f64>) -> Result<()> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    match per_second {
        Some(rate) => store::set_rate(&mut tx, provider, rate, now).await?,
        None => drop(store::delete_rate(&mut tx, provider).await?),
    }
    let details = json!({ "per_second": per_second });
    hand.note(&mut tx, "provider.rate_set", ("provider", provider.to_owned()), details, now).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_800_000_000_000 + millis).expect("time")
    }

    fn line(millis: i64) -> Line {
        Line { next_at: time(millis), back_at: time(millis), urgent_back_at: time(millis) }
    }

    #[test]
    fn turns_are_even_and_who_is_sent_away_comes_back_in_turn() {
        let millis = Duration::from_millis;
        for (urgent, ahead) in [(true, 5), (false, 3)] {
            let mut line = line(-9_000);
            let taken: Vec<Turn> = (0..8).map(|_| line.take(time(0), 4.0, urgent)).collect();
            let turn = |n: u64| match n {
                n if n < ahead => Turn::In(millis(n * 250)),
                n => Turn::Away(millis(n * 250)),
            };
            assert_eq!(taken, (0..8).map(turn).collect::<Vec<_>>());
            let back = time(ahead as i64 * 250);
            assert_eq!(
                line.take(back, 4.0, true),
                Turn::In(Duration::ZERO),
                "whoever comes back in time goes"
            );
        }
    }

    #[test]
    fn a_second_never_sees_more_calls_than_the_rate() {
        for rate in [0.5, 3.0, 50.0] {
            for urgent in [|_| false, |_| true, |n: i64| n % 3 == 0] {
                let mut line = line(0);
                let mut calls = Vec::new();
                for millis in (0..20_000).step_by(7) {
                    if let Turn::In(wait) = line.take(time(millis), rate, urgent(millis)) {
                        calls.push(millis + i64::try_from(wait.as_millis()).expect("wait"));
                    }
                }
                assert!(calls.len() as f64 >= 19.0 * rate, "{rate}: no turn is lost");
                for (n, start) in calls.iter().enumerate() {
                    let within = calls[n..].iter().take_while(|at| **at < start + 999).count();
                    assert!(within as f64 <= rate.max(1.0), "{rate}: {within} in a second");
                }
            }
        }
    }

    #[test]
    fn a_code_does_not_wait_for_notices_however_many_there_are() {
        for (rate, most) in [(10.0, 700), (0.2, 10_100)] {
            let mut line = line(0);
            let mut code: Option<i64> = None;
            let mut gone = Vec::new();
            for millis in (0..120_000).step_by(20) {
                for _ in 0..10 {
                    line.take(time(millis), rate, false);
                }
                // a code every twelve seconds, which asks again when it was told to
                let asked = millis / 12_000 * 12_000;
                let due = if millis == asked { Some(millis) } else { code.filter(|back| *back <= millis) };
                if due.is_some() {
                    code = match line.take(time(millis), rate, true) {
                        Turn::In(wait) => {
                            gone.push(millis + wait.as_millis() as i64 - asked);
                            None
                        }
                        Turn::Away(after) => Some(millis + after.as_millis() as i64),
                    };
                }
            }
            assert_eq!(gone.len(), 10, "{rate}");
            assert!(gone.iter().all(|waited| *waited <= most), "{rate}: {gone:?}");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_is_not_waited_for() {
        for urgent in [true, false] {
            let mut line = line(3_600_000);
            assert_eq!(line.take(time(0), 1.0, urgent), Turn::Away(Duration::from_secs(60)));
            assert!(matches!(line.take(time(2_000), 1.0, true), Turn::In(_)));
            assert!(matches!(line.take(time(70_000), 1.0, false), Turn::In(_)));
        }
    }

    #[test]
    fn rates_are_read_and_shown() {
        let rates: Rates = "twilio=10, http=0.5".parse().expect("rates");
        assert_eq!(rates.to_string(), "http=0.5,twilio=10");
        for bad in ["twilio", "twilio=0", "twilio=-1", "=3", "twilio=NaN", "twilio=inf", "twillio=10"] {
            assert!(bad.parse::<Rates>().is_err(), "{bad}");
        }
    }
}
