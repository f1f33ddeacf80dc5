//! Recovery codes, and what staff do for somebody who lost a factor.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;
use crate::totp::{enrol, hand_in, lines, pointers, post, refusal, refused, wait_for_factor};

const MAIL: &str = "ada@example.org";

#[tokio::test]
async fn a_recovery_code_stands_in_for_the_app_once_however_it_is_typed() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, codes) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    let typed = codes[3].to_lowercase().replace('-', " ");
    let (status, signed_in) = hand_in(&product, &waiting, "recovery_code", &typed).await;
    assert_eq!(status, 200, "{signed_in}");
    let (_, left) = product.get("/api/auth/mfa", &signed_in).await;
    assert_eq!(left["recovery_codes_left"], 9);
    let waiting = wait_for_factor(&product, MAIL).await;
    let again = hand_in(&product, &waiting, "recovery_code", &codes[3]).await;
    assert_eq!(refusal(again), refused(422, "mfa.invalid"));
    assert_eq!(hand_in(&product, &waiting, "recovery_code", &codes[4]).await.0, 200);
    assert_eq!(lines(&product, "mfa.recovery_code_used").await, 2);
    product.drain().await;
    let told = product.letters().await.into_iter().filter(|letter| letter["kind"] == "mfa_changed").count();
    assert_eq!(told, 3, "the app, and each code used");
}

#[tokio::test]
async fn of_one_code_in_parallel_sign_ins_one_is_let_in() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, codes) = enrol(&product, &tokens).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(wait_for_factor(&product, MAIL).await);
    }
    let tries = waiting.iter().map(|waiting| hand_in(&product, waiting, "recovery_code", &codes[0]));
    let mut answers: Vec<_> = join_all(tries).await.into_iter().map(|(status, _)| status).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 422, 422]);
    assert_eq!(product.world.count("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL").await, 1);
}

#[tokio::test]
async fn of_two_codes_for_one_sign_in_one_is_used_up() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, codes) = enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    let tries = codes[..2].iter().map(|code| hand_in(&product, &waiting, "recovery_code", code));
    let mut answers: Vec<_> = join_all(tries).await.into_iter().map(|(status, _)| status).collect();
    answers.sort_unstable();
    assert_eq!(answers, [200, 401]);
    assert_eq!(product.world.count("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL").await, 1);
}

#[tokio::test]
async fn a_new_set_ends_the_one_before() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let make = || post(&product, "/api/auth/mfa/recovery-codes", Value::Null, &tokens);
    assert_eq!(refusal(make().await), refused(409, "mfa.no_factor"));
    let (_, old) = enrol(&product, &tokens).await;
    let (status, made) = make().await;
    assert_eq!(status, 200, "{made}");
    let new: Vec<&str> =
        made["recovery_codes"].as_array().expect("codes").iter().filter_map(Value::as_str).collect();
    assert_eq!(new.len(), 10);
    let waiting = wait_for_factor(&product, MAIL).await;
    assert_eq!(
        refusal(hand_in(&product, &waiting, "recovery_code", &old[0]).await),
        refused(422, "mfa.invalid")
    );
    assert_eq!(hand_in(&product, &waiting, "recovery_code", new[0]).await.0, 200);
}

#[tokio::test]
async fn sets_are_made_for_right_codes_and_five_an_hour() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    let (_, started) = post(&product, "/api/auth/mfa/totp", Value::Null, &tokens).await;
    assert!(started["secret"].is_string(), "{started}");
    let sets = "SELECT coalesce(sum(tries), 0)::bigint FROM factor_tries WHERE kind = 'recovery_set'";
    for n in 0..11 {
        let answer = post(&product, "/api/auth/mfa/totp/confirm", json!({ "code": "000000" }), &tokens).await;
        let want = if n < 10 { refused(422, "mfa.invalid") } else { refused(429, "mfa.locked") };
        assert_eq!(refusal(answer), want);
    }
    assert_eq!(product.world.count(sets).await, 0, "nothing was hashed for a wrong code");
    product.advance(Duration::from_secs(3600));
    let tokens = product.login(MAIL).await;
    enrol(&product, &tokens).await;
    let make = || post(&product, "/api/auth/mfa/recovery-codes", Value::Null, &tokens);
    for n in 1..5 {
        assert_eq!(make().await.0, 200, "set {n} besides the first");
    }
    assert_eq!(refusal(make().await), refused(429, "mfa.too_many_sets"));
    assert_eq!(product.world.count("SELECT count(*) FROM recovery_codes WHERE used_at IS NULL").await, 10);
    product
        .world
        .execute("UPDATE factor_tries SET hour_started_at = hour_started_at - interval '1 hour'")
        .await;
    assert_eq!(make().await.0, 200, "an hour later");
}

#[tokio::test]
async fn what_cannot_be_a_code_is_wrong_and_counts() {
    let product = Product::new().await;
    let tokens = product.register(MAIL, "ada").await;
    enrol(&product, &tokens).await;
    let waiting = wait_for_factor(&product, MAIL).await;
    for text in
        ["x", "００００-00000-00000", "0U000-00000-00000", "00000-00000-00000-00000", "00000-00000-00000"]
    {
        let answer = hand_in(&product, &waiting, "recovery_code", text).await;
        assert_eq!(refusal(answer), refused(422, "mfa.invalid"), "{text}");
    }
    let over = hand_in(&product, &waiting, "recovery_code", "00000-00000-00000").await;
    assert_eq!(refusal(over), refused(401, "mfa.expired"));
    let body = json!({ "mfa_token": 1, "method": "sms", "code": "", "more": true });
    let (status, told) = product.post("/api/auth/mfa/verify", body).await;
    assert_eq!((status, pointers(&told)), (422, vec!["/code", "/method", "/mfa_token", "/more"]));
}

/// Gives somebody a role.
async fn promote(product: &Product, tokens: &Value, role: &str) {
    let id: uuid::Uuid = tokens["user_id"].as_str().expect("user_id").parse().expect("a UUID");
    sqlx::query("UPDATE users SET role = $2 WHERE user_id = $1")
        .bind(id)
        .bind(role)
        .execute(&product.world.db)
        .await
        .expect("role");
}

#[tokio::test]
async fn staff_take_a_lost_factor_away_and_the_owner_is_told() {
    let product = Product::new().await;
    let (ada, bob) = (product.register(MAIL, "ada").await, product.register("bob@example.org", "bob").await);
    enrol(&product, &ada).await;
    let (_, factors) = product.get("/api/auth/mfa", &ada).await;
    let path = |user: &Value, factor: &str, reason: &str| {
        format!(
            "/api/admin/users/{}/factors/{factor}?reason={reason}",
            user["user_id"].as_str().expect("user_id")
        )
    };
    let factor = factors["totp"]["id"].as_str().expect("id");
    let record = format!("/api/users/{}", ada["user_id"].as_str().expect("user_id"));
    assert_eq!(
        product.get(&record, &ada).await.1["factors"],
        Value::Null,
        "the owner has a list of their own"
    );
    let reset = |path: String| {
        let (product, bob) = (&product, &bob);
        async move { refusal(product.delete(&path, bob).await) }
    };
    assert_eq!(reset(path(&ada, factor, "lost")).await, refused(403, "auth.forbidden"), "a member");
    promote(&product, &bob, "hod").await;
    assert_eq!(product.get(&record, &bob).await.1["factors"], Value::Null, "staff who reset none");
    promote(&product, &bob, "admin").await;
    let (_, seen) = product.get(&record, &bob).await;
    assert_eq!((&seen["factors"][0]["id"], &seen["factors"][0]["kind"]), (&json!(factor), &json!("totp")));
    assert_eq!(reset(path(&ada, factor, "x")).await, refused(422, "request.invalid"), "no reason");
    for reason in ["abc%00", "lo%E2%80%8Bst", "lo%0Ast", "%20%20%20%20", &"x".repeat(501)] {
        assert_eq!(reset(path(&ada, factor, reason)).await, refused(422, "request.invalid"), "{reason}");
    }
    assert_eq!(reset(path(&bob, factor, "lost")).await, refused(403, "auth.forbidden"), "oneself");
    let other = "0b9f7c1e-63a5-4d28-8f10-7c2e9d4b6a53";
    assert_eq!(reset(path(&ada, other, "lost")).await, refused(404, "mfa.not_found"));
    assert_eq!(
        reset(path(&json!({ "user_id": other }), factor, "lost")).await,
        refused(404, "user.not_found")
    );
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'ada'").await;
    assert_eq!(reset(path(&ada, factor, "lost")).await, refused(403, "auth.forbidden"), "above their rank");
    product.world.execute("UPDATE users SET is_superuser = false").await;
    assert_eq!(reset(path(&ada, factor, "lost%20phone")).await.0, 204);
    let ended = product.get("/api/auth/me", &ada).await;
    assert_eq!(refusal(ended), refused(401, "auth.session_ended"));
    product.advance(Duration::from_secs(61));
    product.login(MAIL).await;
    assert_eq!(product.world.count("SELECT count(*) FROM recovery_codes").await, 0);
    let reasons =
        "SELECT count(*) FROM audit WHERE action = 'mfa.factor_reset' AND details->>'reason' = 'lost phone'";
    assert_eq!(product.world.count(reasons).await, 1);
    product.drain().await;
    let letters = product.letters().await;
    assert!(
        letters.iter().any(|letter| letter["kind"] == "mfa_changed" && letter["to"] == MAIL),
        "{letters:?}"
    );
    product.advance(Duration::from_secs(600));
    let (_, later) =
        product.post("/api/auth/refresh", json!({ "refresh_token": bob["refresh_token"] })).await;
    let stale = product.call(Method::DELETE, &path(&ada, factor, "lost"), &Value::Null, &later).await;
    assert_eq!(refusal(stale), refused(403, "auth.step_up_required"));
}
