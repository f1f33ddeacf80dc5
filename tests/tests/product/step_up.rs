//! Proving anew who one is before a sensitive change.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;
use crate::support::product::read;
use crate::totp::{STEP, enrol, lines, post, refusal, refused};
use crate::{passkeys, totp};

const MAIL: &str = "ada@example.org";

/// Ten minutes later, in the same session: its new tokens.
async fn later(product: &Product, tokens: &Value) -> Value {
    product.advance(Duration::from_secs(600));
    let (status, tokens) =
        product.post("/api/auth/refresh", json!({ "refresh_token": tokens["refresh_token"] })).await;
    assert_eq!(status, 200, "{tokens}");
    let stale = post(product, "/api/auth/mfa/totp", Value::Null, &tokens).await;
    assert_eq!(refusal(stale), refused(403, "auth.step_up_required"));
    tokens
}

async fn step_up(product: &Product, body: Value, tokens: &Value) -> (u16, Value) {
    post(product, "/api/auth/step-up", body, tokens).await
}

/// Whether a sensitive change is let through.
async fn is_fresh(product: &Product, tokens: &Value) -> bool {
    post(product, "/api/auth/passkeys/register/start", Value::Null, tokens).await.0 == 200
}

#[tokio::test]
async fn a_code_of_the_app_makes_the_session_fresh_for_ten_minutes() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (app, _) = enrol(&product, &tokens).await;
    let tokens = later(&product, &tokens).await;
    let code = app.shows(product.ctx.now());
    assert_eq!(step_up(&product, json!({ "totp": code }), &tokens).await.0, 200);
    assert!(is_fresh(&product, &tokens).await);
    assert_eq!(
        refusal(step_up(&product, json!({ "totp": code }), &tokens).await),
        refused(422, "mfa.invalid")
    );
    assert_eq!(lines(&product, "auth.stepped_up").await, 2);
    later(&product, &tokens).await;
}

#[tokio::test]
async fn recovery_codes_and_passkeys_do_too() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, made) = passkeys::enrol(&product, &tokens).await;
    let tokens = later(&product, &tokens).await;
    let code = json!({ "recovery_code": made["recovery_codes"][0] });
    let both = join_all((0..2).map(|_| step_up(&product, code.clone(), &tokens))).await;
    let mut both: Vec<_> = both.into_iter().map(|(status, _)| status).collect();
    both.sort_unstable();
    assert_eq!(both, [200, 422], "once");
    assert!(is_fresh(&product, &tokens).await);

    let tokens = later(&product, &tokens).await;
    let asked = post(&product, "/api/auth/passkeys/login/start", json!({}), &tokens).await.1;
    assert_eq!(asked["options"]["allowCredentials"].as_array().map(Vec::len), Some(1));
    let credential = authenticator.get(&asked["options"]);
    let answer = json!({ "passkey": { "challenge_id": asked["challenge_id"], "credential": credential } });
    assert_eq!(step_up(&product, answer.clone(), &tokens).await.0, 200);
    assert!(is_fresh(&product, &tokens).await);
    assert_eq!(
        refusal(step_up(&product, answer, &tokens).await),
        refused(422, "passkey.challenge"),
        "replayed"
    );
}

#[tokio::test]
async fn a_challenge_of_another_session_does_not() {
    let product = Product::new().await;
    let first = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = passkeys::enrol(&product, &first).await;
    let waiting = totp::wait_for_factor(&product, MAIL).await;
    let asked = product.post("/api/auth/passkeys/login/start", json!({})).await.1;
    let credential = authenticator.get(&asked["options"]);
    let body = json!({ "challenge_id": asked["challenge_id"], "credential": credential, "mfa_token": waiting["mfa_token"] });
    let second = product.post("/api/auth/passkeys/login/finish", body).await.1;
    let asked = post(&product, "/api/auth/passkeys/login/start", json!({}), &first).await.1;
    let credential = authenticator.get(&asked["options"]);
    let answer = json!({ "passkey": { "challenge_id": asked["challenge_id"], "credential": credential } });
    assert_eq!(refusal(step_up(&product, answer.clone(), &second).await), refused(422, "passkey.challenge"));
    assert_eq!(step_up(&product, answer, &first).await.0, 200, "it still waits where it was asked for");
}

#[tokio::test]
async fn without_a_factor_a_password_or_a_code_will_do_and_with_one_they_will_not() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let hash = product.ctx.hasher.hash("correct horse battery").await.expect("hash");
    sqlx::query(
        "INSERT INTO passwords (user_id, hash, changed_at) SELECT user_id, $1, created_at FROM users",
    )
    .bind(hash)
    .execute(&product.world.db)
    .await
    .expect("password");
    let tokens = later(&product, &tokens).await;
    let wrong = step_up(&product, json!({ "password": "wrong horse" }), &tokens).await;
    assert_eq!(refusal(wrong), refused(422, "auth.wrong_password"));
    let right = json!({ "password": "correct horse battery" });
    assert_eq!(step_up(&product, right.clone(), &tokens).await.0, 200);
    assert!(is_fresh(&product, &tokens).await);

    let tokens = later(&product, &tokens).await;
    let token = code(&product, &tokens).await;
    let by_code = json!({ "verification_token": token });
    assert_eq!(step_up(&product, by_code.clone(), &tokens).await.0, 200);
    assert!(is_fresh(&product, &tokens).await);
    let again = step_up(&product, by_code, &tokens).await;
    assert_eq!(refusal(again), refused(422, "verification.expired"));
    assert_eq!(lines(&product, "auth.stepped_up").await, 4, "two that were let through, two that were not");

    let (app, _) = enrol(&product, &tokens).await;
    product.advance(STEP);
    assert_eq!(refusal(step_up(&product, right, &tokens).await), refused(403, "mfa.factor_needed"));
    let token = code(&product, &tokens).await;
    let by_code = json!({ "verification_token": token });
    assert_eq!(refusal(step_up(&product, by_code, &tokens).await), refused(403, "mfa.factor_needed"));
    let by_app = json!({ "totp": app.shows(product.ctx.now()) });
    assert_eq!(step_up(&product, by_app, &tokens).await.0, 200);
}

/// A verification token with the purpose `step_up`, got within this session.
async fn code(product: &Product, tokens: &Value) -> Value {
    product.advance(Duration::from_secs(61));
    let asked = json!({ "identifier": MAIL, "purpose": "step_up" });
    let (status, issued) = post(product, "/api/auth/otp/request", asked, tokens).await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    let otp = product.code_for(MAIL).await.expect("a code");
    let typed = json!({ "identifier": MAIL, "purpose": "step_up", "otp": otp, "challenge_id": issued["challenge_id"] });
    let (status, verified) = post(product, "/api/auth/otp/verify", typed, tokens).await;
    assert_eq!(status, 200, "{verified}");
    verified["verification_token"].clone()
}

#[tokio::test]
async fn ten_wrong_passwords_an_hour_are_the_most() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let tries = (0..16).map(|_| step_up(&product, json!({ "password": "wrong horse" }), &tokens));
    let answers: Vec<_> = join_all(tries).await.into_iter().map(refusal).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == refused(422, "auth.wrong_password")).count(), 10);
    assert_eq!(answers.iter().filter(|answer| **answer == refused(429, "mfa.locked")).count(), 6);
}

#[tokio::test]
async fn exactly_one_proof_is_wanted() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    for body in [json!({}), json!({ "totp": "000000", "password": "x" }), json!({ "totp": null })] {
        let (status, told) = step_up(&product, body.clone(), &tokens).await;
        assert_eq!((status, &told["errors"][0]["code"]), (422, &json!("field.one_of")), "{body}");
    }
    let body = json!({ "totp": "000000" });
    let anonymous = read(product.send(Method::POST, "/api/auth/step-up", &body, &[]).await).await;
    assert_eq!(refusal(anonymous), refused(401, "auth.required"));
}

#[tokio::test]
async fn a_code_for_deleting_the_account_will_do_too() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let tokens = later(&product, &tokens).await;
    let token = product.prove_as(MAIL, "delete_account", &tokens).await;
    assert_eq!(step_up(&product, json!({ "verification_token": token }), &tokens).await.0, 200);
    let (status, deleted) = product.delete("/api/auth/account", &tokens).await;
    assert!(status < 300, "{deleted}");
}
