//! What access tokens say, the keys that sign them, and their rotation.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use keryu_common::job::Terms;
use keryu_common::session::RotateSigningKeys;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::product::read;
use super::support::{Engine, Product};

fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json = || serde_json::from_slice(&BASE64.decode(parts.next().unwrap()).unwrap()).unwrap();
    let (header, claims) = (json(), json());
    (header, claims, parts.next().unwrap().to_owned())
}

#[tokio::test]
async fn a_token_says_what_rfc_9068_wants() {
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    let (header, claims, _) = parts(tokens["access_token"].as_str().unwrap());
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    assert_eq!(claims["iss"], json!(product.base));
    assert_eq!(claims["aud"], json!(product.base));
    assert_eq!(claims["sub"], tokens["user_id"]);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    for claim in ["nbf", "jti", "sid", "role", "scope"] {
        assert!(!claims[claim].is_null(), "{claim}");
    }
    let (status, keys) =
        read(product.send(Method::GET, "/.well-known/jwks.json", &Value::Null, &[]).await).await;
    assert_eq!(status, 200);
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["crv"], &keys["keys"][0]["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("sig"))
    );
    assert!(keys["keys"][0].get("d").is_none(), "the private half");
}

#[tokio::test]
async fn keys_rotate_without_signing_anybody_out() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let product = Product::new().await;
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    let rotate = || async {
        engine.ask(&RotateSigningKeys::default(), Terms::default()).await;
        engine.drain().await;
    };
    let kids = || async {
        let (_, keys) =
            read(product.send(Method::GET, "/.well-known/jwks.json", &Value::Null, &[]).await).await;
        keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let kid = |tokens: &Value| {
        parts(tokens["access_token"].as_str().unwrap()).0["kid"].as_str().unwrap().to_owned()
    };
    let mut tokens = product.register("ada@example.org", "ada").await;
    let first = kid(&tokens);
    rotate().await;
    assert_eq!(kids().await, std::slice::from_ref(&first), "not due");
    for _ in 0..2 {
        product.advance(DAY * 15);
        tokens = product.refreshed(&tokens).await;
    }
    rotate().await;
    // the next key is published before it signs
    assert_eq!(kids().await.len(), 2);
    tokens = product.refreshed(&tokens).await;
    assert_eq!(kid(&tokens), first);
    product.advance(Duration::from_secs(599));
    let last_of_first = product.refreshed(&tokens).await;
    assert_eq!(kid(&last_of_first), first);
    product.advance(Duration::from_secs(1));
    let next = product.refreshed(&last_of_first).await;
    assert_ne!(kid(&next), first);
    assert_eq!(product.get("/api/auth/me", &last_of_first).await.0, 200, "its tokens live to their end");
    assert_eq!(product.get("/api/auth/me", &next).await.0, 200);
    product.advance(Duration::from_secs(361));
    let next = product.refreshed(&next).await;
    rotate().await;
    let held = product.restarted(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    let (_, keys) = read(held.send(Method::GET, "/.well-known/jwks.json", &Value::Null, &[]).await).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "the old key is gone when no token of it can live");
    assert_eq!(kid(&next), keys["keys"][0]["kid"].as_str().unwrap());
}

#[tokio::test]
async fn another_algorithm_is_taken_up_by_the_next_rotation() {
    for algorithm in ["ES256", "RS256"] {
        let product =
            Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("TOKEN_ALGORITHM", algorithm)]).await;
        let tokens = product.register("ada@example.org", "ada").await;
        let (header, ..) = parts(tokens["access_token"].as_str().unwrap());
        assert_eq!(header["alg"], algorithm);
        assert_eq!(product.get("/api/auth/me", &tokens).await.0, 200);
    }
}
