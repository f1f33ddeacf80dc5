//! When people were last here: gathered in memory, one durable job for many.

use std::time::Duration;

use chrono::{DateTime, Utc};
use keryu_common::activity::{self, NoteSeen};
use keryu_common::job::Terms;
use serde_json::Value;
use uuid::Uuid;

use super::support::{Engine, Product, World, eventually, process};

const MINUTE: Duration = Duration::from_secs(60);

async fn seen(product: &Product, tokens: &Value) -> Option<DateTime<Utc>> {
    sqlx::query_scalar("SELECT last_activity_at FROM users WHERE user_id = $1")
        .bind(tokens["user_id"].as_str().unwrap().parse::<Uuid>().unwrap())
        .fetch_one(&product.world.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_call_of_somebody_signed_in_counts_and_many_are_one_job() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    for tokens in [&ada, &bob, &ada, &ada] {
        assert_eq!(product.get("/api/auth/me", tokens).await.0, 200);
    }
    assert_eq!(activity::flush(&product.ctx).await.unwrap(), 2);
    assert_eq!(activity::flush(&product.ctx).await.unwrap(), 0);
    let asked = "SELECT count(*) FROM jobs WHERE kind = 'activity.note_seen'";
    assert_eq!(product.world.count(asked).await, 1);
    let payload: Value = sqlx::query_scalar("SELECT payload FROM jobs WHERE kind = 'activity.note_seen'")
        .fetch_one(&product.world.db)
        .await
        .unwrap();
    let one = payload["seen"][0].as_array().unwrap();
    assert_eq!(one.len(), 2, "an id and a time, nothing else: {payload}");
    product.drain().await;
    assert_eq!(seen(&product, &ada).await, Some(product.ctx.now()));
    let first = product.ctx.now();
    // within the minute nobody is noted anew
    product.advance(MINUTE / 2);
    product.get("/api/auth/me", &ada).await;
    assert_eq!(activity::flush(&product.ctx).await.unwrap(), 0);
    product.advance(MINUTE);
    product.get("/api/auth/sessions", &ada).await;
    assert_eq!(activity::flush(&product.ctx).await.unwrap(), 1);
    product.drain().await;
    assert_eq!(
        (seen(&product, &ada).await, seen(&product, &bob).await),
        (Some(product.ctx.now()), Some(first))
    );
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_call_that_is_refused_is_no_activity() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(MINUTE * 10);
    assert_eq!(product.get("/api/auth/me", &ada).await.0, 401, "the token has expired");
    assert_eq!(activity::flush(&product.ctx).await.unwrap(), 0);
}

#[tokio::test]
async fn a_job_that_comes_late_takes_nothing_back_and_one_an_hour_late_is_not_run() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let user_id: Uuid = ada["user_id"].as_str().unwrap().parse().unwrap();
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    let now = product.ctx.now();
    for at in [now, now - MINUTE] {
        engine.ask(&NoteSeen { seen: vec![(user_id, at), (Uuid::from_u128(7), at)] }, Terms::default()).await;
        product.drain().await;
        assert_eq!(seen(&product, &ada).await, Some(now));
    }
    product.get("/api/auth/me", &ada).await;
    activity::flush(&product.ctx).await.unwrap();
    product.advance(MINUTE * 61);
    product.drain().await;
    assert_eq!(seen(&product, &ada).await, Some(now), "it was of no use any more");
    let dead = "SELECT count(*) FROM jobs WHERE kind = 'activity.note_seen' AND state = 'discarded'";
    assert_eq!(product.world.count(dead).await, 1);
}

#[tokio::test]
async fn what_a_process_gathered_is_written_down_when_it_stops() {
    let world = World::new().await;
    let public = [("KERYU_PUBLIC_URL", "https://id.example.org"), ("RATE_LIMIT_ALLOW", "127.0.0.1")];
    let api = process::api(&world, process::free_port(), &public).await;
    let product = Product::beside(&world, &public).await;
    let ada = product.register("ada@example.org", "ada").await;
    let me = format!("{}/api/auth/me", api.base);
    assert_eq!(product.get(&me, &ada).await.0, 200);
    api.process.terminate(Duration::from_secs(20)).await;
    let asked = "SELECT count(*) FROM jobs WHERE kind = 'activity.note_seen'";
    assert_eq!(world.count(asked).await, 1);
    let worker = process::worker(&world, &[], &[]);
    eventually("the time is written down", Duration::from_secs(20), || async {
        seen(&product, &ada).await.is_some()
    })
    .await;
    worker.terminate(Duration::from_secs(20)).await;
}
