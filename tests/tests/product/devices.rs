//! Push devices.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Product;

fn phone(device: &str, token: &str) -> Value {
    json!({ "device_id": device, "fcm_token": token, "device_type": "android", "device_name": "Pixel 9",
            "app_version": "3.2.1", "os_version": "16" })
}

async fn register(product: &Product, tokens: &Value, body: &Value) -> (u16, Value) {
    product.call(Method::POST, "/api/auth/device", body, tokens).await
}

async fn list(product: &Product, tokens: &Value) -> Vec<Value> {
    let (status, body) = product.get("/api/auth/devices", tokens).await;
    assert_eq!(status, 200, "{body}");
    body["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn a_device_is_registered_renewed_listed_and_switched_off() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (status, first) = register(&product, &ada, &phone("one", "token-1")).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!((&first["is_active"], &first["device_type"]), (&json!(true), &json!("android")));
    assert!(!first.to_string().contains("token-1"), "the token is told to nobody");
    product.advance(Duration::from_secs(5));
    let (_, again) = register(&product, &ada, &phone("one", "token-2")).await;
    assert_eq!(again["id"], first["id"]);
    assert_ne!(again["last_used"], first["last_used"]);
    assert_eq!(again["created_at"], first["created_at"]);
    register(&product, &ada, &phone("two", "token-3")).await;
    assert_eq!(list(&product, &ada).await.len(), 2);
    let path = format!("/api/auth/devices/{}", first["id"].as_str().expect("id"));
    assert_eq!(product.delete(&path, &ada).await.0, 204);
    let (status, refused) = product.delete(&path, &ada).await;
    assert_eq!((status, &refused["code"]), (404, &json!("device.not_found")));
    let off = list(&product, &ada).await.into_iter().find(|device| device["id"] == first["id"]);
    assert_eq!(off.expect("listed")["is_active"], false);
    let lines =
        "SELECT count(*) FROM audit WHERE action LIKE 'device.%' AND details::text NOT LIKE '%token-%'";
    assert_eq!(product.world.count(lines).await, 4);
}

#[tokio::test]
async fn a_token_belongs_to_whoever_registered_it_last() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let (_, of_ada) = register(&product, &ada, &phone("one", "token")).await;
    let (status, of_bob) = register(&product, &bob, &phone("one", "token")).await;
    assert_eq!(status, 201, "{of_bob}");
    assert_eq!(list(&product, &ada).await[0]["is_active"], false);
    assert_eq!(list(&product, &bob).await[0]["is_active"], true);
    let path = format!("/api/auth/devices/{}", of_bob["id"].as_str().expect("id"));
    assert_eq!(product.delete(&path, &ada).await.0, 404, "another's device is none of hers");
    let told = "SELECT count(*) FROM audit WHERE action = 'device.deactivated' AND entity_id <> actor::text";
    assert_eq!(product.world.count(told).await, 1);
    assert_ne!(of_ada["id"], of_bob["id"]);
}

#[tokio::test]
async fn of_parallel_registrations_of_one_token_one_has_it() {
    let product = Product::new().await;
    let mut people = Vec::new();
    for n in 0..4 {
        people.push(product.register(&format!("p{n}@example.org"), &format!("person{n}")).await);
    }
    let body = phone("one", "token");
    let all = (0..16).map(|n| register(&product, &people[n % 4], &body));
    for (status, answer) in join_all(all).await {
        assert_eq!(status, 201, "{answer}");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM devices WHERE is_active").await, 1);
    assert_eq!(product.world.count("SELECT count(*) FROM devices").await, 4);
}

#[tokio::test]
async fn there_may_be_fifty_devices() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product
        .world
        .execute(
            "INSERT INTO devices SELECT gen_random_uuid(), user_id, 'd' || n, 't' || n, 'web', '', '', '', true, now(), now()
             FROM users, generate_series(1, 45) n",
        )
        .await;
    let bodies: Vec<Value> = (0..16).map(|n| phone(&format!("new{n}"), &format!("new{n}"))).collect();
    let answers = join_all(bodies.iter().map(|body| register(&product, &ada, body))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 5);
    let full = answers.iter().find(|(status, _)| *status != 201).expect("one too many");
    assert_eq!((full.0, &full.1["code"]), (409, &json!("device.too_many")));
    assert_eq!(register(&product, &ada, &phone("d1", "t1")).await.0, 201, "one that is there is renewed");
}

#[tokio::test]
async fn bad_devices_are_refused_with_every_fault() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (status, refused) =
        register(&product, &ada, &json!({ "device_type": "toaster", "device_id": "\u{1}" })).await;
    assert_eq!(status, 422);
    let mut pointers: Vec<&str> = refused["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter_map(|fault| fault["pointer"].as_str())
        .collect();
    pointers.sort_unstable();
    pointers.dedup();
    assert_eq!(pointers, ["/device_id", "/device_type", "/fcm_token"], "{refused}");
    for token in ["", " ", "a b", "a\nb", "é", &"a".repeat(4097)] {
        assert_eq!(register(&product, &ada, &phone("one", token)).await.0, 422, "{token:?}");
    }
    assert_eq!(register(&product, &ada, &phone("one", "a\u{0}b")).await.0, 400);
    assert_eq!(register(&product, &ada, &phone("one", &"a".repeat(4096))).await.0, 201);
    let nobody = product.send(Method::GET, "/api/auth/devices", &Value::Null, &[]).await;
    assert_eq!(nobody.status(), 401);
    assert_eq!(product.delete("/api/auth/devices/x", &ada).await.0, 404);
}

#[tokio::test]
async fn devices_switched_off_are_kept_within_bounds() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.register("bob@example.org", "bob").await;
    product
        .world
        .execute(
            "INSERT INTO devices SELECT gen_random_uuid(), user_id, 'd' || n, 't' || n, 'web', '', '', '', false, now(),
                                        now() - n * interval '1 day'
             FROM users, generate_series(1, 150) n",
        )
        .await;
    assert_eq!(list(&product, &ada).await.len(), 100);
    assert_eq!(register(&product, &ada, &phone("new", "new")).await.0, 201);
    let kept = list(&product, &ada).await;
    assert_eq!(
        (kept.len(), &kept[0]["device_id"], &kept[99]["device_id"]),
        (100, &json!("new"), &json!("d99"))
    );
    assert_eq!(product.world.count("SELECT count(*) FROM devices").await, 250, "nobody else's are touched");
}
