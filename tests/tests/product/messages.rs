//! Text messages through the real job: providers in their order, what their answers lead to, keys that
//! change, workers that die in between.

use std::time::Duration;

use keryu_common::notify::store::Firsts;
use serde_json::Value;
use uuid::Uuid;

use crate::support::gateway::Answer;
use crate::support::product::digits;
use crate::support::{Gateway, Product, Twilio};

const PHONE: &str = "+254712345678";
const ALLOW: (&str, &str) = ("RATE_LIMIT_ALLOW", "127.0.0.1");

/// The attempts of the one delivery: provider, try, step, outcome, reason.
async fn attempts(product: &Product) -> Vec<(String, i16, i16, String, String)> {
    sqlx::query_as(
        "SELECT provider, attempt, step, coalesce(outcome, 'open'), coalesce(reason, '')
         FROM delivery_attempts ORDER BY attempt, step, started_at",
    )
    .fetch_all(&product.world.db)
    .await
    .expect("attempts")
}

/// Provider and outcome of each attempt, in order.
async fn outcomes(product: &Product) -> Vec<String> {
    attempts(product).await.into_iter().map(|(by, _, _, outcome, _)| format!("{by} {outcome}")).collect()
}

async fn state(product: &Product, issued: &Value) -> String {
    product.receipt(issued).await["state"].as_str().unwrap_or_default().to_owned()
}

/// Lets the next try come due and runs it.
async fn next_try(product: &Product) {
    product.advance(Duration::from_secs(40));
    product.drain().await;
}

#[tokio::test]
async fn twilio_gets_what_it_wants() {
    let twilio = Twilio::start().await;
    let product = Product::with(&twilio.settings()).await;
    let (_, issued) = product.ask(PHONE, "register").await;
    product.drain().await;
    let [sent] = &twilio.sent()[..] else { panic!("one call: {:?}", twilio.sent()) };
    assert_eq!((sent.status, sent.to.as_str()), (201, PHONE));
    let delivery = issued["delivery_url"].as_str().and_then(|url| url.rsplit('/').next()).expect("id");
    assert_eq!(sent.callback, format!("{}/api/webhooks/twilio/{delivery}", product.base));
    let code = digits(&sent.body).expect("a code");
    assert_eq!(product.verify(PHONE, "register", &code, issued["challenge_id"].as_str()).await.0, 200);
    let named = "SELECT count(*) FROM deliveries WHERE provider = 'twilio' AND provider_id = 'SM1'";
    assert_eq!(product.world.count(named).await, 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn twilios_refusals_decide_whether_it_is_asked_again() {
    let twilio = Twilio::start().await;
    let mut settings = twilio.settings();
    settings.push(ALLOW);
    let cases: [(u16, &'static str, &str, &str); 7] = [
        (400, r#"{"code": 21211}"#, "give_up", "failed"),
        (400, r#"{"code": 21610}"#, "give_up", "failed"),
        (429, r#"{"code": 20429}"#, "retry", "accepted"),
        (503, r#"{"code": 20503}"#, "retry", "accepted"),
        (401, r#"{"code": 20003}"#, "misconfigured", "accepted"),
        (200, "<h1>Welcome to the captive portal</h1>", "unknown", "accepted"),
        (502, "<h1>Bad gateway</h1>", "unknown", "accepted"),
    ];
    for (status, body, outcome, end) in cases {
        let product = Product::with(&settings).await;
        let (_, issued) = product.ask(PHONE, "register").await;
        twilio.answers([(status, body)]);
        product.drain().await;
        let first = &attempts(&product).await[0];
        assert_eq!(first.3, outcome, "{status} {body}");
        assert!(!first.4.is_empty() && !first.4.contains(PHONE) && !first.4.contains('<'), "{first:?}");
        next_try(&product).await;
        assert_eq!(state(&product, &issued).await, end, "{status} {body}");
        assert_eq!(attempts(&product).await.len(), if end == "failed" { 1 } else { 2 });
        product.assert_nothing_left().await;
    }
    let texts: Vec<Option<String>> = twilio.sent().iter().map(|sent| digits(&sent.body)).collect();
    assert_eq!(texts.len(), 12);
    assert!(
        texts[2..].chunks(2).all(|pair| pair[0] == pair[1] && pair[0].is_some()),
        "a retry carries the same code"
    );
}

#[tokio::test]
async fn the_next_provider_takes_over_in_the_order_set() {
    for order in ["twilio,http", "http,twilio"] {
        let (twilio, gateway) = (Twilio::start().await, Gateway::start().await);
        let mut settings = [twilio.settings(), gateway.settings()].concat();
        settings.push(("SMS_PROVIDERS", order));
        let product = Product::with(&settings).await;
        let (_, issued) = product.ask(PHONE, "register").await;
        twilio.always(Some((503, "{}")));
        gateway.always(Some(Answer::Status(503)));
        product.drain().await;
        assert_eq!(state(&product, &issued).await, "queued");
        let (first, second) = order.split_once(',').expect("two");
        assert_eq!(outcomes(&product).await, [format!("{first} retry"), format!("{second} retry")]);
        if second == "http" {
            gateway.always(None)
        } else {
            twilio.always(None)
        }
        next_try(&product).await;
        assert_eq!(state(&product, &issued).await, "accepted");
        let all = outcomes(&product).await;
        assert_eq!(all[2..], [format!("{first} retry"), format!("{second} accepted")]);
        let by = "SELECT count(*) FROM deliveries WHERE state = 'accepted' AND attempts = 2 AND provider IS NOT NULL";
        assert_eq!(product.world.count(by).await, 1);
        product.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn who_refuses_a_recipient_speaks_for_all_providers() {
    let (twilio, gateway) = (Twilio::start().await, Gateway::start().await);
    let mut settings = [twilio.settings(), gateway.settings()].concat();
    settings.push(("SMS_PROVIDERS", "twilio,http"));
    let product = Product::with(&settings).await;
    let (_, issued) = product.ask(PHONE, "register").await;
    twilio.answers([(400, r#"{"code": 21610}"#)]);
    product.drain().await;
    assert_eq!(state(&product, &issued).await, "failed");
    assert!(gateway.received().is_empty());
    product.assert_nothing_left().await;
}

/// Tries until the code's time is over. Answers with the moments of the attempts, in seconds.
async fn try_until_over(product: &Product, life: u64) -> Vec<i64> {
    let began = product.ctx.now();
    for _ in 0..=life / 2 {
        product.drain().await;
        product.advance(Duration::from_secs(2));
    }
    product.drain().await;
    let at: Vec<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("SELECT started_at FROM delivery_attempts ORDER BY started_at")
            .fetch_all(&product.world.db)
            .await
            .expect("attempts");
    at.into_iter().map(|at| (at - began).num_seconds()).collect()
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_until_the_code_has_no_time_left() {
    // nobody listens on the discard port of loopback
    let away = [("SMS_PROVIDERS", "http"), ("SMS_HTTP_URL", "http://127.0.0.1:9/sms"), ALLOW];
    for (purpose, life) in [("register", 300_u64), ("reset_password", 600)] {
        let product = Product::with(&away).await;
        if purpose != "register" {
            product.world.user(PHONE).await;
        }
        let (_, issued) = product.ask(PHONE, purpose).await;
        let moments = try_until_over(&product, life).await;
        assert_eq!(state(&product, &issued).await, "expired");
        assert_eq!(moments[0], 0);
        let waits: Vec<i64> = moments.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            waits[0] == 2 && waits[1] <= 4 && waits.iter().all(|wait| (1..=40).contains(wait)),
            "{waits:?}"
        );
        let last = *moments.last().expect("tries");
        assert!(last < life as i64 && last >= life as i64 - 42, "{purpose}: tried to the end: {moments:?}");
        assert!(outcomes(&product).await.iter().all(|outcome| outcome == "http retry"));
        next_try(&product).await;
        product.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_asked_again_for_the_same_code() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let (_, issued) = product.ask(PHONE, "register").await;
    gateway.answers([Answer::Slow(Duration::from_millis(10_500))]);
    product.drain().await;
    assert_eq!(state(&product, &issued).await, "unknown");
    assert_eq!(attempts(&product).await[0].4, "no answer in time");
    next_try(&product).await;
    assert_eq!(state(&product, &issued).await, "accepted");
    assert_eq!(outcomes(&product).await, ["http unknown", "http accepted"]);
    crate::support::eventually("the slow call ends", Duration::from_secs(5), || async {
        gateway.received().len() == 2
    })
    .await;
    let received = gateway.received();
    assert_eq!(received[0].body["text"], received[1].body["text"]);
    assert_eq!(received[0].key, received[1].key, "and by the same idempotency key");
    product.assert_nothing_left().await;
}

fn delivery_id(issued: &Value) -> Uuid {
    issued["delivery_url"]
        .as_str()
        .and_then(|url| url.rsplit('/').next()?.parse().ok())
        .expect("delivery_url")
}

#[tokio::test]
async fn a_worker_that_dies_during_the_call_leaves_an_open_attempt_and_the_code_goes_again() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let (_, issued) = product.ask(PHONE, "register").await;
    // what is left of a worker that was killed after it took the delivery up
    let ids = [delivery_id(&issued)];
    let now = product.ctx.now();
    let firsts = Firsts { sms: Some("http"), ..Firsts::default() };
    keryu_common::notify::store::open(&product.ctx.db, now, &ids, &[now], firsts, &[true])
        .await
        .expect("open");
    assert_eq!(state(&product, &issued).await, "sending");
    next_try(&product).await;
    assert_eq!(state(&product, &issued).await, "accepted");
    assert_eq!(outcomes(&product).await, ["http open", "http accepted"]);
    assert_eq!(gateway.accepted_for(PHONE).len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_resend_of_what_waits_is_no_second_job_and_a_later_one_carries_the_same_code() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let (_, issued) = product.ask(PHONE, "register").await;
    gateway.answers([Answer::Status(503)]);
    product.resend(delivery_id(&issued)).await.expect("resend");
    assert_eq!(product.drain().await, 1, "the job that waits");
    assert_eq!(gateway.accepted_for(PHONE).len(), 0);
    product.resend(delivery_id(&issued)).await.expect("resend");
    assert_eq!(product.drain().await, 1, "its next try, at once");
    assert_eq!(gateway.accepted_for(PHONE).len(), 1);
    product.resend(delivery_id(&issued)).await.expect("resend");
    product.drain().await;
    let texts: Vec<Value> =
        gateway.accepted_for(PHONE).into_iter().map(|one| one.body["text"].clone()).collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
    product.advance(Duration::from_secs(300));
    let late = product.resend(delivery_id(&issued)).await;
    assert!(late.is_err_and(|error| error.to_string().starts_with("delivery.not_resendable")));
    let nobody = product.resend(Uuid::nil()).await;
    assert!(nobody.is_err_and(|error| error.to_string().starts_with("delivery.not_found")));
    product.assert_nothing_left().await;
}

const OLD: &str = crate::support::world::SECRET;
const NEW: &str = "new:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

#[tokio::test]
async fn keys_rotate_under_codes_on_their_way() {
    let gateway = Gateway::start().await;
    let before = Product::with(&gateway.settings()).await;
    let (_, issued) = before.ask(PHONE, "register").await;
    let both = format!("{NEW},{OLD}");
    let mut settings = gateway.settings();
    settings.push(("KERYU_SECRET_KEY", &both));
    let after = before.restarted(&settings).await;
    after.drain().await;
    let code = digits(gateway.accepted_for(PHONE)[0].body["text"].as_str().expect("text")).expect("a code");
    assert_eq!(after.verify(PHONE, "register", &code, issued["challenge_id"].as_str()).await.0, 200);
    after.assert_nothing_left().await;
}

#[tokio::test]
async fn a_key_taken_away_too_early_fails_the_delivery_with_a_reason_an_operator_understands() {
    let gateway = Gateway::start().await;
    let before = Product::with(&gateway.settings()).await;
    let (_, issued) = before.ask(PHONE, "register").await;
    let mut settings = gateway.settings();
    settings.push(("KERYU_SECRET_KEY", NEW));
    let after = before.restarted(&settings).await;
    after.drain().await;
    assert_eq!(state(&after, &issued).await, "failed");
    assert!(gateway.received().is_empty());
    let told = after.shown(delivery_id(&issued)).await;
    assert_eq!(told.cause, "KERYU_SECRET_KEY no longer holds the key this code was made with");
    after.assert_nothing_left().await;
}
