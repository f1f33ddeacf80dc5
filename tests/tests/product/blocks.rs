//! Addresses nobody is served from.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::read;
use crate::support::{Product, eventually};

const PROXIED: [(&str, &str); 2] =
    [("KERYU_TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_ANONYMOUS", "100000")];

/// Somebody whose role may block addresses.
async fn staff(product: &Product) -> Value {
    let tokens = product.register("staff@example.org", "staff.one").await;
    product.world.execute("UPDATE users SET role = 'admin'").await;
    tokens
}

async fn block(product: &Product, tokens: &Value, body: Value) -> (u16, Value) {
    product.call(Method::POST, "/api/admin/ip-blocks", &body, tokens).await
}

/// What a client at this address is answered on a path.
async fn seen_from(product: &Product, from: &str, path: &str) -> (u16, Value) {
    read(product.send(Method::GET, path, &Value::Null, &[("x-forwarded-for", from)]).await).await
}

async fn is_blocked(product: &Product, from: &str) -> bool {
    let (status, body) = seen_from(product, from, "/api/openapi.json").await;
    if status == 403 {
        assert_eq!(body["code"], "request.blocked");
    }
    status == 403
}

#[tokio::test]
async fn a_block_set_in_one_process_is_seen_by_the_other_until_it_is_lifted() {
    let first = Product::with(&PROXIED).await;
    let tokens = staff(&first).await;
    let second = first.restarted(&PROXIED).await;
    let body = json!({ "network": "203.0.113.9/28", "reason": "Tries passwords." });
    let (status, made) = block(&first, &tokens, body).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["network"], &made["until"]), (&json!("203.0.113.0/28"), &Value::Null));
    assert!(is_blocked(&first, "203.0.113.15").await, "here at once");
    eventually("the other process sees it", Duration::from_secs(10), || is_blocked(&second, "203.0.113.1"))
        .await;
    for product in [&first, &second] {
        assert!(!is_blocked(product, "203.0.113.16").await);
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(seen_from(product, "203.0.113.1", path).await.0, 200, "{path}");
        }
        for path in ["/api/auth/me", "/no/such/path", "/api/auth/otp/request"] {
            assert_eq!(seen_from(product, "203.0.113.1", path).await.1["code"], "request.blocked", "{path}");
        }
    }
    let (status, listed) = first.get("/api/admin/ip-blocks", &tokens).await;
    assert_eq!((status, &listed["items"][0]), (200, &made));
    let path = format!("/api/admin/ip-blocks/{}", made["id"].as_str().expect("id"));
    assert_eq!(first.delete(&path, &tokens).await.0, 204);
    assert!(!is_blocked(&first, "203.0.113.1").await);
    eventually("it is lifted everywhere", Duration::from_secs(10), || async {
        !is_blocked(&second, "203.0.113.1").await
    })
    .await;
    assert_eq!(first.delete(&path, &tokens).await.1["code"], "ip_block.not_found");
    let lines = "SELECT count(*) FROM audit WHERE entity_type = 'ip_block' AND actor IS NOT NULL";
    assert_eq!(first.world.count(lines).await, 2);
}

#[tokio::test]
async fn a_block_ends_by_itself() {
    let product = Product::with(&PROXIED).await;
    let tokens = staff(&product).await;
    let until = product.ctx.now() + Duration::from_secs(60);
    let body = json!({ "network": "2001:db8::/48", "reason": "For a minute.", "until": until });
    assert_eq!(block(&product, &tokens, body).await.0, 201);
    assert!(is_blocked(&product, "2001:db8:0:7::1").await);
    product.advance(Duration::from_secs(60));
    assert!(!is_blocked(&product, "2001:db8:0:7::1").await);
    assert_eq!(product.get("/api/admin/ip-blocks", &tokens).await.1, json!({ "items": [] }));
}

#[tokio::test]
async fn what_must_be_served_and_what_is_no_network_is_refused() {
    let product = Product::with(&[
        ("KERYU_TRUSTED_PROXIES", "127.0.0.1,10.1.0.0/16"),
        ("RATE_LIMIT_ANONYMOUS", "1000"),
    ])
    .await;
    let tokens = staff(&product).await;
    for network in
        ["127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/0", "::/0", "10.1.2.3", "10.0.0.0/8", "::ffff:10.1.2.3"]
    {
        let (status, refused) = block(&product, &tokens, json!({ "network": network, "reason": "x" })).await;
        assert_eq!((status, &refused["code"]), (422, &json!("ip_block.protected")), "{network}: {refused}");
    }
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("token"));
    let fields = [("x-forwarded-for", "192.0.2.7"), ("authorization", bearer.as_str())];
    let body = json!({ "network": "192.0.2.0/24", "reason": "Oneself." });
    let (_, refused) = read(product.send(Method::POST, "/api/admin/ip-blocks", &body, &fields).await).await;
    assert_eq!(refused["code"], "ip_block.protected");
    let past = product.ctx.now() - Duration::from_secs(1);
    for (body, pointer) in [
        (json!({ "network": "localhost", "reason": "x" }), "/network"),
        (json!({ "network": "192.0.2.0/33", "reason": "x" }), "/network"),
        (json!({ "network": "192.0.2.1", "reason": "" }), "/reason"),
        (json!({ "network": "192.0.2.1", "reason": "x".repeat(501) }), "/reason"),
        (json!({ "network": "192.0.2.1", "reason": "x", "until": past }), "/until"),
        (json!({ "network": "192.0.2.1", "reason": "x", "until": "soon" }), "/until"),
        (json!({ "network": "192.0.2.1" }), "/reason"),
    ] {
        let (status, refused) = block(&product, &tokens, body.clone()).await;
        assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}: {refused}");
    }
    for id in ["1", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(product.delete(&format!("/api/admin/ip-blocks/{id}"), &tokens).await.0, 404, "{id}");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM ip_blocks").await, 0);
}

#[tokio::test]
async fn only_who_has_the_right_sees_and_sets_blocks() {
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    let body = json!({ "network": "192.0.2.1", "reason": "x" });
    assert_eq!(product.get("/api/admin/ip-blocks", &tokens).await.1["code"], "auth.forbidden");
    assert_eq!(block(&product, &tokens, body.clone()).await.1["code"], "auth.forbidden");
    let id = "/api/admin/ip-blocks/00000000-0000-0000-0000-000000000000";
    assert_eq!(product.delete(id, &tokens).await.1["code"], "auth.forbidden");
    assert_eq!(product.post("/api/admin/ip-blocks", body).await.1["code"], "auth.required");
}

#[tokio::test]
async fn a_block_asked_for_twice_with_one_key_is_one() {
    let product = Product::new().await;
    let tokens = staff(&product).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("token"));
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let body = json!({ "network": "192.0.2.1", "reason": "x" });
    let first = read(product.send(Method::POST, "/api/admin/ip-blocks", &body, &fields).await).await;
    let second = read(product.send(Method::POST, "/api/admin/ip-blocks", &body, &fields).await).await;
    assert_eq!(first, second);
    assert_eq!(product.world.count("SELECT count(*) FROM ip_blocks").await, 1);
    product.register("bob@example.org", "bob").await;
    product.world.execute("UPDATE users SET role = 'admin'").await;
    product.advance(Duration::from_secs(61));
    let other = product.login("bob@example.org").await;
    let bearer = format!("Bearer {}", other["access_token"].as_str().expect("token"));
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let third = read(product.send(Method::POST, "/api/admin/ip-blocks", &body, &fields).await).await;
    assert_ne!(first.1["id"], third.1["id"], "a key is its sender's, also from one address");
}

/// Locks this many names nobody has, from one address.
async fn lockouts(product: &Product, from: &str, count: usize) {
    for n in 0..count {
        for _ in 0..5 {
            let body = json!({ "identifier": format!("nobody{n}"), "password": "not the password" });
            product.send(Method::POST, "/api/auth/login", &body, &[("x-forwarded-for", from)]).await;
        }
    }
}

#[tokio::test]
async fn an_address_with_twenty_lockouts_in_an_hour_is_blocked_for_an_hour_by_itself() {
    let mut settings = PROXIED.to_vec();
    settings.extend([("RATE_LIMIT_ALLOW", "192.0.2.0/24"), ("PASSWORD_MEMORY", "64")]);
    let product = Product::with(&settings).await;
    lockouts(&product, "2001:db8:1:2::1", 19).await;
    assert!(!is_blocked(&product, "2001:db8:1:2::1").await);
    product.advance(Duration::from_secs(1_000));
    lockouts(&product, "2001:db8:1:2::2", 1).await;
    assert!(is_blocked(&product, "2001:db8:1:2::3").await, "its whole /64");
    assert!(!is_blocked(&product, "2001:db8:1:3::1").await);
    let by_itself =
        "SELECT count(*) FROM ip_blocks WHERE created_by IS NULL AND network = '2001:db8:1:2::/64'";
    assert_eq!(product.world.count(by_itself).await, 1);
    product.advance(Duration::from_secs(3_600));
    assert!(!is_blocked(&product, "2001:db8:1:2::3").await);
    // twenty, but over more than an hour
    lockouts(&product, "203.0.113.1", 19).await;
    product.advance(Duration::from_secs(3_600));
    lockouts(&product, "203.0.113.1", 1).await;
    assert!(!is_blocked(&product, "203.0.113.1").await);
    // a school behind one address
    lockouts(&product, "192.0.2.1", 25).await;
    assert!(!is_blocked(&product, "192.0.2.1").await);
}
