//! Jobs, queues, schedules and deliveries under `/api/admin/`.

use std::time::Duration;

use keryu_common::job::{self, Noop, Terms, schedule};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::product::read;
use crate::support::{Product, Twilio};

/// Time goes by, and who is signed in stays so.
const LONG: [(&str, &str); 2] = [("RATE_LIMIT_ALLOW", "127.0.0.1"), ("TOKEN_LIFE", "1h")];

/// Somebody whose role may steer jobs.
async fn staff(product: &Product) -> Value {
    let tokens = product.register("staff@example.org", "staff.one").await;
    product.world.execute("UPDATE users SET role = 'admin'").await;
    product.drain().await;
    tokens
}

async fn post(product: &Product, path: &str, body: Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::POST, path, &body, tokens).await
}

async fn noop(product: &Product) -> Uuid {
    product.advance(Duration::from_millis(1));
    let mut tx = product.ctx.db.begin().await.unwrap();
    let id = job::enqueue(&mut tx, product.ctx.now(), &Noop {}, Terms::default()).await.unwrap();
    tx.commit().await.unwrap();
    id
}

fn code((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// Audit lines of staff with this action.
async fn noted(product: &Product, action: &str) -> i64 {
    let lines =
        "SELECT count(*) FROM audit WHERE action = $1 AND actor IS NOT NULL AND session_id IS NOT NULL";
    sqlx::query_scalar(lines).bind(action).fetch_one(&product.world.db).await.expect("audit")
}

#[tokio::test]
async fn staff_list_show_retry_and_cancel_jobs() {
    let product = Product::with(&LONG).await;
    let tokens = staff(&product).await;
    let (first, second) = (noop(&product).await, noop(&product).await);
    let (status, page) = product.get("/api/admin/jobs?kind=job.noop&limit=1", &tokens).await;
    assert_eq!((status, &page["items"][0]["id"]), (200, &json!(second)), "{page}");
    let next = format!("/api/admin/jobs?kind=job.noop&cursor={}", page["next_cursor"].as_str().unwrap());
    let (_, page) = product.get(&next, &tokens).await;
    assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&json!(first), &Value::Null));
    let at = |id: Uuid, verb: &str| format!("/api/admin/jobs/{id}{verb}");
    let (status, shown) = product.get(&at(first, ""), &tokens).await;
    assert_eq!((status, &shown["state"], &shown["payload"]), (200, &json!("available"), &json!({})));
    assert!(shown["next_step"].as_str().unwrap().contains("no worker works the queue default"), "{shown}");
    assert_eq!(
        code(post(&product, &at(first, "/retry"), Value::Null, &tokens).await),
        (409, "job.waiting".into())
    );
    let (status, cancelled) = post(&product, &at(first, "/cancel"), Value::Null, &tokens).await;
    assert_eq!((status, &cancelled["state"]), (200, &json!("cancelled")));
    assert_eq!(
        code(post(&product, &at(first, "/cancel"), Value::Null, &tokens).await),
        (409, "job.finished".into())
    );
    product
        .world
        .execute("UPDATE jobs SET state = 'running', attempt = 1, started_at = now(), pushed = true")
        .await;
    for verb in ["/retry", "/cancel"] {
        assert_eq!(
            code(post(&product, &at(second, verb), Value::Null, &tokens).await),
            (409, "job.running".into())
        );
    }
    product
        .world
        .execute("UPDATE jobs SET state = 'discarded', ready = false, run_at = 'infinity', discarded_at = now(), error = 'fell over'")
        .await;
    let (status, again) = post(&product, &at(second, "/retry"), Value::Null, &tokens).await;
    assert_eq!((status, &again["state"]), (200, &json!("available")));
    product.drain().await;
    assert_eq!(product.get(&at(second, ""), &tokens).await.1["state"], "completed");
    let gone = Uuid::from_u128(7);
    assert_eq!(code(product.get(&at(gone, ""), &tokens).await), (404, "job.not_found".into()));
    assert_eq!(code(product.get("/api/admin/jobs/seven", &tokens).await).0, 404);
    for odd in
        ["state=asleep", "limit=0", "limit=201", "cursor=1", "id=xyz", "since=soon", "kind=", "error=%00"]
    {
        assert_eq!(
            code(product.get(&format!("/api/admin/jobs?{odd}"), &tokens).await),
            (422, "request.invalid".into()),
            "{odd}"
        );
    }
    assert_eq!((noted(&product, "job.cancelled").await, noted(&product, "job.retried").await), (1, 1));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn dead_letters_are_tried_again_by_filter() {
    let product = Product::with(&LONG).await;
    let tokens = staff(&product).await;
    for _ in 0..3 {
        noop(&product).await;
    }
    product
        .world
        .execute("UPDATE jobs SET state = 'discarded', ready = false, run_at = 'infinity', discarded_at = now(), error = 'answered 503'")
        .await;
    let retry = async |body: Value| post(&product, "/api/admin/jobs/retry", body, &tokens).await;
    assert_eq!(
        retry(json!({ "error": "answered 401" })).await,
        (200, json!({ "retried": 0, "more": false }))
    );
    assert_eq!(
        retry(json!({ "kind": "job.noop", "queue": "default" })).await,
        (200, json!({ "retried": 3, "more": false }))
    );
    let (status, refused) = retry(json!({ "queue": "slow", "since": "soon", "kind": 7, "all": true })).await;
    let mut pointers: Vec<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!((status, pointers), (422, vec!["/all", "/kind", "/queue", "/since"]), "{refused}");
    assert_eq!(product.drain().await, 3);
}

#[tokio::test]
async fn staff_pause_and_resume_queues() {
    let product = Product::with(&LONG).await;
    let tokens = staff(&product).await;
    noop(&product).await;
    let (status, paused) = post(&product, "/api/admin/queues/default/pause", Value::Null, &tokens).await;
    assert_eq!((status, &paused["available"]), (200, &json!(1)), "{paused}");
    let since = paused["paused_at"].clone();
    product.advance(Duration::from_secs(10));
    let (_, again) = post(&product, "/api/admin/queues/default/pause", Value::Null, &tokens).await;
    assert_eq!(again["paused_at"], since, "the first pause holds");
    assert_eq!(product.drain().await, 0);
    let (_, all) = product.get("/api/admin/queues", &tokens).await;
    let names: Vec<&Value> = all["items"].as_array().unwrap().iter().map(|one| &one["queue"]).collect();
    assert_eq!(names, ["critical", "default", "low", "media", "bulk"]);
    assert_eq!((&all["items"][1]["paused_at"], &all["items"][1]["oldest_seconds"]), (&since, &json!(10)));
    let (_, resumed) = post(&product, "/api/admin/queues/default/resume", Value::Null, &tokens).await;
    assert_eq!(resumed["paused_at"], Value::Null);
    assert_eq!(product.drain().await, 1);
    assert_eq!(
        code(post(&product, "/api/admin/queues/slow/pause", Value::Null, &tokens).await),
        (404, "queue.not_found".into())
    );
    assert_eq!((noted(&product, "queue.paused").await, noted(&product, "queue.resumed").await), (1, 1));
}

#[tokio::test]
async fn staff_run_and_switch_schedules() {
    let product = Product::with(&LONG).await;
    let tokens = staff(&product).await;
    product.world.execute("INSERT INTO schedules (schedule, expression, catch_up, ticked_at) VALUES ('odd', '0 * * * * *', 'one', now())").await;
    let path = |verb: &str| format!("/api/admin/schedules/cleanup_expired/{verb}");
    assert_eq!(
        code(post(&product, &path("run"), Value::Null, &tokens).await),
        (404, "schedule.not_found".into())
    );
    schedule::register(&product.ctx, keryu_worker::registry::registry().plans()).await.unwrap();
    assert_eq!(
        code(post(&product, "/api/admin/schedules/odd/run", Value::Null, &tokens).await),
        (409, "schedule.unregistered".into())
    );
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let ran = read(product.send(Method::POST, &path("run"), &Value::Null, &fields).await).await;
    assert_eq!(ran.0, 202, "{}", ran.1);
    assert_eq!(read(product.send(Method::POST, &path("run"), &Value::Null, &fields).await).await, ran);
    assert_eq!(product.drain().await, 1, "asked for twice with one key");
    let job = format!("/api/admin/jobs/{}", ran.1["job_id"].as_str().unwrap());
    assert_eq!(product.get(&job, &tokens).await.1["state"], "completed");
    let (_, off) = post(&product, &path("disable"), Value::Null, &tokens).await;
    assert_eq!((&off["enabled"], &off["next_at"]), (&json!(false), &Value::Null));
    let plans = keryu_worker::registry::registry();
    product.advance(Duration::from_secs(3_000));
    schedule::tick(&product.ctx, plans.plans()).await.unwrap();
    let minutes = "SELECT count(*) FROM ticks WHERE schedule = 'cleanup_expired'";
    assert_eq!(product.world.count(minutes).await, 0);
    let (_, on) = post(&product, &path("enable"), Value::Null, &tokens).await;
    assert!(on["enabled"] == true && on["next_at"].is_string(), "{on}");
    schedule::tick(&product.ctx, plans.plans()).await.unwrap();
    assert_eq!(product.world.count(minutes).await, 0, "what lies before is not caught up");
    product.advance(Duration::from_secs(60));
    schedule::tick(&product.ctx, plans.plans()).await.unwrap();
    assert_eq!(product.world.count(minutes).await, 1);
    let (_, all) = product.get("/api/admin/schedules", &tokens).await;
    let one = all["items"].as_array().unwrap().iter().find(|one| one["name"] == "cleanup_expired").unwrap();
    assert_eq!(
        (&one["last_state"], &one["kind"]),
        (&json!("available"), &json!("retention.cleanup_expired"))
    );
}

/// What staff are told of a delivery: state, cause, next step.
async fn told(product: &Product, issued: &Value, tokens: &Value) -> (String, String, String) {
    let id = issued["delivery_url"].as_str().unwrap().rsplit('/').next().unwrap();
    let (status, shown) = product.get(&format!("/api/admin/deliveries/{id}"), tokens).await;
    assert_eq!(status, 200, "{shown}");
    assert!(!shown.to_string().contains("12345678"), "masked: {shown}");
    let text = |name: &str| shown[name].as_str().unwrap().to_owned();
    (text("state"), text("cause"), text("next_step"))
}

fn holds((state, cause, next): (String, String, String), want: [&str; 3]) {
    assert!(
        state == want[0] && cause.contains(want[1]) && next.contains(want[2]),
        "{state} / {cause} / {next}\nwanted {want:?}"
    );
}

#[tokio::test]
async fn each_reason_why_a_message_did_not_arrive_is_told_with_what_to_do() {
    let twilio = Twilio::start().await;
    let mut settings = twilio.settings();
    settings.extend(LONG);
    let product = Product::with(&settings).await;
    let tokens = staff(&product).await;
    let (_, issued) = product.ask("+254712345678", "register").await;
    let critical = "/api/admin/queues/critical";
    holds(
        told(&product, &issued, &tokens).await,
        ["queued", "no worker works the queue critical", "start one"],
    );
    product
        .world
        .execute(
            "INSERT INTO worker_leases (lease_id, host, pid, started_at, renewed_at, queues)
        VALUES (gen_random_uuid(), 'node-7', 42, now(), now() - interval '10 minutes', '{critical}')",
        )
        .await;
    holds(
        told(&product, &issued, &tokens).await,
        [
            "queued",
            "no worker that works the queue critical is alive (the last was 42 on node-7",
            "start one",
        ],
    );
    product.world.execute("UPDATE worker_leases SET renewed_at = now() + interval '1 hour'").await;
    holds(
        told(&product, &issued, &tokens).await,
        ["queued", "no worker has taken it up yet", "waits for a free slot"],
    );
    post(&product, &format!("{critical}/pause"), Value::Null, &tokens).await;
    holds(
        told(&product, &issued, &tokens).await,
        ["queued", "the queue critical is paused since", "`queues resume critical`"],
    );
    post(&product, &format!("{critical}/resume"), Value::Null, &tokens).await;

    twilio.always(Some((401, r#"{"code":20003,"message":"Authenticate"}"#)));
    product.drain().await;
    holds(
        told(&product, &issued, &tokens).await,
        ["queued", "401", "Mend the provider's settings. Its next try is at"],
    );
    twilio.always(Some((503, "{}")));
    product.advance(Duration::from_secs(40));
    product.drain().await;
    holds(told(&product, &issued, &tokens).await, ["queued", "503", "Its next try is at"]);
    product.advance(Duration::from_secs(300));
    holds(
        told(&product, &issued, &tokens).await,
        ["expired", "after 2 tries; the last: twilio", "asks for another one"],
    );

    let (_, refused) = product.ask("+254712345679", "register").await;
    twilio.always(Some((400, r#"{"code":21211,"message":"Invalid 'To' Phone Number"}"#)));
    product.drain().await;
    holds(told(&product, &refused, &tokens).await, ["failed", "21211", "ask the person for another"]);

    let (_, nobody) = product.ask("+254712345670", "login").await;
    product.drain().await;
    holds(
        told(&product, &nobody, &tokens).await,
        ["accepted", "nobody has this identifier", "Ask the person"],
    );

    twilio.always(None);
    let (_, taken) = product.ask("+254712345671", "register").await;
    product.drain().await;
    holds(told(&product, &taken, &tokens).await, ["accepted", "twilio took it", "look"]);

    let (_, cancelled) = product.ask("+254712345672", "register").await;
    let (_, page) = product.get("/api/admin/jobs?state=available", &tokens).await;
    let id = page["items"][0]["id"].as_str().unwrap().to_owned();
    let (_, job) = product.get(&format!("/api/admin/jobs/{id}"), &tokens).await;
    assert!(
        cancelled["delivery_url"].as_str().unwrap().ends_with(job["delivery_id"].as_str().unwrap()),
        "{job}"
    );
    post(&product, &format!("/api/admin/jobs/{id}/cancel"), Value::Null, &tokens).await;
    holds(
        told(&product, &cancelled, &tokens).await,
        ["queued", "its job is cancelled: cancelled by staff", "resend"],
    );
    assert!(noted(&product, "delivery.read").await >= 10, "each look leaves a line");
}

#[tokio::test]
async fn staff_find_a_message_by_whom_it_is_to_and_send_it_again_once() {
    let product = Product::with(&LONG).await;
    let tokens = staff(&product).await;
    let (_, issued) = product.ask("+254712345678", "register").await;
    product.drain().await;
    let (status, page) = product.get("/api/admin/deliveries?to=0712345678&state=accepted", &tokens).await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (200, 1), "{page}");
    let id = page["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(issued["delivery_url"].as_str().unwrap().ends_with(&id));
    assert_eq!(
        product.get("/api/admin/deliveries?channel=sms&state=failed", &tokens).await.1["items"],
        json!([])
    );
    let (_, first) = product.get("/api/admin/deliveries?limit=1", &tokens).await;
    let next = format!("/api/admin/deliveries?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    let (_, second) = product.get(&next, &tokens).await;
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let path = format!("/api/admin/deliveries/{id}/resend");
    let resent = read(product.send(Method::POST, &path, &Value::Null, &fields).await).await;
    assert_eq!(resent.0, 202, "{}", resent.1);
    assert_eq!(read(product.send(Method::POST, &path, &Value::Null, &fields).await).await, resent);
    assert_eq!(product.drain().await, 1, "once");
    product.advance(Duration::from_secs(301));
    assert_eq!(
        code(post(&product, &path, Value::Null, &tokens).await),
        (409, "delivery.not_resendable".into())
    );
    for path in ["deliveries?since=", "jobs?since=", "jobs?before="] {
        for odd in ["-9999-01-01T00:00:00Z", "%2B12000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "yesterday"]
        {
            let (status, refused) = product.get(&format!("/api/admin/{path}{odd}"), &tokens).await;
            assert_eq!(status, 422, "{path}{odd}: {refused}");
        }
    }
    let far = format!("cursor=-8000000000000000000_{id}");
    for (query, pointer) in [("to=nobody", "/to"), ("cursor=x", "/cursor"), (&far, "/cursor")] {
        let (status, refused) = product.get(&format!("/api/admin/deliveries?{query}"), &tokens).await;
        assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!(pointer)), "{query}: {refused}");
    }
    assert_eq!((noted(&product, "delivery.resent").await, noted(&product, "delivery.listed").await), (1, 4));
}

#[tokio::test]
async fn who_has_only_the_right_to_read_changes_nothing() {
    let product = Product::with(&LONG).await;
    let tokens = staff(&product).await;
    product
        .world
        .execute("UPDATE roles SET permissions = '{jobs.read,deliveries.read}' WHERE role = 'admin'")
        .await;
    let id = noop(&product).await;
    for path in ["jobs", "queues", "schedules", "deliveries"] {
        assert_eq!(product.get(&format!("/api/admin/{path}"), &tokens).await.0, 200, "{path}");
    }
    for path in [
        format!("jobs/{id}/cancel"),
        format!("jobs/{id}/retry"),
        "queues/low/pause".to_owned(),
        "queues/low/resume".to_owned(),
        "schedules/retain_jobs/run".to_owned(),
        "schedules/retain_jobs/enable".to_owned(),
        "schedules/retain_jobs/disable".to_owned(),
        format!("deliveries/{id}/resend"),
    ] {
        let answer = post(&product, &format!("/api/admin/{path}"), Value::Null, &tokens).await;
        assert_eq!(code(answer), (403, "auth.forbidden".into()), "{path}");
    }
    assert_eq!(
        code(post(&product, "/api/admin/jobs/retry", json!({}), &tokens).await),
        (403, "auth.forbidden".into())
    );
}
