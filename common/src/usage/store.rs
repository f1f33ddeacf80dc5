//! The SQL of usage: one statement a function, rows out, no decisions. Batches come as arrays.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::event::{Event, Kind, Sums};

type Sql<T> = Result<T, sqlx::Error>;

/// Those of these ids that nobody has, or whose account is deleted.
pub async fn list_unknown(db: impl PgExecutor<'_>, people: &[Uuid]) -> Sql<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"SELECT asked.user_id AS "user_id!" FROM unnest($1::uuid[]) AS asked(user_id)
           WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.user_id = asked.user_id AND u.status <> 'deleted')"#,
        people,
    )
    .fetch_all(db)
    .await
}

/// The number of a service.
pub async fn find_service(db: impl PgExecutor<'_>, name: &str) -> Sql<Option<i32>> {
    sqlx::query_scalar!("SELECT service_id FROM usage_services WHERE name = $1", name)
        .fetch_optional(db)
        .await
}

/// Gives a service a number, if it has none.
pub async fn insert_service(db: impl PgExecutor<'_>, name: &str) -> Sql<()> {
    sqlx::query!("INSERT INTO usage_services (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
        .execute(db)
        .await?;
    Ok(())
}

/// Inserts events whose ids are new. Answers with these ids; `None`: all of them are.
pub async fn insert(tx: &mut PgConnection, service_id: i32, events: &[&Event]) -> Sql<Option<Vec<String>>> {
    let ids: Vec<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
    let people: Vec<Uuid> = events.iter().map(|event| event.user_id).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.name()).collect();
    let times: Vec<DateTime<Utc>> = events.iter().map(|event| event.at).collect();
    let amounts: Vec<Option<Decimal>> = events.iter().map(|event| event.amount).collect();
    let late: Vec<Option<bool>> = events.iter().map(|event| event.late).collect();
    let stations: Vec<Option<&str>> = events.iter().map(|event| event.station_id.as_deref()).collect();
    sqlx::query_scalar!(
        "WITH fresh AS (
             INSERT INTO usage_events (service_id, event_id, user_id, kind, at, amount, late, station_id)
             SELECT $1, e.event_id, e.user_id, e.kind::usage_kind, e.at, e.amount, e.late, e.station_id
             FROM unnest($2::text[], $3::uuid[], $4::text[], $5::timestamptz[], $6::numeric[], $7::bool[], $8::text[])
                 AS e(event_id, user_id, kind, at, amount, late, station_id)
             ON CONFLICT (service_id, event_id) DO NOTHING RETURNING event_id)
         SELECT CASE WHEN count(*) < cardinality($2) THEN coalesce(array_agg(event_id), '{}') END FROM fresh",
        service_id,
        &ids as _,
        &people,
        &kinds as _,
        &times,
        &amounts as &[Option<Decimal>],
        &late as &[Option<bool>],
        &stations as _,
    )
    .fetch_one(tx)
    .await
}

/// An event as it is kept.
pub struct Row {
    pub event_id: String,
    pub user_id: Uuid,
    pub kind: String,
    pub at: DateTime<Utc>,
    pub amount: Option<Decimal>,
    pub late: Option<bool>,
    pub station_id: Option<String>,
}

impl Row {
    /// Whether it is this one.
    pub fn is(&self, event: &Event) -> bool {
        self.event_id == event.event_id
            && self.user_id == event.user_id
            && self.kind == event.kind.name()
            && self.at == event.at
            && self.amount == event.amount
            && self.late == event.late
            && self.station_id == event.station_id
    }
}

/// Events of a service by their ids, in the order of these.
pub async fn list(tx: &mut PgConnection, service_id: i32, ids: &[&str]) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT event_id, user_id, kind::text AS "kind!", at, amount, late, station_id FROM usage_events
           WHERE service_id = $1 AND event_id = ANY($2) ORDER BY event_id"#,
        service_id,
        ids as _,
    )
    .fetch_all(tx)
    .await
}

/// Adds to people's figures, in their order.
pub async fn add_people(tx: &mut PgConnection, added: &BTreeMap<Uuid, Sums>) -> Sql<()> {
    let people: Vec<Uuid> = added.keys().copied().collect();
    let columns = Columns::of(added.values());
    let last: Vec<Option<DateTime<Utc>>> = added.values().map(|sums| sums.last_rental_at).collect();
    sqlx::query!(
        "INSERT INTO usage_summaries AS s (user_id, rentals, spent, timely, late, last_rental_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::numeric[], $4::bigint[], $5::bigint[], $6::timestamptz[])
         ON CONFLICT (user_id) DO UPDATE
         SET rentals = s.rentals + excluded.rentals, spent = s.spent + excluded.spent,
             timely = s.timely + excluded.timely, late = s.late + excluded.late,
             last_rental_at = greatest(s.last_rental_at, excluded.last_rental_at)",
        &people,
        &columns.rentals,
        &columns.spent,
        &columns.timely,
        &columns.late,
        &last as &[Option<DateTime<Utc>>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds to people's months.
pub async fn add_months(tx: &mut PgConnection, added: &BTreeMap<(Uuid, NaiveDate), Sums>) -> Sql<()> {
    let (people, months): (Vec<Uuid>, Vec<NaiveDate>) = added.keys().copied().unzip();
    let columns = Columns::of(added.values());
    sqlx::query!(
        "INSERT INTO usage_months AS m (user_id, month, rentals, spent, timely, late)
         SELECT * FROM unnest($1::uuid[], $2::date[], $3::bigint[], $4::numeric[], $5::bigint[], $6::bigint[])
         ON CONFLICT (month, user_id) DO UPDATE
         SET rentals = m.rentals + excluded.rentals, spent = m.spent + excluded.spent,
             timely = m.timely + excluded.timely, late = m.late + excluded.late",
        &people,
        &months,
        &columns.rentals,
        &columns.spent,
        &columns.timely,
        &columns.late,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Figures as arrays.
struct Columns {
    rentals: Vec<i64>,
    spent: Vec<Decimal>,
    timely: Vec<i64>,
    late: Vec<i64>,
}

impl Columns {
    fn of<'a>(all: impl Iterator<Item = &'a Sums> + Clone) -> Self {
        Self {
            rentals: all.clone().map(|sums| sums.rentals).collect(),
            spent: all.clone().map(|sums| sums.spent).collect(),
            timely: all.clone().map(|sums| sums.timely).collect(),
            late: all.map(|sums| sums.late).collect(),
        }
    }
}

/// Sets the last word on stations, where what is kept is earlier.
pub async fn set_stations(
    tx: &mut PgConnection,
    service_id: i32,
    stations: &BTreeMap<(Uuid, &str), &Event>,
) -> Sql<()> {
    let (people, ids): (Vec<Uuid>, Vec<&str>) = stations.keys().copied().unzip();
    let on: Vec<bool> = stations.values().map(|event| event.kind == Kind::StationFavourited).collect();
    let times: Vec<DateTime<Utc>> = stations.values().map(|event| event.at).collect();
    let events: Vec<&str> = stations.values().map(|event| event.event_id.as_str()).collect();
    sqlx::query!(
        "INSERT INTO usage_favourites AS f (user_id, station_id, favourite, at, event_id, service_id)
         SELECT e.user_id, e.station_id, e.favourite, e.at, e.event_id, $6
         FROM unnest($1::uuid[], $2::text[], $3::bool[], $4::timestamptz[], $5::text[])
             AS e(user_id, station_id, favourite, at, event_id)
         ON CONFLICT (user_id, station_id) DO UPDATE
         SET favourite = excluded.favourite, at = excluded.at, event_id = excluded.event_id,
             service_id = excluded.service_id
         WHERE (excluded.at, excluded.event_id, excluded.service_id) > (f.at, f.event_id, f.service_id)",
        &people,
        &ids as _,
        &on,
        &times,
        &events as _,
        service_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Counts the stations that these people have marked. Their figures are locked by whoever asks.
pub async fn count_stations(tx: &mut PgConnection, people: &[Uuid]) -> Sql<()> {
    sqlx::query!(
        "UPDATE usage_summaries s
         SET favourites = (SELECT count(*) FROM usage_favourites f WHERE f.user_id = s.user_id AND f.favourite)
         WHERE s.user_id = ANY($1)",
        people,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Somebody's figures.
pub struct Stats {
    pub rentals: i64,
    pub spent: Decimal,
    pub points: Decimal,
    pub referrals: i64,
    pub timely: i64,
    pub late: i64,
    pub favourites: i64,
    pub last_rental_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Somebody's figures: of usage, of the wallet's points, of people they invited.
pub async fn find_stats(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Stats>> {
    sqlx::query_as!(
        Stats,
        r#"SELECT coalesce(s.rentals, 0) AS "rentals!", coalesce(s.spent, 0) AS "spent!",
                  coalesce(a.earned, 0) AS "points!",
                  (SELECT count(*) FROM users r
                   WHERE r.referred_by = u.user_id AND r.ever_verified_at IS NOT NULL AND r.status <> 'deleted')
                      AS "referrals!",
                  coalesce(s.timely, 0) AS "timely!", coalesce(s.late, 0) AS "late!",
                  coalesce(s.favourites, 0) AS "favourites!", s.last_rental_at, u.created_at
           FROM users u
           LEFT JOIN usage_summaries s ON s.user_id = u.user_id
           LEFT JOIN ledger_accounts a ON a.user_id = u.user_id AND a.unit = 'points'
           WHERE u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(db)
    .await
}

/// Somebody's month.
#[derive(Clone, Debug)]
pub struct Month {
    /// Its first day (UTC).
    pub month: NaiveDate,
    /// Things taken.
    pub rentals: i64,
    /// Money paid.
    pub spent: Decimal,
    /// Brought back in time.
    pub timely: i64,
    /// Brought back late.
    pub late: i64,
}

/// Somebody's months since one, oldest first.
pub async fn list_months(db: impl PgExecutor<'_>, user_id: Uuid, since: NaiveDate) -> Sql<Vec<Month>> {
    sqlx::query_as!(
        Month,
        "SELECT month, rentals, spent, timely, late FROM usage_months
         WHERE user_id = $1 AND month >= $2 ORDER BY month",
        user_id,
        since,
    )
    .fetch_all(db)
    .await
}

/// Deletes somebody's figures.
pub async fn delete_summary(tx: &mut PgConnection, user_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM usage_summaries WHERE user_id = $1", user_id).execute(tx).await?;
    Ok(())
}

/// Deletes somebody's events. Answers with how many.
pub async fn delete_events(tx: &mut PgConnection, user_id: Uuid) -> Sql<u64> {
    let done = sqlx::query!("DELETE FROM usage_events WHERE user_id = $1", user_id).execute(tx).await?;
    Ok(done.rows_affected())
}
