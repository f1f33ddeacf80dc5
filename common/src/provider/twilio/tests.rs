use uuid::Uuid;

use super::super::fake_http::{Asked, Reply, Server};
use super::*;
use std::time::Duration;

const SID: &str = "AC00000000000000000000000000000001";

fn twilio(base: &str, from: &str) -> Twilio {
    let settings = Settings {
        base_url: base.parse().expect("url"),
        account_sid: SID.to_owned(),
        auth_token: Secret::new("token"),
        from: from.to_owned(),
    };
    Twilio::open(settings, "https://keryu.example.org/api/webhooks/twilio/".to_owned()).expect("client")
}

async fn send(provider: &Twilio) -> Answer {
    let sms = Sms {
        to: "+254712345678",
        text: "123456 is your code & more",
        reference: Uuid::from_u128(7),
        idempotency_key: Uuid::from_u128(8),
    };
    provider.send(&sms).await
}

/// As strict as the real one: everything it would refuse is refused.
fn strict(asked: &Asked) -> Reply {
    let refused = |status, code| {
        Reply::json(status, &format!(r#"{{"code": {code}, "message": "no", "status": {status}}}"#))
    };
    let credentials = format!("Basic {}", STANDARD.encode(format!("{SID}:token")));
    if asked.header("authorization") != credentials {
        return refused(401, 20003);
    }
    if asked.method != "POST" || asked.path != format!("/2010-04-01/Accounts/{SID}/Messages.json") {
        return refused(404, 20404);
    }
    let form = asked.form();
    let field =
        |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default();
    let known = ["To", "From", "MessagingServiceSid", "Body", "StatusCallback"];
    if form.len() != 4 || form.iter().any(|(name, _)| !known.contains(&name.as_str())) {
        return refused(400, 20001);
    }
    if !field("To").starts_with('+') {
        return refused(400, 21211);
    }
    if field("From").is_empty() == field("MessagingServiceSid").is_empty() {
        return refused(400, 21603);
    }
    if field("Body") != "123456 is your code & more" {
        return refused(400, 21602);
    }
    if field("StatusCallback")
        != "https://keryu.example.org/api/webhooks/twilio/00000000-0000-0000-0000-000000000007"
    {
        return refused(400, 21609);
    }
    Reply::json(201, r#"{"sid": "SM1", "status": "queued", "error_code": null}"#)
}

#[tokio::test]
async fn a_message_goes_as_the_api_wants_it() {
    let server = Server::start(strict).await;
    let accepted = Answer::Accepted { provider_id: Some("SM1".to_owned()) };
    assert_eq!(send(&twilio(&server.url, "+15005550006")).await, accepted);
    assert_eq!(send(&twilio(&format!("{}/", server.url), "MG123")).await, accepted);
    let asked = server.asked();
    assert!(asked[0].form().contains(&("From".to_owned(), "+15005550006".to_owned())));
    assert!(asked[1].form().contains(&("MessagingServiceSid".to_owned(), "MG123".to_owned())));
}

async fn answered(reply: Reply) -> Answer {
    let server = Server::start(move |_| reply.clone()).await;
    let answer = send(&twilio(&server.url, "+15005550006")).await;
    let reason = answer.reason().unwrap_or_default();
    assert!(!reason.contains("254") && !reason.contains("123456"), "{reason}");
    answer
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let error = |status, code| {
        let body = format!(
            r#"{{"code": {code}, "message": "The number +254712345678 is no good", "status": {status}}}"#
        );
        answered(Reply::json(status, &body))
    };
    for code in [21211, 21214, 21610, 21614, 21408, 30003, 30004, 30005, 30006, 99999] {
        assert_eq!(error(400, code).await.name(), "give_up", "{code}");
    }
    for (status, code) in [(401, 20003), (403, 20003), (403, 99999), (400, 21606), (404, 20404)] {
        assert_eq!(error(status, code).await.name(), "misconfigured", "{code}");
    }
    assert_eq!(error(429, 20429).await.name(), "retry");
    assert_eq!(error(500, 20500).await.name(), "unknown");
    assert_eq!(error(503, 20503).await.name(), "retry");
}

#[tokio::test]
async fn odd_answers_do_not_deceive() {
    let html =
        |status| Reply::Status(status, vec![("content-type", "text/html".into())], "<h1>Hello</h1>".into());
    assert_eq!(answered(html(200)).await.name(), "unknown");
    assert_eq!(answered(html(502)).await.name(), "unknown");
    assert_eq!(answered(html(400)).await.name(), "give_up");
    assert_eq!(answered(html(302)).await.name(), "misconfigured");
    assert_eq!(answered(Reply::json(201, r#"{"status": "queued"}"#)).await.name(), "unknown");
    assert_eq!(answered(Reply::Hangup).await.name(), "unknown");
    let busy = Reply::Status(429, vec![("retry-after", "3".into())], String::new());
    let wanted = Some(Duration::from_secs(3));
    assert!(matches!(answered(busy).await, Answer::Retry { after, .. } if after == wanted));
    // nobody listens: certainly not accepted
    assert_eq!(send(&twilio("http://127.0.0.1:9", "+1")).await.name(), "retry");
}

#[test]
fn a_signature_holds_for_its_url_and_fields_only() {
    // the example of Twilio's documentation on validating requests
    let token = Secret::new("12345");
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let form: Vec<(String, String)> = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]
    .into_iter()
    .rev()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
    assert!(is_signed(&token, url, &form, signature));
    assert!(!is_signed(&token, "https://mycompany.com/myapp.php?foo=1", &form, signature));
    assert!(!is_signed(&token, url, &form[1..], signature));
    assert!(!is_signed(&Secret::new("12346"), url, &form, signature));
    for forged in ["", "0", "!!", "RSOYDt4T1cUTdK1PDd93/VVr8A==", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        assert!(!is_signed(&token, url, &form, forged), "{forged}");
    }
}
