//! Registration, sign-in by code, sessions and their tokens, as a client sees them.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::Product;
use super::support::product::read;

/// `Authorization` of an answer's access token.
pub fn bearer(tokens: &Value) -> String {
    format!("Bearer {}", tokens["access_token"].as_str().expect("access_token"))
}

async fn refresh(product: &Product, token: &Value) -> (u16, Value) {
    product.post("/api/auth/refresh", json!({ "refresh_token": token })).await
}

#[tokio::test]
async fn a_person_registers_signs_out_and_signs_in_again_by_code() {
    let product = Product::new().await;
    let tokens = product.register("0712 345 678", "ada").await;
    let (status, me) = product.get("/api/auth/me", &tokens).await;
    assert_eq!(status, 200, "{me}");
    assert_eq!(me["id"], tokens["user_id"]);
    assert_eq!(
        (&me["username"], &me["status"], &me["role"]),
        (&json!("ada"), &json!("active"), &json!("member"))
    );
    assert_eq!(me["verification_status"], "phone_verified");
    let (status, said) = read(
        product
            .send(Method::POST, "/api/auth/logout", &Value::Null, &[("authorization", &bearer(&tokens))])
            .await,
    )
    .await;
    assert_eq!(status, 200, "{said}");
    let (status, refused) = product.get("/api/auth/me", &tokens).await;
    assert_eq!((status, &refused["code"]), (401, &json!("auth.session_ended")));
    assert_eq!(refresh(&product, &tokens["refresh_token"]).await.1["code"], "auth.session_ended");
    product.advance(Duration::from_secs(61));
    let again = product.login("+254712345678").await;
    assert_eq!(again["user_id"], tokens["user_id"]);
    assert_eq!(product.get("/api/auth/me", &again).await.0, 200);
}

#[tokio::test]
async fn a_verification_token_works_once_for_its_purpose_and_identifier() {
    let product = Product::new().await;
    let token = product.prove("ada@example.org", "register").await;
    let register = |identifier: &str, name: &str, token: &str| {
        let body = json!({ "identifier": identifier, "username": name, "verification_token": token });
        product.post("/api/auth/register", body)
    };
    let (status, refused) = register("bob@example.org", "bob", &token).await;
    assert_eq!((status, &refused["code"]), (422, &json!("verification.invalid")));
    let (status, made) = register("Ada@Example.org", "ada", &token).await;
    assert_eq!(status, 201, "{made}");
    let (status, refused) = register("ada@example.org", "ada2", &token).await;
    assert_eq!((status, &refused["code"]), (422, &json!("verification.expired")));
    product.advance(Duration::from_secs(61));
    let token = product.prove("ada@example.org", "login").await;
    let (_, refused) = register("ada@example.org", "ada2", &token).await;
    assert_eq!(refused["code"], "verification.invalid", "a login token registers nobody");
    product.advance(Duration::from_secs(601));
    let body = json!({ "identifier": "ada@example.org", "verification_token": token });
    assert_eq!(product.post("/api/auth/login", body).await.1["code"], "verification.expired");
}

#[tokio::test]
async fn names_that_look_alike_are_taken_and_the_proof_can_be_used_with_another() {
    let product = Product::new().await;
    product.register("ada@example.org", "Ada.Lovelace").await;
    let token = product.prove("bob@example.org", "register").await;
    for name in ["ada.lovelace", "ADA.LOVELACE", "ada.Iovelace"] {
        let body = json!({ "identifier": "bob@example.org", "username": name, "verification_token": token });
        let (status, refused) = product.post("/api/auth/register", body).await;
        assert_eq!((status, &refused["code"]), (409, &json!("user.username_taken")), "{name}");
    }
    let body = json!({ "identifier": "bob@example.org", "username": "bob", "verification_token": token });
    assert_eq!(product.post("/api/auth/register", body).await.0, 201);
}

#[tokio::test]
async fn two_registrations_of_one_identifier_in_parallel_make_one_account() {
    let product = Product::new().await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(product.prove("ada@example.org", "register").await);
        product.advance(Duration::from_secs(61));
    }
    let all = tokens.iter().enumerate().map(|(n, token)| {
        let body = json!({ "identifier": "ada@example.org", "username": format!("ada{n}"), "verification_token": token });
        product.post("/api/auth/register", body)
    });
    let mut statuses: Vec<u16> = join_all(all).await.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 1);
}

#[tokio::test]
async fn sixty_four_refreshes_of_one_token_give_one_successor() {
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    let all = (0..64).map(|_| refresh(&product, &tokens["refresh_token"]));
    let answers = join_all(all).await;
    let first = &answers[0].1["refresh_token"];
    for (status, answer) in &answers {
        assert_eq!(*status, 200, "{answer}");
        assert_eq!(&answer["refresh_token"], first);
    }
    assert_ne!(first, &tokens["refresh_token"]);
    assert_eq!(product.world.count("SELECT generation::bigint FROM sessions").await, 1);
    assert_eq!(product.get("/api/auth/me", &answers[63].1).await.0, 200);
}

#[tokio::test]
async fn a_replay_ends_the_family_once_it_cannot_be_a_lost_answer() {
    let product = Product::new().await;
    let first = product.register("ada@example.org", "ada").await;
    let (_, second) = refresh(&product, &first["refresh_token"]).await;
    let (status, third) = refresh(&product, &second["refresh_token"]).await;
    assert_eq!(status, 200);
    // within thirty seconds: refused, and nothing else
    let (status, refused) = refresh(&product, &first["refresh_token"]).await;
    assert_eq!((status, &refused["code"]), (401, &json!("auth.refresh_reused")));
    assert_eq!(product.get("/api/auth/me", &third).await.0, 200);
    product.advance(Duration::from_secs(31));
    let (status, refused) = refresh(&product, &first["refresh_token"]).await;
    assert_eq!((status, &refused["code"]), (401, &json!("auth.refresh_reused")));
    assert_eq!(product.get("/api/auth/me", &third).await.1["code"], "auth.session_ended");
    assert_eq!(refresh(&product, &third["refresh_token"]).await.0, 401);
    let lines = "SELECT count(*) FROM audit WHERE action = 'session.token_reused'";
    assert_eq!(product.world.count(lines).await, 1);
}

#[tokio::test]
async fn a_lost_answer_signs_nobody_out_and_a_late_one_ends_the_family() {
    let product = Product::new().await;
    let first = product.register("ada@example.org", "ada").await;
    let (_, lost) = refresh(&product, &first["refresh_token"]).await;
    product.advance(Duration::from_secs(30));
    let (status, again) = refresh(&product, &first["refresh_token"]).await;
    assert_eq!((status, &again["refresh_token"]), (200, &lost["refresh_token"]));
    // whoever comes later may be the one who stole it, or the one it was stolen from
    product.advance(Duration::from_secs(1));
    assert_eq!(refresh(&product, &first["refresh_token"]).await.1["code"], "auth.refresh_reused");
    assert_eq!(refresh(&product, &lost["refresh_token"]).await.1["code"], "auth.session_ended");
    product.drain().await;
    assert!(product.letters().await.iter().any(|letter| letter["kind"] == "token_reuse"));
}

#[tokio::test]
async fn a_made_up_token_of_a_known_session_ends_nothing() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    let (_, tokens) = refresh(&product, &tokens["refresh_token"]).await;
    product.advance(Duration::from_secs(3600));
    let mut bytes = URL_SAFE_NO_PAD.decode(tokens["refresh_token"].as_str().unwrap()).unwrap();
    for generation in [0_u8, 1, 2, 255] {
        bytes[19] = generation;
        bytes[30] = bytes[30].wrapping_add(1);
        let (status, refused) = refresh(&product, &json!(URL_SAFE_NO_PAD.encode(&bytes))).await;
        assert_eq!((status, &refused["code"]), (401, &json!("auth.refresh_invalid")));
    }
    for text in ["", "x", "AAAA", &"A".repeat(92), "\u{0}", "é"] {
        let (status, _) = refresh(&product, &json!(text)).await;
        assert!(matches!(status, 400 | 401 | 422), "{text:?}: {status}");
    }
    assert_eq!(refresh(&product, &tokens["refresh_token"]).await.0, 200);
}

#[tokio::test]
async fn a_session_ends_when_idle_and_in_the_end() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let product = Product::new().await;
    let idle = product.register("ada@example.org", "ada").await;
    let mut used = product.register("bob@example.org", "bob").await;
    for days in 1..=89 {
        product.advance(DAY);
        let (status, next) = refresh(&product, &used["refresh_token"]).await;
        assert_eq!(status, 200, "after {days} days");
        used = next;
        if days == 30 {
            assert_eq!(refresh(&product, &idle["refresh_token"]).await.1["code"], "auth.session_ended");
        }
    }
    product.advance(DAY);
    assert_eq!(refresh(&product, &used["refresh_token"]).await.1["code"], "auth.session_ended");
}

#[tokio::test]
async fn people_see_and_end_their_sessions_and_nobody_elses() {
    let product = Product::new().await;
    let first = product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(61));
    let second = product.login("ada@example.org").await;
    let stranger = product.register("bob@example.org", "bob").await;
    let (_, list) = product.get("/api/auth/sessions", &second).await;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["current"], &items[1]["current"]), (&json!(true), &json!(false)));
    let other = format!("/api/auth/sessions/{}", items[1]["id"].as_str().unwrap());
    let (status, refused) = product.delete(&other, &stranger).await;
    assert_eq!((status, &refused["code"]), (404, &json!("session.not_found")));
    assert_eq!(product.delete(&other, &second).await.0, 204);
    assert_eq!(product.get("/api/auth/me", &first).await.0, 401);
    product.advance(Duration::from_secs(61));
    let third = product.login("ada@example.org").await;
    assert_eq!(product.delete("/api/auth/sessions", &third).await.0, 204);
    assert_eq!(product.get("/api/auth/me", &second).await.0, 401);
    assert_eq!(product.get("/api/auth/me", &third).await.0, 200);
}
