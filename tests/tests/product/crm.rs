//! The sync with CRM and analytics systems: every change is told, the last state wins, whatever they answer.

use std::time::Duration;

use keryu_common::crm;
use keryu_common::crm::desk::{self, State};
use keryu_common::desk::Hand;
use keryu_common::job::Terms;
use keryu_common::user::erase::EraseDue;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::crm::Act;
use super::support::{Crm, Engine, Product};

pub const DAY: Duration = Duration::from_secs(24 * 3600);
pub const OPEN: &str = "SELECT count(*) FROM crm_changes WHERE set_aside_at IS NULL";
pub const ASIDE: &str = "SELECT count(*) FROM crm_changes WHERE set_aside_at IS NOT NULL";
pub const JOBS: &str = "SELECT count(*) FROM jobs WHERE kind = 'crm.sync_users'";

/// The product with these systems switched on and told of everybody.
pub async fn linked(settings: &[(&str, &str)]) -> Product {
    let product =
        Product::with(&[&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("CRM_TIMEOUT", "3s")], settings].concat())
            .await;
    crm::register(&product.ctx).await.expect("registered");
    product.advance(Duration::from_secs(61));
    product.drain().await;
    product
}

/// When the next run is due.
async fn next(product: &Product) -> Option<Duration> {
    let sql = "SELECT min(run_at) FROM jobs WHERE kind = 'crm.sync_users' AND state <> 'discarded'";
    let at: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar(sql).fetch_one(&product.world.db).await.expect("run_at");
    at.map(|at| (at - product.ctx.now()).to_std().unwrap_or_default())
}

/// Runs what is due, and waits for what will be, until nothing waits any more.
pub async fn settle(product: &Product) {
    for _ in 0..200 {
        product.drain().await;
        match next(product).await {
            Some(wait) => product.advance(wait),
            None => return product.assert_nothing_left().await,
        }
    }
    let jobs: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT state::text, unique_key, error FROM jobs")
            .fetch_all(&product.world.db)
            .await
            .expect("jobs");
    panic!("there is no end to it: {jobs:?}");
}

/// Somebody who has proved this address, made and changed by hand: many at a time.
pub async fn people(product: &Product, from: i32, to: i32, last_name: &str) {
    let sql = "INSERT INTO users (user_id, username, username_skeleton, email, email_verified_at, last_name, created_at, updated_at)
               SELECT md5(n::text)::uuid, 'p' || n, 'p' || n, 'p' || n || '@example.org', $4, $3, $4, $4
               FROM generate_series($1, $2) n";
    let done = sqlx::query(sql).bind(from).bind(to).bind(last_name).bind(product.ctx.now());
    done.execute(&product.world.db).await.expect("people");
}

pub async fn run(product: &Product, sql: &'static str) {
    product.world.execute(sql).await;
}

pub async fn state(product: &Product, target: &str) -> State {
    let all =
        desk::show(&product.ctx, Hand { client: &product.operator(), person: None }).await.expect("states");
    all.into_iter().find(|state| state.target.target == target).expect("a target")
}

#[tokio::test]
async fn ten_thousand_changed_people_are_a_hundred_calls_whatever_comes_between() {
    let hubspot = Crm::start().await;
    let product = linked(&hubspot.hubspot()).await;
    people(&product, 1, 10_000, "First").await;
    let change = "UPDATE users SET last_name = 'Last', updated_at = updated_at + interval '1 second'";
    run(&product, change).await;
    assert_eq!((product.world.count(OPEN).await, product.world.count(JOBS).await), (10_000, 1));
    let trouble = [
        (2, Act::Wait(7)),
        (5, Act::Say(500, r#"{"status": "error", "message": "internal error"}"#)),
        (9, Act::Slow(Duration::from_secs(60))),
        (14, Act::Say(200, "<html>down for maintenance</html>")),
        (20, Act::Say(200, r#"{"status": "error", "category": "INTERNAL_ERROR", "message": "no"}"#)),
        (40, Act::Say(502, "<html>bad gateway</html>")),
        (41, Act::Wait(60)),
        (90, Act::Say(503, "")),
    ];
    let troubles = trouble.len();
    let mut script = vec![None; 91];
    trouble.into_iter().for_each(|(at, act)| script[at] = Some(act));
    hubspot.answers(script);
    product.advance(Duration::from_secs(6));
    product.drain().await;
    assert_eq!(hubspot.calls(), 3, "asked to wait, nobody calls");
    let told = state(&product, "hubspot").await;
    let reason = told.target.reason.expect("a reason");
    assert_eq!(reason, "HubSpot answered 429: too many requests");
    product.advance(Duration::from_secs(6));
    product.drain().await;
    assert_eq!(hubspot.calls(), 3, "before the time is over");
    settle(&product).await;
    assert_eq!(hubspot.calls(), 100 + troubles);
    {
        let tape = hubspot.tape();
        assert_eq!(tape.wrong, [""; 0]);
        let taken: Vec<usize> = tape
            .calls
            .iter()
            .filter(|call| call.status == 200 && call.size > 0)
            .map(|call| call.size)
            .collect();
        assert_eq!(taken.len(), 100 + 2, "and twice 200 with something else inside");
        assert!(taken.iter().all(|size| *size == 100));
        assert_eq!(tape.people.len(), 10_000);
        assert!(tape.people.values().all(|one| one["lastname"] == "Last"));
    }
    let told = state(&product, "hubspot").await;
    assert_eq!((told.waiting, told.set_aside, told.target.failures), (0, 0, 0));
    assert_eq!(product.world.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn without_a_target_nothing_is_written() {
    let product = Product::new().await;
    crm::register(&product.ctx).await.expect("registered");
    let ada = product.register("ada@example.org", "ada").await;
    let path = format!("/api/users/{}", ada["user_id"].as_str().expect("id"));
    assert_eq!(product.call(Method::PATCH, &path, &json!({ "first_name": "Ada" }), &ada).await.0, 200);
    for table in ["SELECT count(*) FROM crm_changes", "SELECT count(*) FROM crm_targets", JOBS] {
        assert_eq!(product.world.count(table).await, 0, "{table}");
    }
}

/// Whatever verb changes somebody: a while later both systems know.
#[tokio::test]
async fn every_verb_that_changes_somebody_is_told_of_and_a_sign_in_is_not() {
    let (hubspot, hook) = (Crm::start().await, Crm::start().await);
    let product = linked(&[hubspot.hubspot(), hook.webhook()].concat()).await;
    product.register("boss@example.org", "the.boss").await;
    run(&product, "UPDATE users SET is_superuser = true").await;
    let ada = product.register("ada@example.org", "ada").await;
    let id = &ada["user_id"];
    let path = format!("/api/users/{}", id.as_str().expect("id"));
    let staff = |verb: &str| format!("/api/admin/users/{}/{verb}", id.as_str().expect("id"));
    let told = async |field: &str| {
        settle(&product).await;
        hook.person(id)[field].clone()
    };
    assert_eq!(told("email").await, "ada@example.org");
    assert_eq!(hook.person(id)["verification_status"], "email_verified");
    let change = json!({ "first_name": "Ada", "last_name": "Lovelace" });
    assert_eq!(product.call(Method::PATCH, &path, &change, &ada).await.0, 200);
    assert_eq!(told("last_name").await, "Lovelace");
    assert_eq!(product.call(Method::PATCH, &path, &json!({ "username": "ada.l" }), &ada).await.0, 200);
    assert_eq!(told("username").await, "ada.l");
    let token = product.prove_as("+254712345678", "change_identifier", &ada).await;
    let change = json!({ "phone_number": "+254712345678", "verification_token": token });
    assert_eq!(product.call(Method::PATCH, &path, &change, &ada).await.0, 200);
    assert_eq!(told("verification_status").await, "both_verified");
    let calls = hook.calls() + hubspot.calls();
    product.advance(Duration::from_secs(61));
    product.login("ada@example.org").await;
    assert_eq!(
        (product.world.count(OPEN).await, product.world.count(JOBS).await),
        (0, 0),
        "a sign-in is no change"
    );
    assert_eq!(hook.calls() + hubspot.calls(), calls);
    product.advance(Duration::from_secs(61));
    let boss = product.login("boss@example.org").await;
    let role = format!("{path}/role");
    let (status, given) = product.call(Method::PUT, &role, &json!({ "role": "trainer" }), &boss).await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(told("role").await, "trainer");
    let change = json!({ "status": "suspended", "reason": "asked for" });
    assert_eq!(product.call(Method::POST, &staff("status"), &change, &boss).await.0, 200);
    assert_eq!(told("status").await, "suspended");
    let change = json!({ "status": "active", "reason": "asked for" });
    assert_eq!(product.call(Method::POST, &staff("status"), &change, &boss).await.0, 200);
    assert_eq!(told("status").await, "active");
    let new = json!({ "username": "grace", "email": "grace@example.org" });
    let (status, grace) = product.call(Method::POST, "/api/users", &new, &boss).await;
    assert_eq!(status, 201, "{grace}");
    settle(&product).await;
    let by_id = |crm: &Crm, field: &str, value: &str| {
        let tape = crm.tape();
        tape.people.values().find(|one| one[field] == value).cloned().expect("told of")
    };
    assert_eq!(by_id(&hook, "username", "grace")["email_verified"], json!(false));
    assert_eq!(by_id(&hubspot, "keryu_username", "grace")["email"], "", "only what is proved");
    let grace = by_id(&hook, "username", "grace")["keryu_id"].clone();
    let verify = format!("/api/admin/users/{}/verify", grace.as_str().expect("id"));
    let body = json!({ "channel": "email", "reason": "Called back" });
    assert_eq!(product.call(Method::POST, &verify, &body, &boss).await.0, 200);
    settle(&product).await;
    assert_eq!(hubspot.person(&grace)["email"], "grace@example.org");
    product.advance(Duration::from_secs(61));
    let ada = product.login("ada@example.org").await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    assert_eq!(told("status").await, "deleted");
    assert_eq!((&hook.person(id)["email"], &hubspot.person(id)["email"]), (&Value::Null, &json!("")));
    product.advance(Duration::from_secs(61));
    let boss = product.login("boss@example.org").await;
    let restored =
        product.call(Method::POST, &staff("restore"), &json!({ "reason": "asked for" }), &boss).await;
    assert_eq!(restored.0, 200, "{restored:?}");
    assert_eq!(told("status").await, "active");
    assert_eq!(hubspot.person(id)["email"], "ada@example.org");
}

#[tokio::test]
async fn no_column_that_is_told_can_change_unmarked() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 1, "First").await;
    settle(&product).await;
    let told = || async {
        settle(&product).await;
        let mut person = hook.tape().people.values().next().cloned().expect("somebody");
        person.remove("change");
        person
    };
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, udt_name::text FROM information_schema.columns
         WHERE table_name = 'users' AND table_schema = 'public' AND is_generated = 'NEVER'
           AND column_name NOT IN ('user_id', 'created_at') ORDER BY 1",
    )
    .fetch_all(&product.world.db)
    .await
    .expect("columns");
    let mut marked = Vec::new();
    for (column, kind) in &columns {
        let value = match (kind.as_str(), column.as_str()) {
            (_, "role") => "'trainer'",
            ("text", _) => "'other'",
            ("bool", _) => "NOT is_superuser",
            ("user_status", _) => "'suspended'",
            ("timestamptz", _) => "'2020-01-01T00:00:00Z'",
            ("bytea", _) => "'\\x00'",
            ("uuid", _) => "gen_random_uuid()",
            ("jsonb", _) => "'{}'",
            other => panic!("say what another value of {other:?} is"),
        };
        let change = format!("UPDATE users SET {column} = {value}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&product.world.db).await.expect("change");
        if product.world.count(OPEN).await == 1 {
            marked.push(column.as_str());
        }
        let before = told().await;
        // what a run would tell now, marked or not
        crm_mark(&product).await;
        assert_eq!(told().await, before, "{column} is told of, and its change is not");
    }
    let wanted = [
        "email",
        "email_verified_at",
        "first_name",
        "language",
        "last_name",
        "phone_number",
        "phone_verified_at",
        "role",
        "status",
        "username",
    ];
    assert_eq!(marked, wanted);
}

/// Marks everybody, as switching a system on does.
async fn crm_mark(product: &Product) {
    let sql = "INSERT INTO crm_changes SELECT 'webhook', user_id, nextval('crm_change_seq'), $1 FROM users";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.expect("marks");
}

#[tokio::test]
async fn a_change_during_a_call_is_told_by_the_next() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 3, "Before").await;
    product.advance(Duration::from_secs(6));
    let (here, on) = hook.halt();
    let (_, ()) = tokio::join!(product.drain(), async {
        here.notified().await;
        run(&product, "UPDATE users SET last_name = 'During' WHERE username = 'p2'").await;
        on.notify_one();
    });
    settle(&product).await;
    let tape = hook.tape();
    assert_eq!(tape.wrong, [""; 0]);
    assert_eq!(tape.calls.iter().map(|call| call.size).collect::<Vec<_>>(), [3, 1]);
    let names: Vec<&Value> =
        tape.people.values().filter(|one| one["username"] == "p2").map(|one| &one["last_name"]).collect();
    assert_eq!(names, ["During"]);
}

#[tokio::test]
async fn a_change_that_is_rolled_back_is_not_told_and_one_that_commits_late_is() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    people(&product, 1, 2, "Before").await;
    settle(&product).await;
    let mut gone = product.world.db.begin().await.expect("begin");
    sqlx::query("UPDATE users SET last_name = 'Never'").execute(&mut *gone).await.expect("change");
    gone.rollback().await.expect("rollback");
    assert_eq!((product.world.count(OPEN).await, product.world.count(JOBS).await), (0, 0));
    // a job waits, a run of it begins, and only then somebody commits who had seen it wait
    let mut late = product.world.db.begin().await.expect("begin");
    sqlx::query("UPDATE users SET last_name = 'Late' WHERE username = 'p1'")
        .execute(&mut *late)
        .await
        .expect("change");
    run(&product, "UPDATE users SET last_name = 'Early' WHERE username = 'p2'").await;
    product.advance(Duration::from_secs(6));
    product.drain().await;
    late.commit().await.expect("commit");
    settle(&product).await;
    let tape = hook.tape();
    let mut names: Vec<&str> =
        tape.people.values().map(|one| one["last_name"].as_str().expect("name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["Early", "Late"]);
}

#[tokio::test]
async fn two_workers_never_tell_one_system_at_the_same_time() {
    let hook = Crm::start().await;
    let product = linked(&hook.webhook()).await;
    let other = product.restarted(&[&hook.webhook()[..], &[("CRM_TIMEOUT", "3s")]].concat()).await;
    hook.always(Some(Act::Slow(Duration::from_millis(5))));
    for round in 0..10 {
        people(&product, round * 250 + 1, round * 250 + 250, "Now").await;
        product.advance(Duration::from_secs(6));
        let change = async { run(&product, "UPDATE users SET last_name = last_name || '.'").await };
        tokio::join!(product.drain(), other.drain(), change);
    }
    settle(&product).await;
    let tape = hook.tape();
    assert_eq!(tape.wrong, [""; 0]);
    assert_eq!(tape.people.len(), 2_500);
    let names: Vec<&str> = tape.people.values().map(|one| one["last_name"].as_str().expect("name")).collect();
    assert_eq!(names.iter().filter(|name| **name == "Now..........").count(), 250);
    assert_eq!(names.iter().filter(|name| **name == "Now.").count(), 250);
}

#[tokio::test]
async fn who_is_erased_here_is_erased_there() {
    let (hubspot, hook) = (Crm::start().await, Crm::start().await);
    let product = linked(&[hubspot.hubspot(), hook.webhook()].concat()).await;
    let ada = product.register("ada@example.org", "ada").await;
    settle(&product).await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    settle(&product).await;
    product.advance(DAY * 31);
    // one is down while it happens
    hubspot.answers([Some(Act::Say(503, "<html>")), Some(Act::Wait(30))]);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    settle(&product).await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 0);
    for crm in [&hubspot, &hook] {
        let tape = crm.tape();
        assert_eq!(tape.wrong, [""; 0]);
        assert_eq!(tape.erased, [ada["user_id"].as_str().expect("id")]);
        assert_eq!(tape.people.len(), 0);
    }
    assert_eq!(product.world.count("SELECT count(*) FROM crm_changes").await, 0, "and nothing is left here");
}

#[tokio::test]
async fn a_system_that_is_switched_on_hears_of_everybody_and_one_that_is_off_of_erasures_alone() {
    let hook = Crm::start().await;
    let product = Product::new().await;
    people(&product, 1, 4_321, "Sound").await;
    let product = product.restarted(&hook.webhook()).await;
    crm::register(&product.ctx).await.expect("registered");
    settle(&product).await;
    assert_eq!(hook.tape().people.len(), 4_321);
    assert_eq!(hook.calls(), 44);
    let off = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    crm::register(&off.ctx).await.expect("registered");
    run(&off, "UPDATE users SET last_name = 'Changed', status = 'deleted', erase_at = updated_at WHERE username = 'p1'").await;
    run(&off, "UPDATE users SET last_name = 'Changed' WHERE username = 'p2'").await;
    assert_eq!(off.world.count(OPEN).await, 0);
    let engine = Engine { world: off.world.again(), ctx: off.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    settle(&off).await;
    assert_eq!((off.world.count(OPEN).await, hook.calls()), (1, 44));
    let on = off.restarted(&hook.webhook()).await;
    crm::register(&on.ctx).await.expect("registered");
    settle(&on).await;
    let tape = hook.tape();
    assert_eq!((tape.wrong.len(), tape.people.len(), tape.erased.len()), (0, 4_320, 1));
    assert_eq!(tape.people.values().filter(|one| one["last_name"] == "Changed").count(), 1);
}
