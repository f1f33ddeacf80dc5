//! Usage: batches of services, each event once, and figures that are what a recount gives.

use chrono::{DateTime, Datelike, Months, TimeDelta, Utc};
use futures::future::join_all;
use keryu_common::api_key::{self, Ask, Scope};
use keryu_common::job::Terms;
use keryu_common::report::RequestMonthly;
use keryu_common::user::erase::EraseDue;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::product::read;
use crate::support::{Engine, Product};

const EVENTS: &str = "/api/usage-events";
const STATS: &str = "/api/users/analytics/usage-stats";

async fn service(product: &Product, name: &str) -> String {
    let ask = Ask { name: name.to_owned(), scopes: vec![Scope::UsageWrite], expires_at: None };
    api_key::create_by_operator(&product.ctx, &product.operator(), ask).await.expect("a key").text
}

async fn post(product: &Product, key: &str, events: &[Value]) -> (u16, Value) {
    let body = json!({ "events": events });
    read(product.send(Method::POST, EVENTS, &body, &[("x-api-key", key)]).await).await
}

fn event(id: &str, tokens: &Value, kind: &str, at: DateTime<Utc>) -> Value {
    json!({ "event_id": id, "user_id": tokens["user_id"], "kind": kind, "at": at })
}

fn with(mut event: Value, field: &str, value: impl Into<Value>) -> Value {
    event[field] = value.into();
    event
}

fn pointers(refused: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let faults = refused["errors"].as_array().unwrap_or_else(|| panic!("{refused}"));
    faults.iter().map(|fault| (text(&fault["pointer"]), text(&fault["code"]))).collect()
}

/// Figures that differ from a full recount of all events.
pub const OFF: &str = "
    WITH last AS (
        SELECT DISTINCT ON (user_id, station_id) user_id, kind FROM usage_events WHERE kind::text LIKE 'station_%'
        ORDER BY user_id, station_id, at DESC, event_id DESC, service_id DESC
    ), people AS (
        SELECT user_id, count(*) FILTER (WHERE kind = 'rental_started') AS rentals,
               coalesce(sum(amount), 0) AS spent, count(*) FILTER (WHERE late = false) AS timely,
               count(*) FILTER (WHERE late) AS late,
               (SELECT count(*) FROM last l WHERE l.user_id = e.user_id AND l.kind = 'station_favourited') AS favourites,
               max(at) FILTER (WHERE kind = 'rental_started') AS last_rental_at
        FROM usage_events e GROUP BY user_id
    ), months AS (
        SELECT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, user_id,
               count(*) FILTER (WHERE kind = 'rental_started') AS rentals, coalesce(sum(amount), 0) AS spent,
               count(*) FILTER (WHERE late = false) AS timely, count(*) FILTER (WHERE late) AS late
        FROM usage_events GROUP BY 1, 2
    )
    SELECT (SELECT count(*) FROM people p FULL JOIN usage_summaries s USING (user_id)
            WHERE (p.rentals, p.spent, p.timely, p.late, p.favourites, p.last_rental_at)
                  IS DISTINCT FROM (s.rentals, s.spent, s.timely, s.late, s.favourites, s.last_rental_at))
         + (SELECT count(*) FROM months m FULL JOIN usage_months s USING (month, user_id)
            WHERE (m.rentals, m.spent, m.timely, m.late) IS DISTINCT FROM (s.rentals, s.spent, s.timely, s.late))";

#[tokio::test]
async fn a_day_of_rentals_is_in_the_figures_at_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (status, before) = product.get(STATS, &ada).await;
    assert_eq!((status, &before["total_rentals"], &before["total_spent"]), (200, &json!(0), &json!("0.00")));
    assert_eq!(before["last_rental_date"], Value::Null);
    let key = service(&product, "rentals").await;
    let now = product.ctx.now();
    let at = |minutes| now - TimeDelta::minutes(minutes);
    let batch = [
        event("1", &ada, "rental_started", at(90)),
        with(event("2", &ada, "rental_returned", at(60)), "returned", "timely"),
        with(event("3", &ada, "payment", at(59)), "amount", "2.50"),
        with(event("4", &ada, "rental_started", at(50)), "station_id", "s-7"),
        with(event("5", &ada, "rental_returned", at(10)), "returned", "late"),
        with(event("6", &ada, "payment", at(9)), "amount", "4.05"),
        with(event("7", &ada, "station_favourited", at(8)), "station_id", "s-7"),
        with(event("8", &ada, "station_favourited", at(7)), "station_id", "s-8"),
        with(event("9", &ada, "station_unfavourited", at(6)), "station_id", "s-7"),
    ];
    let taken = post(&product, &key, &batch).await;
    assert_eq!(taken, (200, json!({ "accepted": 9, "duplicate": 0 })));
    let (_, stats) = product.get(STATS, &ada).await;
    for (field, wanted) in [
        ("total_rentals", json!(2)),
        ("total_spent", json!("6.55")),
        ("timely_returns", json!(1)),
        ("late_returns", json!(1)),
        ("favorite_stations_count", json!(1)),
        ("total_referrals", json!(0)),
        ("total_points_earned", json!("0")),
    ] {
        assert_eq!(stats[field], wanted, "{field} in {stats}");
    }
    assert_eq!(stats["last_rental_date"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), at(50));
    // sent again, in part with new ones, also by the next key of the service: each counts once
    let next = service(&product, "rentals").await;
    let again: Vec<Value> =
        batch.iter().cloned().chain([event("10", &ada, "rental_started", at(1))]).collect();
    assert_eq!(post(&product, &next, &again).await.1, json!({ "accepted": 1, "duplicate": 9 }));
    let twice = [event("11", &ada, "rental_started", at(1)), event("11", &ada, "rental_started", at(1))];
    assert_eq!(post(&product, &key, &twice).await.1, json!({ "accepted": 1, "duplicate": 1 }));
    // another service's ids are its own
    let other = service(&product, "bikes").await;
    assert_eq!(post(&product, &other, &batch[..1]).await.1["accepted"], 1);
    assert_eq!(product.get(STATS, &ada).await.1["total_rentals"], 5);
    assert_eq!(product.world.count(OFF).await, 0);
    let lines = "SELECT sum((details->>'accepted')::bigint)::bigint FROM audit WHERE action = 'usage.posted'";
    assert_eq!(product.world.count(lines).await, 12);
}

#[tokio::test]
async fn an_event_that_changed_is_refused_and_nothing_of_its_batch_is_kept() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bobby").await;
    let key = service(&product, "rentals").await;
    let now = product.ctx.now() - TimeDelta::hours(1);
    let paid = with(event("1", &ada, "payment", now), "amount", "2.50");
    assert_eq!(post(&product, &key, std::slice::from_ref(&paid)).await.0, 200);
    let fresh = event("2", &ada, "rental_started", now);
    for other in [
        with(paid.clone(), "amount", "2.51"),
        with(paid.clone(), "at", json!(now + TimeDelta::microseconds(1))),
        with(paid.clone(), "at", json!(now - TimeDelta::days(60))),
        with(paid.clone(), "user_id", bob["user_id"].clone()),
        event("1", &ada, "rental_started", now),
    ] {
        let (status, refused) = post(&product, &key, &[fresh.clone(), other]).await;
        assert_eq!((status, &refused["code"]), (409, &json!("usage.event_conflict")));
        let named = [("/events/1/event_id".to_owned(), "usage.event_conflict".to_owned())];
        assert_eq!(pointers(&refused), named);
    }
    // within one batch too
    let other = event("2", &bob, "rental_started", now);
    let (status, refused) = post(&product, &key, &[fresh.clone(), other]).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (409, &json!("/events/1/event_id")));
    assert_eq!(product.world.count("SELECT count(*) FROM usage_events").await, 1);
    // the same amount and moment in other words are the same
    let same = with(with(paid, "amount", "2.5"), "at", json!(now.to_rfc3339()));
    assert_eq!(post(&product, &key, &[same, fresh]).await.1, json!({ "accepted": 1, "duplicate": 1 }));
    assert_eq!(product.world.count(OFF).await, 0);
}

#[tokio::test]
async fn every_fault_of_a_batch_is_told_by_pointer() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals").await;
    let now = product.ctx.now();
    let good = event("good", &ada, "rental_started", now);
    // what fits the schema
    let batch = [
        good.clone(),
        event("1", &ada, "rental_started", now + TimeDelta::minutes(6)),
        event("2", &ada, "rental_started", now - TimeDelta::days(401)),
        event("3", &ada, "payment", now),
        with(event("4", &ada, "payment", now), "amount", "0.001"),
        with(good.clone(), "returned", "late"),
        with(event("6", &ada, "station_favourited", now), "amount", "1"),
        with(good.clone(), "user_id", Uuid::from_u128(7).to_string()),
    ];
    let (status, refused) = post(&product, &key, &batch).await;
    assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")));
    let wanted = [
        ("/events/1/at", "field.range"),
        ("/events/2/at", "field.range"),
        ("/events/3/amount", "field.required"),
        ("/events/4/amount", "field.range"),
        ("/events/5/returned", "field.invalid"),
        ("/events/6/amount", "field.invalid"),
        ("/events/6/station_id", "field.required"),
        ("/events/7/user_id", "user.unknown"),
    ];
    let told = pointers(&refused);
    let told: Vec<(&str, &str)> = told.iter().map(|(at, code)| (at.as_str(), code.as_str())).collect();
    assert_eq!(told, wanted);
    // what does not
    let batch = [
        good.clone(),
        with(good.clone(), "kind", "theft"),
        with(good.clone(), "at", "yesterday"),
        with(good.clone(), "at", "9999-12-31T23:59:60Z"),
        with(good.clone(), "at", "-262143-01-01T00:00:00Z"),
        with(good.clone(), "amount", "NaN"),
        with(good.clone(), "event_id", "a b"),
        with(good.clone(), "event_id", ""),
        with(good.clone(), "station_id", "s".repeat(101)),
        with(good.clone(), "user_id", "ada"),
        with(good.clone(), "extra", 1),
        json!({}),
    ];
    let (status, refused) = post(&product, &key, &batch).await;
    assert_eq!(status, 422, "{refused}");
    let told = pointers(&refused);
    for wanted in [
        "/events/1/kind",
        "/events/2/at",
        "/events/4/at",
        "/events/5/amount",
        "/events/6/event_id",
        "/events/7/event_id",
        "/events/8/station_id",
        "/events/9/user_id",
        "/events/10/extra",
        "/events/11/event_id",
        "/events/11/user_id",
        "/events/11/kind",
        "/events/11/at",
    ] {
        assert!(told.iter().any(|(at, _)| at == wanted), "{wanted} in {told:?}");
    }
    assert!(!told.iter().any(|(at, _)| at.starts_with("/events/0/")), "{told:?}");
    let nul = json!({ "events": [good] }).to_string().replace("good", "a\\u0000");
    let fields = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    let url = format!("{}{EVENTS}", product.base);
    let mut request = reqwest::Client::new().post(&url).body(nul);
    for (name, value) in fields {
        request = request.header(name, value);
    }
    assert_eq!(read(request.send().await.unwrap()).await.1["code"], "request.malformed");
    assert_eq!(post(&product, &key, &[]).await.0, 422);
    assert_eq!(product.world.count("SELECT count(*) FROM usage_events").await, 0);
}

#[tokio::test]
async fn what_is_no_amount_of_a_payment_is_told_with_its_code() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals").await;
    for (amount, code) in [
        (json!("0.123456789012345678901234567890"), "field.range"),
        (json!("-5"), "field.range"),
        (json!("-0.001"), "field.range"),
        (json!("1e400"), "field.format"),
        (json!("1e2"), "field.format"),
        (json!("0"), "field.range"),
        (json!("1000000000000.01"), "field.range"),
        (json!("9".repeat(400)), "field.range"),
        (json!("12,50"), "field.format"),
        (json!(12.5), "field.type"),
    ] {
        let paid = with(event("1", &ada, "payment", product.ctx.now()), "amount", amount.clone());
        let (status, refused) = post(&product, &key, &[paid]).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{amount}");
        assert_eq!(pointers(&refused), [("/events/0/amount".to_owned(), code.to_owned())], "{amount}");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM usage_events").await, 0);
}

#[tokio::test]
async fn a_batch_is_answered_again_by_its_key_whatever_became_of_its_people_since() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals").await;
    let batch = json!({ "events": [event("1", &ada, "rental_started", product.ctx.now())] });
    let fields = [("x-api-key", key.as_str()), ("idempotency-key", "k1")];
    let send = || async { read(product.send(Method::POST, EVENTS, &batch, &fields).await).await };
    assert_eq!(send().await, (200, json!({ "accepted": 1, "duplicate": 0 })));
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    assert_eq!(send().await, (200, json!({ "accepted": 1, "duplicate": 0 })));
    let (status, refused) = read(product.send(Method::POST, EVENTS, &batch, &fields[..1]).await).await;
    assert_eq!((status, pointers(&refused)[0].1.as_str()), (422, "user.unknown"), "without the key");
}

#[tokio::test]
async fn ten_thousand_events_go_in_one_call_and_not_one_more() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals").await;
    let now = product.ctx.now();
    let many: Vec<Value> =
        (0..10_001).map(|n| event(&format!("e{n}"), &ada, "rental_started", now)).collect();
    let (status, refused) = post(&product, &key, &many).await;
    assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")));
    assert_eq!(pointers(&refused), [("/events".to_owned(), "field.length".to_owned())]);
    assert_eq!(post(&product, &key, &many[1..]).await.1, json!({ "accepted": 10_000, "duplicate": 0 }));
    assert_eq!(product.get(STATS, &ada).await.1["total_rentals"], 10_000);
    assert_eq!(post(&product, &key, &many[1..]).await.1, json!({ "accepted": 0, "duplicate": 10_000 }));
}

#[tokio::test]
async fn only_a_service_with_the_scope_tells() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.world.execute("UPDATE users SET is_superuser = true").await;
    let batch = json!({ "events": [event("1", &ada, "rental_started", product.ctx.now())] });
    let (status, refused) = product.call(Method::POST, EVENTS, &batch, &ada).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    assert_eq!(read(product.send(Method::POST, EVENTS, &batch, &[]).await).await.0, 401);
    let ask = Ask { name: "reader".to_owned(), scopes: vec![Scope::UsersRead], expires_at: None };
    let key = api_key::create_by_operator(&product.ctx, &product.operator(), ask).await.expect("a key").text;
    let (status, refused) =
        read(product.send(Method::POST, EVENTS, &batch, &[("x-api-key", &key)]).await).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    assert_eq!(product.world.count("SELECT count(*) FROM usage_events").await, 0);
}

/// A small generator: the same seed makes the same events.
struct Luck(u64);

impl Luck {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test]
async fn random_batches_in_any_order_and_in_parallel_leave_what_a_recount_gives() {
    let product = Product::new().await;
    let keys = [service(&product, "rentals").await, service(&product, "bikes").await];
    let mut people = Vec::new();
    for name in ["anna", "bert", "cleo", "dora"] {
        people.push(product.register(&format!("{name}@example.org"), name).await);
    }
    let seed = u64::from(std::process::id());
    let mut luck = Luck(seed);
    let now = product.ctx.now();
    let events: Vec<Value> = (0..300)
        .map(|n| {
            let who = &people[luck.below(4) as usize];
            // few moments, so that many are of the same
            let at = now - TimeDelta::days(luck.below(90) as i64);
            let kinds = [
                "rental_started",
                "rental_returned",
                "payment",
                "station_favourited",
                "station_unfavourited",
            ];
            let kind = kinds[luck.below(5) as usize];
            let event = event(&format!("e{n}"), who, kind, at);
            match kind {
                "rental_returned" => with(event, "returned", ["timely", "late"][luck.below(2) as usize]),
                "payment" => with(event, "amount", format!("{}.{:02}", luck.below(50), luck.below(99) + 1)),
                "rental_started" => event,
                _ => with(event, "station_id", format!("s{}", luck.below(5))),
            }
        })
        .collect();
    // each batch is drawn from all events, so that batches overlap and come out of order
    let batches: Vec<(usize, Vec<Value>)> = (0..48)
        .map(|n| {
            let batch = (0..25).map(|_| events[luck.below(300) as usize].clone()).collect();
            (n % 2, batch)
        })
        .collect();
    let answers = join_all(batches.iter().map(|(of, batch)| post(&product, &keys[*of], batch))).await;
    let mut accepted = 0;
    for ((status, taken), (_, batch)) in answers.iter().zip(&batches) {
        assert_eq!(*status, 200, "seed {seed}: {taken}");
        let count = |field: &str| taken[field].as_u64().unwrap() as usize;
        assert_eq!(count("accepted") + count("duplicate"), batch.len(), "seed {seed}");
        accepted += taken["accepted"].as_i64().unwrap();
    }
    assert_eq!(product.world.count("SELECT count(*) FROM usage_events").await, accepted, "seed {seed}");
    assert!(accepted > 300, "of two services");
    assert_eq!(product.world.count(OFF).await, 0, "seed {seed}");
    // the recount notices
    product.world.execute("UPDATE usage_summaries SET late = late + 1").await;
    assert_eq!(product.world.count(OFF).await, 4);
}

#[tokio::test]
async fn the_report_tells_of_usage_and_wallet() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals").await;
    let now = product.ctx.now();
    let batch =
        [event("1", &ada, "rental_started", now), with(event("2", &ada, "payment", now), "amount", "2.50")];
    assert_eq!(post(&product, &key, &batch).await.0, 200);
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let posting =
        json!({ "reference": "r", "kind": "credit", "unit": "money", "amount": "7", "reason": "Gift" });
    let path = format!("/api/users/{}/wallet/postings", ada["user_id"].as_str().unwrap());
    assert_eq!(product.call(Method::POST, &path, &posting, &boss).await.0, 201);
    let (_, report) = product.call(Method::POST, "/api/users/analytics/reports", &Value::Null, &ada).await;
    product.drain().await;
    let path = format!("/api/users/analytics/reports/{}/download", report["id"].as_str().unwrap());
    let (status, figures) = product.get(&path, &ada).await;
    assert_eq!(status, 200, "{figures}");
    let usage = &figures["sections"]["usage"];
    assert_eq!((&usage["total_rentals"], &usage["total_spent"]), (&json!(1), &json!("2.50")), "{usage}");
    assert_eq!(
        (&usage["by_month"][11]["rentals"], &usage["by_month"][11]["spent"]),
        (&json!(1), &json!("2.50"))
    );
    let wallet = &figures["sections"]["wallet"];
    assert_eq!((&wallet["balance"], &wallet["by_month"][0]["credited"]), (&json!("7.00"), &json!("7.00")));
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let (path, fields) = (format!("{path}?format=html"), [("authorization", bearer.as_str())]);
    let page = product.send(Method::GET, &path, &Value::Null, &fields).await.text().await.unwrap();
    assert!(page.contains("Rentals by month") && page.contains("7.00 USD"), "{page}");
}

#[tokio::test]
async fn at_the_end_of_a_month_who_used_something_gets_a_report_once() {
    let product = Product::new().await;
    let key = service(&product, "rentals").await;
    let mut people = Vec::new();
    for name in ["anna", "bert", "cleo", "dora"] {
        people.push(product.register(&format!("{name}@example.org"), name).await);
    }
    let [anna, bert, cleo, dora] = &people[..] else { panic!("four") };
    let now = product.ctx.now();
    let events =
        [anna, bert, cleo].map(|who| event(who["user_id"].as_str().unwrap(), who, "rental_started", now));
    assert_eq!(post(&product, &key, &events).await.0, 200);
    let off = json!({ "report_ready": { "email": false, "push": false } });
    sqlx::query("UPDATE profiles SET notification_preferences = $1 WHERE user_id = $2::uuid")
        .bind(off)
        .bind(bert["user_id"].as_str().unwrap())
        .execute(&product.world.db)
        .await
        .unwrap();
    product.world.execute("UPDATE users SET status = 'suspended' WHERE username = 'cleo'").await;
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    let run = || async {
        engine.ask(&RequestMonthly::default(), Terms::default()).await;
        product.drain().await;
    };
    let told = "SELECT count(*) FROM deliveries WHERE kind = 'report_ready'";
    run().await;
    assert_eq!(product.world.count(told).await, 0, "the month is not over");
    let next = now.date_naive().with_day(1).unwrap() + Months::new(1);
    let tick = next.and_hms_opt(5, 0, 0).unwrap().and_utc();
    product.advance((tick - now).to_std().unwrap());
    for _ in 0..3 {
        run().await;
    }
    let built = "SELECT count(*) FROM reports WHERE finished_at IS NOT NULL AND month IS NOT NULL";
    assert_eq!((product.world.count(built).await, product.world.count(told).await), (1, 1));
    let whose =
        format!("SELECT count(*) FROM reports WHERE user_id = '{}'", anna["user_id"].as_str().unwrap());
    let whose: i64 =
        sqlx::query_scalar(sqlx::AssertSqlSafe(whose)).fetch_one(&product.world.db).await.unwrap();
    assert_eq!(whose, 1);
    assert!(dora.is_object(), "used nothing");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn erasing_takes_usage_along_and_leaves_postings_under_an_id() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bobby").await;
    let key = service(&product, "rentals").await;
    let now = product.ctx.now();
    let batch = [
        event("1", &ada, "rental_started", now),
        with(event("2", &ada, "station_favourited", now), "station_id", "s"),
        event("3", &bob, "rental_started", now),
    ];
    assert_eq!(post(&product, &key, &batch).await.0, 200);
    let ask = Ask { name: "shop".to_owned(), scopes: vec![Scope::WalletWrite], expires_at: None };
    let shop = api_key::create_by_operator(&product.ctx, &product.operator(), ask).await.expect("a key").text;
    let posting =
        json!({ "reference": "r", "kind": "credit", "unit": "money", "amount": "7", "reason": "Gift" });
    let path = format!("/api/users/{}/wallet/postings", ada["user_id"].as_str().unwrap());
    assert_eq!(read(product.send(Method::POST, &path, &posting, &[("x-api-key", &shop)]).await).await.0, 201);
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    // nobody is told of, or posted to, once the account is deleted
    let (status, refused) = post(&product, &key, &[event("4", &ada, "rental_started", now)]).await;
    assert_eq!((status, &refused["errors"][0]["code"]), (422, &json!("user.unknown")));
    let fresh = with(posting, "reference", "r2");
    let (status, _) = read(product.send(Method::POST, &path, &fresh, &[("x-api-key", &shop)]).await).await;
    assert_eq!(status, 404);
    product.advance(std::time::Duration::from_secs(31 * 24 * 3600));
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    product.drain().await;
    for (table, left) in [
        ("usage_events", 1),
        ("usage_summaries", 1),
        ("usage_months", 1),
        ("usage_favourites", 0),
        ("postings", 1),
        ("entries", 2),
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&product.world.db).await.unwrap();
        assert_eq!(count, left, "{table}");
    }
}
