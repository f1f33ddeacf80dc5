//! Referrals: both sides get points once the referred person has proved who they are, once.

use std::time::Duration;

use keryu_common::job::Terms;
use keryu_common::wallet::RewardReferral;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, Product};

/// Registers with the code of somebody: the tokens.
async fn invited(product: &Product, identifier: &str, username: &str, by: &Value) -> Value {
    let (_, me) = product.get("/api/auth/me", by).await;
    let token = product.prove(identifier, "register").await;
    let body = json!({ "identifier": identifier, "username": username, "verification_token": token,
                       "referral_code": me["referral_code"] });
    let (status, tokens) = product.post("/api/auth/register", body).await;
    assert_eq!(status, 201, "{tokens}");
    tokens
}

async fn points(product: &Product, tokens: &Value) -> String {
    let (status, wallet) = product.get("/api/users/wallet", tokens).await;
    assert_eq!(status, 200, "{wallet}");
    wallet["points"]["current"].as_str().unwrap().to_owned()
}

async fn again(product: &Product, tokens: &Value) {
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    let user_id = tokens["user_id"].as_str().unwrap().parse().unwrap();
    for _ in 0..3 {
        engine.ask(&RewardReferral { user_id }, Terms::default()).await;
    }
    product.drain().await;
}

#[tokio::test]
async fn both_sides_are_rewarded_and_told_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = invited(&product, "bob@example.org", "bobby", &ada).await;
    product.drain().await;
    for side in [&ada, &bob] {
        assert_eq!(points(&product, side).await, "100");
    }
    let letters = product.letters().await;
    let told: Vec<&Value> = letters.iter().filter(|letter| letter["kind"] == "referral_rewarded").collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|letter| letter["text"].as_str().unwrap().contains("100")), "{told:?}");
    again(&product, &bob).await;
    // a second identifier proved is no second referral
    let token = product.prove_as("+254712345678", "change_identifier", &bob).await;
    let body = json!({ "phone_number": "+254712345678", "verification_token": token });
    let path = format!("/api/users/{}", bob["user_id"].as_str().unwrap());
    let (status, changed) = product.call(Method::PATCH, &path, &body, &bob).await;
    assert_eq!(status, 200, "{changed}");
    product.drain().await;
    for side in [&ada, &bob] {
        assert_eq!(points(&product, side).await, "100");
    }
    let (_, stats) = product.get("/api/users/analytics/usage-stats", &ada).await;
    assert_eq!((&stats["total_referrals"], &stats["total_points_earned"]), (&json!(1), &json!("100")));
    assert_eq!(product.world.count("SELECT sum(amount)::bigint FROM entries").await, 0);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn who_proves_nothing_is_worth_nothing_yet() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("AUTH_CLASSIC_FORM", "on")]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let (_, me) = product.get("/api/auth/me", &ada).await;
    let form = json!({ "username": "bobby", "email": "bob@example.org",
                       "password": "correct horse battery staple", "referral_code": me["referral_code"] });
    let (status, issued) = product.post("/api/auth/register", form).await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    assert_eq!(points(&product, &ada).await, "0");
    let (_, stats) = product.get("/api/users/analytics/usage-stats", &ada).await;
    assert_eq!(stats["total_referrals"], 0);
    product.advance(Duration::from_secs(61));
    let bob = product.login("bob@example.org").await;
    product.drain().await;
    for side in [&ada, &bob] {
        assert_eq!(points(&product, side).await, "100");
    }
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_deleted_referrer_oneself_and_a_reward_of_nothing_give_nothing() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("REFERRAL_POINTS", "0")]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = invited(&product, "bob@example.org", "bobby", &ada).await;
    product.drain().await;
    assert_eq!(points(&product, &bob).await, "0", "switched off");
    let product = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    let (ada, fresh) = (product.refreshed(&ada).await, product.refreshed(&bob).await);
    product.world.execute("UPDATE users SET referred_by = user_id WHERE username = 'bobby'").await;
    again(&product, &bob).await;
    assert_eq!(points(&product, &fresh).await, "0", "nobody refers themselves");
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product
        .world
        .execute("UPDATE users SET referred_by = (SELECT user_id FROM users WHERE username = 'ada') WHERE username = 'bobby'")
        .await;
    again(&product, &bob).await;
    assert_eq!(points(&product, &fresh).await, "0", "who invited is gone");
    assert_eq!(product.world.count("SELECT count(*) FROM postings").await, 0);
}

#[tokio::test]
async fn other_points_by_the_second_run_give_nothing_twice_and_leave_no_dead_letter() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = invited(&product, "bob@example.org", "bobby", &ada).await;
    product.drain().await;
    let product = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("REFERRAL_POINTS", "250")]).await;
    again(&product, &bob).await;
    for side in [product.refreshed(&ada).await, product.refreshed(&bob).await] {
        assert_eq!(points(&product, &side).await, "100");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await, 0);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_ban_that_passes_puts_the_reward_off() {
    let product = Product::new().await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = invited(&product, "bob@example.org", "bobby", &ada).await;
    let set = |of: &Value, status: &str| {
        let path = format!("/api/admin/users/{}/status", of["user_id"].as_str().unwrap());
        let body = json!({ "status": status, "reason": "A test" });
        let (product, boss) = (&product, &boss);
        async move {
            let (status, shown) = product.call(Method::POST, &path, &body, boss).await;
            assert_eq!(status, 200, "{shown}");
            product.drain().await;
        }
    };
    let postings = "SELECT count(*) FROM postings";
    // whoever of the two it is
    set(&ada, "banned").await;
    assert_eq!(product.world.count(postings).await, 0);
    set(&bob, "banned").await;
    set(&ada, "active").await;
    assert_eq!(product.world.count(postings).await, 0, "the other one still is");
    set(&bob, "active").await;
    assert_eq!(product.world.count(postings).await, 2);
    set(&ada, "suspended").await;
    set(&ada, "active").await;
    product.advance(Duration::from_secs(61));
    for side in ["ada@example.org", "bob@example.org"] {
        let tokens = product.login(side).await;
        assert_eq!(points(&product, &tokens).await, "100");
    }
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_deletion_that_is_taken_back_puts_the_reward_off() {
    let product = Product::new().await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = invited(&product, "bob@example.org", "bobby", &ada).await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.drain().await;
    assert_eq!(points(&product, &bob).await, "0");
    let path = format!("/api/admin/users/{}/restore", ada["user_id"].as_str().unwrap());
    let (status, shown) = product.call(Method::POST, &path, &json!({ "reason": "A test" }), &boss).await;
    assert_eq!(status, 200, "{shown}");
    product.drain().await;
    assert_eq!(points(&product, &bob).await, "100");
}

#[tokio::test]
async fn a_statement_does_not_say_whom_one_referred() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = invited(&product, "bob@example.org", "bobby", &ada).await;
    product.drain().await;
    for side in [&ada, &bob] {
        let (status, page) = product.get("/api/users/wallet/statement", side).await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["items"][0]["kind"], "referral");
        assert_eq!(page["items"][0]["reference"], Value::Null);
    }
    let kept = "SELECT count(*) FROM postings WHERE reference LIKE 'referral:%'";
    assert_eq!(product.world.count(kept).await, 2, "it is kept: a referral counts once");
}
