//! Authenticator apps, and the sign-ins that wait for a second factor.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{read, wrong};
use crate::support::totp::App;
use crate::support::{Product, dump};

const MAIL: &str = "ada@example.org";
pub const STEP: Duration = Duration::from_secs(30);

/// A POST as whoever these tokens are of.
pub async fn post(product: &Product, path: &str, body: Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::POST, path, &body, tokens).await
}

/// Status and code of a refusal.
pub fn refusal((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Where the faults of a body are.
pub fn pointers(told: &Value) -> Vec<&str> {
    let faults = told["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    faults.iter().filter_map(|fault| fault["pointer"].as_str()).collect()
}

/// Sets up an app for somebody who has just signed in: it, and the recovery codes.
pub async fn enrol(product: &Product, tokens: &Value) -> (App, Vec<String>) {
    let (status, started) = post(product, "/api/auth/mfa/totp", Value::Null, tokens).await;
    assert_eq!(status, 200, "{started}");
    let app = App::with(started["secret"].as_str().expect("secret"));
    let code = app.shows(product.ctx.now());
    let (status, on) = post(product, "/api/auth/mfa/totp/confirm", json!({ "code": code }), tokens).await;
    assert_eq!(status, 200, "{on}");
    let codes = on["recovery_codes"].as_array().expect("recovery codes");
    (app, codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect())
}

/// Signs in by code as far as the second factor: the whole refusal.
pub async fn wait_for_factor(product: &Product, identifier: &str) -> Value {
    product.advance(Duration::from_secs(61));
    let token = product.prove(identifier, "login").await;
    let body = json!({ "identifier": identifier, "verification_token": token });
    let (status, refused) = product.post("/api/auth/login", body).await;
    assert_eq!((status, &refused["code"]), (401, &json!("mfa.required")), "{refused}");
    refused
}

/// Hands in a code for a sign-in that waits.
pub async fn hand_in(product: &Product, waiting: &Value, method: &str, code: &str) -> (u16, Value) {
    let body = json!({ "mfa_token": waiting["mfa_token"], "method": method, "code": code });
    product.post("/api/auth/mfa/verify", body).await
}

/// Makes a call while its person is being changed elsewhere: it must wait for them with nothing in hand
/// that whoever changes them may want, which is what `wanted` locks.
pub async fn beside_a_change<T>(product: &Product, wanted: &'static str, call: impl Future<Output = T>) -> T {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut change = product.world.db.begin().await.expect("transaction");
    sqlx::query("SELECT FROM users FOR NO KEY UPDATE").execute(&mut *change).await.expect("the person");
    let changed = async {
        while product.world.count(WAITING).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sqlx::query(wanted).execute(&mut *change).await.expect(wanted);
        change.commit().await.expect("commit");
    };
    let both = futures::future::join(call, changed);
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("the call waits for the person").0
}

/// The lines of an action.
pub async fn lines(product: &Product, action: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM audit WHERE action = $1")
        .bind(action)
        .fetch_one(&product.world.db)
        .await
        .expect("lines")
}

#[tokio::test]
async fn an_app_is_set_up_confirmed_asked_for_and_removed() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, none) = product.get("/api/auth/mfa", &tokens).await;
    assert_eq!(none, json!({ "required": false, "totp": null, "recovery_codes_left": 0, "passkeys": [] }));
    let (_, started) = post(&product, "/api/auth/mfa/totp", Value::Null, &tokens).await;
    let secret = started["secret"].as_str().expect("secret");
    let uri =
        format!("otpauth://totp/Keryu:ada?secret={secret}&issuer=Keryu&algorithm=SHA1&digits=6&period=30");
    assert_eq!(started["uri"], uri);
    assert!(started["qr"].as_str().expect("qr").starts_with("data:image/png;base64,iVBORw0KGgo"));
    product.advance(Duration::from_secs(61));
    product.login(MAIL).await;
    let (app, codes) = enrol(&product, &tokens).await;
    assert_eq!(codes.len(), 10);
    let (_, on) = product.get("/api/auth/mfa", &tokens).await;
    assert_eq!((&on["required"], &on["recovery_codes_left"]), (&json!(true), &json!(10)));
    assert!(on["totp"]["confirmed_at"].is_string(), "{on}");

    let waiting = wait_for_factor(&product, MAIL).await;
    assert_eq!(waiting["methods"], json!(["totp", "recovery_code"]));
    assert_eq!(waiting["expires_in"], 300);
    let (status, signed_in) = hand_in(&product, &waiting, "totp", &app.shows(product.ctx.now())).await;
    assert_eq!(status, 200, "{signed_in}");
    let (_, sessions) = product.get("/api/auth/sessions", &signed_in).await;
    assert_eq!(sessions["items"][0]["methods"], json!(["otp", "mfa"]));

    let gone = product.delete("/api/auth/mfa/totp", &signed_in).await;
    assert_eq!(gone.0, 204, "{}", gone.1);
    product.advance(Duration::from_secs(61));
    product.login(MAIL).await;
    let (_, none) = product.get("/api/auth/mfa", &tokens).await;
    assert_eq!((&none["required"], &none["recovery_codes_left"]), (&json!(false), &json!(0)));
    for action in ["mfa.totp_started", "mfa.totp_added", "mfa.demanded", "mfa.verified", "mfa.totp_removed"] {
        assert!(lines(&product, action).await > 0, "{action}");
    }
    product.drain().await;
    let told = product.letters().await.into_iter().filter(|letter| letter["kind"] == "mfa_changed").count();
    assert_eq!(told, 2, "one that it came, one that it went");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_step_is_accepted_once_also_under_parallel_sign_ins() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (app, _) = enrol(&product, &tokens).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(wait_for_factor(&product, MAIL).await);
    }
    let code = app.shows(product.ctx.now());
    let tries = waiting.iter().map(|waiting| hand_in(&product, waiting, "totp", &code));
    let answers: Vec<_> = join_all(tries).await.into_iter().map(|(status, _)| status).collect();
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 422).count(), 3, "{answers:?}");
    product.advance(STEP);
    let mut later = None;
    for waiting in &waiting {
        let answer = hand_in(&product, waiting, "totp", &app.shows(product.ctx.now())).await;
        later = later.or(Some(answer).filter(|(status, _)| *status == 200));
    }
    assert!(later.is_some(), "the next step is another code");
}

#[tokio::test]
async fn of_64_parallel_wrong_codes_five_are_looked_at_and_all_count() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (app, _) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    let right = app.shows(product.ctx.now());
    let answers = join_all((0..64).map(|_| hand_in(&product, &waiting, "totp", wrong(&right)))).await;
    let answers: Vec<_> = answers.into_iter().map(refusal).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == refused(422, "mfa.invalid")).count(), 5);
    assert_eq!(answers.iter().filter(|answer| **answer == refused(401, "mfa.expired")).count(), 59);
    let late = hand_in(&product, &waiting, "totp", &right).await;
    assert_eq!(refusal(late), refused(401, "mfa.expired"), "the right code after five wrong ones");
    assert_eq!(product.world.count("SELECT tries::bigint FROM factor_tries WHERE kind = 'totp'").await, 5);
    assert_eq!(lines(&product, "mfa.verified").await, 65, "those that were not looked at too");
}

#[tokio::test]
async fn ten_wrong_codes_an_hour_are_the_most_however_they_come() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (app, _) = enrol(&product, &tokens).await;
    product.advance(STEP);
    let right = app.shows(product.ctx.now());
    let bad = json!({ "totp": wrong(&right) });
    let answers = join_all((0..64).map(|_| post(&product, "/api/auth/step-up", bad.clone(), &tokens))).await;
    let answers: Vec<_> = answers.into_iter().map(refusal).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == refused(422, "mfa.invalid")).count(), 10);
    assert_eq!(answers.iter().filter(|answer| **answer == refused(429, "mfa.locked")).count(), 54);
    assert_eq!(
        product.world.count("SELECT tries::bigint FROM factor_tries WHERE kind = 'totp'").await,
        64,
        "all counted"
    );
    assert_eq!(lines(&product, "auth.stepped_up").await, 64);
    let waiting = wait_for_factor(&product, MAIL).await;
    let locked = hand_in(&product, &waiting, "totp", &app.shows(product.ctx.now())).await;
    assert_eq!(refusal(locked), refused(429, "mfa.locked"), "nor in a sign-in");
    product.advance(Duration::from_secs(3600));
    let waiting = wait_for_factor(&product, MAIL).await;
    assert_eq!(hand_in(&product, &waiting, "totp", &app.shows(product.ctx.now())).await.0, 200);
}

#[tokio::test]
async fn a_sign_in_waits_five_minutes_and_its_token_works_once() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (app, _) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    product.advance(Duration::from_secs(300));
    let late = hand_in(&product, &waiting, "totp", &app.shows(product.ctx.now())).await;
    assert_eq!(refusal(late), refused(401, "mfa.expired"));
    let waiting = wait_for_factor(&product, MAIL).await;
    assert_eq!(hand_in(&product, &waiting, "totp", &app.shows(product.ctx.now())).await.0, 200);
    product.advance(STEP);
    let again = hand_in(&product, &waiting, "totp", &app.shows(product.ctx.now())).await;
    assert_eq!(refusal(again), refused(401, "mfa.expired"));
    let made_up = json!({ "mfa_token": "made-up" });
    assert_eq!(refusal(hand_in(&product, &made_up, "totp", "000000").await), refused(401, "mfa.expired"));
    let expired =
        "SELECT count(*) FROM audit WHERE action = 'mfa.verified' AND details->>'refused' = 'mfa.expired'
                   AND entity_type = 'user'";
    assert_eq!(product.world.count(expired).await, 2, "the late one and the one used before");
    let of_nobody = "SELECT count(*) FROM audit WHERE action = 'mfa.verified' AND entity_type = 'mfa_token'";
    assert_eq!(product.world.count(of_nobody).await, 1);
}

#[tokio::test]
async fn an_app_counts_once_it_is_confirmed_with_its_own_code() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let confirm =
        |code: String| post(&product, "/api/auth/mfa/totp/confirm", json!({ "code": code }), &tokens);
    assert_eq!(refusal(confirm("000000".to_owned()).await), refused(409, "mfa.totp_off"));
    assert_eq!(refusal(product.delete("/api/auth/mfa/totp", &tokens).await), refused(409, "mfa.totp_off"));
    let start = || post(&product, "/api/auth/mfa/totp", Value::Null, &tokens);
    let first = App::with(start().await.1["secret"].as_str().expect("secret"));
    let second = App::with(start().await.1["secret"].as_str().expect("secret"));
    let now = product.ctx.now();
    let of_first = first.shows(now);
    assert_eq!(refusal(confirm(of_first).await), refused(422, "mfa.invalid"), "the first was replaced");
    assert_eq!(refusal(product.delete("/api/auth/mfa/totp", &tokens).await), refused(409, "mfa.totp_off"));
    let spaced = format!("{} {}", &second.shows(now)[..3], &second.shows(now)[3..]);
    assert_eq!(confirm(spaced).await.0, 200, "as apps show it");
    assert_eq!(refusal(confirm(second.shows(now)).await), refused(409, "mfa.totp_on"));
    assert_eq!(refusal(start().await), refused(409, "mfa.totp_on"));
    product.advance(STEP);
    for bad in ["", "12345", "12345a", "12345678901", "１２３４５６"] {
        let (status, told) = confirm(bad.to_owned()).await;
        assert_eq!((status, &told["errors"][0]["pointer"]), (422, &json!("/code")), "{bad}: {told}");
    }
}

#[tokio::test]
async fn the_secret_is_sealed_and_no_code_is_kept() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, started) = post(&product, "/api/auth/mfa/totp", Value::Null, &tokens).await;
    let secret = started["secret"].as_str().expect("secret");
    let app = App::with(secret);
    let code = app.shows(product.ctx.now());
    let (_, on) = post(&product, "/api/auth/mfa/totp/confirm", json!({ "code": code }), &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    let tables = dump::tables(&product.world).await;
    let dump = tables.into_values().flatten().collect::<Vec<_>>().join("\n");
    for kept in [
        secret,
        on["recovery_codes"][0].as_str().expect("a code"),
        waiting["mfa_token"].as_str().expect("a token"),
    ] {
        assert!(!dump.contains(kept) && !dump.contains(&kept.replace('-', "")), "{kept}");
    }
    assert!(dump.contains("mfa.totp_added"), "the dump is of this database");
}

#[tokio::test]
async fn factors_are_for_those_signed_in_and_fresh() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let routes = [
        (Method::POST, "/api/auth/mfa/totp", Value::Null),
        (Method::POST, "/api/auth/mfa/totp/confirm", json!({ "code": "000000" })),
        (Method::DELETE, "/api/auth/mfa/totp", Value::Null),
        (Method::POST, "/api/auth/mfa/recovery-codes", Value::Null),
        (Method::POST, "/api/auth/passkeys/register/start", Value::Null),
        (Method::DELETE, "/api/auth/passkeys/0b9f7c1e-63a5-4d28-8f10-7c2e9d4b6a53", Value::Null),
    ];
    for (method, path, body) in &routes {
        let answer = read(product.send(method.clone(), path, body, &[]).await).await;
        assert_eq!(refusal(answer), refused(401, "auth.required"), "{path}");
    }
    product.advance(Duration::from_secs(600));
    let again = json!({ "refresh_token": tokens["refresh_token"] });
    let (_, tokens) = product.post("/api/auth/refresh", again).await;
    for (method, path, body) in &routes {
        let answer = product.call(method.clone(), path, body, &tokens).await;
        assert_eq!(refusal(answer), refused(403, "auth.step_up_required"), "{path}");
    }
    assert_eq!(product.get("/api/auth/mfa", &tokens).await.0, 200, "looking is free");
}

#[tokio::test]
async fn a_code_waits_for_its_person_before_it_takes_the_factor() {
    const APP: &str = "SELECT FROM totp_factors FOR UPDATE NOWAIT";
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (app, codes) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    let code = app.shows(product.ctx.now());
    let answer = beside_a_change(&product, APP, hand_in(&product, &waiting, "totp", &code)).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    product.advance(STEP);
    let code = json!({ "totp": app.shows(product.ctx.now()) });
    let again = post(&product, "/api/auth/step-up", code, &answer.1);
    assert_eq!(beside_a_change(&product, APP, again).await.0, 200);
    let waiting = wait_for_factor(&product, MAIL).await;
    let wanted = "SELECT FROM recovery_codes FOR UPDATE NOWAIT";
    let answer =
        beside_a_change(&product, wanted, hand_in(&product, &waiting, "recovery_code", &codes[0])).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

#[tokio::test]
async fn a_code_of_somebody_who_may_not_sign_in_is_used_up_and_noted() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, codes) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    product.world.execute("UPDATE users SET status = 'suspended'").await;
    let answer = hand_in(&product, &waiting, "recovery_code", &codes[0]).await;
    assert_eq!(refusal(answer), refused(403, "account.suspended"));
    assert_eq!(product.world.count("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL").await, 1);
    let noted = "SELECT count(*) FROM audit WHERE action = 'mfa.verified' AND details->>'refused' = 'account.suspended'";
    assert_eq!(product.world.count(noted).await, 1);
    product.world.execute("UPDATE users SET status = 'active'").await;
    let answer = hand_in(&product, &waiting, "recovery_code", &codes[1]).await;
    assert_eq!(refusal(answer), refused(401, "mfa.expired"), "it waits no longer");
}
