//! `Idempotency-Key`: one call, however often it is sent.

use std::time::Duration;

use futures::future::join_all;

use crate::support::{Product, dump};

const MAIL: &str = "ada@example.org";
const KEY: [(&str, &str); 1] = [("idempotency-key", "8e03978e-40d5-43dd-bc93-6894a57f9324")];

async fn count(product: &Product) -> i64 {
    product.world.count("SELECT count(*) FROM deliveries").await
}

#[tokio::test]
async fn a_repeated_call_gets_the_same_answer_and_sends_nothing_more() {
    let product = Product::new().await;
    let first = product.ask_with(MAIL, "register", &KEY).await;
    assert_eq!(first.0, 202, "{}", first.1);
    product.drain().await;
    product.advance(Duration::from_secs(23 * 3600));
    assert_eq!(product.ask_with(MAIL, "register", &KEY).await, first, "within a day");
    assert_eq!((count(&product).await, product.letters().await.len()), (1, 1));
    product.advance(Duration::from_secs(3600));
    let (status, later) = product.ask_with(MAIL, "register", &KEY).await;
    assert_eq!(status, 202);
    assert_ne!(later["challenge_id"], first.1["challenge_id"], "a day later it is a new call");
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn parallel_calls_with_one_key_send_one_code() {
    let product = Product::new().await;
    let answers = join_all((0..16).map(|_| product.ask_with(MAIL, "register", &KEY))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, 202);
    assert_eq!(count(&product).await, 1);
    product.drain().await;
    assert_eq!(product.letters().await.len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_key_with_another_body_is_refused() {
    let product = Product::new().await;
    product.ask_with(MAIL, "register", &KEY).await;
    let (status, refused) = product.ask_with("bob@example.org", "register", &KEY).await;
    assert_eq!((status, &refused["code"]), (422, &"idempotency.mismatch".into()));
    assert_eq!(count(&product).await, 1);
}

#[tokio::test]
async fn a_malformed_key_is_refused_before_anything_happens() {
    let product = Product::new().await;
    let long = "k".repeat(256);
    for key in ["", long.as_str(), "tab\tkey"] {
        let (status, refused) = product.ask_with(MAIL, "register", &[("idempotency-key", key)]).await;
        assert_eq!((status, &refused["errors"][0]["code"]), (422, &"idempotency.key".into()), "{key:?}");
    }
    let two = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(product.ask_with(MAIL, "register", &two).await.0, 422, "two keys");
    assert_eq!(count(&product).await, 0);
    assert_eq!(product.world.count("SELECT count(*) FROM identifier_budgets").await, 0);
}

#[tokio::test]
async fn a_refused_send_leaves_its_key_free() {
    let product = Product::new().await;
    product.ask(MAIL, "register").await;
    let (status, refused) = product.ask_with(MAIL, "register", &KEY).await;
    assert_eq!((status, &refused["code"]), (429, &"otp.cooldown".into()));
    product.advance(Duration::from_secs(60));
    let first = product.ask_with(MAIL, "register", &KEY).await;
    assert_eq!(first.0, 202, "the same call, when there is room for it");
    assert_eq!(product.ask_with(MAIL, "register", &KEY).await, first);
    assert_eq!(count(&product).await, 2);
}

#[tokio::test]
async fn each_client_address_has_keys_of_its_own() {
    let product = Product::with(&[("KERYU_TRUSTED_PROXIES", "127.0.0.1"), ("OTP_COOLDOWN", "0")]).await;
    let from = |address| [KEY[0], ("x-forwarded-for", address)];
    let (_, first) = product.ask_with(MAIL, "register", &from("192.0.2.1")).await;
    let (status, second) = product.ask_with(MAIL, "register", &from("192.0.2.2")).await;
    assert_eq!(status, 202);
    assert_ne!(first["challenge_id"], second["challenge_id"], "an answer is for who asked");
    assert_eq!(product.ask_with(MAIL, "register", &from("192.0.2.1")).await.1, first);
}

#[tokio::test]
async fn a_saved_outcome_is_sealed_and_its_key_hashed() {
    let product = Product::new().await;
    let (_, issued) = product.ask_with(MAIL, "register", &KEY).await;
    let rows = dump::tables(&product.world).await.remove("idempotency_keys").expect("table");
    let [row] = &rows[..] else { panic!("one row: {rows:?}") };
    let url = issued["delivery_url"].as_str().expect("delivery_url");
    let hex = |text: &str| keryu_common::secret::hex(text.as_bytes());
    for secret in [
        issued["challenge_id"].as_str().expect("id"),
        url.rsplit('/').next().expect("id"),
        KEY[0].1,
        MAIL,
        "challenge_id",
    ] {
        assert!(!row.contains(secret) && !row.contains(&hex(secret)), "the row holds {secret}");
    }
}

#[tokio::test]
async fn an_answer_outlives_a_rotation_of_keys_and_is_lost_with_its_key() {
    const NEW: &str = "new:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";
    let before = Product::new().await;
    let first = before.ask_with(MAIL, "register", &KEY).await;
    let both = format!("{NEW},{}", crate::support::world::SECRET);
    let rotated = before.restarted(&[("KERYU_SECRET_KEY", &both)]).await;
    let again = rotated.ask_with(MAIL, "register", &KEY).await;
    assert_eq!(again.1["challenge_id"], first.1["challenge_id"]);
    let gone = before.restarted(&[("KERYU_SECRET_KEY", NEW)]).await;
    let (status, lost) = gone.ask_with(MAIL, "register", &KEY).await;
    assert_eq!((status, &lost["code"]), (409, &"idempotency.lost".into()));
    assert_eq!(count(&before).await, 1);
}
