//! What people use, as services tell it in batches (`event`), and the figures of it. Figures are kept with every
//! batch, in its transaction, and are what a recount of all events would give, whatever the order in which they
//! came.

mod event;
mod store;

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub use event::{Event, Kind};
pub use store::Month;

use crate::api_key::{Scope, Service};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Fault, Refusal, Result, invalid};
use crate::idempotency::{self, Begun};
use crate::wallet::unit;
use event::{Added, faults, once};

/// An event's id was used for another event.
pub const EVENT_CONFLICT: Code = Code {
    code: "usage.event_conflict",
    status: 409,
    title: "An event's id was used for another event",
    advice: "Give each event an id of its own; send one again only as it was. `errors` names them; nothing of the batch was kept.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[EVENT_CONFLICT];

/// The most events of a batch.
pub const MOST: usize = 10_000;
/// The most faults of a batch that are told.
const MOST_FAULTS: usize = 1_000;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Events that are new.
    pub accepted: usize,
    /// Events that were known, with the same content.
    pub duplicate: usize,
}

/// Takes a batch of a service: all of it, or nothing where one event of it cannot be taken. An event counts
/// once however often it is sent, so that a batch may be sent again after any answer.
///
/// # Errors
/// `auth.forbidden`; `request.invalid` with every event at fault (up to a thousand), people nobody knows among
/// them; `usage.event_conflict`; the refusals of [`idempotency::begin`].
pub async fn post(
    ctx: &Context,
    client: &Client,
    service: &Service,
    events: &[Event],
    key: Option<&idempotency::Key>,
) -> Result<Taken> {
    service.may(Scope::UsageWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    // before all else: what was answered once is answered so again, whatever became of the people since
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let mut wrong = faults(events, &ctx.config.wallet.currency, now);
    let people: BTreeSet<Uuid> = events.iter().map(|event| event.user_id).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let unknown: HashSet<Uuid> = store::list_unknown(&mut *tx, &people).await?.into_iter().collect();
    for (n, _) in events.iter().enumerate().filter(|(_, event)| unknown.contains(&event.user_id)) {
        wrong.push(Fault::at(format!("/events/{n}/user_id"), "user.unknown", "Nobody has this id."));
    }
    if !wrong.is_empty() {
        wrong.truncate(MOST_FAULTS);
        return Err(invalid(wrong).into());
    }
    let taken = take(&mut tx, &service.name, events).await?;
    let line = Line {
        action: "usage.posted",
        entity_type: "usage",
        entity_id: "*".to_owned(),
        actor: Some(service.api_key_id),
        session_id: None,
        details: json!({ "service": service.name, "accepted": taken.accepted, "duplicate": taken.duplicate }),
        client,
        at: now,
    };
    audit::note(&mut tx, line).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&taken).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    Ok(taken)
}

/// Takes events of a service, by its name, with the caller's transaction. They are not looked at.
///
/// # Errors
/// `usage.event_conflict`.
pub(crate) async fn take(tx: &mut PgConnection, service: &str, events: &[Event]) -> Result<Taken> {
    let places = once(events).map_err(conflict)?;
    let service_id = self::service(&mut *tx, service).await?;
    write(tx, service_id, events, &places).await
}

/// Writes those at `places`, which are in the order of their ids, and adds what is new to all figures.
async fn write(tx: &mut PgConnection, service_id: i32, events: &[Event], places: &[usize]) -> Result<Taken> {
    let all: Vec<&Event> = places.iter().map(|n| &events[*n]).collect();
    let new = match store::insert(&mut *tx, service_id, &all).await? {
        None => all,
        Some(fresh) => {
            let fresh: HashSet<&str> = fresh.iter().map(String::as_str).collect();
            let (new, known): (Vec<&Event>, Vec<&Event>) =
                all.into_iter().partition(|event| fresh.contains(event.event_id.as_str()));
            let changed = changed(&mut *tx, service_id, &known).await?;
            if !changed.is_empty() {
                let places = (0..events.len()).filter(|n| changed.contains(&events[*n].event_id)).collect();
                return Err(conflict(places).into());
            }
            new
        }
    };
    let accepted = new.len();
    let added = Added::by(new.into_iter());
    if !added.people.is_empty() {
        store::add_people(&mut *tx, &added.people).await.map_err(gone)?;
        store::add_months(&mut *tx, &added.months).await.map_err(gone)?;
    }
    if !added.stations.is_empty() {
        store::set_stations(&mut *tx, service_id, &added.stations).await.map_err(gone)?;
        let people: BTreeSet<Uuid> = added.stations.keys().map(|(user_id, _)| *user_id).collect();
        store::count_stations(&mut *tx, &people.into_iter().collect::<Vec<_>>()).await?;
    }
    Ok(Taken { accepted, duplicate: events.len() - accepted })
}

/// Ids of those that are kept with other content.
async fn changed(tx: &mut PgConnection, service_id: i32, known: &[&Event]) -> Result<HashSet<String>> {
    let ids: Vec<&str> = known.iter().map(|event| event.event_id.as_str()).collect();
    let kept = store::list(tx, service_id, &ids).await?;
    let kept: HashMap<&str, &store::Row> = kept.iter().map(|row| (row.event_id.as_str(), row)).collect();
    let same = |event: &Event| kept.get(event.event_id.as_str()).is_some_and(|row| row.is(event));
    Ok(known.iter().filter(|event| !same(event)).map(|event| event.event_id.clone()).collect())
}

fn conflict(places: Vec<usize>) -> Refusal {
    let told = "This id is that of an event with other content.";
    let faults = places.into_iter().take(MOST_FAULTS);
    let faults = faults.map(|n| Fault::at(format!("/events/{n}/event_id"), EVENT_CONFLICT.code, told));
    Refusal {
        faults: faults.collect(),
        ..EVENT_CONFLICT.refuse("Events were sent before with other content.")
    }
}

/// Somebody was erased while the batch was written: sent again, it is told who.
fn gone(error: sqlx::Error) -> Error {
    let is_gone =
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "23503");
    if is_gone { Error::Aborted(Box::new(error)) } else { error.into() }
}

/// The number of a service by its name.
async fn service(tx: &mut PgConnection, name: &str) -> Result<i32> {
    if let Some(known) = store::find_service(&mut *tx, name).await? {
        return Ok(known);
    }
    store::insert_service(&mut *tx, name).await?;
    let made = store::find_service(tx, name).await?;
    made.ok_or_else(|| Error::internal("a service has no number"))
}

/// What somebody used.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Things taken.
    pub rentals: i64,
    /// Money paid.
    pub spent: String,
    /// Points ever earned.
    pub points: String,
    /// People who registered with the person's code and proved who they are.
    pub referrals: i64,
    /// Brought back in time.
    pub timely: i64,
    /// Brought back late.
    pub late: i64,
    /// Stations marked.
    pub favourites: i64,
    /// When something was last taken.
    pub last_rental_at: Option<DateTime<Utc>>,
    /// When they joined.
    pub member_since: DateTime<Utc>,
}

/// What somebody used up to this moment. None: there is no such person.
///
/// # Errors
/// The database does not answer.
pub async fn stats(ctx: &Context, user_id: Uuid) -> Result<Option<Stats>> {
    let row = store::find_stats(&ctx.db, user_id).await?;
    Ok(row.map(|row| Stats {
        rentals: row.rentals,
        spent: spent(ctx, row.spent),
        points: unit::text(row.points, unit::POINTS),
        referrals: row.referrals,
        timely: row.timely,
        late: row.late,
        favourites: row.favourites,
        last_rental_at: row.last_rental_at,
        member_since: row.created_at,
    }))
}

fn spent(ctx: &Context, amount: Decimal) -> String {
    unit::text(amount, &ctx.config.wallet.currency)
}

/// Somebody's months since one (its first day), oldest first.
///
/// # Errors
/// The database does not answer.
pub async fn months(ctx: &Context, user_id: Uuid, since: NaiveDate) -> Result<Vec<Month>> {
    Ok(store::list_months(&ctx.db, user_id, since).await?)
}

/// Deletes what is kept of somebody, with the caller's transaction that erases them. The figures first: whoever
/// writes events of theirs just now holds these, and the events are all there when they are let go. Answers with
/// how many events it was.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn erase(tx: &mut PgConnection, user_id: Uuid) -> Result<i64> {
    store::delete_summary(&mut *tx, user_id).await?;
    let events = store::delete_events(tx, user_id).await?;
    i64::try_from(events).map_err(Error::internal)
}
