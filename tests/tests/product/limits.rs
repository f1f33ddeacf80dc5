//! How many calls one client may make, and who counts as one client.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;

use crate::support::Product;
use crate::support::product::{field, read, retry_after};

/// A call that acts on an identifier, each on another one.
async fn call(product: &Product, n: usize, fields: &[(&str, &str)]) -> Response {
    product.try_code(&format!("u{n}@example.org"), "login", "000000", None, fields).await
}

/// Calls until the first refusal. Answers with how many were let through.
async fn let_through(product: &Product, fields: &[(&str, &str)]) -> usize {
    for n in 0..100 {
        if call(product, n, fields).await.status() == 429 {
            return n;
        }
    }
    panic!("never refused")
}

#[tokio::test]
async fn twenty_calls_a_minute_and_the_refusal_says_when_there_is_room_again() {
    let product = Product::with(&[]).await;
    for left in (0..20).rev() {
        let answer = call(&product, left, &[]).await;
        assert_eq!(answer.status(), 422, "a wrong code, but let through");
        assert_eq!(field(&answer, "ratelimit-policy"), "\"anonymous\";q=20;w=60");
        assert_eq!(field(&answer, "ratelimit"), format!("\"anonymous\";r={left};t=60"));
    }
    let refused = call(&product, 20, &[]).await;
    assert_eq!(field(&refused, "ratelimit"), "\"anonymous\";r=0;t=60");
    let wait = retry_after(&refused);
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(120));
    let (status, body) = read(refused).await;
    assert_eq!((status, &body["code"]), (429, &"request.rate_limited".into()));
    product.advance(wait.saturating_sub(Duration::from_secs(1)));
    assert_eq!(call(&product, 20, &[]).await.status(), 429, "a second early");
    product.advance(Duration::from_secs(1));
    assert_eq!(call(&product, 20, &[]).await.status(), 422, "when told to come back");
    assert_eq!(product.world.count("SELECT count(*) FROM audit").await, 21, "a refused call does nothing");
}

#[tokio::test]
async fn malformed_calls_count_and_other_routes_have_buckets_of_their_own() {
    let product = Product::with(&[]).await;
    for _ in 0..20 {
        let answer = product.send(Method::POST, "/api/auth/otp/request", &Value::from(1), &[]).await;
        assert_eq!(answer.status(), 422);
    }
    assert_eq!(product.ask("ada@example.org", "register").await.0, 429, "one bucket for both calls");
    for (path, bucket) in [
        ("/api/deliveries/00000000-0000-4000-8000-000000000000", "\"receipts\";q=600;w=60"),
        ("/api/openapi.json", "\"documents\";q=120;w=60"),
        ("/healthz", "\"health\";q=600;w=60"),
    ] {
        let answer = product.send(Method::GET, path, &Value::Null, &[]).await;
        assert_ne!(answer.status(), 429, "{path}");
        assert_eq!(field(&answer, "ratelimit-policy"), bucket, "{path}");
    }
}

#[tokio::test]
async fn a_forged_forwarding_field_gives_no_second_bucket() {
    let product = Product::with(&[("RATE_LIMIT_ANONYMOUS", "3")]).await;
    assert_eq!(let_through(&product, &[]).await, 3);
    for forged in ["192.0.2.1", "127.0.0.2", "::1", "unknown"] {
        let answer = call(&product, 9, &[("x-forwarded-for", forged), ("forwarded", "for=192.0.2.1")]).await;
        assert_eq!(answer.status(), 429, "{forged}");
    }
    let seen: String = sqlx::query_scalar("SELECT DISTINCT ip_address FROM audit")
        .fetch_one(&product.world.db)
        .await
        .expect("ip");
    assert_eq!(seen, "127.0.0.1", "the peer, whatever it says of itself");
}

/// Each forwarding field and the address that acts by it, behind trusted 127.0.0.1 and 10.0.0.0/8.
const HOPS: [(&str, &str); 9] = [
    ("192.0.2.1", "192.0.2.1"),
    ("203.0.113.66, 192.0.2.2", "192.0.2.2"),
    ("203.0.113.66, 192.0.2.3, 10.1.2.3", "192.0.2.3"),
    ("192.0.2.4:5151", "192.0.2.4"),
    ("2001:db8::5", "2001:db8::5"),
    ("::ffff:192.0.2.6", "192.0.2.6"),
    ("", "127.0.0.1"),
    ("192.0.2.7, garbled", "127.0.0.1"),
    ("10.1.1.1, 10.2.2.2", "127.0.0.1"),
];

#[tokio::test]
async fn behind_trusted_proxies_the_rightmost_address_that_is_none_of_them_acts() {
    let product =
        Product::with(&[("KERYU_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8"), ("RATE_LIMIT_ANONYMOUS", "1000")])
            .await;
    for (n, (forwarded, acts)) in HOPS.into_iter().enumerate() {
        let agent = format!("case {n}");
        call(&product, n, &[("x-forwarded-for", forwarded), ("user-agent", &agent)]).await;
        let seen: String = sqlx::query_scalar("SELECT ip_address FROM audit WHERE user_agent = $1")
            .bind(&agent)
            .fetch_one(&product.world.db)
            .await
            .expect("ip");
        assert_eq!(seen, acts, "{forwarded:?}");
    }
}

#[tokio::test]
async fn an_ipv6_client_is_its_64_and_a_mapped_address_is_ipv4() {
    let product =
        Product::with(&[("KERYU_TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_ANONYMOUS", "4")]).await;
    let from =
        async |address: &str| call(&product, 1, &[("x-forwarded-for", address)]).await.status().as_u16();
    for host in 1..=4 {
        assert_eq!(from(&format!("2001:db8:1:2::{host}")).await, 422);
    }
    assert_eq!(from("2001:db8:1:2:ffff:ffff:ffff:ffff").await, 429, "the same network");
    assert_eq!(from("2001:db8:1:3::1").await, 422, "the next one");
    for _ in 0..4 {
        assert_eq!(from("192.0.2.1").await, 422);
    }
    assert_eq!(from("::ffff:192.0.2.1").await, 429);
    assert_eq!(from("192.0.2.2").await, 422, "no /64 for IPv4");
}

#[tokio::test]
async fn a_school_on_the_allow_list_is_not_limited_and_its_neighbour_is() {
    let product = Product::with(&[
        ("KERYU_TRUSTED_PROXIES", "127.0.0.1"),
        ("RATE_LIMIT_ANONYMOUS", "3"),
        ("RATE_LIMIT_ALLOW", "192.0.2.0/28,2001:db8::/48"),
    ])
    .await;
    for address in ["192.0.2.5", "2001:db8::1"] {
        for n in 0..10 {
            let answer = call(&product, n, &[("x-forwarded-for", address)]).await;
            assert_eq!((answer.status().as_u16(), field(&answer, "ratelimit")), (422, String::new()));
        }
    }
    assert_eq!(let_through(&product, &[("x-forwarded-for", "192.0.2.16")]).await, 3);
}

#[tokio::test]
async fn two_processes_share_their_counts_through_redis() {
    let first = Product::with(&[("RATE_LIMIT_ANONYMOUS", "6")]).await;
    let second = first.restarted(&[("RATE_LIMIT_ANONYMOUS", "6")]).await;
    for n in 0..3 {
        assert_eq!(call(&first, n, &[]).await.status(), 422);
        assert_eq!(call(&second, n, &[]).await.status(), 422);
    }
    assert_eq!(call(&first, 3, &[]).await.status(), 429);
    assert_eq!(call(&second, 3, &[]).await.status(), 429);
}

#[tokio::test]
async fn without_redis_each_process_limits_by_itself_neither_open_nor_closed() {
    let product = Product::with(&[("REDIS_URL", "redis://127.0.0.1:9"), ("RATE_LIMIT_ANONYMOUS", "5")]).await;
    assert_eq!(let_through(&product, &[]).await, 5);
    let refused = call(&product, 9, &[]).await;
    product.advance(retry_after(&refused));
    assert_eq!(call(&product, 9, &[]).await.status(), 422);
    let (_, metrics) = read(product.send(Method::GET, "/metrics", &Value::Null, &[]).await).await;
    let metrics = metrics.as_str().expect("text");
    let fallbacks = metrics.lines().find(|line| line.starts_with("keryu_limiter_fallbacks_total"));
    let fallbacks: u32 = fallbacks.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a figure");
    assert!(fallbacks >= 8, "operators see it: {fallbacks}");
}
