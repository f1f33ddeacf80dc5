//! Push messages: whom they reach, what a device is sent, and what becomes of tokens that are no more.

use std::time::Duration;

use keryu_common::config::{Config, Source};
use keryu_common::notify::{self, Facts, Message, Told};
use keryu_common::provider::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Fcm, Product, dump};

const ADA: &str = "ada@example.org";

async fn with_fcm(fcm: &Fcm) -> Product {
    let product = Product::with(&fcm.settings()).await;
    fcm.keep_time(&product.ctx.clock);
    product
}

fn id_of(tokens: &Value) -> Uuid {
    tokens["user_id"].as_str().expect("user_id").parse().expect("an id")
}

/// Registers a device for push messages: its id.
async fn device(product: &Product, tokens: &Value, name: &str, token: &str) -> Uuid {
    let body = json!({ "device_id": name, "fcm_token": token, "device_type": "android", "device_name": "Pixel 9",
                       "app_version": "3.2.1", "os_version": "16" });
    let (status, device) = product.call(Method::POST, "/api/auth/device", &body, tokens).await;
    assert_eq!(status, 201, "{device}");
    device["id"].as_str().expect("id").parse().expect("an id")
}

/// Tells somebody, and lets the worker send it.
async fn tell(product: &Product, user_id: Uuid, message: Message) {
    let told = Told { user_id, message, facts: Facts::at(product.ctx.now()) };
    let mut tx = product.ctx.db.begin().await.expect("begin");
    notify::tell(&mut tx, &product.ctx, None, &told).await.expect("told");
    tx.commit().await.expect("commit");
    product.drain().await;
}

/// State and reason of the push deliveries to a device, the oldest first.
async fn deliveries(product: &Product, device: Uuid) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT state::text, coalesce(reason, '') FROM deliveries WHERE channel = 'push' AND recipient = $1
         ORDER BY created_at",
    )
    .bind(device.to_string())
    .fetch_all(&product.world.db)
    .await
    .expect("deliveries")
}

async fn is_active(product: &Product, tokens: &Value, device: Uuid) -> bool {
    let (_, all) = product.get("/api/auth/devices", tokens).await;
    let mut all = all["items"].as_array().expect("items").iter();
    all.any(|one| one["id"] == device.to_string() && one["is_active"] == true)
}

#[tokio::test]
async fn a_notice_is_pushed_to_every_device_besides_the_mail() {
    let fcm = Fcm::start().await;
    let product = with_fcm(&fcm).await;
    let ada = product.register(ADA, "ada").await;
    let one = device(&product, &ada, "one", "fcm-token-one").await;
    device(&product, &ada, "two", "fcm-token-two").await;
    tell(&product, id_of(&ada), Message::PasswordChanged).await;
    for token in ["fcm-token-one", "fcm-token-two"] {
        let [message] = &fcm.taken_for(token)[..] else { panic!("{:?}", fcm.pushed()) };
        assert_eq!(message["notification"]["title"], "Your Keryu password was changed");
        assert_eq!(message["data"], json!({ "kind": "password_changed" }));
        assert_eq!(message["android"]["ttl"], "86400s");
    }
    let mails = product.letters().await.into_iter().filter(|letter| letter["kind"] == "password_changed");
    assert_eq!(mails.map(|letter| letter["channel"].clone()).collect::<Vec<_>>().len(), 3, "mail and both");
    assert_eq!(deliveries(&product, one).await, [("accepted".to_owned(), String::new())]);
    let holding = dump::tables(&product.world).await.into_iter();
    let holding = holding.filter(|(_, rows)| rows.iter().any(|row| row.contains("fcm-token-")));
    assert_eq!(holding.map(|(table, _)| table).collect::<Vec<_>>(), ["devices"], "a token is kept once");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_token_that_fcm_calls_dead_is_switched_off_and_the_others_stay() {
    let fcm = Fcm::start().await;
    let product = with_fcm(&fcm).await;
    let ada = product.register(ADA, "ada").await;
    let alive = device(&product, &ada, "alive", "alive").await;
    let replies = [(404, "UNREGISTERED"), (400, "INVALID_ARGUMENT"), (400, "INVALID_ARGUMENT")];
    let mut gone = Vec::new();
    for (name, reply) in ["a", "b", "c"].into_iter().zip(replies) {
        fcm.kill(name, reply);
        gone.push(device(&product, &ada, name, name).await);
    }
    tell(&product, id_of(&ada), Message::NewDevice).await;
    for device in &gone {
        let [(state, reason)] = &deliveries(&product, *device).await[..] else { panic!("one delivery") };
        assert_eq!(state, "failed", "{reason}");
        assert!(reason.starts_with("FCM answered"), "{reason}");
        assert!(!is_active(&product, &ada, *device).await);
    }
    assert!(is_active(&product, &ada, alive).await);
    let lines = "SELECT count(*) FROM audit WHERE action = 'device.deactivated' AND entity_type = 'user'
                 AND details->>'reason' LIKE '%dead%'";
    assert_eq!(product.world.count(lines).await, 3);
    let before = fcm.pushed().len();
    product.advance(Duration::from_secs(3600));
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!(fcm.pushed().len(), before + 1, "the one that is left");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_service_account_of_another_project_switches_no_device_off() {
    let fcm = Fcm::start().await;
    let product = with_fcm(&fcm).await;
    let ada = product.register(ADA, "ada").await;
    let one = device(&product, &ada, "one", "t").await;
    fcm.kill("t", (403, "SENDER_ID_MISMATCH"));
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!(deliveries(&product, one).await[0].0, "failed");
    assert!(is_active(&product, &ada, one).await);
}

#[tokio::test]
async fn a_token_that_was_renewed_meanwhile_is_not_buried_with_the_old_one() {
    let product = Product::new().await;
    let ada = product.register(ADA, "ada").await;
    let one = device(&product, &ada, "one", "old").await;
    device(&product, &ada, "one", "new").await;
    let bury = async |token: &str| {
        keryu_common::device::push::bury(&product.ctx, one, &Secret::new(token)).await.expect("buried");
        is_active(&product, &ada, one).await
    };
    assert!(bury("old").await);
    assert!(!bury("new").await);
}

#[tokio::test]
async fn what_fcm_cannot_take_now_is_tried_again() {
    let fcm = Fcm::start().await;
    let product = with_fcm(&fcm).await;
    let ada = product.register(ADA, "ada").await;
    let one = device(&product, &ada, "one", "t").await;
    fcm.answers([(429, "QUOTA_EXCEEDED"), (503, "UNAVAILABLE"), (503, "UNAVAILABLE")]);
    tell(&product, id_of(&ada), Message::RoleChanged).await;
    for _ in 0..3 {
        assert_eq!(deliveries(&product, one).await[0].0, "queued");
        product.advance(Duration::from_secs(60));
        product.drain().await;
    }
    assert_eq!(deliveries(&product, one).await[0].0, "accepted");
    assert_eq!((fcm.pushed().len(), fcm.taken_for("t").len()), (4, 1));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn an_access_token_is_used_for_an_hour_and_replaced_when_it_was_taken_back() {
    let fcm = Fcm::start().await;
    let product = with_fcm(&fcm).await;
    let ada = product.register(ADA, "ada").await;
    for n in 0..5 {
        device(&product, &ada, &format!("{n}"), &format!("t{n}")).await;
    }
    tell(&product, id_of(&ada), Message::NewDevice).await;
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!((fcm.fetched(), fcm.pushed().len()), (1, 10));
    product.advance(Duration::from_secs(3600));
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!(fcm.fetched(), 2);
    fcm.revoke();
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!(fcm.fetched(), 3);
    assert_eq!(fcm.pushed().iter().filter(|one| one.status == 200).count(), 20);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn whoever_signed_out_is_not_reached_on_that_device() {
    let fcm = Fcm::start().await;
    let product = with_fcm(&fcm).await;
    let ada = product.register(ADA, "ada").await;
    let one = device(&product, &ada, "one", "t").await;
    let told =
        Told { user_id: id_of(&ada), message: Message::NewDevice, facts: Facts::at(product.ctx.now()) };
    let mut tx = product.ctx.db.begin().await.expect("begin");
    notify::tell(&mut tx, &product.ctx, None, &told).await.expect("told");
    tx.commit().await.expect("commit");
    assert_eq!(product.call(Method::POST, "/api/auth/logout", &json!({}), &ada).await.0, 200);
    product.drain().await;
    let [(state, reason)] = &deliveries(&product, one).await[..] else { panic!("one delivery") };
    assert_eq!((state.as_str(), reason.as_str()), ("failed", "the device is switched off or signed out"));
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!(deliveries(&product, one).await.len(), 1, "none is asked for any more");
    product.advance(Duration::from_secs(61));
    let again = product.login(ADA).await;
    device(&product, &again, "one", "t").await;
    tell(&product, id_of(&ada), Message::NewDevice).await;
    assert_eq!(fcm.taken_for("t").len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn without_fcm_development_shows_it_and_production_asks_for_none() {
    let product = Product::new().await;
    let ada = product.register(ADA, "ada").await;
    let one = device(&product, &ada, "one", "t").await;
    tell(&product, id_of(&ada), Message::NewDevice).await;
    let letters = product.letters().await;
    let letter = letters.iter().find(|letter| letter["channel"] == "push").expect("a push message");
    assert_eq!((&letter["to"], &letter["kind"]), (&json!(one.to_string()), &json!("new_device")));
    assert_eq!(letter["subject"], "New sign-in to your Keryu account");
    let production = product.restarted(&[("KERYU_ENV", "production")]).await;
    tell(&production, id_of(&ada), Message::NewDevice).await;
    assert_eq!(deliveries(&product, one).await.len(), 1);
}

#[tokio::test]
async fn a_service_account_that_is_none_is_told_at_the_start_without_what_it_holds() {
    let fcm = Fcm::start().await;
    let product = Product::new().await;
    for (from, to) in [
        ("service_account", "authorized_user"),
        ("-----BEGIN PRIVATE KEY-----", "-----BEGIN NOTHING-----"),
        ("http://127.0.0.1", "http://oauth.example.org"),
        ("{", "{{"),
    ] {
        let account = fcm.account.replacen(from, to, 1);
        let mut settings = product.world.settings();
        settings.push(("FCM_SERVICE_ACCOUNT".to_owned(), account));
        let faults = Config::read(&mut Source::of(settings)).expect_err("refused").to_string();
        assert!(faults.contains("FCM_SERVICE_ACCOUNT: "), "{faults}");
        assert!(!faults.contains("PRIVATE KEY"), "{faults}");
    }
}
