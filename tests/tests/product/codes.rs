//! Asking for a code and proving it.

use std::time::Duration;

use crate::support::Product;

#[tokio::test]
async fn a_code_arrives_by_mail_and_proves_the_address_once() {
    let product = Product::new().await;
    let (status, issued) = product.ask("Ada@Example.org", "register").await;
    assert_eq!(status, 202, "{issued}");
    assert_eq!(product.receipt(&issued).await["state"], "queued");
    product.drain().await;
    assert_eq!(product.receipt(&issued).await["state"], "accepted");
    let code = product.code_for("ada@example.org").await.expect("a letter with a code");
    let challenge = issued["challenge_id"].as_str();
    let (status, verified) = product.verify("ada@example.org", "register", &code, challenge).await;
    assert_eq!(status, 200, "{verified}");
    assert!(verified["verification_token"].as_str().is_some_and(|token| token.len() == 43));
    let (status, again) = product.verify("ada@example.org", "register", &code, challenge).await;
    assert_eq!((status, again["code"].as_str()), (422, Some("otp.expired")));
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_second_send_waits_for_the_cooldown_and_the_first_code_still_works() {
    let product = Product::new().await;
    let (_, issued) = product.ask("+254712345678", "register").await;
    product.drain().await;
    let code = product.code_for("+254712345678").await.expect("a message");
    let (status, refused) = product.ask("0712 345678", "register").await;
    assert_eq!((status, refused["code"].as_str()), (429, Some("otp.cooldown")));
    product.advance(Duration::from_secs(61));
    assert_eq!(product.ask("+254712345678", "register").await.0, 202);
    product.drain().await;
    let (status, verified) =
        product.verify("+254712345678", "register", &code, issued["challenge_id"].as_str()).await;
    assert_eq!(status, 200, "{verified}");
    product.assert_nothing_left().await;
}
