//! Codes of people who are signed in, bound to person and session; codes for identifiers nobody has proved;
//! and the budgets of devices that are known.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::passwords::{GOOD, sign_in, someone};
use crate::sessions::bearer;
use crate::support::Product;
use crate::support::product::{read, wrong};

const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";
const BOB: &str = "bob@example.org";
const SIGNED_IN: [&str; 5] =
    ["verify_phone", "verify_email", "change_identifier", "delete_account", "step_up"];

/// Ada, registered by mail, with a phone number that she has not proved.
async fn ada(product: &Product) -> Value {
    let tokens = product.register(MAIL, "ada").await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678' WHERE username = 'ada'").await;
    product.advance(Duration::from_secs(61));
    tokens
}

async fn ask(product: &Product, tokens: &Value, identifier: &str, purpose: &str) -> (u16, Value) {
    let body = json!({ "identifier": identifier, "purpose": purpose });
    product.call(Method::POST, "/api/auth/otp/request", &body, tokens).await
}

async fn hand_in(
    product: &Product,
    tokens: &Value,
    identifier: &str,
    purpose: &str,
    code: &str,
    challenge: &Value,
) -> (u16, Value) {
    let body =
        json!({ "identifier": identifier, "purpose": purpose, "otp": code, "challenge_id": challenge });
    product.call(Method::POST, "/api/auth/otp/verify", &body, tokens).await
}

/// Asks and reads the code.
async fn code(product: &Product, tokens: &Value, identifier: &str, purpose: &str) -> (Value, String) {
    let (status, issued) = ask(product, tokens, identifier, purpose).await;
    assert_eq!(status, 202, "{purpose}: {issued}");
    product.drain().await;
    (issued, product.code_for(identifier).await.expect("a code"))
}

#[tokio::test]
async fn the_purposes_of_people_signed_in_want_a_token() {
    let product = Product::new().await;
    for purpose in SIGNED_IN {
        let (status, refused) = product.ask(MAIL, purpose).await;
        assert_eq!((status, &refused["code"]), (401, &json!("auth.required")), "{purpose}");
        let (status, refused) = product.verify(MAIL, purpose, "123456", None).await;
        assert_eq!((status, &refused["code"]), (401, &json!("auth.required")), "{purpose}");
    }
    let (status, refused) = product.ask(MAIL, "verify_email_link").await;
    assert_eq!(
        (status, &refused["code"]),
        (422, &json!("request.invalid")),
        "a link is no purpose on the wire"
    );
    let wrong = [("authorization", "Bearer x")];
    let (status, refused) = product.ask_with(MAIL, "login", &wrong).await;
    assert_eq!(
        (status, &refused["code"]),
        (401, &json!("auth.invalid_token")),
        "a token that is sent must be right"
    );
}

#[tokio::test]
async fn each_purpose_goes_with_an_identifier_of_the_right_kind() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    for (purpose, identifier) in [
        ("verify_email", MAIL),
        ("verify_email", BOB),
        ("verify_email", PHONE),
        ("verify_phone", MAIL),
        ("verify_phone", "+254712345679"),
        ("change_identifier", MAIL),
        ("change_identifier", PHONE),
        ("delete_account", PHONE),
        ("delete_account", BOB),
        ("step_up", PHONE),
        ("step_up", BOB),
    ] {
        let (status, refused) = ask(&product, &tokens, identifier, purpose).await;
        assert_eq!((status, &refused["code"]), (422, &json!("otp.not_yours")), "{purpose} {identifier}");
    }
    for (purpose, identifier) in [
        ("verify_phone", PHONE),
        ("change_identifier", "new@example.org"),
        ("delete_account", MAIL),
        ("step_up", MAIL),
    ] {
        let (issued, code) = code(&product, &tokens, identifier, purpose).await;
        assert_eq!(product.receipt(&issued).await["state"], "accepted");
        let (status, verified) =
            hand_in(&product, &tokens, identifier, purpose, &code, &issued["challenge_id"]).await;
        assert_eq!(status, 200, "{purpose}: {verified}");
        product.advance(Duration::from_secs(61));
    }
    let bound = "SELECT count(*) FROM verification_tokens t JOIN sessions s USING (session_id)
                 WHERE t.user_id = s.user_id";
    assert_eq!(product.world.count(bound).await, 4);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_phone_number_is_proved_as_soon_as_its_code_is_handed_in() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    let (issued, code) = code(&product, &tokens, PHONE, "verify_phone").await;
    assert_eq!(
        hand_in(&product, &tokens, PHONE, "verify_phone", &code, &issued["challenge_id"]).await.0,
        200
    );
    assert_eq!(product.get("/api/auth/me", &tokens).await.1["verification_status"], "both_verified");
}

#[tokio::test]
async fn a_code_works_in_the_session_that_asked_and_in_no_other() {
    let product = Product::new().await;
    let first = ada(&product).await;
    let second = product.login(MAIL).await;
    product.advance(Duration::from_secs(61));
    let (issued, code) = code(&product, &first, MAIL, "step_up").await;
    let (status, refused) = hand_in(&product, &second, MAIL, "step_up", &code, &issued["challenge_id"]).await;
    assert_eq!((status, &refused["code"]), (422, &json!("otp.invalid")));
    let bob = product.register(BOB, "bob").await;
    let (status, _) = hand_in(&product, &bob, MAIL, "step_up", &code, &issued["challenge_id"]).await;
    assert_eq!(status, 422);
    let (status, _) = hand_in(&product, &first, MAIL, "step_up", &code, &Value::Null).await;
    assert_eq!(status, 200, "in its session also without the challenge's id");
}

#[tokio::test]
async fn who_wants_an_identifier_that_another_has_proved_is_told_nothing_and_the_owner_is() {
    let product = Product::new().await;
    let tokens = ada(&product).await;
    product.world.user(BOB).await;
    let (taken_status, mut taken) = ask(&product, &tokens, BOB, "change_identifier").await;
    let (free_status, mut free) = ask(&product, &tokens, "new@example.org", "change_identifier").await;
    assert_eq!(taken_status, free_status);
    for body in [&mut taken, &mut free] {
        body["challenge_id"] = Value::Null;
        body["delivery_url"] = Value::Null;
    }
    assert_eq!(taken, free);
    product.drain().await;
    let letters = product.letters().await;
    let kind = |to: &str| letters.iter().find(|letter| letter["to"] == to).expect(to)["kind"].clone();
    assert_eq!((kind(BOB), kind("new@example.org")), ("account_exists".into(), "otp_code".into()));
}

#[tokio::test]
async fn a_sign_in_code_goes_to_an_identifier_that_is_held_but_not_proved() {
    let product = Product::new().await;
    product.world.user(MAIL).await;
    product.world.execute("UPDATE users SET email_verified_at = NULL, ever_verified_at = NULL").await;
    let (status, issued) = product.ask(MAIL, "login").await;
    let (unknown, _) = product.ask(BOB, "login").await;
    assert_eq!((status, unknown), (202, 202));
    product.drain().await;
    let code = product.code_for(MAIL).await.expect("a code");
    assert_eq!(product.code_for(BOB).await, None);
    assert_eq!(product.verify(MAIL, "login", &code, issued["challenge_id"].as_str()).await.0, 200);
    let unbound = "SELECT count(*) FROM challenges WHERE user_id IS NULL";
    assert_eq!(product.world.count(unbound).await, 2, "bound to no account, known or not");
    product.advance(Duration::from_secs(61));
    assert_eq!(product.ask(MAIL, "reset_password").await.0, 202);
    product.drain().await;
    let sent = "SELECT count(*) FROM deliveries WHERE purpose = 'reset_password' AND sends";
    assert_eq!(product.world.count(sent).await, 0, "what is not proved resets no password");
}

async fn ask_from(product: &Product, device: Option<&Value>) -> u16 {
    let body = json!({ "identifier": MAIL, "purpose": "login", "device_token": device });
    product.post("/api/auth/otp/request", body).await.0
}

#[tokio::test]
async fn strangers_cannot_use_up_the_codes_of_a_known_device() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let device = &tokens["device_token"];
    product.advance(Duration::from_secs(86_400));
    for _ in 0..5 {
        assert_eq!(ask_from(&product, None).await, 202);
        product.advance(Duration::from_secs(61));
    }
    assert_eq!(ask_from(&product, None).await, 429);
    assert_eq!(ask_from(&product, Some(&json!("no device of anybody"))).await, 429, "ignored");
    let bob = product.register(BOB, "bob").await;
    assert_eq!(ask_from(&product, Some(&bob["device_token"])).await, 429, "another's device is none");
    for n in 0..5 {
        assert_eq!(ask_from(&product, Some(device)).await, 202, "code {n} of the device's own");
        assert_eq!(ask_from(&product, Some(device)).await, 429, "with its own cooldown");
        product.advance(Duration::from_secs(61));
    }
    assert_eq!(ask_from(&product, Some(device)).await, 429, "and its own budget");
}

#[tokio::test]
async fn all_known_devices_of_one_person_share_a_budget() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    let first = someone(&product, MAIL, "ada").await;
    let second = sign_in(&product, "ada", GOOD).await;
    assert_ne!(first["device_token"], second["device_token"]);
    let devices = [Some(&first["device_token"]), Some(&second["device_token"])];
    for n in 0..5 {
        assert_eq!(ask_from(&product, devices[n % 2]).await, 202, "code {n}");
        assert_eq!(ask_from(&product, devices[(n + 1) % 2]).await, 429, "one cooldown");
        product.advance(Duration::from_secs(61));
    }
    for device in devices {
        assert_eq!(ask_from(&product, device).await, 429, "one budget");
    }
    assert_eq!(ask_from(&product, None).await, 202, "besides that of everybody");
}

#[tokio::test]
async fn twenty_devices_of_a_person_are_known_those_used_last() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    let first = someone(&product, MAIL, "ada").await;
    let kept = sign_in(&product, "ada", GOOD).await;
    let again = || async {
        product.advance(Duration::from_secs(1));
        let body = json!({ "identifier": "ada", "password": GOOD, "device_token": kept["device_token"] });
        product.post("/api/auth/login", body).await.1
    };
    for _ in 0..12 {
        again().await;
        sign_in(&product, "ada", GOOD).await;
        join_all((0..2).map(|_| sign_in(&product, "ada", GOOD))).await;
    }
    assert_eq!(again().await["device_token"], kept["device_token"]);
    sign_in(&product, "ada", GOOD).await;
    assert_eq!(product.world.count("SELECT count(*) FROM device_tokens").await, 20);
    let body = json!({ "identifier": "ada", "password": GOOD, "device_token": first["device_token"] });
    let (_, tokens) = product.post("/api/auth/login", body).await;
    assert_ne!(tokens["device_token"], first["device_token"], "the one not used for longest is forgotten");
}

async fn try_from(product: &Product, device: Option<&Value>, code: &str, challenge: &Value) -> (u16, Value) {
    let body = json!({ "identifier": MAIL, "purpose": "login", "otp": code, "challenge_id": challenge,
                       "device_token": device });
    product.post("/api/auth/otp/verify", body).await
}

#[tokio::test]
async fn strangers_cannot_lock_a_known_device_out() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let device = Some(&tokens["device_token"]);
    product.advance(Duration::from_secs(61));
    let (_, issued) = product.ask(MAIL, "login").await;
    product.drain().await;
    let code = product.code_for(MAIL).await.expect("a code");
    for _ in 0..10 {
        let (status, _) = try_from(&product, None, wrong(&code), &Value::Null).await;
        assert_eq!(status, 422);
    }
    let (status, refused) = try_from(&product, None, &code, &issued["challenge_id"]).await;
    assert_eq!((status, &refused["code"]), (429, &json!("otp.locked")));
    let (status, verified) = try_from(&product, device, &code, &issued["challenge_id"]).await;
    assert_eq!(status, 200, "{verified}");
}

#[tokio::test]
async fn a_code_works_once_also_when_a_known_device_and_another_hand_it_in_together() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    product.advance(Duration::from_secs(61));
    let (_, issued) = product.ask(MAIL, "login").await;
    product.drain().await;
    let code = product.code_for(MAIL).await.expect("a code");
    let submits = (0..32).map(|n| {
        let device = (n % 2 == 0).then_some(&tokens["device_token"]);
        try_from(&product, device, &code, &issued["challenge_id"])
    });
    let right = join_all(submits).await.into_iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(right, 1);
}

#[tokio::test]
async fn codes_of_many_people_are_proved_side_by_side() {
    let product = Product::new().await;
    let people: Vec<String> = (0..40).map(|n| format!("person{n}@example.org")).collect();
    let issued = join_all(people.iter().map(|person| product.ask(person, "register"))).await;
    product.drain().await;
    let letters = product.letters().await;
    let code = |to: &str| {
        let letter = letters.iter().find(|letter| letter["to"] == to).expect(to);
        crate::support::product::digits(letter["text"].as_str().expect("text")).expect("a code")
    };
    // every other one is wrong
    let tries = people.iter().zip(&issued).enumerate().map(|(n, (person, (_, issued)))| {
        let right = code(person);
        let typed = if n % 2 == 0 { right } else { wrong(&right).to_owned() };
        let product = &product;
        async move { product.verify(person, "register", &typed, issued["challenge_id"].as_str()).await }
    });
    let answers = join_all(tries).await;
    for (n, (status, body)) in answers.iter().enumerate() {
        assert_eq!(*status, if n % 2 == 0 { 200 } else { 422 }, "{n}: {body}");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM verification_tokens").await, 20);
    assert_eq!(product.world.count("SELECT count(*) FROM challenges WHERE used_at IS NOT NULL").await, 20);
    assert_eq!(product.world.count("SELECT sum(tries)::bigint FROM challenges").await, 20);
    assert_eq!(product.world.count("SELECT count(*) FROM audit WHERE action = 'otp.verified'").await, 40);
}

#[tokio::test]
async fn a_key_of_somebody_signed_in_is_theirs() {
    let product = Product::new().await;
    let ada = ada(&product).await;
    let bob = product.register(BOB, "bob").await;
    product.advance(Duration::from_secs(61));
    let body = json!({ "identifier": "new@example.org", "purpose": "change_identifier" });
    let call = |tokens: &Value| {
        let bearer = bearer(tokens);
        let (product, body) = (&product, &body);
        async move {
            let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
            read(product.send(Method::POST, "/api/auth/otp/request", body, &fields).await).await
        }
    };
    let (status, first) = call(&ada).await;
    assert_eq!(status, 202);
    assert_eq!(call(&ada).await.1, first, "the same answer again");
    assert_eq!(call(&bob).await.0, 429, "another's key is another key");
}
