//! Reminders of an incomplete profile: after 3, 10 and 30 days, never more, and nobody twice.

use std::time::Duration;

use keryu_common::job::Terms;
use keryu_common::reminder::{RemindProfiles, SendReminders};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Engine, Product};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn engine(product: &Product) -> Engine {
    Engine { world: product.world.again(), ctx: product.ctx.clone() }
}

/// The schedule's morning.
async fn morning(product: &Product) {
    engine(product).ask(&SendReminders::default(), Terms::default()).await;
    product.drain().await;
}

async fn reminded(product: &Product) -> i64 {
    product.world.count("SELECT count(*) FROM deliveries WHERE kind = 'profile_completion_reminder'").await
}

fn id(tokens: &Value) -> Uuid {
    tokens["user_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_incomplete_profile_is_reminded_of_three_times() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    let mut days = Vec::new();
    for day in 1..=60 {
        product.advance(DAY);
        let before = reminded(&product).await;
        morning(&product).await;
        if reminded(&product).await > before {
            days.push(day);
        }
    }
    assert_eq!(days, [3, 10, 30]);
    assert_eq!(reminded(&product).await, 3);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn who_completes_the_profile_is_left_alone() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.register("bob@example.org", "bob").await;
    let whole = json!({ "full_name": "Ada Lovelace", "date_of_birth": "1990-12-10", "address": "Nairobi",
                        "emergency_contact": "William", "emergency_phone": "+254712345678" });
    let (_, profile) = product.call(Method::PATCH, "/api/users/profile", &whole, &ada).await;
    assert_eq!(profile["is_profile_complete"], true, "{profile}");
    product.advance(DAY * 3);
    morning(&product).await;
    let letters = product.letters().await;
    let to: Vec<&Value> = letters
        .iter()
        .filter(|letter| letter["kind"] == "profile_completion_reminder")
        .map(|letter| &letter["to"])
        .collect();
    assert_eq!(to, [&json!("bob@example.org")]);
}

#[tokio::test]
async fn who_completes_the_profile_before_the_job_runs_is_not_reminded() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(DAY * 3);
    engine(&product)
        .ask(&RemindProfiles { people: vec![id(&ada), Uuid::from_u128(7)] }, Terms::default())
        .await;
    let names = "UPDATE users SET first_name = 'Ada', last_name = 'L', address = 'Nairobi'";
    product.world.execute(names).await;
    let rest = "UPDATE profiles SET date_of_birth = '1990-12-10', emergency_contact = 'W', emergency_phone = '+254712345678'";
    product.world.execute(rest).await;
    product.drain().await;
    assert_eq!(reminded(&product).await, 0);
}

#[tokio::test]
async fn bodies_that_start_twice_remind_nobody_twice() {
    let product = Product::new().await;
    let mut people = Vec::new();
    for n in 0..5 {
        people.push(id(&product.register(&format!("p{n}@example.org"), &format!("person{n}")).await));
    }
    product.advance(DAY * 3);
    for _ in 0..3 {
        engine(&product).ask(&SendReminders::default(), Terms::default()).await;
        engine(&product).ask(&RemindProfiles { people: people.clone() }, Terms::default()).await;
    }
    product.drain().await;
    morning(&product).await;
    assert_eq!(reminded(&product).await, 5);
}

#[tokio::test]
async fn who_switched_reminders_off_gets_none() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    let off = r#"UPDATE profiles SET notification_preferences =
                 '{"profile_completion_reminder": {"email": false, "sms": false, "push": false}}'"#;
    assert_eq!(product.world.execute(off).await, 1);
    for _ in 0..31 {
        product.advance(DAY);
        morning(&product).await;
    }
    assert_eq!(reminded(&product).await, 0);
}

#[tokio::test]
async fn many_people_go_in_batches() {
    let product = Product::new().await;
    let sql =
        "INSERT INTO users (user_id, username, username_skeleton, email, email_verified_at, ever_verified_at,
                                  created_at, updated_at)
               SELECT gen_random_uuid(), 'u' || n, 'u' || n, n || '@example.org', $1, $1,
                      $1 - (n % 3) * interval '1 second', $1
               FROM generate_series(1, 250) n";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    product.advance(DAY * 3);
    morning(&product).await;
    assert_eq!(reminded(&product).await, 250);
    let jobs = "SELECT count(*) FROM finished_jobs WHERE kind = 'reminder.remind_profiles'";
    assert_eq!(product.world.count(jobs).await, 3);
}
