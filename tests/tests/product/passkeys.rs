//! Passkeys, with a software authenticator that can be told to misbehave.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;
use crate::support::authenticator::{Authenticator, encode};
use crate::totp::{beside_a_change, lines, pointers, post, refusal, refused, wait_for_factor};

/// What an attacker, or a broken authenticator, does otherwise.
type Misuse = fn(&mut Authenticator);

const MAIL: &str = "ada@example.org";

async fn register_start(product: &Product, tokens: &Value) -> Value {
    let (status, started) = post(product, "/api/auth/passkeys/register/start", Value::Null, tokens).await;
    assert_eq!(status, 200, "{started}");
    started
}

async fn register_finish(
    product: &Product,
    tokens: &Value,
    started: &Value,
    credential: Value,
) -> (u16, Value) {
    let body = json!({ "challenge_id": started["challenge_id"], "name": "Phone", "credential": credential });
    post(product, "/api/auth/passkeys/register/finish", body, tokens).await
}

/// Makes a passkey for somebody who has just signed in: its authenticator, and the answer.
pub async fn enrol(product: &Product, tokens: &Value) -> (Authenticator, Value) {
    let mut authenticator = Authenticator::at(&product.base);
    let started = register_start(product, tokens).await;
    let credential = authenticator.create(&started["options"]);
    let (status, made) = register_finish(product, tokens, &started, credential).await;
    assert_eq!(status, 201, "{made}");
    (authenticator, made)
}

async fn login_start(product: &Product, body: Value) -> Value {
    let (status, asked) = product.post("/api/auth/passkeys/login/start", body).await;
    assert_eq!(status, 200, "{asked}");
    asked
}

async fn login_finish(product: &Product, asked: &Value, credential: &Value) -> (u16, Value) {
    let body = json!({ "challenge_id": asked["challenge_id"], "credential": credential });
    product.post("/api/auth/passkeys/login/finish", body).await
}

async fn login(product: &Product, authenticator: &mut Authenticator) -> (u16, Value) {
    let asked = login_start(product, json!({})).await;
    let credential = authenticator.get(&asked["options"]);
    login_finish(product, &asked, &credential).await
}

#[tokio::test]
async fn a_passkey_is_made_and_signs_in_without_a_name() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let started = register_start(&product, &tokens).await;
    let options = &started["options"];
    assert_eq!(options["rp"], json!({ "id": "127.0.0.1", "name": "Keryu" }));
    assert_eq!((&options["user"]["name"], &options["attestation"]), (&json!("ada"), &json!("none")));
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    let (mut authenticator, made) = enrol(&product, &tokens).await;
    assert_eq!(made["recovery_codes"].as_array().map(Vec::len), Some(10), "the first factor");
    assert_eq!((&made["passkey"]["name"], &made["passkey"]["backed_up"]), (&json!("Phone"), &json!(true)));
    let (status, signed_in) = login(&product, &mut authenticator).await;
    assert_eq!(status, 200, "{signed_in}");
    assert_eq!(signed_in["user_id"], tokens["user_id"]);
    let (_, sessions) = product.get("/api/auth/sessions", &signed_in).await;
    let methods = json!(["hwk", "user", "mfa"]);
    assert!(sessions["items"].as_array().expect("items").iter().any(|item| item["methods"] == methods));
    let (_, listed) = product.get("/api/auth/passkeys", &signed_in).await;
    assert!(listed["items"][0]["last_used_at"].is_string(), "{listed}");
    product.drain().await;
    assert!(product.letters().await.iter().any(|letter| letter["kind"] == "mfa_changed"));
}

#[tokio::test]
async fn a_passkey_is_the_second_factor_of_a_sign_in_by_code() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    assert_eq!(waiting["methods"], json!(["passkey", "recovery_code"]));
    let asked = login_start(&product, json!({ "mfa_token": waiting["mfa_token"] })).await;
    assert_eq!(asked["options"]["allowCredentials"][0]["id"], json!(encode(&authenticator.id)));
    assert_eq!(asked["options"]["allowCredentials"][0]["transports"], json!(["hybrid", "internal"]));
    authenticator.user_handle = None;
    let credential = authenticator.get(&asked["options"]);
    let body = json!({
        "challenge_id": asked["challenge_id"], "credential": credential, "mfa_token": waiting["mfa_token"],
    });
    let (status, signed_in) = product.post("/api/auth/passkeys/login/finish", body).await;
    assert_eq!(status, 200, "{signed_in}");
    let (_, sessions) = product.get("/api/auth/sessions", &signed_in).await;
    let methods = json!(["otp", "hwk", "user", "mfa"]);
    assert!(sessions["items"].as_array().expect("items").iter().any(|item| item["methods"] == methods));
    let gone = json!({ "mfa_token": waiting["mfa_token"] });
    let over = product.post("/api/auth/passkeys/login/start", gone).await;
    assert_eq!(refusal(over), refused(401, "mfa.expired"));
}

#[tokio::test]
async fn an_answer_is_accepted_once() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let started = register_start(&product, &tokens).await;
    let mut authenticator = Authenticator::at(&product.base);
    let credential = authenticator.create(&started["options"]);
    let both = (0..4).map(|_| register_finish(&product, &tokens, &started, credential.clone()));
    let mut answers: Vec<_> = join_all(both).await.into_iter().map(refusal).collect();
    answers.sort_unstable();
    assert_eq!(answers[0].0, 201);
    assert!(answers[1..].iter().all(|answer| *answer == refused(422, "passkey.challenge")), "{answers:?}");
    let asked = login_start(&product, json!({})).await;
    let credential = authenticator.get(&asked["options"]);
    let all = join_all((0..8).map(|_| login_finish(&product, &asked, &credential))).await;
    let mut answers: Vec<_> = all.into_iter().map(refusal).collect();
    answers.sort_unstable();
    assert_eq!(answers[0].0, 200);
    assert!(answers[1..].iter().all(|answer| *answer == refused(422, "passkey.challenge")), "{answers:?}");
    let other = login_start(&product, json!({})).await;
    let replayed = login_finish(&product, &other, &credential).await;
    assert_eq!(refusal(replayed), refused(422, "passkey.invalid"), "to another challenge");
}

#[tokio::test]
async fn a_challenge_ends_after_five_minutes() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    let (started, asked) = (register_start(&product, &tokens).await, login_start(&product, json!({})).await);
    product.advance(Duration::from_secs(300));
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    let (_, tokens) = product.post("/api/auth/refresh", refresh).await;
    let credential = Authenticator::at(&product.base).create(&started["options"]);
    let late = register_finish(&product, &tokens, &started, credential).await;
    assert_eq!(refusal(late), refused(422, "passkey.challenge"));
    let credential = authenticator.get(&asked["options"]);
    assert_eq!(refusal(login_finish(&product, &asked, &credential).await), refused(422, "passkey.challenge"));
}

#[tokio::test]
async fn answers_of_other_sites_other_parties_and_nobody_are_refused() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    let here = product.base.clone();
    let misuses: [(&str, Misuse); 6] = [
        ("origin", |it| it.origin = "https://127.0.0.1.evil.example".to_owned()),
        ("relying_party", |it| it.rp_id = Some("evil.example".to_owned())),
        ("user_presence", |it| it.flags &= !1),
        ("user_verification", |it| it.flags &= !4),
        ("backup", |it| it.flags &= !8),
        ("user_handle", |it| it.user_handle = Some(encode(b"another person"))),
    ];
    for (wrong, misuse) in misuses {
        misuse(&mut authenticator);
        let answer = login(&product, &mut authenticator).await;
        assert_eq!(refusal(answer), refused(422, "passkey.invalid"), "{wrong}");
        let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE details->>'wrong' = $1")
            .bind(wrong)
            .fetch_one(&product.world.db)
            .await
            .expect("lines");
        assert_eq!(noted, 1, "{wrong}");
        let started = register_start(&product, &tokens).await;
        let mut new = Authenticator::at(&here);
        misuse(&mut new);
        let answer = new.create(&started["options"]);
        let made = register_finish(&product, &tokens, &started, answer).await;
        if wrong != "user_handle" {
            assert_eq!(refusal(made), refused(422, "passkey.invalid"), "{wrong} at registration");
        }
        authenticator.origin.clone_from(&here);
        authenticator.rp_id = None;
        authenticator.flags = 0b0001_1101;
        authenticator.user_handle = None;
    }
    let anonymous = login(&product, &mut authenticator).await;
    assert_eq!(refusal(anonymous), refused(422, "passkey.invalid"), "no user handle where nobody was named");
    let unknown = login(&product, &mut Authenticator::at(&here)).await;
    assert_eq!(refusal(unknown), refused(422, "passkey.invalid"), "a credential nobody registered");
}

#[tokio::test]
async fn whatever_is_changed_of_what_was_signed_is_refused() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    let (mut other, _) = enrol(&product, &tokens).await;
    for member in ["clientDataJSON", "authenticatorData", "signature"] {
        let asked = login_start(&product, json!({})).await;
        let mut credential = authenticator.get(&asked["options"]);
        let foreign = other.get(&asked["options"]);
        credential["response"][member] = match member {
            "clientDataJSON" => {
                let data = json!({ "type": "webauthn.get", "challenge": asked["options"]["challenge"],
                                   "origin": product.base, "crossOrigin": false, "more": 1 });
                json!(encode(data.to_string().as_bytes()))
            }
            "authenticatorData" => {
                authenticator.count = Some(1_000);
                authenticator.get(&asked["options"])["response"][member].clone()
            }
            _ => foreign["response"][member].clone(),
        };
        let answer = login_finish(&product, &asked, &credential).await;
        assert_eq!(refusal(answer), refused(422, "passkey.invalid"), "{member}");
        for garbage in ["", "AAAA", "gGFnYXJiYWdl"] {
            let asked = login_start(&product, json!({})).await;
            let mut credential = authenticator.get(&asked["options"]);
            credential["response"][member] = json!(garbage);
            let answer = login_finish(&product, &asked, &credential).await;
            assert_eq!(refusal(answer), refused(422, "passkey.invalid"), "{member} {garbage}");
        }
    }
    assert_eq!(login(&product, &mut authenticator).await.0, 200);
}

#[tokio::test]
async fn a_counter_that_does_not_rise_may_be_a_copy() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    assert_eq!(login(&product, &mut authenticator).await.0, 200);
    authenticator.count = Some(0);
    assert_eq!(
        refusal(login(&product, &mut authenticator).await),
        refused(422, "passkey.invalid"),
        "as before"
    );
    let noted = "SELECT count(*) FROM audit WHERE details->>'wrong' = 'counter'";
    assert_eq!(product.world.count(noted).await, 1, "noted for good");
    authenticator.count = None;
    assert_eq!(
        refusal(login(&product, &mut authenticator).await),
        refused(422, "passkey.invalid"),
        "none any more"
    );
    authenticator.count = Some(7);
    assert_eq!(login(&product, &mut authenticator).await.0, 200);
    let started = register_start(&product, &tokens).await;
    let mut uncounted = Authenticator::at(&product.base);
    uncounted.count = None;
    let credential = uncounted.create(&started["options"]);
    assert_eq!(register_finish(&product, &tokens, &started, credential).await.0, 201);
    for _ in 0..2 {
        assert_eq!(login(&product, &mut uncounted).await.0, 200, "most passkeys do not count");
    }
}

#[tokio::test]
async fn a_challenge_is_answered_by_whom_it_was_given_to() {
    let product = Product::new().await;
    let ada = product.register(MAIL, "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let (mut of_ada, _) = enrol(&product, &ada).await;
    let (mut of_bob, _) = enrol(&product, &bob).await;
    let started = register_start(&product, &ada).await;
    let credential = Authenticator::at(&product.base).create(&started["options"]);
    let stolen = register_finish(&product, &bob, &started, credential.clone()).await;
    assert_eq!(refusal(stolen), refused(422, "passkey.challenge"), "another person's");
    assert_eq!(register_finish(&product, &ada, &started, credential).await.0, 201, "it still waits for her");

    let waiting = wait_for_factor(&product, MAIL).await;
    let asked = login_start(&product, json!({ "mfa_token": waiting["mfa_token"] })).await;
    let credential = of_bob.get(&asked["options"]);
    assert_eq!(refusal(login_finish(&product, &asked, &credential).await), refused(422, "passkey.invalid"));
    let asked = login_start(&product, json!({})).await;
    let credential = of_bob.get(&asked["options"]);
    let body = json!({
        "challenge_id": asked["challenge_id"], "credential": credential, "mfa_token": waiting["mfa_token"],
    });
    let mixed = product.post("/api/auth/passkeys/login/finish", body).await;
    assert_eq!(refusal(mixed), refused(401, "mfa.expired"), "bob's passkey, ada's sign-in");

    let started = register_start(&product, &ada).await;
    let credential =
        of_ada.get(&json!({ "challenge": started["options"]["challenge"], "rpId": "127.0.0.1" }));
    assert_eq!(
        refusal(login_finish(&product, &started, &credential).await),
        refused(422, "passkey.challenge")
    );
    let step_up = post(&product, "/api/auth/passkeys/login/start", json!({}), &ada).await.1;
    let credential = of_ada.get(&step_up["options"]);
    let answer = login_finish(&product, &step_up, &credential).await;
    assert_eq!(refusal(answer), refused(422, "passkey.challenge"), "a proof anew signs nobody in");
}

#[tokio::test]
async fn passkeys_are_named_and_removed_by_their_owner() {
    let product = Product::new().await;
    let ada = product.register(MAIL, "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let (mut authenticator, made) = enrol(&product, &ada).await;
    let path = format!("/api/auth/passkeys/{}", made["passkey"]["id"].as_str().expect("id"));
    let rename = |name: &str, tokens| {
        let (product, path, body) = (&product, &path, json!({ "name": name }));
        async move { product.call(Method::PATCH, path, &body, tokens).await }
    };
    assert_eq!(refusal(rename("Mine", &bob).await), refused(404, "passkey.not_found"));
    assert_eq!(rename("Schlüssel 🔑", &ada).await.1["name"], "Schlüssel 🔑");
    for bad in ["", "a\nb", &"x".repeat(65)] {
        assert_eq!(refusal(rename(bad, &ada).await), refused(422, "request.invalid"), "{bad:?}");
    }
    assert_eq!(refusal(product.delete(&path, &bob).await), refused(404, "passkey.not_found"));
    assert_eq!(product.delete(&path, &ada).await.0, 204);
    assert_eq!(refusal(product.delete(&path, &ada).await), refused(404, "passkey.not_found"));
    assert_eq!(refusal(login(&product, &mut authenticator).await), refused(422, "passkey.invalid"));
    assert_eq!(product.get("/api/auth/mfa", &ada).await.1["recovery_codes_left"], 0);
    assert_eq!(lines(&product, "mfa.passkey_removed").await, 1);
}

#[tokio::test]
async fn the_last_way_in_stays() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, made) = enrol(&product, &tokens).await;
    let path = format!("/api/auth/passkeys/{}", made["passkey"]["id"].as_str().expect("id"));
    product.world.execute("UPDATE users SET email_verified_at = NULL").await;
    assert_eq!(refusal(product.delete(&path, &tokens).await), refused(409, "passkey.last_way_in"));
    let (_, second) = enrol(&product, &tokens).await;
    assert!(second["recovery_codes"].is_null(), "there are some");
    assert_eq!(product.delete(&path, &tokens).await.0, 204, "there is another");
}

#[tokio::test]
async fn a_credential_belongs_to_one_person_and_nobody_has_more_than_twenty() {
    let product = Product::new().await;
    let ada = product.register(MAIL, "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let (mut authenticator, _) = enrol(&product, &ada).await;
    for tokens in [&ada, &bob] {
        let started = register_start(&product, tokens).await;
        let credential = authenticator.create(&started["options"]);
        let again = register_finish(&product, tokens, &started, credential).await;
        assert_eq!(refusal(again), refused(409, "passkey.exists"));
    }
    let mut started = Vec::new();
    for _ in 0..24 {
        started.push(register_start(&product, &ada).await);
    }
    let makes = started.iter().map(|started| {
        let credential = Authenticator::at(&product.base).create(&started["options"]);
        register_finish(&product, &ada, started, credential)
    });
    let answers: Vec<_> = join_all(makes).await.into_iter().map(refusal).collect();
    assert_eq!(answers.iter().filter(|answer| answer.0 == 201).count(), 19, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.0 == 201 || *answer == refused(409, "passkey.too_many")));
    let full = post(&product, "/api/auth/passkeys/register/start", Value::Null, &ada).await;
    assert_eq!(refusal(full), refused(409, "passkey.too_many"));
}

#[tokio::test]
async fn bodies_that_are_no_answers_are_told_fault_by_fault() {
    let product = Product::new().await;
    let body = json!({ "challenge_id": "x", "credential": { "id": "a=", "response": { "signature": 7 } }, "more": 1 });
    let (status, told) = product.post("/api/auth/passkeys/login/finish", body).await;
    let wanted = [
        "/challenge_id",
        "/credential/id",
        "/credential/response/authenticatorData",
        "/credential/response/clientDataJSON",
        "/credential/response/signature",
        "/more",
    ];
    assert_eq!((status, pointers(&told)), (422, wanted.to_vec()));
    let unknown = json!({ "mfa_token": "x" });
    let answer = product.post("/api/auth/passkeys/login/start", unknown).await;
    assert_eq!(refusal(answer), refused(401, "mfa.expired"));
}

#[tokio::test]
async fn an_answer_waits_for_its_person_before_it_takes_the_passkey() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    let wanted = "SELECT FROM passkeys FOR UPDATE NOWAIT";
    let (status, answer) = beside_a_change(&product, wanted, login(&product, &mut authenticator)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn answers_that_let_nobody_in_are_noted_and_used_up() {
    const NOTED: &str =
        "SELECT count(*) FROM audit WHERE action = 'mfa.passkey_used' AND details->>'refused' = ";
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (mut authenticator, _) = enrol(&product, &tokens).await;
    let used = "SELECT count(*) FROM passkeys WHERE last_used_at IS NOT NULL";
    let noted = async |code: &str| {
        let sql = format!("{NOTED}'{code}'");
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
            .fetch_one(&product.world.db)
            .await
            .expect("lines")
    };
    let asked = login_start(&product, json!({})).await;
    let credential = authenticator.get(&asked["options"]);
    product.world.execute("UPDATE users SET status = 'suspended'").await;
    let answer = login_finish(&product, &asked, &credential).await;
    assert_eq!(refusal(answer), refused(403, "account.suspended"));
    assert_eq!((product.world.count(used).await, noted("account.suspended").await), (1, 1));
    product.world.execute("UPDATE users SET status = 'active'").await;
    let answer = login_finish(&product, &asked, &credential).await;
    assert_eq!(refusal(answer), refused(422, "passkey.challenge"));
    assert_eq!(noted("passkey.challenge").await, 1);
    let asked = login_start(&product, json!({})).await;
    let body = json!({
        "challenge_id": asked["challenge_id"], "credential": authenticator.get(&asked["options"]),
        "mfa_token": "made-up",
    });
    let answer = product.post("/api/auth/passkeys/login/finish", body).await;
    assert_eq!(refusal(answer), refused(401, "mfa.expired"));
    assert_eq!(noted("mfa.expired").await, 1);
}
