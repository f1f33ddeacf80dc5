//! Receipts: what whoever holds a delivery's id is told of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::support::gateway::Answer;
use crate::support::product::{digits, read};
use crate::support::{Gateway, Product};

const PHONE: &str = "+254712345678";

async fn show(product: &Product, path: &str) -> (u16, Value) {
    read(product.send(Method::GET, path, &Value::Null, &[]).await).await
}

#[tokio::test]
async fn a_receipt_is_for_whoever_holds_its_id_and_for_nobody_else() {
    let product = Product::new().await;
    let (_, issued) = product.ask(PHONE, "register").await;
    let url = issued["delivery_url"].as_str().expect("delivery_url");
    let id =
        url.strip_prefix(&format!("{}/api/deliveries/", product.base)).expect("under the public address");
    id.parse::<uuid::Uuid>().expect("an id");
    assert_eq!(show(&product, url).await.1["id"], id);
    let (status, nobody) = show(&product, "/api/deliveries/00000000-0000-4000-8000-000000000000").await;
    assert_eq!((status, &nobody["code"]), (404, &"delivery.not_found".into()));
    for odd in ["1", "x", "%00", "00000000-0000-4000-8000-00000000000g"] {
        assert_eq!(show(&product, &format!("/api/deliveries/{odd}")).await.0, 404, "{odd}");
    }
}

#[tokio::test]
async fn the_receipt_of_a_registration_tells_each_step() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let (_, issued) = product.ask(PHONE, "register").await;
    let mut told = vec![product.receipt(&issued).await];
    gateway.answers([Answer::Status(503), Answer::Status(500)]);
    for _ in 0..3 {
        product.drain().await;
        told.push(product.receipt(&issued).await);
        product.advance(Duration::from_secs(10));
    }
    let seen: Vec<(&str, u64)> = told
        .iter()
        .map(|it| (it["state"].as_str().expect("state"), it["tries"].as_u64().expect("tries")))
        .collect();
    assert_eq!(seen, [("queued", 0), ("queued", 1), ("unknown", 2), ("accepted", 3)]);
    for receipt in &told {
        assert!(receipt["next_step"].as_str().is_some_and(|step| step.ends_with('.')), "{receipt}");
        let mut fields: Vec<&String> = receipt.as_object().expect("an object").keys().collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            ["channel", "expires_at", "id", "next_step", "state", "tries"],
            "and nothing besides"
        );
        assert!(!receipt.to_string().contains(&PHONE[1..]));
    }
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn the_receipt_of_a_sign_in_tells_all_once_the_code_was_proved() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    product.world.user(PHONE).await;
    let (_, issued) = product.ask(PHONE, "login").await;
    gateway.answers([Answer::Status(503)]);
    product.drain().await;
    product.advance(Duration::from_secs(10));
    product.drain().await;
    let before = product.receipt(&issued).await;
    assert_eq!((&before["state"], &before["tries"]), (&"accepted".into(), &1.into()));
    let code = digits(gateway.accepted_for(PHONE)[0].body["text"].as_str().expect("text")).expect("a code");
    assert_eq!(product.verify(PHONE, "login", &code, issued["challenge_id"].as_str()).await.0, 200);
    let after = product.receipt(&issued).await;
    assert_eq!((&after["state"], &after["tries"]), (&"accepted".into(), &2.into()));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_receipt_says_expired_at_the_end_whether_or_not_a_worker_ever_came() {
    let product = Product::new().await;
    let (_, issued) = product.ask(PHONE, "register").await;
    product.advance(Duration::from_secs(299));
    assert_eq!(product.receipt(&issued).await["state"], "queued");
    product.advance(Duration::from_secs(1));
    assert_eq!(product.receipt(&issued).await["state"], "expired");
    product.drain().await;
    assert_eq!(product.receipt(&issued).await["state"], "expired");
    assert!(product.letters().await.is_empty(), "a code without use is not sent");
    product.assert_nothing_left().await;
}
