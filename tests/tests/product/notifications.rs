//! A person's own messages, and what they want to be told.

use std::time::Duration;

use keryu_common::audit::Client;
use keryu_common::notify::{self, Facts, Message, Preferences, Told, Via};
use keryu_common::session;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Product;

const LIST: &str = "/api/users/notifications";

fn id_of(tokens: &Value) -> Uuid {
    tokens["user_id"].as_str().expect("user_id").parse().expect("an id")
}

async fn tell(product: &Product, tokens: &Value, message: Message) {
    let told = Told { user_id: id_of(tokens), message, facts: Facts::at(product.ctx.now()) };
    let mut tx = product.ctx.db.begin().await.expect("begin");
    notify::tell(&mut tx, &product.ctx, None, &told).await.expect("told");
    tx.commit().await.expect("commit");
}

/// All pages, as kinds: the number of pages too.
async fn pages(product: &Product, tokens: &Value, limit: usize) -> (usize, Vec<Value>) {
    let (mut all, mut count, mut path) = (Vec::new(), 0, format!("{LIST}?limit={limit}"));
    loop {
        let (status, page) = product.get(&path, tokens).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= limit);
        all.extend(items.clone());
        count += 1;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{LIST}?limit={limit}&cursor={cursor}"),
            None => return (count, all),
        }
    }
}

fn kinds(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["kind"].as_str().expect("kind")).collect()
}

#[tokio::test]
async fn a_person_sees_their_own_messages_newest_first() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    product.advance(Duration::from_secs(61));
    product.ask("ada@example.org", "login").await;
    product.ask("nobody@example.org", "login").await;
    product.drain().await;
    product.advance(Duration::from_secs(1));
    tell(&product, &ada, Message::PasswordChanged).await;
    let (status, page) = product.get(LIST, &ada).await;
    assert_eq!(status, 200, "{page}");
    let items = page["items"].as_array().expect("items");
    assert_eq!(kinds(items), ["password_changed", "otp_code", "welcome"]);
    assert_eq!(
        items.iter().map(|item| item["state"].as_str().expect("state")).collect::<Vec<_>>(),
        ["queued", "accepted", "accepted"]
    );
    assert_eq!((&items[0]["channel"], &page["next_cursor"]), (&json!("email"), &Value::Null));
    assert!(!page.to_string().contains("example.org"), "no address");
    let (_, page) = product.get(LIST, &bob).await;
    assert_eq!(kinds(page["items"].as_array().expect("items")), ["welcome"]);
    let unsigned = product.send(Method::GET, LIST, &Value::Null, &[]).await;
    assert_eq!(unsigned.status(), 401);
}

#[tokio::test]
async fn pages_hold_every_message_once_also_of_one_moment_and_while_others_come() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    for n in 0..11 {
        tell(&product, &ada, Message::NewDevice).await;
        if n % 4 == 0 {
            product.advance(Duration::from_millis(1));
        }
    }
    let (_, first) = product.get(&format!("{LIST}?limit=5"), &ada).await;
    product.advance(Duration::from_secs(1));
    tell(&product, &ada, Message::RoleChanged).await;
    let next = first["next_cursor"].as_str().expect("a cursor");
    let (_, second) = product.get(&format!("{LIST}?limit=200&cursor={next}"), &ada).await;
    let (one, two) = (first["items"].as_array().expect("items"), second["items"].as_array().expect("items"));
    assert_eq!((one.len(), two.len(), &second["next_cursor"]), (5, 7, &Value::Null));
    assert!(!kinds(two).contains(&"role_changed"), "what came later is on the first page");
    for (limit, wanted) in [(1, 13), (5, 3), (13, 1), (12, 2)] {
        let (count, all) = pages(&product, &ada, limit).await;
        let mut ids: Vec<&str> = all.iter().map(|item| item["id"].as_str().expect("id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((count, ids.len()), (wanted, 13), "{limit}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_or_another_hand_is_refused() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    tell(&product, &ada, Message::NewDevice).await;
    let (_, page) = product.get(&format!("{LIST}?limit=1"), &ada).await;
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let (_, nearly) = cursor.split_at(1);
    let place = keryu_common::cursor::Place { at: product.ctx.now(), id: Uuid::nil() };
    let other = keryu_common::cursor::write(&product.ctx.config.keys, "jobs", id_of(&ada), place);
    for (wrong, tokens) in [
        (cursor, &bob),
        (nearly, &ada),
        (other.as_str(), &ada),
        ("x", &ada),
        ("", &ada),
        ("%00", &ada),
        ("%F0%9F%98%80", &ada),
        ("0", &ada),
    ] {
        let (status, problem) = product.get(&format!("{LIST}?cursor={wrong}"), tokens).await;
        assert_eq!((status, &problem["code"]), (422, &json!("request.invalid")), "{wrong}: {problem}");
        assert!(problem["errors"][0]["detail"].as_str().expect("detail").contains("cursor"), "{problem}");
    }
    for wrong in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=99999999999"] {
        let (status, problem) = product.get(&format!("{LIST}?{wrong}"), &ada).await;
        assert_eq!((status, &problem["code"]), (422, &json!("request.invalid")), "{wrong}: {problem}");
    }
    assert_eq!(product.get(&format!("{LIST}?limit=1&cursor={cursor}"), &ada).await.0, 200);
}

#[tokio::test]
async fn the_list_goes_back_ninety_days_and_is_read_by_its_index() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    tell(&product, &ada, Message::NewDevice).await;
    product
        .world
        .execute("UPDATE deliveries SET created_at = created_at - interval '91 days' WHERE kind = 'welcome'")
        .await;
    let (_, page) = product.get(LIST, &ada).await;
    assert_eq!(kinds(page["items"].as_array().expect("items")), ["new_device"]);
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT delivery_id FROM deliveries WHERE user_id = '00000000-0000-4000-8000-000000000000' AND sends
           AND created_at > now() - interval '90 days' AND created_at <= now()
           AND (created_at, delivery_id) < (now(), '00000000-0000-4000-8000-000000000000'::uuid)
         ORDER BY created_at DESC, delivery_id DESC LIMIT 51",
    )
    .fetch_all(&product.ctx.db)
    .await
    .expect("plan");
    assert!(plan.iter().any(|line| line.contains("_user_id_created_at")), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{plan:#?}");
}

#[tokio::test]
async fn what_somebody_switched_off_does_not_come_and_what_is_of_safety_does() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678', phone_verified_at = now()").await;
    let bearer = ada["access_token"].as_str().expect("token");
    let person = session::authenticate(&product.ctx, bearer).await.expect("person");
    let client = Client {
        ip: "203.0.113.7".parse().expect("address"),
        user_agent: None,
        request_id: "r-1".to_owned(),
        traceparent: None,
        language: "en".to_owned(),
    };
    let save = async |wanted: &Preferences| {
        let mut tx = product.ctx.db.begin().await.expect("begin");
        let saved =
            notify::set_preferences(&mut tx, &product.ctx, &client, &person, id_of(&ada), wanted).await;
        saved.expect("saved");
        tx.commit().await.expect("commit");
    };
    let told = async || {
        product.drain().await;
        product.world.execute("DELETE FROM deliveries").await;
        for message in [Message::StaffMessage, Message::PasswordChanged] {
            tell(&product, &ada, message).await;
        }
        let (_, page) = product.get(LIST, &ada).await;
        let mut all: Vec<String> = page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| format!("{} {}", item["kind"].as_str().unwrap(), item["channel"].as_str().unwrap()))
            .collect();
        all.sort_unstable();
        all
    };
    assert_eq!(told().await, ["password_changed email", "staff_message email"]);
    let mut wanted = notify::preferences(&product.ctx.db, id_of(&ada)).await.expect("preferences");
    assert!(wanted.switch(Message::StaffMessage, Via::Email, false));
    assert!(!wanted.switch(Message::PasswordChanged, Via::Email, false), "it cannot be switched off");
    save(&wanted).await;
    assert_eq!(notify::preferences(&product.ctx.db, id_of(&ada)).await.expect("preferences"), wanted);
    assert_eq!(told().await, ["password_changed email", "staff_message sms"], "by the other channel");
    assert!(wanted.switch(Message::StaffMessage, Via::Sms, false));
    save(&wanted).await;
    assert_eq!(told().await, ["password_changed email"]);
    let lines =
        "SELECT count(*) FROM audit WHERE action = 'profile.notifications_changed' AND actor IS NOT NULL";
    assert_eq!(product.world.count(lines).await, 2);
}
