//! Notices: whom they reach, what they say, and what becomes of one that may have arrived.

use std::time::Duration;

use keryu_common::audit::Client;
use keryu_common::notify::store::Firsts;
use keryu_common::notify::{self, Change, Facts, Message, Told};
use keryu_common::user::Identifier;
use serde_json::Value;
use uuid::Uuid;

use crate::support::gateway::Answer;
use crate::support::{Gateway, Product};

const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";

fn client() -> Client {
    Client {
        ip: "203.0.113.7".parse().expect("address"),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned()),
        request_id: "r-1".to_owned(),
        traceparent: None,
        language: "en".to_owned(),
    }
}

/// Tells somebody, in a transaction of its own.
async fn tell(product: &Product, user_id: Uuid, message: Message, facts: Facts) {
    let mut tx = product.ctx.db.begin().await.expect("begin");
    notify::tell(&mut tx, &product.ctx, &client(), &Told { user_id, message, facts }).await.expect("told");
    tx.commit().await.expect("commit");
}

async fn new_device(product: &Product, user_id: Uuid) {
    tell(product, user_id, Message::NewDevice, Facts::of(&client(), product.ctx.now())).await;
}

/// State, tries and reason of the one delivery.
async fn delivery(product: &Product) -> (String, i16, String) {
    sqlx::query_as("SELECT state::text, attempts, coalesce(reason, '') FROM deliveries")
        .fetch_one(&product.world.db)
        .await
        .expect("a delivery")
}

async fn delivery_id(product: &Product) -> Uuid {
    sqlx::query_scalar("SELECT delivery_id FROM deliveries").fetch_one(&product.world.db).await.expect("id")
}

#[tokio::test]
async fn a_notice_goes_by_mail_before_text_message_and_to_proved_addresses_alone() {
    let product = Product::new().await;
    let ada = product.world.user(MAIL).await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678', phone_verified_at = now()").await;
    new_device(&product, ada).await;
    product.world.execute("UPDATE users SET email_verified_at = NULL").await;
    new_device(&product, ada).await;
    product.world.execute("UPDATE users SET phone_verified_at = NULL").await;
    new_device(&product, ada).await;
    assert_eq!(product.drain().await, 2, "whoever has proved nothing is not told");
    let to: Vec<Value> = product.letters().await.into_iter().map(|letter| letter["to"].clone()).collect();
    assert_eq!(to.len(), 2);
    assert!(to.contains(&MAIL.into()) && to.contains(&PHONE.into()));
    let of = "SELECT count(*) FROM deliveries d JOIN users u USING (user_id)
              WHERE d.expires_at - d.created_at = interval '24 hours' AND d.challenge_id IS NULL";
    assert_eq!(product.world.count(of).await, 2);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_notice_speaks_the_owners_language_and_says_when_and_from_where() {
    let product = Product::new().await;
    let ada = product.world.user(MAIL).await;
    product.world.execute("UPDATE users SET language = 'fr'").await;
    new_device(&product, ada).await;
    product.drain().await;
    let letter = product.letters().await.remove(0);
    let text = letter["text"].as_str().expect("text");
    let at = product.ctx.now().format("%Y-%m-%d %H:%M UTC").to_string();
    for wanted in ["Quelqu'un s'est connecté", "Firefox, Linux", "203.0.113.*", at.as_str()] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let stored: Value =
        sqlx::query_scalar("SELECT facts FROM deliveries").fetch_one(&product.world.db).await.expect("facts");
    assert!(
        !stored.to_string().contains("203.0.113.7") && !stored.to_string().contains("Mozilla"),
        "{stored}"
    );
}

#[tokio::test]
async fn a_changed_address_is_told_at_the_old_and_the_new_one() {
    let product = Product::new().await;
    let ada = product.world.user(MAIL).await;
    let facts = Facts {
        what: Some(Change::Email),
        new: Some("n***@example.org".to_owned()),
        ..Facts::at(product.ctx.now())
    };
    let told = Told { user_id: ada, message: Message::IdentifierChanged, facts };
    let both = [MAIL, "new@example.org", MAIL].map(|to| Identifier::Email(to.to_owned()));
    let mut tx = product.ctx.db.begin().await.expect("begin");
    notify::tell_at(&mut tx, &product.ctx, None, &told, &both).await.expect("told");
    tx.commit().await.expect("commit");
    product.drain().await;
    let letters = product.letters().await;
    let mut to: Vec<&str> = letters.iter().map(|letter| letter["to"].as_str().expect("to")).collect();
    to.sort_unstable();
    assert_eq!(to, [MAIL, "new@example.org"], "once each");
    assert!(letters.iter().all(|letter| letter["text"].as_str().expect("text").contains("n***@example.org")));
}

#[tokio::test]
async fn every_notice_can_be_told() {
    let product = Product::new().await;
    let ada = product.world.user(MAIL).await;
    let notices: Vec<Message> = Message::ALL.into_iter().filter(|message| message.is_notice()).collect();
    for message in &notices {
        tell(&product, ada, *message, Facts::at(product.ctx.now())).await;
    }
    product.drain().await;
    let letters = product.letters().await;
    assert_eq!(letters.len(), notices.len());
    assert!(
        letters.iter().all(|letter| letter["subject"].as_str().is_some_and(|subject| !subject.is_empty()))
    );
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_notice_that_may_have_arrived_is_held_and_staff_may_send_it_again() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let ada = product.world.user(PHONE).await;
    new_device(&product, ada).await;
    gateway.answers([Answer::Status(500)]);
    product.drain().await;
    let (state, tries, reason) = delivery(&product).await;
    assert_eq!((state.as_str(), tries), ("unknown", 1));
    assert!(!reason.is_empty());
    product.advance(Duration::from_secs(3600));
    product.drain().await;
    assert_eq!(gateway.received().len(), 1, "not sent twice by itself");
    let id = delivery_id(&product).await;
    let shown = product.shown(id).await;
    assert!(shown.next_step.starts_with("Held"), "{}", shown.next_step);
    product.resend(id).await.expect("resend");
    product.drain().await;
    assert_eq!(delivery(&product).await.0, "accepted");
    assert_eq!(gateway.accepted_for(PHONE).len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_notice_in_the_hands_of_a_worker_that_died_is_held() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let ada = product.world.user(PHONE).await;
    new_device(&product, ada).await;
    let (now, ids) = (product.ctx.now(), [delivery_id(&product).await]);
    let firsts = Firsts { sms: Some("http"), ..Firsts::default() };
    // what is left of a worker that was killed after it took the delivery up
    notify::store::open(&product.ctx.db, now, &ids, &[now], firsts, &[false]).await.expect("open");
    let refused = product.resend(ids[0]).await.expect_err("a provider may be asked just now");
    assert!(refused.to_string().starts_with("delivery.not_resendable"), "{refused}");
    product.drain().await;
    let (state, _, reason) = delivery(&product).await;
    assert_eq!(state, "unknown");
    assert!(reason.contains("held"), "{reason}");
    assert!(gateway.received().is_empty());
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_notice_outlives_an_outage_of_many_hours() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let ada = product.world.user(PHONE).await;
    new_device(&product, ada).await;
    gateway.always(Some(Answer::Status(503)));
    for _ in 0..100 {
        product.advance(Duration::from_secs(800));
        product.drain().await;
    }
    assert_eq!(delivery(&product).await.0, "queued", "after 22 hours it is still tried");
    gateway.always(None);
    product.advance(Duration::from_secs(800));
    product.drain().await;
    assert_eq!(delivery(&product).await.0, "accepted");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn the_owner_of_a_taken_identifier_is_told_in_their_own_language() {
    let product = Product::new().await;
    product.world.user(MAIL).await;
    product.world.execute("UPDATE users SET language = 'fr'").await;
    let (status, _) = product.ask_with(MAIL, "register", &[("accept-language", "en")]).await;
    assert_eq!(status, 202);
    product.drain().await;
    let letter = product.letters().await.remove(0);
    assert_eq!(letter["kind"], "account_exists");
    assert!(letter["text"].as_str().expect("text").contains("a déjà un compte"), "{letter}");
}
