//! What people agreed to: lines that are never changed, by themselves alone.

use std::time::Duration;

use futures::future::join_all;
use keryu_common::job::Terms;
use keryu_common::retention::blank::BlankOldAddresses;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::paper::somebody;
use super::support::product::read;
use super::support::{Engine, Product};

fn path(tokens: &Value) -> String {
    format!("/api/users/{}/consents", tokens["user_id"].as_str().unwrap())
}

fn line(kind: &str, version: &str, given: bool) -> Value {
    json!({ "kind": kind, "text_version": version, "given": given })
}

async fn give(product: &Product, of: &Value, body: &Value, by: &Value) -> (u16, Value) {
    product.call(Method::POST, &path(of), body, by).await
}

#[tokio::test]
async fn the_present_state_and_the_history_are_shown() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    assert_eq!(
        product.get(&path(&ada), &ada).await.1,
        json!({ "present": [], "items": [], "next_cursor": null })
    );
    for body in [line("terms", "2026-10", true), line("marketing", "1", true), line("marketing", "1", false)]
    {
        let (status, made) = give(&product, &ada, &body, &ada).await;
        assert_eq!((status, &made["kind"], &made["given"]), (201, &body["kind"], &body["given"]), "{made}");
        assert_eq!(made["ip_address"], "127.0.0.1");
    }
    let (status, all) = product.get(&format!("{}?limit=2", path(&ada)), &ada).await;
    assert_eq!(status, 200, "{all}");
    let told = |rows: &Value| -> Vec<(String, bool)> {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| (row["kind"].as_str().unwrap().to_owned(), row["given"].as_bool().unwrap())).collect()
    };
    assert_eq!(told(&all["present"]), [("terms".into(), true), ("marketing".into(), false)]);
    assert_eq!(
        told(&all["items"]),
        [("marketing".into(), false), ("marketing".into(), true)],
        "at one moment, in order"
    );
    let next = format!("{}?cursor={}", path(&ada), all["next_cursor"].as_str().unwrap());
    assert_eq!(told(&product.get(&next, &ada).await.1["items"]), [("terms".into(), true)]);
    let lines = "SELECT count(*) FROM audit WHERE action = 'consent.changed'";
    assert_eq!(product.world.count(lines).await, 3);
}

#[tokio::test]
async fn nobody_consents_for_somebody_else_and_looks_of_staff_are_on_record() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let boss = somebody(&product, "boss", "admin").await;
    let chief = somebody(&product, "chief", "admin").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'chief'").await;
    let body = line("face", "1", true);
    assert_eq!(give(&product, &ada, &body, &bob).await.1["code"], "user.not_found");
    assert_eq!(give(&product, &ada, &body, &boss).await.1["code"], "auth.forbidden");
    assert_eq!(give(&product, &ada, &body, &ada).await.0, 201);
    assert_eq!(product.get(&path(&ada), &bob).await.1["code"], "user.not_found");
    assert_eq!(product.get(&path(&chief), &boss).await.1["code"], "auth.forbidden");
    let (status, seen) = product.get(&path(&ada), &boss).await;
    assert_eq!((status, &seen["present"][0]["kind"]), (200, &json!("face")));
    let looks = "SELECT count(*) FROM audit a JOIN users u ON a.entity_id = u.user_id::text
                 WHERE a.action = 'user.read' AND u.username = 'ada'";
    assert_eq!(product.world.count(looks).await, 1);
}

#[tokio::test]
async fn a_line_is_never_changed_and_goes_with_its_person() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    assert_eq!(give(&product, &ada, &line("terms", "1", true), &ada).await.0, 201);
    for change in [
        "UPDATE consents SET given = false",
        "UPDATE consents SET ip_address = '192.0.2.7'",
        "UPDATE consents SET ip_address = NULL, at = at - interval '1 day'",
    ] {
        let change = sqlx::query(change).execute(&product.world.db).await;
        assert!(change.unwrap_err().to_string().contains("only added to"));
    }
    product.world.execute("DELETE FROM users").await;
    assert_eq!(product.world.count("SELECT count(*) FROM consents").await, 0);
}

#[tokio::test]
async fn from_where_is_forgotten_after_ninety_days_and_the_line_stays() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    assert_eq!(give(&product, &ada, &line("terms", "1", true), &ada).await.0, 201);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    for (days, address) in [(89, json!("127.0.0.1")), (2, Value::Null)] {
        product.advance(Duration::from_secs(days * 24 * 3600));
        engine.ask(&BlankOldAddresses::default(), Terms::default()).await;
        engine.drain().await;
        let ada = product.login("ada@example.org").await;
        let (status, all) = product.get(&path(&ada), &ada).await;
        assert_eq!(
            (status, &all["items"][0]["kind"], &all["present"][0]["given"]),
            (200, &json!("terms"), &json!(true))
        );
        assert_eq!((&all["items"][0]["ip_address"], &all["present"][0]["ip_address"]), (&address, &address));
    }
}

#[tokio::test]
async fn what_does_not_hold_is_refused_and_the_same_key_writes_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bad =
        json!({ "kind": "soul", "text_version": "\u{202e}", "given": "yes", "at": "1800-01-01T00:00:00Z" });
    let (status, refused) = give(&product, &ada, &bad, &ada).await;
    assert_eq!((status, refused["errors"].as_array().unwrap().len()), (422, 4), "{refused}");
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let once = || async {
        read(product.send(Method::POST, &path(&ada), &line("terms", "1", true), &fields).await).await
    };
    assert_eq!(once().await, once().await);
    assert_eq!(product.world.count("SELECT count(*) FROM consents").await, 1);
}

#[tokio::test]
async fn fifty_lines_a_day_are_the_most_also_under_parallel_calls() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let body = line("marketing", "1", true);
    let all = join_all((0..64).map(|_| give(&product, &ada, &body, &ada))).await;
    assert_eq!(all.iter().filter(|(status, _)| *status == 201).count(), 50);
    assert!(all.iter().all(|(status, told)| *status == 201 || told["code"] == "consent.too_many"));
    product.advance(Duration::from_secs(24 * 3600 + 1));
    let next = product.refreshed(&ada).await;
    let (status, made) = product.call(Method::POST, &path(&ada), &body, &next).await;
    assert_eq!(status, 201, "{made}");
}
