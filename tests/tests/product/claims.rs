//! Whoever proves an identifier has it: what others have set on an account with it before is void, and who
//! comes from that account keeps theirs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::passwords::{GOOD, login, sign_in, someone};
use crate::support::Product;

const MAIL: &str = "ada@example.org";

/// An account that somebody made with this address without proving it.
async fn squatted(product: &Product) -> Value {
    let tokens = someone(product, MAIL, "squatter").await;
    product.world.execute("UPDATE users SET email_verified_at = NULL, ever_verified_at = NULL").await;
    tokens
}

async fn by_token(product: &Product, token: &str) -> (u16, Value) {
    product.post("/api/auth/login", json!({ "identifier": MAIL, "verification_token": token })).await
}

#[tokio::test]
async fn who_proves_an_address_first_takes_the_account_and_voids_what_was_set_before() {
    let product = Product::new().await;
    let squatter = squatted(&product).await;
    let owner = product.login(MAIL).await;
    assert_eq!(owner["user_id"], squatter["user_id"]);
    let (_, me) = product.get("/api/auth/me", &owner).await;
    assert_eq!(me["verification_status"], "email_verified");
    assert_eq!(product.get("/api/auth/me", &squatter).await.1["code"], "auth.session_ended");
    assert_eq!(login(&product, MAIL, GOOD).await.0, 401, "the password is void");
    assert_eq!(login(&product, "squatter", GOOD).await.0, 401);
    let (status, _) =
        product.post("/api/auth/refresh", json!({ "refresh_token": squatter["refresh_token"] })).await;
    assert_eq!(status, 401);
    let known = "SELECT count(*) FROM device_tokens";
    assert_eq!(product.world.count(known).await, 1, "and so is the device");
    let lines = "SELECT count(*) FROM audit WHERE action = 'verification.proved' AND details->>'outcome' = 'verified'";
    assert_eq!(product.world.count(lines).await, 1);
}

#[tokio::test]
async fn who_has_the_password_and_the_code_keeps_what_they_set() {
    let product = Product::new().await;
    let before = squatted(&product).await;
    let (status, refused) = login(&product, MAIL, GOOD).await;
    assert_eq!((status, &refused["code"]), (403, &json!("account.unverified")));
    product.drain().await;
    let code = product.code_for(MAIL).await.expect("a code");
    let (_, verified) = product.verify(MAIL, "login", &code, refused["challenge_id"].as_str()).await;
    let (status, after) = by_token(&product, verified["verification_token"].as_str().expect("token")).await;
    assert_eq!(status, 200, "{after}");
    assert_eq!(after["user_id"], before["user_id"]);
    assert_eq!(product.get("/api/auth/me", &before).await.0, 200, "sessions go on");
    assert_eq!(sign_in(&product, MAIL, GOOD).await["user_id"], before["user_id"], "and so does the password");
}

#[tokio::test]
async fn a_code_that_a_squatter_had_sent_binds_its_reader_to_nothing() {
    let product = Product::new().await;
    let squatter = squatted(&product).await;
    // the right password has a code sent to the owner of the address, from the address of both
    assert_eq!(login(&product, MAIL, GOOD).await.0, 403);
    product.drain().await;
    let code = product.code_for(MAIL).await.expect("a code");
    // the owner hands it in without knowing where it came from
    let (status, verified) = product.verify(MAIL, "login", &code, None).await;
    assert_eq!(status, 200, "{verified}");
    let (status, owner) = by_token(&product, verified["verification_token"].as_str().expect("token")).await;
    assert_eq!(status, 200, "{owner}");
    assert_eq!(login(&product, MAIL, GOOD).await.0, 401, "the squatter's password is void");
    assert_eq!(product.get("/api/auth/me", &squatter).await.0, 401);
}

#[tokio::test]
async fn an_account_whose_owner_has_proved_something_else_is_not_taken_over() {
    let product = Product::new().await;
    let other = squatted(&product).await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678', phone_verified_at = now(), ever_verified_at = now()").await;
    let token = product.prove(MAIL, "login").await;
    let (status, refused) = by_token(&product, &token).await;
    assert_eq!((status, &refused["code"]), (422, &json!("auth.no_account")));
    assert_eq!(product.get("/api/auth/me", &other).await.0, 200);
    product.advance(Duration::from_secs(61));
    let mine = product.register(MAIL, "ada").await;
    assert_ne!(mine["user_id"], other["user_id"], "the address is free to register");
}

#[tokio::test]
async fn of_two_accounts_with_one_address_the_newest_is_taken_and_the_other_stays_without() {
    let product = Product::new().await;
    let first = squatted(&product).await;
    let second = someone(&product, "else@example.org", "second").await;
    product
        .world
        .execute(
            "UPDATE users SET email = 'ada@example.org', email_verified_at = NULL, ever_verified_at = NULL,
                              created_at = created_at + interval '1 hour' WHERE username = 'second'",
        )
        .await;
    let owner = product.login(MAIL).await;
    assert_eq!(owner["user_id"], second["user_id"]);
    assert_ne!(owner["user_id"], first["user_id"]);
    product.advance(Duration::from_secs(61));
    assert_eq!(product.login(MAIL).await["user_id"], second["user_id"], "once proved it is theirs");
}

#[tokio::test]
async fn every_sign_in_that_led_nowhere_is_noted() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    let sign_in = |identifier: &'static str, token: String| {
        product.post("/api/auth/login", json!({ "identifier": identifier, "verification_token": token }))
    };
    let code = |(status, body): (u16, Value)| (status, body["code"].as_str().unwrap_or_default().to_owned());
    let noted = |code: &'static str| {
        sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM audit WHERE action = 'auth.sign_in_refused' AND details->>'refused' = $1
             AND entity_type = 'identifier' AND request_id IS NOT NULL",
        )
        .bind(code)
        .fetch_one(&product.world.db)
    };
    let refused = code(sign_in("ada@example.org", "A".repeat(43)).await);
    assert_eq!(refused, (422, "verification.invalid".to_owned()));
    assert_eq!(noted("verification.invalid").await.expect("lines"), 1);
    let token = product.prove("eve@example.org", "register").await;
    let refused = code(sign_in("eve@example.org", token.clone()).await);
    assert_eq!(refused, (422, "auth.no_account".to_owned()));
    assert_eq!(noted("auth.no_account").await.expect("lines"), 1);
    let body = json!({ "identifier": "eve@example.org", "username": "eve.eve", "verification_token": token });
    assert_eq!(product.post("/api/auth/register", body).await.0, 201, "the token still registers");
    product.advance(Duration::from_secs(61));
    let token = product.prove("ada@example.org", "login").await;
    product.world.execute("UPDATE users SET status = 'suspended' WHERE username = 'ada'").await;
    let refused = code(sign_in("ada@example.org", token.clone()).await);
    assert_eq!(refused, (403, "account.suspended".to_owned()));
    assert_eq!(noted("account.suspended").await.expect("lines"), 1);
    let again = code(sign_in("ada@example.org", token).await);
    assert_eq!(again, (422, "verification.expired".to_owned()), "the token is used up");
}
