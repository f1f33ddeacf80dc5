//! Two API processes over one database: what happens in one holds in the other, and a killed one signs
//! nobody out.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::support::product::read;
use super::support::{Product, World, eventually, process};

const SETTINGS: [(&str, &str); 2] = [("RATE_LIMIT_ALLOW", "127.0.0.1"), ("TOKEN_AUDIENCE", "keryu")];

async fn send(
    http: &Client,
    method: Method,
    url: String,
    tokens: Option<&Value>,
    body: Value,
) -> Option<(u16, Value)> {
    let mut request = http.request(method, url);
    if let Some(tokens) = tokens {
        request = request.bearer_auth(tokens["access_token"].as_str().unwrap());
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    Some(read(request.send().await.ok()?).await)
}

/// Somebody registered, by a product in this process on the same database: its tokens are of the same keys.
async fn person(world: &World, public_url: &str) -> Value {
    let settings = [SETTINGS[0], SETTINGS[1], ("KERYU_PUBLIC_URL", public_url)];
    let product = Product::beside(world, &settings).await;
    product.register("ada@example.org", "ada").await
}

#[tokio::test]
async fn what_one_process_ends_is_over_in_the_other_at_once() {
    let world = World::new().await;
    let settings = [SETTINGS[0], SETTINGS[1], ("KERYU_PUBLIC_URL", "https://id.example.org")];
    let one = process::api(&world, process::free_port(), &settings).await;
    let two = process::api(&world, process::free_port(), &settings).await;
    let http = Client::new();
    let ada = person(&world, "https://id.example.org").await;
    for base in [&one.base, &two.base] {
        let (status, body) =
            send(&http, Method::GET, format!("{base}/api/auth/me"), Some(&ada), Value::Null).await.unwrap();
        assert_eq!(status, 200, "{body}");
    }
    send(&http, Method::POST, format!("{}/api/auth/logout", one.base), Some(&ada), Value::Null)
        .await
        .unwrap();
    let (_, refused) =
        send(&http, Method::GET, format!("{}/api/auth/me", two.base), Some(&ada), Value::Null).await.unwrap();
    assert_eq!(refused["code"], "auth.session_ended");
}

#[tokio::test]
async fn a_key_that_one_process_makes_verifies_in_the_other() {
    let world = World::new().await;
    let settings = [SETTINGS[0], SETTINGS[1], ("KERYU_PUBLIC_URL", "https://id.example.org")];
    let one = process::api(&world, process::free_port(), &settings).await;
    let http = Client::new();
    let ada = person(&world, "https://id.example.org").await;
    let refresh = json!({ "refresh_token": ada["refresh_token"] });
    let (status, next) =
        send(&http, Method::POST, format!("{}/api/auth/refresh", one.base), None, refresh).await.unwrap();
    assert_eq!(status, 200, "{next}");
    // another process makes a new key, at work from now on
    let product = Product::beside(&world, &settings).await;
    world.execute("UPDATE signing_keys SET created_at = created_at - interval '1 hour'").await;
    keryu_common::session::rotate_keys(&product.ctx, true).await.unwrap();
    world.execute("UPDATE signing_keys SET active_from = created_at WHERE expires_at IS NULL").await;
    let product = Product::beside(&world, &settings).await;
    let tokens = product.refreshed(&next).await;
    eventually("the other process knows the new key", Duration::from_secs(2), || async {
        let url = format!("{}/api/auth/me", one.base);
        send(&http, Method::GET, url, Some(&tokens), Value::Null)
            .await
            .is_some_and(|(status, _)| status == 200)
    })
    .await;
}

#[tokio::test]
async fn an_api_killed_amid_refreshes_signs_nobody_out() {
    let world = World::new().await;
    let settings = [SETTINGS[0], SETTINGS[1], ("KERYU_PUBLIC_URL", "https://id.example.org")];
    let port = process::free_port();
    let mut api = process::api(&world, port, &settings).await;
    let product = Product::beside(&world, &settings).await;
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(product.register(&format!("p{n}@example.org"), &format!("person{n}")).await);
    }
    let http = Client::new();
    for round in 0..4 {
        let kill = async {
            // some of the refreshes are under way, some answered, some not yet sent
            let begun = "SELECT count(*) FROM sessions WHERE generation > 0";
            let before = world.count(begun).await;
            eventually("a refresh has been made", Duration::from_secs(5), || async {
                world.count("SELECT coalesce(sum(generation), 0)::bigint FROM sessions").await > before
                    || round > 0
            })
            .await;
            api.process.kill();
        };
        let calls = people.iter().map(|tokens| {
            let body = json!({ "refresh_token": tokens["refresh_token"] });
            send(&http, Method::POST, format!("http://127.0.0.1:{port}/api/auth/refresh"), None, body)
        });
        let (answers, ()) = futures::join!(join_all(calls), kill);
        for (tokens, answer) in people.iter_mut().zip(answers) {
            if let Some((200, next)) = answer {
                *tokens = next;
            }
        }
        api = process::api(&world, port, &settings).await;
        // whoever got no answer asks again with what they have
        for tokens in &mut people {
            let body = json!({ "refresh_token": tokens["refresh_token"] });
            let url = format!("{}/api/auth/refresh", api.base);
            let (status, next) = send(&http, Method::POST, url, None, body).await.unwrap();
            assert_eq!(status, 200, "round {round}: {next}");
            *tokens = next;
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL").await, 0);
}
