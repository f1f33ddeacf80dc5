//! A code is nowhere but in its message, a verification token nowhere but in its answer.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::command::Logged;
use crate::support::process::free_port;
use crate::support::product::digits;
use crate::support::{Gateway, Product, World, dump, eventually};

/// Codes of nine digits: no number that a row holds by chance is one.
const DIGITS: (&str, &str) = ("OTP_DIGITS", "9");
const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";

/// The first run of nine digits.
fn long_code(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 9).map(str::to_owned)
}

/// A secret as a row might show it: as it is, and in hexadecimal.
fn shapes(secret: &str) -> Vec<String> {
    let hex = keryu_common::secret::hex(secret.as_bytes());
    vec![secret.to_owned(), hex]
}

#[tokio::test]
async fn no_table_holds_a_code_or_a_token() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), DIGITS]).await;
    let mut secrets = Vec::new();
    for identifier in [MAIL, PHONE] {
        let key = [("idempotency-key", identifier)];
        let (status, issued) = product.ask_with(identifier, "register", &key).await;
        assert_eq!(status, 202, "{issued}");
        product.drain().await;
        let letters = product.letters().await;
        let text =
            letters.iter().find(|letter| letter["to"] == identifier).expect("a letter")["text"].clone();
        let code = long_code(text.as_str().expect("text")).expect("a code");
        let challenge = issued["challenge_id"].as_str();
        product.verify(identifier, "register", "123456789", challenge).await;
        let (status, verified) = product.verify(identifier, "register", &code, challenge).await;
        assert_eq!(status, 200, "{verified}");
        secrets.extend([code, verified["verification_token"].as_str().expect("token").to_owned()]);
    }
    let tables = dump::tables(&product.world).await;
    let rows = |table: &str| tables[table].len();
    assert!(
        rows("challenges") == 2 && rows("finished_jobs") == 2 && rows("verification_tokens") == 2,
        "{tables:?}"
    );
    for (table, row) in tables.iter().flat_map(|(table, rows)| rows.iter().map(move |row| (table, row))) {
        for shape in secrets.iter().flat_map(|secret| shapes(secret)) {
            assert!(!row.contains(&shape), "{table} holds a secret: {row}");
        }
    }
}

/// Asks for a code over HTTP, from a real API.
async fn ask(http: &Client, base: &str, identifier: &str) -> Value {
    let body = json!({ "identifier": identifier, "purpose": "register" });
    let request = http.request(Method::POST, format!("{base}/api/auth/otp/request"));
    let request = request.header("content-type", "application/json").body(body.to_string());
    request.send().await.expect("answer").json().await.expect("json")
}

/// API and worker as they are shipped, saying all they can, over Redis: what they wrote and what Redis held.
#[tokio::test]
async fn no_log_and_no_redis_key_holds_a_code_a_token_or_an_identifier() {
    let (world, gateway) = (World::new().await, Gateway::start().await);
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let port = port.to_string();
    let mut settings = world.settings();
    for (name, value) in gateway.settings().into_iter().chain([
        ("KERYU_ENV", "production"),
        ("KERYU_LOG", "trace"),
        ("KERYU_LISTEN", "127.0.0.1"),
        ("PORT", &port),
        ("KERYU_PUBLIC_URL", &base),
        ("SMS_HTTP_WEBHOOK_SECRET", "a-secret-in-a-path"),
    ]) {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let api = Logged::start("keryu-api", &["serve"], &settings);
    let worker = Logged::start("keryu-worker", &["run"], &settings);
    let http = Client::new();
    eventually("the API is ready", Duration::from_secs(20), || async {
        http.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let issued = ask(&http, &base, PHONE).await;
    eventually("the code arrives", Duration::from_secs(20), || async {
        !gateway.accepted_for(PHONE).is_empty()
    })
    .await;
    let redis = dump::redis(&world).await;
    let message = gateway.accepted_for(PHONE).remove(0);
    let code = digits(message.body["text"].as_str().expect("text")).expect("a code");
    let body = json!({ "identifier": PHONE, "purpose": "register", "otp": code, "challenge_id": issued["challenge_id"] });
    let verify = http.post(format!("{base}/api/auth/otp/verify")).header("content-type", "application/json");
    let verified: Value =
        verify.body(body.to_string()).send().await.expect("answer").json().await.expect("json");
    let token = verified["verification_token"].as_str().expect("token").to_owned();
    let report = format!("{base}/api/webhooks/sms/http/a-secret-in-a-path?id={}", delivery(&issued));
    let reported =
        http.post(report).header("content-type", "application/json").body("{\"status\":\"delivered\"}");
    assert_eq!(reported.send().await.expect("answer").status(), 200);
    eventually("the API logged it all", Duration::from_secs(10), || async {
        api.so_far().contains("/api/webhooks/sms/{provider}/{secret}")
    })
    .await;
    let logs = format!("{}{}", api.end(), worker.end());
    assert!(logs.contains("/api/auth/otp/verify") && logs.contains("\"level\":\"DEBUG\""), "{logs}");
    assert!(redis.contains(&world.prefix), "Redis was used: {redis}");
    for secret in [&code, &token, PHONE, "254712345678", "a-secret-in-a-path", "0c0d0e0f10111213"] {
        let told = |text: &str| text.lines().find(|line| line.contains(secret)).map(str::to_owned);
        assert_eq!(told(&logs), None, "a log holds {secret}");
        assert_eq!(told(&redis), None, "Redis holds {secret}");
    }
}

fn delivery(issued: &Value) -> &str {
    issued["delivery_url"].as_str().and_then(|url| url.rsplit('/').next()).expect("delivery_url")
}
