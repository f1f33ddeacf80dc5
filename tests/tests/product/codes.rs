//! Asking for a code and proving it.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::support::Product;
use crate::support::product::{read, retry_after, wrong};

const MAIL: &str = "ada@example.org";
const PHONE: &str = "+254712345678";

/// The product behind a proxy, so that a test can come from many addresses.
async fn behind_a_proxy() -> Product {
    Product::with(&[("KERYU_TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_ANONYMOUS", "10000")]).await
}

/// A code for somebody: the answer to the request, and the digits.
async fn code(product: &Product, identifier: &str, purpose: &str) -> (Value, String) {
    let (status, issued) = product.ask(identifier, purpose).await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    let code = product.code_for(identifier).await.expect("a message with a code");
    (issued, code)
}

fn challenge(issued: &Value) -> Option<&str> {
    issued["challenge_id"].as_str()
}

fn refusal((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_code_arrives_by_mail_and_proves_the_address_once() {
    let product = Product::new().await;
    let (status, issued) = product.ask("Ada@Example.org", "register").await;
    assert_eq!(status, 202, "{issued}");
    assert_eq!((issued["expires_in"].as_u64(), issued["resend_after"].as_u64()), (Some(300), Some(60)));
    assert_eq!(product.receipt(&issued).await["state"], "queued");
    product.drain().await;
    assert_eq!(product.receipt(&issued).await["state"], "accepted");
    let code = product.code_for(MAIL).await.expect("a letter with a code");
    let (status, verified) = product.verify(MAIL, "register", &code, challenge(&issued)).await;
    assert_eq!((status, verified["expires_in"].as_u64()), (200, Some(600)), "{verified}");
    assert!(verified["verification_token"].as_str().is_some_and(|token| token.len() == 43));
    let again = product.verify(MAIL, "register", &code, challenge(&issued)).await;
    assert_eq!(refusal(again), refused(422, "otp.expired"));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_code_arrives_by_text_message_however_the_number_is_written() {
    let product = Product::new().await;
    let (_, issued) = product.ask("0712 345-678", "register").await;
    product.drain().await;
    assert_eq!(product.receipt(&issued).await["channel"], "sms");
    let code = product.code_for(PHONE).await.expect("a message with a code");
    let (status, verified) = product.verify("+254 712 345678", "register", &code, challenge(&issued)).await;
    assert_eq!(status, 200, "{verified}");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn of_64_parallel_right_submits_one_wins() {
    let product = Product::new().await;
    let (issued, code) = code(&product, MAIL, "register").await;
    let submits = (0..64).map(|_| product.verify(MAIL, "register", &code, challenge(&issued)));
    let answers: Vec<_> = join_all(submits).await.into_iter().map(refusal).collect();
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == refused(422, "otp.expired")).count(), 63);
    assert_eq!(product.world.count("SELECT count(*) FROM verification_tokens").await, 1);
}

#[tokio::test]
async fn a_code_is_bound_to_its_identifier_and_purpose() {
    let product = Product::new().await;
    let (issued, code) = code(&product, MAIL, "register").await;
    for (identifier, purpose) in [(MAIL, "login"), ("bob@example.org", "register"), (PHONE, "register")] {
        let answer = product.verify(identifier, purpose, &code, challenge(&issued)).await;
        assert_eq!(refusal(answer), refused(422, "otp.invalid"), "{identifier} {purpose}");
    }
    assert_eq!(product.verify(MAIL, "register", &code, challenge(&issued)).await.0, 200);
}

#[tokio::test]
async fn after_three_wrong_tries_a_challenge_takes_no_code_and_another_does() {
    let product = Product::new().await;
    let (first, code_of_first) = code(&product, MAIL, "register").await;
    for _ in 0..3 {
        let answer = product.verify(MAIL, "register", wrong(&code_of_first), challenge(&first)).await;
        assert_eq!(refusal(answer), refused(422, "otp.invalid"));
    }
    let late = product.verify(MAIL, "register", &code_of_first, challenge(&first)).await;
    assert_eq!(refusal(late), refused(422, "otp.invalid"), "the right code after three wrong ones");
    product.advance(Duration::from_secs(60));
    let (second, code_of_second) = code(&product, MAIL, "register").await;
    assert_eq!(product.verify(MAIL, "register", &code_of_second, challenge(&second)).await.0, 200);
}

#[tokio::test]
async fn all_of_64_parallel_wrong_tries_count() {
    let product = behind_a_proxy().await;
    let (issued, code) = code(&product, MAIL, "register").await;
    let tries = (0..64).map(|n| {
        let (product, issued, code) = (&product, &issued, wrong(&code));
        async move {
            let from = [("x-forwarded-for", format!("198.51.100.{n}"))];
            let fields = from.each_ref().map(|(name, value)| (*name, value.as_str()));
            let answer = product.try_code(MAIL, "register", code, challenge(issued), &fields).await;
            refusal(read(answer).await)
        }
    });
    assert!(join_all(tries).await.into_iter().all(|answer| answer == refused(422, "otp.invalid")));
    let counted = "SELECT wrong_in_row::bigint FROM identifier_budgets WHERE wrong_in_row > 0";
    assert_eq!(product.world.count(counted).await, 64);
    assert_eq!(product.world.count("SELECT sum(tries) FROM wrong_tries").await, 64);
    assert_eq!(product.world.count("SELECT tries::bigint FROM challenges").await, 64);
    assert_eq!(product.world.count("SELECT count(*) FROM audit WHERE action = 'otp.verified'").await, 64);
    let right = product.verify(MAIL, "register", &code, challenge(&issued)).await;
    assert_eq!(refusal(right), refused(422, "otp.invalid"), "at most three were compared");
}

#[tokio::test]
async fn ten_wrong_tries_an_hour_lock_an_address_out_until_the_time_told() {
    let product = behind_a_proxy().await;
    let (issued, right) = code(&product, MAIL, "register").await;
    let (here, there) = ([("x-forwarded-for", "192.0.2.1")], [("x-forwarded-for", "192.0.2.2")]);
    for _ in 0..10 {
        let answer = product.try_code(MAIL, "register", wrong(&right), None, &here).await;
        assert_eq!(refusal(read(answer).await), refused(422, "otp.invalid"));
    }
    product.advance(Duration::from_millis(200_300));
    let locked = product.try_code(MAIL, "register", &right, challenge(&issued), &here).await;
    let wait = retry_after(&locked);
    assert_eq!(wait, Duration::from_secs(3400), "rounded up to whole seconds");
    assert_eq!(refusal(read(locked).await), refused(429, "otp.locked"));
    let elsewhere = product.try_code(MAIL, "register", &right, challenge(&issued), &there).await;
    assert_eq!(elsewhere.status(), 200, "another address is not locked out");
    product.advance(wait.saturating_sub(Duration::from_secs(1)));
    let (issued, right) = code(&product, MAIL, "register").await;
    let early = product.try_code(MAIL, "register", &right, challenge(&issued), &here).await;
    assert_eq!(early.status(), 429, "a second early");
    product.advance(retry_after(&early));
    let answer = product.try_code(MAIL, "register", &right, challenge(&issued), &here).await;
    assert_eq!(answer.status(), 200, "coming back when told to");
}

#[tokio::test]
async fn without_a_challenge_id_only_codes_asked_for_from_the_same_address_count() {
    let product = behind_a_proxy().await;
    let (here, there) = ([("x-forwarded-for", "192.0.2.1")], [("x-forwarded-for", "192.0.2.2")]);
    assert_eq!(product.ask_with(MAIL, "register", &here).await.0, 202);
    product.drain().await;
    let code = product.code_for(MAIL).await.expect("a code");
    let elsewhere = product.try_code(MAIL, "register", &code, None, &there).await;
    assert_eq!(refusal(read(elsewhere).await), refused(422, "otp.invalid"));
    let tries = "SELECT tries::bigint FROM challenges";
    assert_eq!(product.world.count(tries).await, 0, "a try without a challenge_id counts on no challenge");
    assert_eq!(product.try_code(MAIL, "register", &code, None, &here).await.status(), 200);
}

#[tokio::test]
async fn codes_end_with_their_time_and_those_for_a_password_live_longer() {
    let product = Product::new().await;
    product.world.user(MAIL).await;
    product.world.user(PHONE).await;
    let (reset, code_of_reset) = code(&product, MAIL, "reset_password").await;
    let (login, code_of_login) = code(&product, PHONE, "login").await;
    assert_eq!((reset["expires_in"].as_u64(), login["expires_in"].as_u64()), (Some(600), Some(300)));
    product.advance(Duration::from_secs(300));
    let late = product.verify(PHONE, "login", &code_of_login, challenge(&login)).await;
    assert_eq!(refusal(late), refused(422, "otp.expired"));
    product.advance(Duration::from_secs(299));
    let (status, _) = product.verify(MAIL, "reset_password", &code_of_reset, challenge(&reset)).await;
    assert_eq!(status, 200, "one second before its end");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_second_code_leaves_the_first_one_valid_to_its_own_end() {
    let product = Product::new().await;
    let (first, code_of_first) = code(&product, PHONE, "register").await;
    product.advance(Duration::from_secs(61));
    let (second, _) = code(&product, PHONE, "register").await;
    assert_ne!(challenge(&first), challenge(&second));
    let (status, verified) = product.verify(PHONE, "register", &code_of_first, challenge(&first)).await;
    assert_eq!(status, 200, "{verified}");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_hundred_wrong_tries_in_a_row_lock_the_identifier_everywhere_and_no_other() {
    let product = behind_a_proxy().await;
    let (issued, code_of_mail) = code(&product, MAIL, "register").await;
    for n in 0..10 {
        let from = format!("198.51.100.{n}");
        let fields = [("x-forwarded-for", from.as_str())];
        let tries = (0..10).map(|_| product.try_code(MAIL, "register", wrong(&code_of_mail), None, &fields));
        for answer in join_all(tries).await {
            assert_eq!(answer.status(), 422);
        }
    }
    let fields = [("x-forwarded-for", "203.0.113.9")];
    let locked = product.try_code(MAIL, "register", &code_of_mail, challenge(&issued), &fields).await;
    assert!(retry_after(&locked) >= Duration::from_secs(60));
    assert_eq!(refusal(read(locked).await), refused(429, "otp.locked"));
    let (issued, code_of_phone) = code(&product, PHONE, "register").await;
    assert_eq!(product.verify(PHONE, "register", &code_of_phone, challenge(&issued)).await.0, 200);
}
