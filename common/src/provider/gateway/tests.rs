use std::time::{Duration, Instant};

use uuid::Uuid;

use super::super::fake_http::{Asked, Reply, Server};
use super::settings::headers_of;
use super::*;

fn sms(text: &str) -> Sms<'_> {
    Sms { to: "+254712345678", text, reference: Uuid::from_u128(7), idempotency_key: Uuid::from_u128(8) }
}

fn gateway(url: &str, body: &str, headers: &str) -> Gateway {
    let settings = Settings::parse(url, body, headers).expect("settings");
    Gateway::open(settings, "https://keryu.example.org/api/webhooks/sms/http/secret?id=".to_owned())
        .expect("client")
}

fn strict(asked: &Asked) -> Reply {
    let fits = asked.method == "POST"
        && asked.path == "/send?v=1"
        && asked.header("content-type") == "application/json"
        && asked.header("authorization") == "Bearer abc"
        && asked.header("idempotency-key") == "00000000-0000-0000-0000-000000000008"
        && serde_json::from_str::<serde_json::Value>(&asked.body).expect("json")
            == serde_json::json!({
                "to": "+254712345678", "text": "1 \"quoted\"\n\\ é 😀", "id": "00000000-0000-0000-0000-000000000007",
                "callback": "https://keryu.example.org/api/webhooks/sms/http/secret?id=00000000-0000-0000-0000-000000000007",
            });
    if fits { Reply::json(202, r#"{"message_id": "m-1"}"#) } else { Reply::json(400, "{}") }
}

#[tokio::test]
async fn a_message_goes_as_the_template_says() {
    let server = Server::start(strict).await;
    let url = format!("{}/send?v=1", server.url);
    let by_hand =
        r#"{"to": "{{ to }}", "text": "{{ text }}", "id": "{{ id }}", "callback": "{{ callback }}"}"#;
    for body in [BODY, by_hand] {
        let gateway = gateway(&url, body, "Authorization: Bearer abc");
        let answer = gateway.send(&sms("1 \"quoted\"\n\\ é 😀")).await;
        assert_eq!(answer, Answer::Accepted { provider_id: Some("m-1".to_owned()) }, "{body}");
    }
}

#[tokio::test]
async fn a_form_is_escaped_as_one() {
    let server = Server::start(|_| Reply::Status(200, Vec::new(), "OK".to_owned())).await;
    let answer =
        gateway(&server.url, "to={{ to }}&text={{ text }}&from=Keryu", "").send(&sms("a&b=c d")).await;
    assert_eq!(answer, Answer::Accepted { provider_id: None });
    let wanted = [("to", "+254712345678"), ("text", "a&b=c d"), ("from", "Keryu")];
    assert_eq!(server.asked()[0].form(), wanted.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[tokio::test]
async fn answers_are_told_apart() {
    let answered = async |reply: Reply| {
        let server = Server::start(move |_| reply.clone()).await;
        gateway(&server.url, BODY, "").send(&sms("123456")).await
    };
    for (status, name) in [
        (200, "accepted"),
        (202, "accepted"),
        (204, "accepted"),
        (400, "give_up"),
        (422, "give_up"),
        (401, "misconfigured"),
        (403, "misconfigured"),
        (301, "misconfigured"),
        (408, "retry"),
        (429, "retry"),
        (503, "retry"),
        (500, "unknown"),
        (502, "unknown"),
        (504, "unknown"),
    ] {
        assert_eq!(answered(Reply::json(status, "")).await.name(), name, "{status}");
    }
    let busy = Reply::Status(503, vec![("retry-after", "2".into())], String::new());
    let wanted = Some(Duration::from_secs(2));
    assert!(matches!(answered(busy).await, Answer::Retry { after, .. } if after == wanted));
    assert_eq!(answered(Reply::Hangup).await.name(), "unknown");
    assert_eq!(gateway("http://127.0.0.1:9", BODY, "").send(&sms("1")).await.name(), "retry");
}

#[tokio::test]
async fn silence_is_an_unknown_outcome_and_ends() {
    let server = Server::start(|_| Reply::Silence).await;
    let began = Instant::now();
    assert_eq!(gateway(&server.url, BODY, "").send(&sms("1")).await.name(), "unknown");
    assert!(began.elapsed() < super::super::PATIENCE + Duration::from_secs(2));
}

#[test]
fn an_id_is_taken_where_there_is_one() {
    let id = |body: &str| id_of(body.as_bytes());
    assert_eq!(id(r#"{"id": "a"}"#), Some("a".into()));
    assert_eq!(id(r#"{"message_id": 12}"#), Some("12".into()));
    for none in ["", "OK", "[]", "{}", r#"{"id": null}"#, r#"{"id": {}}"#, "<id>a</id>", r#"{"id": "#] {
        assert_eq!(id(none), None, "{none}");
    }
}

#[test]
fn headers_are_separated_by_lines_or_semicolons() {
    let read = |text: &str| {
        let headers = headers_of(text).expect(text);
        let mut pairs: Vec<String> =
            headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().expect("ascii"))).collect();
        pairs.sort();
        pairs.join("|")
    };
    assert_eq!(read("X-A: 1\nX-B: 2\n"), "x-a=1|x-b=2");
    assert_eq!(read("X-A: 1; X-B: 2;"), "x-a=1|x-b=2");
    assert_eq!(
        read("Content-Type: text/plain; charset=utf-8; X-B: 2"),
        "content-type=text/plain; charset=utf-8|x-b=2"
    );
    assert_eq!(read("Authorization: Basic dTpw"), "authorization=Basic dTpw");
    assert_eq!(read(""), "");
    for wrong in ["token", ": x", "X A: 1"] {
        let fault = headers_of(wrong).expect_err(wrong);
        assert!(!fault.contains(wrong), "{fault}");
    }
    let shown = format!("{:?}", headers_of("X-Api-Key: hunter2").expect("headers"));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_broken_setting_is_told_with_its_name() {
    let faults = |url: &str, body: &str, headers: &str| {
        Settings::parse(url, body, headers).expect_err("faults").join("\n")
    };
    assert!(faults("ftp://x", BODY, "").starts_with("SMS_HTTP_URL"));
    assert!(faults("https://x", "{\n{% if %}", "").starts_with("SMS_HTTP_BODY: line 2"));
    assert!(faults("https://x", r#"{"to": {{ to }}}"#, "").contains("does not make JSON"));
    assert!(faults("https://x", r#"{"to": "{{ from }}"}"#, "").starts_with("SMS_HTTP_BODY: line 1"));
    let all = faults("nowhere", "{{", "x");
    assert_eq!(all.lines().count(), 3, "{all}");
}

#[test]
fn words_of_status_are_understood() {
    for word in ["delivered", "DELIVRD", " Delivered "] {
        assert_eq!(reported(word), Report::Delivered);
    }
    for word in ["failed", "UNDELIV", "rejected", "expired"] {
        assert_eq!(reported(word), Report::Failed);
    }
    for word in ["", "sent", "queued", "accepted", "bananas"] {
        assert_eq!(reported(word), Report::UnderWay);
    }
}
