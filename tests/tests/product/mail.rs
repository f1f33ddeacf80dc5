//! Mail through the real job and a real conversation with a strict server.

use std::time::Duration;

use serde_json::Value;

use crate::support::product::digits;
use crate::support::{Folder, MailServer, Product};

const ADA: &str = "ada@example.org";
const FROM: (&str, &str) = ("MAIL_FROM", "Keryu <no-reply@example.org>");

async fn with_mail(url: &str) -> Product {
    Product::with(&[("SMTP_URL", url), FROM, ("RATE_LIMIT_ALLOW", "127.0.0.1")]).await
}

/// The outcomes and reasons of a delivery's attempts, in order.
async fn attempts(product: &Product) -> Vec<(String, String)> {
    sqlx::query_as("SELECT coalesce(outcome, 'open'), coalesce(reason, '') FROM delivery_attempts ORDER BY started_at, step")
        .fetch_all(&product.world.db)
        .await
        .expect("attempts")
}

/// Lets the next try come due and runs it.
async fn next_try(product: &Product) {
    product.advance(Duration::from_secs(40));
    product.drain().await;
}

async fn state(product: &Product, issued: &Value) -> String {
    product.receipt(issued).await["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_mail_is_whole() {
    let server = MailServer::start().await;
    let product = with_mail(&format!("smtp://{}", server.address)).await;
    let (_, issued) = product.ask(ADA, "register").await;
    let job: String =
        sqlx::query_scalar("SELECT job_id::text FROM jobs").fetch_one(&product.world.db).await.expect("job");
    product.drain().await;
    assert_eq!(state(&product, &issued).await, "accepted");
    let [letter] = &server.letters()[..] else { panic!("{:?}", server.heard()) };
    assert_eq!((letter.from.as_str(), letter.to.as_str()), ("no-reply@example.org", ADA));
    assert_eq!(letter.header("message-id"), format!("<{job}@example.org>"), "from the job's id");
    assert_eq!(letter.header("from"), "Keryu <no-reply@example.org>");
    assert_eq!(letter.header("to"), ADA);
    assert!(letter.header("content-type").starts_with("multipart/alternative;"));
    assert!(
        letter.content.contains("Content-Type: text/plain")
            && letter.content.contains("Content-Type: text/html")
    );
    let code = digits(&letter.header("subject")).expect("a code in the subject");
    assert_eq!(letter.header("subject"), format!("{code} is your Keryu code"));
    assert!(letter.joined().matches(&code).count() == 3, "in the subject and in both alternatives");
    let (status, verified) = product.verify(ADA, "register", &code, issued["challenge_id"].as_str()).await;
    assert_eq!(status, 200, "{verified}");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_mail_speaks_the_language_that_the_request_asked_for() {
    let server = MailServer::start().await;
    let product = with_mail(&format!("smtp://{}", server.address)).await;
    for (to, wanted, subject) in [
        ("fr@example.org", "fr-CA, en;q=0.5", "votre code Keryu"),
        ("en@example.org", "en, fr;q=0.9", "is your Keryu code"),
        ("de@example.org", "de", "is your Keryu code"),
    ] {
        product.ask_with(to, "register", &[("accept-language", wanted)]).await;
        product.drain().await;
        let letters = server.letters();
        let letter = letters.iter().find(|letter| letter.to == to).expect(to);
        assert!(letter.header("subject").ends_with(subject), "{wanted}: {}", letter.header("subject"));
    }
    let french = server.letters()[0].joined();
    assert!(french.contains("Il sert une seule fois") && french.contains("quoted-printable"), "{french}");
}

#[tokio::test]
async fn a_language_that_a_folder_of_templates_adds_is_spoken() {
    let (server, folder) = (MailServer::start().await, Folder::new("languages"));
    folder.write("otp_code/de/sms.txt", "{{ code }} ist dein Code.");
    folder.write("otp_code/de/email.txt", "{{ code }} ist dein Code.");
    folder.write("otp_code/de/email.html", "<p>{{ code }} ist dein Code.</p>");
    folder.write("otp_code/de/email.subject", "{{ code }} ist dein {{ name }}-Code");
    let (url, dir) = (format!("smtp://{}", server.address), folder.path());
    let product = Product::with(&[("SMTP_URL", &url), FROM, ("TEMPLATES_DIR", &dir)]).await;
    product.ask_with(ADA, "register", &[("accept-language", "de-AT, fr;q=0.5")]).await;
    product.drain().await;
    assert!(server.letters()[0].header("subject").ends_with("ist dein Keryu-Code"), "{:?}", server.letters());
    // a message without that language speaks English
    product.world.user("bob@example.org").await;
    product.ask_with("bob@example.org", "register", &[("accept-language", "de")]).await;
    product.drain().await;
    assert_eq!(server.letters()[1].header("subject"), "You already have a Keryu account");
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_gets_no_mail_and_loses_none() {
    let (bad, good) = tokio::join!(MailServer::with_a_certificate_of_its_own(), MailServer::start());
    let product = with_mail(&format!("smtps://{}", bad.address)).await;
    let (_, issued) = product.ask(ADA, "register").await;
    product.drain().await;
    next_try(&product).await;
    assert_eq!(state(&product, &issued).await, "queued");
    let tries = attempts(&product).await;
    assert_eq!(tries.len(), 2);
    let reason = "the server's certificate is not valid for its name, or not trusted here";
    assert!(tries.iter().all(|(outcome, why)| outcome == "misconfigured" && why == reason), "{tries:?}");
    assert!(bad.letters().is_empty() && bad.heard().is_empty());
    // the operator mends the setting
    let url = format!("smtp://{}", good.address);
    let mended = product.restarted(&[("SMTP_URL", url.as_str()), FROM]).await;
    next_try(&mended).await;
    assert_eq!(good.letters().len(), 1);
    assert_eq!(attempts(&product).await[2].0, "accepted");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn beyond_this_machine_no_mail_goes_without_starttls() {
    let server = MailServer::start().await;
    // every address of this machine: it reaches the server on loopback, and is not loopback
    let product =
        with_mail(&format!("smtp://0.0.0.0:{}", server.address.rsplit(':').next().expect("port"))).await;
    let (_, issued) = product.ask(ADA, "register").await;
    product.drain().await;
    assert_eq!(
        attempts(&product).await,
        [("misconfigured".to_owned(), "the server offers no STARTTLS".to_owned())]
    );
    assert_eq!(state(&product, &issued).await, "queued");
    assert!(server.letters().is_empty() && !server.heard().iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_with_the_same_code_and_the_same_message_id() {
    let server = MailServer::start().await;
    let product = with_mail(&format!("smtp://{}", server.address)).await;
    let (_, issued) = product.ask(ADA, "register").await;
    server.reply("DATA", "451 4.3.0 try later");
    product.drain().await;
    server.reply("RCPT", "");
    next_try(&product).await;
    server.recover();
    next_try(&product).await;
    let tries = attempts(&product).await;
    let outcomes: Vec<&str> = tries.iter().map(|(outcome, _)| outcome.as_str()).collect();
    assert_eq!(outcomes, ["retry", "retry", "accepted"], "{tries:?}");
    assert_eq!(tries[0].1, "the server answered 451 4.3.0 to DATA");
    assert_eq!(server.letters().len(), 1);
    let code = digits(&server.letters()[0].header("subject")).expect("a code");
    assert_eq!(product.verify(ADA, "register", &code, issued["challenge_id"].as_str()).await.0, 200);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn an_address_the_server_refuses_fails_at_once_and_is_not_tried_again() {
    let server = MailServer::start().await;
    let product = with_mail(&format!("smtp://{}", server.address)).await;
    let (_, issued) = product.ask(ADA, "register").await;
    server.reply("RCPT", "550 5.1.1 <ada@example.org> is nobody");
    product.drain().await;
    assert_eq!(state(&product, &issued).await, "failed");
    next_try(&product).await;
    let tries = attempts(&product).await;
    assert_eq!(tries, [("give_up".to_owned(), "the server answered 550 5.1.1 to RCPT TO".to_owned())]);
    product.assert_nothing_left().await;
}
