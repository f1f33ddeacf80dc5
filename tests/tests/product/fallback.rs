//! The second way of a message that no provider took by its deadline: for whom, when, and how often.

use std::net::TcpListener;
use std::time::Duration;

use keryu_common::job::Terms;
use keryu_common::notify::store::{Firsts, open};
use keryu_common::notify::{self, Facts, FallBackNotice, Message, Told};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::gateway::Answer;
use crate::support::product::digits;
use crate::support::{Engine, Gateway, MailServer, Product};

const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";
const NOBODY: &str = "+254712345679";

/// Somebody who has proved both.
async fn both(product: &Product) -> Uuid {
    let ada = product.world.user(PHONE).await;
    product.world.execute("UPDATE users SET email = 'ada@example.org', email_verified_at = now()").await;
    ada
}

/// A mail server that is not there.
fn closed() -> String {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("port").port();
    format!("smtp://127.0.0.1:{port}")
}

async fn after(product: &Product, seconds: u64) {
    product.advance(Duration::from_secs(seconds));
    product.drain().await;
}

/// The codes in mails to somebody.
async fn mailed(product: &Product) -> Vec<String> {
    let letters = product.letters().await.into_iter();
    let mails = letters.filter(|letter| letter["to"] == MAIL && letter["kind"] == "otp_code");
    mails.filter_map(|letter| digits(letter["text"].as_str()?)).collect()
}

async fn tell(product: &Product, user_id: Uuid, message: Message) {
    let facts = match message {
        Message::StaffMessage => Facts::said("Holidays", "No classes on Monday."),
        _ => Facts::at(product.ctx.now()),
    };
    let mut tx = product.ctx.db.begin().await.expect("begin");
    notify::tell(&mut tx, &product.ctx, None, &Told { user_id, message, facts }).await.expect("told");
    tx.commit().await.expect("commit");
}

const FALLBACKS: &str = "SELECT count(*) FROM jobs WHERE kind LIKE 'notify.fall_back%'";
const DELIVERIES: &str = "SELECT count(*) FROM deliveries";

#[tokio::test]
async fn a_code_for_signing_in_that_nobody_takes_goes_by_the_other_channel_after_a_minute() {
    for purpose in ["login", "reset_password"] {
        let gateway = Gateway::start().await;
        let product = Product::with(&gateway.settings()).await;
        both(&product).await;
        gateway.always(Some(Answer::Status(503)));
        let (_, issued) = product.ask(PHONE, purpose).await;
        let (_, unknown) = product.ask(NOBODY, purpose).await;
        let same = async |moment: &str, wanted: &str| {
            let mut receipts = [product.receipt(&issued).await, product.receipt(&unknown).await];
            receipts.iter_mut().for_each(|receipt| receipt["id"] = Value::Null);
            assert_eq!(receipts[0], receipts[1], "{moment}");
            assert_eq!(receipts[0]["state"], wanted, "{moment}");
        };
        same("at once", "queued").await;
        product.drain().await;
        after(&product, 30).await;
        after(&product, 29).await;
        assert!(mailed(&product).await.is_empty(), "a minute is not over");
        same("before the deadline", "accepted").await;
        after(&product, 1).await;
        let [code] = &mailed(&product).await[..] else { panic!("one mail") };
        same("after the deadline", "accepted").await;
        after(&product, 60).await;
        after(&product, 60).await;
        assert_eq!(mailed(&product).await.len(), 1, "one fallback");
        let (status, verified) = product.verify(PHONE, purpose, code, issued["challenge_id"].as_str()).await;
        assert_eq!(status, 200, "{verified}");
        assert_eq!(product.world.count(DELIVERIES).await, 3);
        after(&product, 600).await;
        product.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn what_is_taken_in_time_has_no_second_way_and_costs_nothing_for_it() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let ada = both(&product).await;
    product.ask(PHONE, "login").await;
    tell(&product, ada, Message::NewDevice).await;
    product.drain().await;
    assert_eq!(product.world.count(FALLBACKS).await, 0);
    product.advance(Duration::from_secs(61));
    gateway.answers([Answer::Status(503)]);
    product.ask(PHONE, "login").await;
    product.drain().await;
    assert_eq!(product.world.count(FALLBACKS).await, 1);
    after(&product, 10).await;
    assert_eq!(gateway.accepted_for(PHONE).len(), 2);
    after(&product, 3600).await;
    assert!(mailed(&product).await.is_empty(), "it was taken before the deadline");
    assert_eq!(product.world.count(DELIVERIES).await, 3);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_code_that_proves_a_channel_goes_by_that_channel_alone() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let tokens = product.register(MAIL, "ada").await;
    gateway.always(Some(Answer::Status(400)));
    // proves the number: to be added, and of an account that nobody has proved
    product.ask(PHONE, "register").await;
    let change = json!({ "identifier": PHONE, "purpose": "change_identifier" });
    product.advance(Duration::from_secs(61));
    let asked = product.call(reqwest::Method::POST, "/api/auth/otp/request", &change, &tokens).await;
    assert_eq!(asked.0, 202, "{}", asked.1);
    product.drain().await;
    product.world.execute("UPDATE users SET phone_number = '+254712345678'").await;
    product.advance(Duration::from_secs(61));
    product.ask(PHONE, "login").await;
    product.drain().await;
    after(&product, 299).await;
    let codes = "SELECT count(*) FROM deliveries WHERE channel = 'email' AND kind = 'otp_code' AND purpose <> 'register'";
    assert_eq!(product.world.count(codes).await, 0);
    assert_eq!(
        product.world.count("SELECT count(*) FROM deliveries WHERE fell_back_at IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn an_address_that_is_refused_for_good_is_not_waited_for() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    both(&product).await;
    gateway.always(Some(Answer::Status(400)));
    product.ask(PHONE, "login").await;
    product.drain().await;
    product.drain().await;
    assert_eq!(mailed(&product).await.len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn only_a_proved_address_is_a_second_way() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    both(&product).await;
    product.world.execute("UPDATE users SET email_verified_at = NULL").await;
    gateway.always(Some(Answer::Status(503)));
    product.ask(PHONE, "login").await;
    product.drain().await;
    for _ in 0..6 {
        after(&product, 49).await;
    }
    assert_eq!(product.world.count(DELIVERIES).await, 1);
    assert_eq!(product.world.count(FALLBACKS).await, 0, "looked at once");
}

#[tokio::test]
async fn a_notice_goes_by_text_message_when_no_mail_is_taken_in_a_quarter_of_an_hour() {
    let gateway = Gateway::start().await;
    let (url, mut settings) = (closed(), gateway.settings());
    settings.push(("SMTP_URL", &url));
    let product = Product::with(&settings).await;
    let ada = both(&product).await;
    tell(&product, ada, Message::PasswordChanged).await;
    product.drain().await;
    after(&product, 899).await;
    assert!(gateway.received().is_empty());
    after(&product, 1).await;
    product.drain().await;
    let [text] = &gateway.accepted_for(PHONE)[..] else { panic!("one text message") };
    assert!(text.body["text"].as_str().expect("text").starts_with("Your Keryu password was changed"));
    // a job of a crashed worker runs again
    let row: (Uuid, chrono::DateTime<chrono::Utc>) =
        sqlx::query_as("SELECT delivery_id, created_at FROM deliveries WHERE channel = 'email'")
            .fetch_one(&product.world.db)
            .await
            .expect("the mail");
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&FallBackNotice { delivery_id: row.0, created_at: row.1 }, Terms::default()).await;
    product.drain().await;
    after(&product, 24 * 3600).await;
    assert_eq!(gateway.received().len(), 1);
    assert_eq!(product.world.count(DELIVERIES).await, 2);
    let ended =
        "SELECT count(*) FROM deliveries WHERE channel = 'email' AND state = 'failed' AND attempts < 12
                 AND reason = 'told at the other address'";
    assert_eq!(product.world.count(ended).await, 1, "what is told by one way is not told by both");
}

#[tokio::test]
async fn a_notice_in_the_hands_of_a_worker_that_died_has_no_second_way() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let ada = both(&product).await;
    tell(&product, ada, Message::TokenReuse).await;
    let (now, firsts) = (product.ctx.now(), Firsts { email: Some("inbox"), ..Firsts::default() });
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT delivery_id FROM deliveries")
        .fetch_all(&product.world.db)
        .await
        .expect("id");
    // what is left of a worker that was killed after it took the delivery up
    open(&product.ctx.db, now, &ids, &[now], firsts, &[false]).await.expect("open");
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM deliveries WHERE state = 'unknown'").await, 1);
    after(&product, 900).await;
    product.drain().await;
    assert!(gateway.received().is_empty(), "it may have arrived");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_channel_that_somebody_switched_off_is_no_second_way() {
    let gateway = Gateway::start().await;
    let (url, mut settings) = (closed(), gateway.settings());
    settings.push(("SMTP_URL", &url));
    let product = Product::with(&settings).await;
    let ada = both(&product).await;
    product
        .world
        .execute(
            "INSERT INTO profiles (user_id, created_at, updated_at, notification_preferences)
             SELECT user_id, now(), now(), '{\"staff_message\": {\"sms\": false}}' FROM users",
        )
        .await;
    tell(&product, ada, Message::StaffMessage).await;
    tell(&product, ada, Message::RoleChanged).await;
    product.drain().await;
    after(&product, 900).await;
    product.drain().await;
    let [text] = &gateway.accepted_for(PHONE)[..] else { panic!("{:?}", gateway.received()) };
    assert!(text.body["text"].as_str().expect("text").contains("role"));
}

#[tokio::test]
async fn over_the_budget_of_text_messages_a_code_goes_by_mail() {
    let (gateway, mail) = (Gateway::start().await, MailServer::start().await);
    let (url, mut settings) = (format!("smtp://{}", mail.address), gateway.settings());
    settings.extend([
        ("KERYU_ENV", "production"),
        ("RATE_LIMIT_ALLOW", "127.0.0.1"),
        ("OTP_SMS_PER_DAY", "0"),
        ("SMTP_URL", &url),
        ("MAIL_FROM", "no-reply@example.org"),
    ]);
    let product = Product::with(&settings).await;
    both(&product).await;
    let (_, issued) = product.ask(PHONE, "login").await;
    let (_, unknown) = product.ask(NOBODY, "login").await;
    product.drain().await;
    product.drain().await;
    let [letter] = &mail.letters()[..] else { panic!("{:?}", mail.heard()) };
    for receipt in [product.receipt(&issued).await, product.receipt(&unknown).await] {
        assert_eq!((&receipt["state"], &receipt["channel"]), (&json!("queued"), &json!("sms")));
    }
    let code = digits(&letter.header("subject")).expect("a code in the subject");
    let (status, verified) = product.verify(PHONE, "login", &code, issued["challenge_id"].as_str()).await;
    assert_eq!(status, 200, "{verified}");
    assert!(gateway.received().is_empty());
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_notice_by_text_message_is_one_of_the_days() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.extend([("KERYU_ENV", "production"), ("OTP_SMS_PER_PREFIX_PER_DAY", "1")]);
    let product = Product::with(&settings).await;
    let ada = product.world.user(PHONE).await;
    tell(&product, ada, Message::RoleChanged).await;
    product.drain().await;
    tell(&product, ada, Message::PasswordChanged).await;
    product.drain().await;
    product.drain().await;
    assert_eq!(gateway.received().len(), 1);
    let dropped = "SELECT count(*) FROM deliveries WHERE kind = 'password_changed' AND state = 'failed'
                   AND reason = 'the text messages of the day are used up'";
    assert_eq!(product.world.count(dropped).await, 1);
    assert_eq!(product.world.count("SELECT sum(sent)::bigint FROM sms_budgets WHERE prefix = '*'").await, 1);
    product.assert_nothing_left().await;
    product.advance(Duration::from_secs(24 * 3600));
    tell(&product, ada, Message::MfaChanged).await;
    product.drain().await;
    assert_eq!(gateway.received().len(), 2, "another day");
}

#[tokio::test]
async fn no_report_is_told_by_text_message() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let ada = product.world.user(PHONE).await;
    tell(&product, ada, Message::ReportReady).await;
    assert_eq!(product.world.count(DELIVERIES).await, 0);
}

#[tokio::test]
async fn what_is_reported_lost_has_its_second_way_at_once() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("SMS_HTTP_WEBHOOK_SECRET", "a-secret-in-a-path"));
    let product = Product::with(&settings).await;
    both(&product).await;
    product.ask(PHONE, "login").await;
    product.drain().await;
    let callback = gateway.received()[0].body["callback"].as_str().expect("a callback").to_owned();
    for _ in 0..2 {
        let lost = json!({ "status": "failed" });
        assert_eq!(product.send(reqwest::Method::POST, &callback, &lost, &[]).await.status(), 200);
        product.drain().await;
        product.drain().await;
    }
    assert_eq!(mailed(&product).await.len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn what_waits_for_its_turn_beyond_the_deadline_has_its_second_way() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("PROVIDER_RATES", "http=0.001"));
    let product = Product::with(&settings).await;
    both(&product).await;
    for n in 0..10 {
        product.ask(&format!("+2547123456{n:02}"), "register").await;
    }
    product.drain().await;
    product.ask(PHONE, "login").await;
    product.drain().await;
    after(&product, 59).await;
    assert!(mailed(&product).await.is_empty());
    after(&product, 1).await;
    product.drain().await;
    assert_eq!(mailed(&product).await.len(), 1);
    assert!(gateway.accepted_for(PHONE).is_empty());
}
