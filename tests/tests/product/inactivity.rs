//! Accounts that nobody uses: warned, set inactive, and brought back by who signs in with a code.

use std::time::Duration;

use keryu_common::activity;
use keryu_common::job::Terms;
use keryu_common::user::inactive::DeactivateInactive;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Engine, Product};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The schedule's night.
async fn night(product: &Product) {
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&DeactivateInactive::default(), Terms::default()).await;
    product.drain().await;
}

async fn status(product: &Product, tokens: &Value) -> String {
    sqlx::query_scalar("SELECT status::text FROM users WHERE user_id = $1")
        .bind(tokens["user_id"].as_str().unwrap().parse::<Uuid>().unwrap())
        .fetch_one(&product.world.db)
        .await
        .unwrap()
}

/// How many letters of a kind went to somebody so far.
async fn told(product: &Product, to: &str, kind: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE recipient = $1 AND kind = $2")
        .bind(to)
        .bind(kind)
        .fetch_one(&product.world.db)
        .await
        .unwrap()
}

async fn set(product: &Product, change: &'static str) {
    assert!(product.world.execute(change).await > 0);
}

#[tokio::test]
async fn who_does_not_come_for_six_months_is_warned_once_and_then_set_inactive() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(DAY * 165);
    night(&product).await;
    assert_eq!(told(&product, "ada@example.org", "inactivity_warning").await, 0, "too early");
    product.advance(DAY * 6);
    for _ in 0..3 {
        night(&product).await;
        product.advance(DAY * 4);
    }
    assert_eq!(told(&product, "ada@example.org", "inactivity_warning").await, 1, "once");
    let letter = product.letters().await;
    let letter = letter.iter().find(|letter| letter["kind"] == "inactivity_warning");
    assert!(letter.is_some_and(|letter| letter["text"].as_str().unwrap().contains("inactive")), "{letter:?}");
    assert_eq!(status(&product, &ada).await, "active", "six months, but not two weeks after the warning");
    product.advance(DAY * 2);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "inactive");
    let open = "SELECT count(*) FROM sessions WHERE ended_at IS NULL";
    assert_eq!(product.world.count(open).await, 0);
    let line =
        "SELECT count(*) FROM audit WHERE action = 'user.status_changed' AND details->>'by' = 'inactivity'
                AND old_values->>'status' = 'active' AND new_values->>'status' = 'inactive'";
    assert_eq!(product.world.count(line).await, 1);
    night(&product).await;
    assert_eq!(product.world.count(line).await, 1, "a second night finds nobody");
    assert_eq!(told(&product, "ada@example.org", "account_status_changed").await, 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_call_and_a_sign_in_put_it_off_and_staff_are_never_set_inactive() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = product.register("boss@example.org", "boss").await;
    let chief = product.register("chief@example.org", "chief").await;
    set(&product, "UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    set(&product, "UPDATE users SET is_superuser = true WHERE username = 'chief'").await;
    product.advance(DAY * 100);
    product.login("ada@example.org").await;
    product.advance(DAY * 60);
    let again = product.login("ada@example.org").await;
    // as if a call alone told of it
    set(&product, "UPDATE users SET last_login_at = now() WHERE username = 'ada'").await;
    set(&product, "DELETE FROM sessions WHERE session_id NOT IN (SELECT session_id FROM sessions ORDER BY created_at DESC LIMIT 1)").await;
    assert_eq!(product.get("/api/auth/me", &again).await.0, 200);
    activity::flush(&product.ctx).await.unwrap();
    product.drain().await;
    set(&product, "DELETE FROM sessions").await;
    product.advance(DAY * 160);
    night(&product).await;
    product.advance(DAY * 20);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "active");
    assert_eq!(told(&product, "ada@example.org", "inactivity_warning").await, 1, "180 days after the call");
    for staff in [&boss, &chief] {
        assert_eq!(status(&product, staff).await, "active");
    }
    assert_eq!(told(&product, "boss@example.org", "inactivity_warning").await, 0);
    assert_eq!(told(&product, "chief@example.org", "inactivity_warning").await, 0);
}

#[tokio::test]
async fn who_comes_back_after_a_warning_is_warned_anew_the_next_time() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(DAY * 175);
    night(&product).await;
    product.advance(DAY * 5);
    product.login("ada@example.org").await;
    product.advance(DAY * 20);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "active", "the warning was heeded");
    product.advance(DAY * 160);
    night(&product).await;
    assert_eq!(told(&product, "ada@example.org", "inactivity_warning").await, 2);
    product.advance(DAY * 15);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "inactive");
}

#[tokio::test]
async fn a_sign_in_by_code_brings_back_whom_the_schedule_set_inactive_and_nobody_else() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    product.advance(DAY * 175);
    night(&product).await;
    product.advance(DAY * 15);
    night(&product).await;
    for tokens in [&ada, &bob] {
        assert_eq!(status(&product, tokens).await, "inactive");
    }
    // staff say so too, about one of them
    let boss = product.register("boss@example.org", "boss").await;
    set(&product, "UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let path = format!("/api/admin/users/{}/status", bob["user_id"].as_str().unwrap());
    let body = json!({ "status": "inactive", "reason": "Left the school" });
    assert_eq!(product.call(Method::POST, &path, &body, &boss).await.0, 200);
    let back = product.login("ada@example.org").await;
    assert_eq!(product.get("/api/auth/me", &back).await.1["status"], "active");
    let line =
        "SELECT count(*) FROM audit WHERE action = 'user.status_changed' AND details->>'by' = 'sign_in'";
    assert_eq!(product.world.count(line).await, 1);
    let token = product.prove("bob@example.org", "login").await;
    let body = json!({ "identifier": "bob@example.org", "verification_token": token });
    let (code, refused) = product.post("/api/auth/login", body).await;
    assert_eq!((code, &refused["code"]), (403, &json!("account.inactive")));
    assert_eq!(status(&product, &bob).await, "inactive");
    // the next time goes as the first
    product.advance(DAY * 175);
    night(&product).await;
    assert_eq!(told(&product, "ada@example.org", "inactivity_warning").await, 2);
    product.advance(DAY * 15);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "inactive");
}

#[tokio::test]
async fn a_password_does_not_bring_anybody_back() {
    let product = Product::new().await;
    let token = product.prove("ada@example.org", "register").await;
    let body = json!({ "identifier": "ada@example.org", "username": "ada", "verification_token": token,
                       "password": "correct horse battery" });
    let (code, ada) = product.post("/api/auth/register", body).await;
    assert_eq!(code, 201, "{ada}");
    product.advance(DAY * 175);
    night(&product).await;
    product.advance(DAY * 15);
    night(&product).await;
    let body = json!({ "identifier": "ada@example.org", "password": "correct horse battery" });
    let (code, refused) = product.post("/api/auth/login", body).await;
    assert_eq!((code, &refused["code"]), (403, &json!("account.inactive")), "{refused}");
}

#[tokio::test]
async fn whom_staff_activate_has_two_weeks_again() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(DAY * 175);
    night(&product).await;
    product.advance(DAY * 15);
    night(&product).await;
    let boss = product.register("boss@example.org", "boss").await;
    set(&product, "UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let path = format!("/api/admin/users/{}/status", ada["user_id"].as_str().unwrap());
    let body = json!({ "status": "active", "reason": "Asked to" });
    assert_eq!(product.call(Method::POST, &path, &body, &boss).await.0, 200);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "active");
    assert_eq!(told(&product, "ada@example.org", "inactivity_warning").await, 2);
    product.advance(DAY * 15);
    night(&product).await;
    assert_eq!(status(&product, &ada).await, "inactive");
}
