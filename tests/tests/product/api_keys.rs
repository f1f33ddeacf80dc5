//! Services: keys with scopes, shown once, revoked at once everywhere.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{field, read};
use crate::support::{Product, dump};

const KEYS: &str = "/api/admin/api-keys";
const ROLES: &str = "/api/admin/roles";

/// Registers an admin: the tokens.
async fn admin(product: &Product) -> Value {
    let tokens = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    tokens
}

async fn make(product: &Product, body: &Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::POST, KEYS, body, tokens).await
}

/// A key with one scope.
async fn key(product: &Product, scope: &str, tokens: &Value) -> Value {
    let (status, made) = make(product, &json!({ "name": "rentals", "scopes": [scope] }), tokens).await;
    assert_eq!(status, 201, "{made}");
    made
}

async fn as_service(product: &Product, made: &Value) -> (u16, Value) {
    let key = made["key"].as_str().expect("key");
    read(product.send(Method::GET, ROLES, &Value::Null, &[("x-api-key", key)]).await).await
}

#[tokio::test]
async fn a_service_does_what_its_scopes_say_until_its_key_is_revoked() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let made = key(&product, "roles:read", &boss).await;
    let text = made["key"].as_str().unwrap();
    assert!(text.starts_with("kry_") && text.len() == 47, "{text}");
    assert_eq!(as_service(&product, &made).await.0, 200);
    product.world.execute("UPDATE users SET is_superuser = true").await;
    let other = key(&product, "usage:write", &boss).await;
    let (status, refused) = as_service(&product, &other).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    // a key opens nothing that is for people
    let me = product.send(Method::GET, "/api/auth/me", &Value::Null, &[("x-api-key", text)]).await;
    assert_eq!(read(me).await.1["code"], "auth.required");
    let second = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    assert_eq!(as_service(&second, &made).await.0, 200);
    let path = format!("{KEYS}/{}", made["api_key"]["id"].as_str().unwrap());
    assert_eq!(product.delete(&path, &boss).await.0, 204);
    for process in [&product, &second] {
        let (status, refused) = as_service(process, &made).await;
        assert_eq!((status, &refused["code"]), (401, &json!("api_key.invalid")));
    }
    assert_eq!(product.delete(&path, &boss).await.1["code"], "api_key.not_found");
    let lines = "SELECT count(*) FROM audit WHERE entity_type = 'api_key' AND actor IS NOT NULL";
    assert_eq!(product.world.count(lines).await, 3);
}

#[tokio::test]
async fn keys_that_come_at_once_are_not_taken_for_each_other() {
    let product = Product::new().await.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    let boss = admin(&product).await;
    product.world.execute("UPDATE users SET is_superuser = true").await;
    let (good, other) = (key(&product, "roles:read", &boss).await, key(&product, "usage:write", &boss).await);
    let revoked = key(&product, "roles:read", &boss).await;
    let path = format!("{KEYS}/{}", revoked["api_key"]["id"].as_str().unwrap());
    assert_eq!(product.delete(&path, &boss).await.0, 204);
    let unknown = json!({ "key": format!("kry_{}", "A".repeat(43)) });
    let wanted = [(&good, 200), (&other, 403), (&revoked, 401), (&unknown, 401)];
    let calls = (0..64).map(|n| {
        let (made, status) = wanted[n * 7 % 4];
        let product = &product;
        async move { assert_eq!(as_service(product, made).await.0, status, "{n}") }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let made = key(&product, "roles:read", &boss).await;
    let text = made["key"].as_str().unwrap();
    assert_eq!(as_service(&product, &made).await.0, 200);
    let (status, list) = product.get(KEYS, &boss).await;
    assert_eq!(status, 200, "{list}");
    assert_eq!(list["items"][0]["name"], "rentals");
    assert!(!list.to_string().contains(&text[4..]), "{list}");
    for (table, rows) in dump::tables(&product.world).await {
        assert!(!rows.iter().any(|row| row.contains(&text[4..])), "in {table}");
    }
    assert!(!dump::redis(&product.world).await.contains(&text[4..]));
}

#[tokio::test]
async fn uses_are_noted_to_the_minute() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let made = key(&product, "roles:read", &boss).await;
    let used = || async { product.get(KEYS, &boss).await.1["items"][0]["last_used_at"].clone() };
    assert_eq!(used().await, Value::Null);
    assert_eq!(as_service(&product, &made).await.0, 200);
    let first = used().await;
    assert!(first.is_string());
    product.advance(Duration::from_secs(59));
    assert_eq!(as_service(&product, &made).await.0, 200);
    assert_eq!(used().await, first);
    product.advance(Duration::from_secs(1));
    assert_eq!(as_service(&product, &made).await.0, 200);
    assert_ne!(used().await, first);
}

#[tokio::test]
async fn a_key_ends_when_it_was_to_end() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let ends = product.ctx.now() + TimeDelta::minutes(2);
    let body = json!({ "name": "rentals", "scopes": ["roles:read"], "expires_at": ends });
    let (status, made) = make(&product, &body, &boss).await;
    assert_eq!(status, 201, "{made}");
    product.advance(Duration::from_secs(119));
    assert_eq!(as_service(&product, &made).await.0, 200);
    product.advance(Duration::from_secs(1));
    assert_eq!(as_service(&product, &made).await.0, 401);
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let made = key(&product, "roles:read", &boss).await;
    let text = made["key"].as_str().unwrap();
    let cut = &text[..text.len() - 1];
    let other_case = text.to_uppercase();
    let long = format!("kry_{}", "a".repeat(5_000));
    for wrong in ["", "kry_", "x", cut, &text[4..], &other_case, &long, "kry_' OR true --"] {
        let answer = product.send(Method::GET, ROLES, &Value::Null, &[("x-api-key", wrong)]).await;
        assert_eq!(field(&answer, "www-authenticate"), "Bearer");
        let (status, refused) = read(answer).await;
        assert_eq!((status, &refused["code"]), (401, &json!("api_key.invalid")), "{wrong:.60}");
    }
    // two credentials: which one counts is anyone's guess
    let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
    for fields in [
        [("x-api-key", text), ("authorization", bearer.as_str())],
        [("x-api-key", text), ("x-api-key", text)],
    ] {
        let (status, refused) = read(product.send(Method::GET, ROLES, &Value::Null, &fields).await).await;
        assert_eq!((status, &refused["code"]), (401, &json!("api_key.invalid")));
    }
}

#[tokio::test]
async fn faults_of_a_key_are_told_at_once() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let far = "9999-12-31T23:59:59Z";
    for (body, pointers) in [
        (json!({}), &["/name", "/scopes"][..]),
        (json!({ "name": "", "scopes": [] }), &["/name", "/scopes"]),
        (json!({ "name": 7, "scopes": ["users:eat"], "x": 1 }), &["/name", "/scopes/0", "/x"]),
        (json!({ "name": "a", "scopes": ["roles:read"], "expires_at": "soon" }), &["/expires_at"]),
        (
            json!({ "name": " ", "scopes": ["roles:read"], "expires_at": "2001-01-01T00:00:00Z" }),
            &["/name", "/expires_at"],
        ),
        (json!({ "name": "a\u{7}b", "scopes": ["roles:read"], "expires_at": far }), &["/name"]),
        (json!({ "name": "a".repeat(101), "scopes": ["roles:read"] }), &["/name"]),
    ] {
        let (status, refused) = make(&product, &body, &boss).await;
        assert_eq!(status, 422, "{body}: {refused}");
        let faults = refused["errors"].as_array().unwrap();
        let told: Vec<&str> = faults.iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
        assert_eq!(told, pointers, "{body}");
    }
    let (status, made) =
        make(&product, &json!({ "name": "a", "scopes": ["roles:read"], "expires_at": far }), &boss).await;
    assert_eq!(status, 201, "{made}");
}

#[tokio::test]
async fn nobody_lets_a_service_see_what_they_may_not_see() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    product
        .world
        .execute("UPDATE roles SET permissions = '{api_keys.write,users.read}' WHERE role = 'admin'")
        .await;
    let (status, refused) =
        make(&product, &json!({ "name": "a", "scopes": ["users:read", "roles:read"] }), &boss).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
    key(&product, "users:read", &boss).await;
    for scope in ["usage:write", "wallet:write", "face:encodings"] {
        let (status, refused) = make(&product, &json!({ "name": "a", "scopes": [scope] }), &boss).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")), "{scope}");
    }
    product.advance(Duration::from_secs(11 * 60));
    let (_, boss) =
        product.post("/api/auth/refresh", json!({ "refresh_token": boss["refresh_token"] })).await;
    let (status, refused) = make(&product, &json!({ "name": "a", "scopes": ["users:read"] }), &boss).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.step_up_required")));
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_key_and_nobody_elses() {
    let product = Product::new().await;
    let boss = admin(&product).await;
    let other = product.register("other@example.org", "other.boss").await;
    product.world.execute("UPDATE users SET role = 'admin'").await;
    let body = json!({ "name": "rentals", "scopes": ["roles:read"] });
    let ask = |tokens: &Value| {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let (product, body) = (&product, &body);
        async move {
            let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k-1")];
            read(product.send(Method::POST, KEYS, body, &fields).await).await
        }
    };
    let (first, again) = (ask(&boss).await, ask(&boss).await);
    assert_eq!((first.0, again.0), (201, 201));
    assert_eq!(first.1, again.1);
    let another = ask(&other).await;
    assert_eq!(another.0, 201);
    assert_ne!(another.1["key"], first.1["key"]);
    assert_eq!(product.world.count("SELECT count(*) FROM api_keys").await, 2);
}
