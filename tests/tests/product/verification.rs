//! Confirming an account's phone number, and how its identifiers stand.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;
use crate::support::product::wrong;

const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";

/// Ada, registered by mail, with a phone number that she has not proved.
async fn ada(product: &Product) -> Value {
    let tokens = product.register(MAIL, "ada").await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678' WHERE username = 'ada'").await;
    tokens
}

/// Somebody with the rights of a role.
async fn staff(product: &Product) -> Value {
    let tokens = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    tokens
}

fn path(of: &Value, rest: &str) -> String {
    format!("/api/users/{}/{rest}", of["user_id"].as_str().expect("user_id"))
}

async fn send(product: &Product, of: &Value, by: &Value) -> (u16, Value) {
    product.call(Method::POST, &path(of, "verify/phone"), &Value::Null, by).await
}

async fn confirm(product: &Product, of: &Value, by: &Value, code: &str) -> (u16, Value) {
    product.call(Method::POST, &path(of, "verify/phone/confirm"), &json!({ "code": code }), by).await
}

async fn show(product: &Product, of: &Value, by: &Value) -> Value {
    let (status, body) = product.get(&path(of, "verification"), by).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn a_person_confirms_their_number_and_sees_how_it_came_about() {
    let product = Product::new().await;
    let ada = ada(&product).await;
    product.advance(Duration::from_secs(1));
    let before = show(&product, &ada, &ada).await;
    assert_eq!(before["verification_status"], "email_verified");
    assert_eq!((&before["open_request"], &before["phone_verified_at"]), (&Value::Null, &Value::Null));
    let (status, issued) = send(&product, &ada, &ada).await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    product.advance(Duration::from_secs(1));
    let open = show(&product, &ada, &ada).await["open_request"].clone();
    assert_eq!(open["channel"], "sms");
    let code = product.code_for(PHONE).await.expect("a code");
    let (status, told) = confirm(&product, &ada, &ada, &code).await;
    assert_eq!(status, 200, "{told}");
    let after = show(&product, &ada, &ada).await;
    assert_eq!(after["verification_status"], "both_verified");
    assert_eq!(after["open_request"], Value::Null);
    assert!(after["phone_verified_at"].is_string() && after["email_verified_at"].is_string());
    let history: Vec<(&str, &str, &str)> = after["history"]
        .as_array()
        .expect("history")
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap_or_default();
            (text("channel"), text("by"), text("outcome"))
        })
        .collect();
    assert_eq!(
        history,
        [("sms", "code", "verified"), ("sms", "code", "requested"), ("email", "registration", "verified")]
    );
    assert_eq!(after["history"][0]["address"], "+25***78");
    assert_eq!(after["history"][0]["actor"], ada["user_id"]);
    assert_eq!(after["history"][2]["address"], "a***@example.org");
    let (status, refused) = send(&product, &ada, &ada).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.already_verified")));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn wrong_codes_count_with_those_of_all_codes() {
    let product = Product::new().await;
    let ada = ada(&product).await;
    send(&product, &ada, &ada).await;
    product.drain().await;
    let code = product.code_for(PHONE).await.expect("a code");
    for _ in 0..5 {
        assert_eq!(confirm(&product, &ada, &ada, wrong(&code)).await.1["code"], "otp.invalid");
        assert_eq!(product.verify(PHONE, "login", wrong(&code), None).await.1["code"], "otp.invalid");
    }
    let (status, refused) = confirm(&product, &ada, &ada, &code).await;
    assert_eq!((status, &refused["code"]), (429, &json!("otp.locked")));
    assert_eq!(product.verify(PHONE, "login", &code, None).await.0, 429);
}

#[tokio::test]
async fn staff_with_the_right_confirm_for_others_and_nobody_else_does() {
    let product = Product::new().await;
    let (ada, staff) = (ada(&product).await, staff(&product).await);
    let bob = product.register("bob@example.org", "bob").await;
    for (method, rest) in
        [(Method::POST, "verify/phone"), (Method::POST, "verify/email"), (Method::GET, "verification")]
    {
        let (status, refused) = product.call(method.clone(), &path(&ada, rest), &Value::Null, &bob).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")), "{rest}");
        let nobody = format!("/api/users/00000000-0000-4000-8000-000000000000/{rest}");
        let (status, _) = product.call(method.clone(), &nobody, &Value::Null, &bob).await;
        assert_eq!(status, 403, "whether there is one is not told");
        let (status, refused) = product.call(method, &nobody, &Value::Null, &staff).await;
        assert_eq!((status, &refused["code"]), (404, &json!("user.not_found")));
    }
    assert_eq!(send(&product, &ada, &staff).await.0, 202);
    product.drain().await;
    let code = product.code_for(PHONE).await.expect("a code");
    product.advance(Duration::from_secs(1));
    assert_eq!(confirm(&product, &ada, &ada, &code).await.0, 422, "not in the session that asked");
    assert_eq!(confirm(&product, &ada, &staff, &code).await.0, 200);
    let shown = show(&product, &ada, &staff).await;
    assert_eq!(shown["verification_status"], "both_verified");
    assert_eq!(shown["history"][0]["actor"], staff["user_id"]);
}

#[tokio::test]
async fn staff_do_not_reach_above_their_rank() {
    let product = Product::new().await;
    let (ada, staff) = (ada(&product).await, staff(&product).await);
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'ada'").await;
    let (status, refused) = send(&product, &ada, &staff).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
}

#[tokio::test]
async fn of_two_who_prove_one_number_the_first_has_it() {
    let product = Product::new().await;
    let ada = ada(&product).await;
    let bob = product.register("bob@example.org", "bob").await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678' WHERE username = 'bob'").await;
    let mut codes = Vec::new();
    for tokens in [&ada, &bob] {
        assert_eq!(send(&product, tokens, tokens).await.0, 202);
        product.drain().await;
        codes.push(product.code_for(PHONE).await.expect("a code"));
        product.advance(Duration::from_secs(61));
    }
    let (of_ada, of_bob) =
        tokio::join!(confirm(&product, &ada, &ada, &codes[0]), confirm(&product, &bob, &bob, &codes[1]));
    let mut statuses = [of_ada.0, of_bob.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{of_ada:?} {of_bob:?}");
    let proved = "SELECT count(*) FROM users WHERE phone_verified_at IS NOT NULL";
    assert_eq!(product.world.count(proved).await, 1);
}

#[tokio::test]
async fn what_cannot_be_confirmed_is_told() {
    let product = Product::new().await;
    let ada = product.register(MAIL, "ada").await;
    let (status, refused) = send(&product, &ada, &ada).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.identifier_not_held")));
    let odd = json!({ "code": "12a", "challenge_id": "x", "more": 1 });
    let (status, refused) = product.call(Method::POST, &path(&ada, "verify/phone/confirm"), &odd, &ada).await;
    assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")));
    assert!(refused["errors"].as_array().is_some_and(|errors| errors.len() >= 3), "{refused}");
    assert_eq!(product.get("/api/users/x/verification", &ada).await.0, 404);
    let anonymous = product.send(Method::POST, &path(&ada, "verify/phone"), &Value::Null, &[]).await;
    assert_eq!(anonymous.status(), 401);
}

async fn by_hand(product: &Product, of: &Value, by: &Value, body: &Value) -> (u16, Value) {
    let path = format!("/api/admin/users/{}/verify", of["user_id"].as_str().expect("user_id"));
    product.call(Method::POST, &path, body, by).await
}

#[tokio::test]
async fn staff_verify_by_hand_with_a_reason() {
    let product = Product::new().await;
    let (ada, staff) = (ada(&product).await, staff(&product).await);
    let bob = product.register("bob@example.org", "bob").await;
    let body = json!({ "channel": "sms", "reason": "Called back at the number" });
    let (status, refused) = by_hand(&product, &ada, &bob, &body).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    let (status, refused) = by_hand(&product, &staff, &staff, &body).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.self")));
    let (status, refused) = by_hand(&product, &bob, &staff, &body).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.identifier_not_held")));
    let (status, refused) =
        by_hand(&product, &ada, &staff, &json!({ "channel": "fax", "reason": " " })).await;
    assert_eq!((status, refused["errors"].as_array().map(Vec::len)), (422, Some(2)), "{refused}");
    product.advance(Duration::from_secs(1));
    let (status, shown) = by_hand(&product, &ada, &staff, &body).await;
    assert_eq!((status, &shown["verification_status"]), (200, &json!("both_verified")), "{shown}");
    let event = &shown["history"][0];
    assert_eq!((&event["by"], &event["reason"]), (&json!("staff"), &json!("Called back at the number")));
    assert_eq!(event["actor"], staff["user_id"]);
    let (status, refused) = by_hand(&product, &ada, &staff, &body).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.already_verified")));
    assert_eq!(product.get("/api/auth/me", &ada).await.0, 200, "the person's sessions go on");
}

#[tokio::test]
async fn what_was_set_before_staff_verify_for_the_first_time_is_void_and_the_owner_is_told() {
    for by_code in [false, true] {
        let product = Product::new().await;
        let (ada, staff) = (ada(&product).await, staff(&product).await);
        product
            .world
            .execute(
                "UPDATE users SET email_verified_at = NULL, ever_verified_at = NULL WHERE username = 'ada';
                 INSERT INTO passwords SELECT user_id, 'x', now() FROM users WHERE username = 'ada'",
            )
            .await;
        let status = if by_code {
            assert_eq!(send(&product, &ada, &staff).await.0, 202);
            product.drain().await;
            let code = product.code_for(PHONE).await.expect("a code");
            confirm(&product, &ada, &staff, &code).await.0
        } else {
            by_hand(&product, &ada, &staff, &json!({ "channel": "sms", "reason": "Called back" })).await.0
        };
        assert_eq!(status, 200);
        assert_eq!(product.world.count("SELECT count(*) FROM passwords").await, 0);
        assert_eq!(product.get("/api/auth/me", &ada).await.1["code"], "auth.session_ended");
        let lines = "SELECT count(*) FROM audit WHERE action = 'verification.proved'
                     AND details->'voided'->>'passwords' = '1' AND details->'voided'->>'sessions' = '1'";
        assert_eq!(product.world.count(lines).await, 1);
        product.drain().await;
        let letters = product.letters().await;
        assert!(
            letters.iter().any(|letter| letter["kind"] == "password_changed" && letter["to"] == PHONE),
            "{letters:?}"
        );
    }
}

#[tokio::test]
async fn a_look_by_staff_leaves_a_line() {
    let product = Product::new().await;
    let (ada, staff) = (ada(&product).await, staff(&product).await);
    show(&product, &ada, &ada).await;
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.read'";
    assert_eq!(product.world.count(lines).await, 0);
    show(&product, &ada, &staff).await;
    assert_eq!(product.world.count(lines).await, 1);
}
