//! Usage over HTTP: what services tell, and one's own figures.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::usage::{self, Event, Kind, MOST, Stats, Taken};
use keryu_common::{Context, idempotency, session, user};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{AmountIn, amount, moment};
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::Answer;
use crate::edge::signed::Signed;
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "usage_stats", security: Security::Bearer, refusals: &[user::NOT_FOUND] },
    Note {
        operation: "usage_post",
        security: Security::Key(Scope::UsageWrite),
        refusals: &[usage::EVENT_CONFLICT, idempotency::MISMATCH, idempotency::LOST],
    },
];

/// What somebody did.
#[derive(Clone, Copy, Debug, Enum, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum UsageKindIn {
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

impl From<UsageKindIn> for Kind {
    fn from(kind: UsageKindIn) -> Self {
        match kind {
            UsageKindIn::RentalStarted => Self::RentalStarted,
            UsageKindIn::RentalReturned => Self::RentalReturned,
            UsageKindIn::Payment => Self::Payment,
            UsageKindIn::StationFavourited => Self::StationFavourited,
            UsageKindIn::StationUnfavourited => Self::StationUnfavourited,
        }
    }
}

/// How something came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ReturnedIn {
    /// In time.
    Timely,
    /// Late.
    Late,
}

/// One thing that somebody did.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UsageEventIn {
    /// Your own name for it: it counts once, whatever key your service has by then.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[!-~]+$"))]
    event_id: String,
    /// Who.
    user_id: Uuid,
    /// What.
    kind: UsageKindIn,
    /// When: not in the future (five minutes of clock skew are allowed), and within 400 days.
    at: DateTime<Utc>,
    /// Of a `payment`, in the currency of this deployment.
    amount: Option<AmountIn>,
    /// Of a `rental_returned`.
    returned: Option<ReturnedIn>,
    /// Which station: of `station_…`; of a rental, if you like.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[!-~]+$"))]
    station_id: Option<String>,
}

impl Example for UsageEventIn {
    fn example() -> Self {
        Self {
            event_id: "rental-42-started".to_owned(),
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            kind: UsageKindIn::RentalStarted,
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            amount: None,
            returned: None,
            station_id: Some("station-7".to_owned()),
        }
    }
}

/// A batch.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UsageEventsIn {
    /// In any order.
    #[oai(validator(min_items = 1, max_items = 10000))]
    events: Vec<UsageEventIn>,
}

impl Example for UsageEventsIn {
    fn example() -> Self {
        let paid = UsageEventIn {
            event_id: "rental-42-paid".to_owned(),
            kind: UsageKindIn::Payment,
            amount: Some(AmountIn("2.50".to_owned())),
            station_id: None,
            ..UsageEventIn::example()
        };
        Self { events: vec![UsageEventIn::example(), paid] }
    }
}

/// Rows hold microseconds, and an event that is sent again must be the same.
fn exact(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.timestamp_micros())
}

impl Input for UsageEventsIn {
    type Ask = Vec<Event>;
    const ROOM: usize = 4 * 1024 * 1024;

    fn quick(raw: &[u8]) -> Option<Vec<Event>> {
        let batch: Batch<'_> = serde_json::from_slice(raw).ok()?;
        if !(1..=MOST).contains(&batch.events.len()) {
            return None;
        }
        batch.events.into_iter().map(Row::read).collect()
    }

    fn ask(self, _: &Config) -> Option<Vec<Event>> {
        let read = |event: UsageEventIn| {
            Some(Event {
                event_id: event.event_id,
                user_id: event.user_id,
                kind: event.kind.into(),
                at: exact(event.at)?,
                amount: match event.amount {
                    None => None,
                    Some(amount) => Some(amount.parse()?),
                },
                late: event.returned.map(|returned| returned == ReturnedIn::Late),
                station_id: event.station_id,
            })
        };
        self.events.into_iter().map(read).collect()
    }
}

/// A batch as [`UsageEventsIn::quick`] reads it: nothing is copied that need not be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<Row<'a>>,
}

/// One of its events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    user_id: Uuid,
    kind: UsageKindIn,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow, default)]
    amount: Option<Cow<'a, str>>,
    #[serde(default)]
    returned: Option<ReturnedIn>,
    #[serde(borrow, default)]
    station_id: Option<Cow<'a, str>>,
}

impl Row<'_> {
    fn read(self) -> Option<Event> {
        let name =
            |text: &str| (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !name(&self.event_id) || !self.station_id.as_deref().is_none_or(name) {
            return None;
        }
        Some(Event {
            event_id: self.event_id.into_owned(),
            user_id: self.user_id,
            kind: self.kind.into(),
            at: exact(moment(&self.at)?)?,
            amount: match self.amount {
                None => None,
                Some(text) => Some(amount(&text).ok()?),
            },
            late: self.returned.map(|returned| returned == ReturnedIn::Late),
            station_id: self.station_id.map(Cow::into_owned),
        })
    }
}

/// What became of a batch.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UsageTakenOut {
    /// Events that are new.
    accepted: u32,
    /// Events that were known, as they are.
    duplicate: u32,
}

impl From<Taken> for UsageTakenOut {
    fn from(taken: Taken) -> Self {
        let count = |events: usize| u32::try_from(events).unwrap_or(u32::MAX);
        Self { accepted: count(taken.accepted), duplicate: count(taken.duplicate) }
    }
}

impl Example for UsageTakenOut {
    fn example() -> Self {
        Self { accepted: 2, duplicate: 0 }
    }
}

/// What somebody used.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UsageStatsOut {
    /// Things taken.
    total_rentals: i64,
    /// Money paid, in the wallet's currency.
    total_spent: String,
    /// Points ever earned.
    total_points_earned: String,
    /// People who registered with one's code and proved who they are.
    total_referrals: i64,
    /// Brought back in time.
    timely_returns: i64,
    /// Brought back late.
    late_returns: i64,
    /// Stations marked.
    favorite_stations_count: i64,
    /// When something was last taken.
    last_rental_date: Option<DateTime<Utc>>,
    /// When one joined.
    member_since: DateTime<Utc>,
}

impl From<Stats> for UsageStatsOut {
    fn from(stats: Stats) -> Self {
        Self {
            total_rentals: stats.rentals,
            total_spent: stats.spent,
            total_points_earned: stats.points,
            total_referrals: stats.referrals,
            timely_returns: stats.timely,
            late_returns: stats.late,
            favorite_stations_count: stats.favourites,
            last_rental_date: stats.last_rental_at,
            member_since: stats.member_since,
        }
    }
}

impl Example for UsageStatsOut {
    fn example() -> Self {
        Self {
            total_rentals: 12,
            total_spent: "31.50".to_owned(),
            total_points_earned: "300".to_owned(),
            total_referrals: 2,
            timely_returns: 10,
            late_returns: 1,
            favorite_stations_count: 3,
            last_rental_date: DateTime::from_timestamp(1_793_000_000, 0),
            member_since: DateTime::from_timestamp(1_780_000_000, 0).unwrap_or_default(),
        }
    }
}

/// One's own figures.
#[derive(Clone, Copy, Debug)]
pub struct Usage;

#[OpenApi(prefix_path = "/api/users/analytics", tag = "Tag::Account")]
impl Usage {
    /// See what one used
    ///
    /// As of this moment.
    #[oai(path = "/usage-stats", method = "get", operation_id = "usage_stats")]
    async fn stats(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<UsageStatsOut>> {
        let stats = usage::stats(&ctx, person.user_id()).await?;
        let stats = stats.ok_or_else(|| user::NOT_FOUND.refuse("There is no such user."))?;
        Ok(Json(stats.into()))
    }
}

/// What services tell.
#[derive(Clone, Copy, Debug)]
pub struct Intake;

#[OpenApi(prefix_path = "/api", tag = "Tag::Users")]
impl Intake {
    /// Tell what people used
    ///
    /// For services with the scope `usage:write`: up to 10,000 events a call, 4 MiB. A batch is taken as a whole
    /// or not at all: where events are at fault, `errors` names them (up to a thousand), and nothing is kept. An
    /// event counts once however often it is sent, so a batch may be sent again after any answer or none.
    #[oai(path = "/usage-events", method = "post", operation_id = "usage_post")]
    async fn post(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<UsageEventsIn>,
    ) -> Answer<Json<UsageTakenOut>> {
        let Party::Service(service) = &party else {
            return Err(session::FORBIDDEN.refuse("This is for services: send X-API-Key.").into());
        };
        let Body { ask: events, raw } = body;
        let key = key.bind_by(&ctx.config, service.api_key_id, "usage_post", &raw)?;
        // megabytes that nothing needs while the batch is written
        drop(raw);
        Ok(Json(usage::post(&ctx, &from, service, &events, key.as_ref()).await?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"event_id":"a","user_id":"019aa9f3-17cf-7b0a-9e1c-2d3e4f506172",
        "kind":"payment","at":"2026-11-20T12:00:00.1234567Z","amount":"2.50"}"#;

    fn batch(event: &str) -> String {
        format!("{{\"events\":[{event}]}}")
    }

    fn usual(body: &str) -> Option<Vec<Event>> {
        use poem_openapi::types::ParseFromJSON;
        let value = crate::edge::json::parse(body.as_bytes()).ok()?;
        let read = UsageEventsIn::parse_from_json(Some(value)).ok()?;
        let config = keryu_common::config::Source::of([
            ("KERYU_ENV", "development"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1"),
        ]);
        let mut config = config;
        read.ask(&Config::read(&mut config).expect("settings"))
    }

    #[test]
    fn a_sound_batch_is_read_the_quick_way_as_the_usual_one_reads_it() {
        for body in [
            batch(EVENT),
            batch(&EVENT.replace("\"a\"", "\"a\\u0062c\"")),
            batch(&EVENT.replace("Z\"", "+03:00\"")),
            batch(&EVENT.replace("\"amount\"", "\"station_id\":null,\"amount\"")),
        ] {
            let quick = UsageEventsIn::quick(body.as_bytes()).expect("read");
            assert_eq!(Some(quick), usual(&body), "{body}");
        }
    }

    #[test]
    fn what_may_be_at_fault_is_left_to_the_usual_way() {
        for body in [
            "{\"events\":[]}".to_owned(),
            "{}".to_owned(),
            batch(EVENT).replace("}]}", ",\"x\":1}]}"),
            batch(EVENT).replace("]}", "],\"x\":1}"),
            batch(EVENT).replace("}]}", ",\"kind\":\"payment\"}]}"),
            batch(EVENT).replace("2.50", "NaN"),
            batch(EVENT).replace("\"2.50\"", "2.50"),
            batch(EVENT).replace("\"a\"", "\"a\\u0000\""),
            batch(EVENT).replace("\"a\"", "\"a b\""),
            batch(EVENT).replace("\"a\"", "\"\""),
            batch(EVENT).replace("2026", "1926"),
            batch(EVENT).replace("T12", " noon 12"),
            batch(EVENT).replace("payment", "theft"),
            batch(&[EVENT; MOST + 1].join(",")),
        ] {
            assert!(UsageEventsIn::quick(body.as_bytes()).is_none(), "{:.200}", body);
        }
    }
}
