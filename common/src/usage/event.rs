//! What services tell: one thing that somebody did, and what a batch of them adds to figures.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::error::Fault;
use crate::wallet::unit;

/// How far the clock of a service may be ahead.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// How old an event may be: as long as they are kept, for its id must still be known.
const OLDEST: TimeDelta = TimeDelta::days(400);

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Took something.
    RentalStarted,
    /// Brought it back.
    RentalReturned,
    /// Paid.
    Payment,
    /// Marked a station.
    StationFavourited,
    /// Took that back.
    StationUnfavourited,
}

impl Kind {
    /// As rows and the API say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RentalStarted => "rental_started",
            Self::RentalReturned => "rental_returned",
            Self::Payment => "payment",
            Self::StationFavourited => "station_favourited",
            Self::StationUnfavourited => "station_unfavourited",
        }
    }

    fn is_of_station(self) -> bool {
        matches!(self, Self::StationFavourited | Self::StationUnfavourited)
    }
}

/// One thing that somebody did.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The service's own name for it, counted once: 1 to 100 visible ASCII characters.
    pub event_id: String,
    /// Who.
    pub user_id: Uuid,
    /// What.
    pub kind: Kind,
    /// When, to the microsecond.
    pub at: DateTime<Utc>,
    /// Of a payment: more than zero.
    pub amount: Option<Decimal>,
    /// Of a return: whether it was late.
    pub late: Option<bool>,
    /// Where: 1 to 100 visible ASCII characters.
    pub station_id: Option<String>,
}

/// Every fault of a batch, by pointer.
pub fn faults(events: &[Event], currency: &str, now: DateTime<Utc>) -> Vec<Fault> {
    let (first, last) = (now - OLDEST, now + SKEW);
    let mut faults = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let mut fault = |field: &str, code, told: &str| {
            faults.push(Fault::at(format!("/events/{n}/{field}"), code, told));
        };
        let kind = event.kind;
        if event.at > last {
            fault("at", "field.range", "This lies in the future.");
        } else if event.at < first {
            fault("at", "field.range", "This is more than 400 days ago.");
        }
        match (event.amount, kind == Kind::Payment) {
            (None, true) => fault("amount", "field.required", "A payment has an amount."),
            (Some(_), false) => fault("amount", "field.invalid", "Only a payment has an amount."),
            (Some(amount), true) if !unit::is_exact(amount, currency) => {
                let told =
                    format!("At most {} digits after the point in {currency}.", unit::digits(currency));
                fault("amount", "field.range", &told);
            }
            _ => {}
        }
        match (event.late.is_some(), kind == Kind::RentalReturned) {
            (false, true) => fault("returned", "field.required", "A return was timely or late."),
            (true, false) => fault("returned", "field.invalid", "Only a return was timely or late."),
            _ => {}
        }
        match &event.station_id {
            None if kind.is_of_station() => fault("station_id", "field.required", "Which station?"),
            Some(_) if kind == Kind::Payment => {
                fault("station_id", "field.invalid", "A payment has no station.")
            }
            _ => {}
        }
    }
    faults
}

/// Which of the events to write: one of each id, in the order of their ids, so that batches that share some
/// wait for each other; or the places of those whose id another event of the batch has with other content.
pub fn once(events: &[Event]) -> Result<Vec<usize>, Vec<usize>> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(events.len());
    let mut other = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let known = *first.entry(event.event_id.as_str()).or_insert(n);
        if events[known] != *event {
            other.push(n);
        }
    }
    if !other.is_empty() {
        return Err(other);
    }
    let mut places: Vec<usize> = first.into_values().collect();
    places.sort_unstable_by(|a, b| events[*a].event_id.cmp(&events[*b].event_id));
    Ok(places)
}

/// What events add to somebody's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Things taken.
    pub rentals: i64,
    /// Money paid.
    pub spent: Decimal,
    /// Brought back in time.
    pub timely: i64,
    /// Brought back late.
    pub late: i64,
    /// When something was last taken.
    pub last_rental_at: Option<DateTime<Utc>>,
}

impl Sums {
    fn add(&mut self, event: &Event) {
        match event.kind {
            Kind::RentalStarted => {
                self.rentals += 1;
                self.last_rental_at = self.last_rental_at.max(Some(event.at));
            }
            Kind::RentalReturned if event.late == Some(true) => self.late += 1,
            Kind::RentalReturned => self.timely += 1,
            Kind::Payment => self.spent += event.amount.unwrap_or_default(),
            Kind::StationFavourited | Kind::StationUnfavourited => {}
        }
    }
}

/// What a batch adds, by person, in the order of their ids: whoever writes them locks them so.
#[derive(Debug, Default)]
pub struct Added<'a> {
    /// To all time.
    pub people: BTreeMap<Uuid, Sums>,
    /// To months, by their first day.
    pub months: BTreeMap<(Uuid, NaiveDate), Sums>,
    /// The last word on each station.
    pub stations: BTreeMap<(Uuid, &'a str), &'a Event>,
}

impl<'a> Added<'a> {
    /// By these events.
    pub fn by(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut added = Self::default();
        for event in events {
            let day = event.at.date_naive();
            let month = day.with_day(1).unwrap_or(day);
            added.people.entry(event.user_id).or_default().add(event);
            added.months.entry((event.user_id, month)).or_default().add(event);
            if let Some(station) = event.station_id.as_deref().filter(|_| event.kind.is_of_station()) {
                let last = added.stations.entry((event.user_id, station)).or_insert(event);
                if (event.at, &event.event_id) > (last.at, &last.event_id) {
                    *last = event;
                }
            }
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T12:00:00Z".parse().expect("time")
    }

    fn event(id: &str, kind: Kind) -> Event {
        Event {
            event_id: id.to_owned(),
            user_id: Uuid::from_u128(1),
            kind,
            at: now(),
            amount: (kind == Kind::Payment).then(|| Decimal::new(250, 2)),
            late: (kind == Kind::RentalReturned).then_some(false),
            station_id: kind.is_of_station().then(|| "s1".to_owned()),
        }
    }

    fn pointers(event: Event) -> Vec<String> {
        faults(&[event], "USD", now()).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn every_fault_of_an_event_is_told() {
        for kind in [
            Kind::RentalStarted,
            Kind::RentalReturned,
            Kind::Payment,
            Kind::StationFavourited,
            Kind::StationUnfavourited,
        ] {
            assert_eq!(pointers(event("a", kind)), [""; 0], "{kind:?}");
            let bare = Event { amount: None, late: None, station_id: None, ..event("a", kind) };
            let full = Event {
                amount: Some(Decimal::ONE),
                late: Some(true),
                station_id: Some("s".to_owned()),
                ..event("a", kind)
            };
            assert!(!pointers(full).is_empty(), "{kind:?}");
            assert_eq!(pointers(bare).len(), usize::from(kind != Kind::RentalStarted), "{kind:?}");
        }
        for (minutes, wrong) in [(5, 0), (6, 1), (-400 * 24 * 60, 0), (-400 * 24 * 60 - 1, 1)] {
            let at = now() + TimeDelta::minutes(minutes);
            assert_eq!(pointers(Event { at, ..event("a", Kind::RentalStarted) }).len(), wrong, "{minutes}");
        }
        let thousandth = Some(Decimal::new(1, 3));
        assert_eq!(pointers(Event { amount: thousandth, ..event("a", Kind::Payment) }), ["/events/0/amount"]);
    }

    #[test]
    fn an_id_stands_for_one_event() {
        let (a, b) = (event("b", Kind::RentalStarted), event("a", Kind::Payment));
        assert_eq!(once(&[a.clone(), b.clone(), a.clone()]), Ok(vec![1, 0]));
        let other = Event { user_id: Uuid::from_u128(2), ..a.clone() };
        assert_eq!(once(&[a, b, other]), Err(vec![2]));
    }

    #[test]
    fn the_last_word_on_a_station_is_that_of_the_latest_event() {
        let on = event("a", Kind::StationFavourited);
        let off = Event { at: now() + TimeDelta::seconds(1), ..event("b", Kind::StationUnfavourited) };
        let tie = event("c", Kind::StationUnfavourited);
        for (order, last) in [
            ([&on, &off], Kind::StationUnfavourited),
            ([&off, &on], Kind::StationUnfavourited),
            ([&tie, &on], Kind::StationUnfavourited),
        ] {
            let added = Added::by(order.into_iter());
            assert_eq!(added.stations[&(Uuid::from_u128(1), "s1")].kind, last);
        }
    }
}
