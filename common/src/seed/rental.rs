//! Rentals: what services might have told, written as what they tell is.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::life::ago;
use super::person::{Dice, SeedPerson};
use crate::error::Result;
use crate::usage::{self, Event, Kind};
use crate::wallet::{self, Unit, unit};

/// Who tells.
const SERVICE: &str = "seed";
/// No event is older: events are kept for 400 days.
const OLDEST: u64 = 360;

/// What somebody used: half of them something.
pub fn events(
    one: &SeedPerson,
    (seed, n): (u64, u64),
    config: &wallet::Config,
    dice: &mut Dice,
    now: DateTime<Utc>,
) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    let mut add = |kind, at: DateTime<Utc>, amount, late, station| {
        let event_id = format!("{seed}-{n}-{}", all.len());
        let at = at.min(now).trunc_subsecs(0);
        all.push(Event { event_id, user_id: one.user_id, kind, at, amount, late, station_id: station });
    };
    for _ in 0..dice.below(8).saturating_sub(3) {
        let began = ago(one, 1 + dice.below(OLDEST), now);
        let over = began + TimeDelta::minutes(20 + i64::try_from(dice.below(200)).unwrap_or_default());
        let station = |dice: &mut Dice| Some(format!("station-{}", 1 + dice.below(40)));
        let price = i64::try_from(100 + dice.below(900)).unwrap_or_default();
        let price = Decimal::new(price, unit::digits(Unit::Money.row(config)));
        add(Kind::RentalStarted, began, None, None, station(dice));
        add(Kind::RentalReturned, over, None, Some(dice.below(6) == 0), station(dice));
        add(Kind::Payment, over, Some(price), None, None);
        match dice.below(8) {
            0..2 => add(Kind::StationFavourited, over, None, None, station(dice)),
            2 => add(Kind::StationUnfavourited, over, None, None, station(dice)),
            _ => {}
        }
    }
    all
}

/// Plants them, as many at a time as a service may send.
pub async fn plant(tx: &mut PgConnection, events: &[Event]) -> Result<()> {
    for some in events.chunks(usage::MOST) {
        usage::take(&mut *tx, SERVICE, some).await?;
    }
    Ok(())
}
