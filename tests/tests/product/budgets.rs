//! How many codes may be asked for: per identifier, and text messages of the whole deployment.

use std::time::Duration;

use reqwest::Response;

use crate::support::product::{read, retry_after};
use crate::support::{Gateway, Product};

const MAIL: &str = "ada@example.org";

/// Asks until it is refused, waiting the cooldown each time. Answers with how often it was granted.
async fn ask_until_refused(product: &Product) -> (usize, Response) {
    for granted in 0..100 {
        let answer = product.request(MAIL, "login", &[]).await;
        if answer.status() != 202 {
            return (granted, answer);
        }
        product.advance(Duration::from_secs(60));
    }
    panic!("never refused")
}

async fn code_of(answer: Response) -> String {
    read(answer).await.1["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_cooldown_ends_when_its_refusal_said() {
    let product = Product::new().await;
    assert_eq!(product.ask(MAIL, "register").await.0, 202);
    product.advance(Duration::from_millis(20_500));
    let refused = product.request(" ADA@example.org ", "login", &[]).await;
    let wait = retry_after(&refused);
    assert_eq!((refused.status().as_u16(), wait), (429, Duration::from_secs(40)));
    assert_eq!(code_of(refused).await, "otp.cooldown");
    product.advance(wait);
    assert_eq!(product.ask(MAIL, "register").await.0, 202);
    assert_eq!(product.ask("bob@example.org", "register").await.0, 202, "each identifier has its own");
}

#[tokio::test]
async fn five_codes_an_hour_and_twenty_a_day_and_the_refusal_says_until_when() {
    let product = Product::new().await;
    let mut granted = Vec::new();
    while granted.iter().sum::<usize>() < 20 {
        let (count, refused) = ask_until_refused(&product).await;
        granted.push(count);
        let wait = retry_after(&refused);
        assert_eq!(code_of(refused).await, "otp.budget");
        product.advance(wait.saturating_sub(Duration::from_secs(1)));
        assert_eq!(product.ask(MAIL, "login").await.0, 429, "a second early");
        product.advance(Duration::from_secs(1));
    }
    assert_eq!(granted, [5, 5, 5, 5]);
    let refused = product.request(MAIL, "login", &[]).await;
    assert_eq!((refused.status().as_u16()), 202, "the next day, when told to come back");
}

#[tokio::test]
async fn of_parallel_requests_one_is_granted_and_each_refusal_is_remembered() {
    let product = Product::new().await;
    let taps = futures::future::join_all((0..16).map(|_| product.ask(MAIL, "register"))).await;
    assert_eq!(taps.iter().filter(|(status, _)| *status == 202).count(), 1);
    assert_eq!(product.world.count("SELECT count(*) FROM challenges").await, 1);
    assert_eq!(product.world.count("SELECT count(*) FROM deliveries").await, 1);
    assert_eq!(product.world.count("SELECT hour_sent::bigint FROM identifier_budgets").await, 1);
    let remembered =
        "SELECT count(*) FROM audit WHERE action = 'otp.requested' AND details->>'refused' = 'otp.cooldown'
                      AND request_id IS NOT NULL AND ip_address IS NOT NULL";
    assert_eq!(product.world.count(remembered).await, 15);
    product.drain().await;
    assert_eq!(product.letters().await.len(), 1);
}

/// The product as in production, its text messages going to the gateway; `per_day` of them.
async fn in_production(gateway: &Gateway, per_day: &'static str) -> Product {
    let mut settings = gateway.settings();
    settings.extend([
        ("KERYU_ENV", "production"),
        ("RATE_LIMIT_ALLOW", "127.0.0.1"),
        ("OTP_SMS_PER_DAY", per_day),
    ]);
    Product::with(&settings).await
}

fn number(n: u32) -> String {
    format!("+2547123456{n:02}")
}

#[tokio::test]
async fn over_the_text_budget_newcomers_are_refused_known_or_not_and_the_rest_is_kept_for_users() {
    let gateway = Gateway::start().await;
    let product = in_production(&gateway, "10").await;
    for n in [20, 21, 30] {
        product.world.user(&number(n)).await;
    }
    for n in 0..8 {
        assert_eq!(product.ask(&number(n), "register").await.0, 202, "message {n} of ten");
    }
    for n in [8, 9, 10, 20, 21] {
        let refused = product.request(&number(n), "register", &[]).await;
        let wait = retry_after(&refused);
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(86_400), "until midnight: {wait:?}");
        let midnight = product.ctx.now() + chrono::TimeDelta::from_std(wait).expect("delta");
        assert_eq!(midnight.timestamp() % 86_400, 0, "{midnight}");
        assert_eq!(refused.status(), 503);
        assert_eq!(code_of(refused).await, "otp.sms_budget");
    }
    let (_, issued) = product.ask(&number(30), "login").await;
    product.drain().await;
    assert_eq!(product.receipt(&issued).await["state"], "accepted");
    assert_eq!(gateway.accepted_for(&number(30)).len(), 1, "what was refused took nothing from users");
    assert_eq!(gateway.received().len(), 9);
    assert_eq!(product.ask("bob@example.org", "register").await.0, 202, "mail has no such budget");
}

#[tokio::test]
async fn signing_in_near_and_over_the_text_budget_tells_nothing() {
    let gateway = Gateway::start().await;
    let product = in_production(&gateway, "10").await;
    for n in 20..30 {
        product.world.user(&number(n)).await;
    }
    for n in 0..8 {
        product.ask(&number(n), "register").await;
    }
    // two messages are left for users; numbers nobody has use up none of them
    for (known, unknown, arrives) in [(20, 50, true), (21, 51, true), (22, 52, false)] {
        let (same, of_unknown) = product.ask(&number(unknown), "login").await;
        let (status, of_known) = product.ask(&number(known), "login").await;
        assert_eq!((status, same), (202, 202), "{of_known} {of_unknown}");
        let both = async |moment: &str, state: &str| {
            assert_eq!(product.receipt(&of_known).await["state"], state, "{known}, {moment}");
            assert_eq!(product.receipt(&of_unknown).await["state"], state, "{unknown}, {moment}");
        };
        both("at once", "queued").await;
        product.drain().await;
        both("after the worker", if arrives { "accepted" } else { "queued" }).await;
        assert_eq!(gateway.accepted_for(&number(known)).len(), usize::from(arrives));
        assert_eq!(gateway.accepted_for(&number(unknown)).len(), 0);
        if !arrives {
            product.advance(Duration::from_secs(300));
            product.drain().await;
            both("at the end", "expired").await;
        }
    }
    assert_eq!(gateway.received().len(), 10);
}

#[tokio::test]
async fn one_country_does_not_use_up_the_messages_of_another() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.extend([
        ("KERYU_ENV", "production"),
        ("RATE_LIMIT_ALLOW", "127.0.0.1"),
        ("OTP_SMS_PER_PREFIX_PER_DAY", "5"),
    ]);
    let product = Product::with(&settings).await;
    for n in 0..4 {
        assert_eq!(product.ask(&number(n), "register").await.0, 202);
    }
    assert_eq!(product.ask(&number(5), "register").await.0, 503);
    assert_eq!(product.ask("+33612345678", "register").await.0, 202);
    product.advance(Duration::from_secs(86_400));
    assert_eq!(product.ask(&number(5), "register").await.0, 202, "the next day");
}
