//! Status reports of providers: believed when they are theirs, and forward only.

use aws_lc_rs::hmac;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::read;
use crate::support::twilio::{TOKEN, base64};
use crate::support::{Gateway, Product, Twilio};

const PHONE: &str = "+254712345678";
const SECRET: &str = "a-secret-in-a-path";

fn id(issued: &Value) -> String {
    let url = issued["delivery_url"].as_str().expect("delivery_url");
    url.rsplit('/').next().expect("an id").to_owned()
}

async fn state(product: &Product, issued: &Value) -> String {
    product.receipt(issued).await["state"].as_str().unwrap_or_default().to_owned()
}

/// `X-Twilio-Signature` (https://www.twilio.com/docs/usage/security), written anew from its description.
fn signature(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    let fields: String = sorted.iter().map(|(name, value)| format!("{name}{value}")).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    base64(hmac::sign(&key, format!("{url}{fields}").as_bytes()))
}

/// A report in Twilio's form under this signature. Answers with status and code.
async fn report(url: &str, form: &[(&str, &str)], signature: &str) -> (u16, String) {
    let body: Vec<String> =
        form.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
    let request =
        reqwest::Client::new().post(url).header("content-type", "application/x-www-form-urlencoded");
    let answer =
        request.header("x-twilio-signature", signature).body(body.join("&")).send().await.expect("answer");
    assert_eq!(answer.url().as_str(), url, "no redirect");
    let (status, body) = read(answer).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// A delivery that Twilio took.
async fn taken(product: &Product) -> Value {
    let (_, issued) = product.ask(PHONE, "register").await;
    product.drain().await;
    assert_eq!(state(product, &issued).await, "accepted");
    issued
}

#[tokio::test]
async fn a_signed_report_moves_a_delivery_forward_and_never_back() {
    let twilio = Twilio::start().await;
    let product = Product::with(&twilio.settings()).await;
    let issued = taken(&product).await;
    let url = twilio.sent()[0].callback.clone();
    let told = async |status: &'static str| {
        let form = [("MessageSid", "SM1"), ("MessageStatus", status), ("To", PHONE), ("ErrorCode", "30003")];
        assert_eq!(report(&url, &form, &signature(TOKEN, &url, &form)).await.0, 200, "{status}");
        state(&product, &issued).await
    };
    for (status, state) in [
        ("sent", "accepted"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("failed", "delivered"),
        ("undelivered", "delivered"),
    ] {
        assert_eq!(told(status).await, state, "{status} came");
    }
}

#[tokio::test]
async fn a_report_of_failure_is_final_unless_the_message_arrives_after_all() {
    let twilio = Twilio::start().await;
    let product = Product::with(&twilio.settings()).await;
    let issued = taken(&product).await;
    let url = twilio.sent()[0].callback.clone();
    for (status, wanted) in [("undelivered", "failed"), ("sent", "failed"), ("delivered", "delivered")] {
        let form = [("MessageStatus", status), ("ErrorCode", "30003")];
        report(&url, &form, &signature(TOKEN, &url, &form)).await;
        assert_eq!(state(&product, &issued).await, wanted, "{status} came");
        let row = "SELECT count(*) FROM deliveries WHERE reason LIKE '%error 30003%'";
        assert_eq!(product.world.count(row).await, i64::from(wanted == "failed"));
    }
    product.drain().await;
    assert_eq!(twilio.sent().len(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_forged_report_changes_nothing() {
    let twilio = Twilio::start().await;
    let product = Product::with(&twilio.settings()).await;
    let issued = taken(&product).await;
    let url = twilio.sent()[0].callback.clone();
    let form = [("MessageStatus", "failed"), ("MessageSid", "SM1")];
    let right = signature(TOKEN, &url, &form);
    let other = url.replace(&id(&issued), "00000000-0000-4000-8000-000000000000");
    let forged = (403, "webhook.forged".to_owned());
    for (url, form, signature) in [
        (&url, &form[..], String::new()),
        (&url, &form[..], "nonsense".to_owned()),
        (&url, &form[..], signature("another token", &url, &form)),
        (&url, &form[..1], right.clone()),
        (&other, &form[..], right.clone()),
        (&format!("{url}?x=1"), &form[..], right.clone()),
    ] {
        assert_eq!(report(url, form, &signature).await, forged, "{url} {form:?}");
    }
    assert_eq!(state(&product, &issued).await, "accepted");
    let unknown = report(&other, &form, &signature(TOKEN, &other, &form)).await;
    assert_eq!(unknown, (404, "delivery.not_found".to_owned()));
    assert_eq!(report(&url, &form, &right).await.0, 200);
    assert_eq!(state(&product, &issued).await, "failed");
}

#[tokio::test]
async fn without_twilio_no_report_of_its_kind_is_believed() {
    let product = Product::new().await;
    let (_, issued) = product.ask(PHONE, "register").await;
    let url = format!("{}/api/webhooks/twilio/{}", product.base, id(&issued));
    let form = [("MessageStatus", "delivered")];
    assert_eq!(report(&url, &form, &signature("", &url, &form)).await.0, 403);
}

#[tokio::test]
async fn a_gateway_reports_on_its_secret_path() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("SMS_HTTP_WEBHOOK_SECRET", SECRET));
    let product = Product::with(&settings).await;
    let issued = taken(&product).await;
    let callback = gateway.received()[0].body["callback"].as_str().expect("a callback").to_owned();
    assert_eq!(callback, format!("{}/api/webhooks/sms/http/{SECRET}?id={}", product.base, id(&issued)));
    let post = async |path: &str, body: Value| {
        let (status, answer) = read(product.send(Method::POST, path, &body, &[]).await).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let named = |secret: &str| format!("/api/webhooks/sms/http/{secret}?id={}", id(&issued));
    let forged = (403, "webhook.forged".to_owned());
    for path in
        [named("wrong"), named(&SECRET[1..]), named("%00"), named(SECRET).replace("/http/", "/twilio/")]
    {
        assert_eq!(post(&path, json!({ "status": "failed" })).await, forged, "{path}");
    }
    assert_eq!(state(&product, &issued).await, "accepted");
    for body in [
        json!({ "status": "enroute" }),
        json!({ "status": 7 }),
        json!({}),
        json!({ "nested": { "status": "failed" } }),
    ] {
        assert_eq!(post(&callback, body).await.0, 200);
        assert_eq!(state(&product, &issued).await, "accepted");
    }
    let path = format!("/api/webhooks/sms/http/{SECRET}");
    assert_eq!(post(&path, json!({ "status": "delivered" })).await, (404, "delivery.not_found".to_owned()));
    let reference = json!({ "reference": id(&issued), "status": "DELIVRD" });
    assert_eq!(post(&path, reference).await.0, 200);
    assert_eq!(state(&product, &issued).await, "delivered");
    assert_eq!(post(&callback, json!({ "status": "failed" })).await.0, 200);
    assert_eq!(state(&product, &issued).await, "delivered", "never backwards");
    for broken in ["{", "[]", "\"x\""] {
        let request = reqwest::Client::new().post(&callback).header("content-type", "application/json");
        assert_eq!(request.body(broken).send().await.expect("answer").status(), 400, "{broken}");
    }
}

#[tokio::test]
async fn nobody_can_report_on_what_was_never_sent() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("SMS_HTTP_WEBHOOK_SECRET", SECRET));
    let product = Product::with(&settings).await;
    let (_, issued) = product.ask(PHONE, "login").await;
    product.drain().await;
    let path = format!("/api/webhooks/sms/http/{SECRET}?id={}", id(&issued));
    let answer = product.send(Method::POST, &path, &json!({ "status": "delivered" }), &[]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(state(&product, &issued).await, "accepted");
    let row = "SELECT count(*) FROM deliveries WHERE state = 'accepted' AND NOT sends";
    assert_eq!(product.world.count(row).await, 1);
    product.assert_nothing_left().await;
}
