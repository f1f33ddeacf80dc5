use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::provider::fake_http::{Asked, Reply as Said, Server};

static KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("der");
    let text = STANDARD.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
});

fn file(token_uri: &str) -> Value {
    json!({ "type": "service_account", "project_id": "keryu-test", "private_key_id": "k1", "private_key": *KEY,
            "client_email": "push@keryu-test.iam.gserviceaccount.com", "token_uri": token_uri })
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_793_000_000, 0).expect("time")
}

fn push(at: DateTime<Utc>) -> Push<'static> {
    let expires_at = at + TimeDelta::hours(24);
    Push { token: "device-1", title: "New sign-in", text: "Not you?", kind: "new_device", at, expires_at }
}

fn is_token(asked: &Asked) -> bool {
    asked.path == "/token"
}

fn granted(n: usize) -> Said {
    Said::json(
        200,
        &json!({ "access_token": format!("t{n}"), "expires_in": 3599, "token_type": "Bearer" }).to_string(),
    )
}

fn taken() -> Said {
    Said::json(200, r#"{"name": "projects/keryu-test/messages/1"}"#)
}

/// FCM whose messages are answered by `answer`.
async fn fcm(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> (Server, Fcm) {
    let fetched = AtomicUsize::new(0);
    let server = Server::start(move |asked| match is_token(asked) {
        true => granted(fetched.fetch_add(1, Ordering::Relaxed) + 1),
        false => answer(asked),
    })
    .await;
    let fcm = open(&server);
    (server, fcm)
}

fn open(server: &Server) -> Fcm {
    let account = Account::read(&file(&format!("{}/token", server.url)).to_string()).expect("account");
    Fcm::open(Settings { base_url: server.url.parse().expect("url"), account }).expect("fcm")
}

fn fetches(server: &Server) -> usize {
    server.asked().iter().filter(|asked| is_token(asked)).count()
}

#[tokio::test]
async fn many_at_once_fetch_one_access_token_and_use_it_until_shortly_before_its_end() {
    let (server, fcm) = fcm(|_| taken()).await;
    let fcm = Arc::new(fcm);
    let all = (0..50).map(|_| {
        let fcm = Arc::clone(&fcm);
        tokio::spawn(async move { fcm.send(&push(at())).await.name() })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.expect("sent"), "accepted");
    }
    assert_eq!(fetches(&server), 1);
    for (later, wanted) in [(3500, 1), (3540, 2), (3541, 2), (7200, 3)] {
        assert_eq!(fcm.send(&push(at() + TimeDelta::seconds(later))).await.name(), "accepted");
        assert_eq!(fetches(&server), wanted, "after {later} s");
    }
    let asked = server.asked();
    let first = asked.iter().find(|asked| !is_token(asked)).expect("a message");
    assert_eq!(
        (first.method.as_str(), first.path.as_str()),
        ("POST", "/v1/projects/keryu-test/messages:send")
    );
    assert_eq!(first.header("authorization"), "Bearer t1");
    let body: Value = serde_json::from_str(&first.body).expect("json");
    assert_eq!(body["message"]["token"], "device-1");
    assert_eq!(body["message"]["notification"], json!({ "title": "New sign-in", "body": "Not you?" }));
    assert_eq!(body["message"]["data"], json!({ "kind": "new_device" }));
    assert_eq!(body["message"]["android"]["ttl"], "86400s");
}

#[tokio::test]
async fn an_access_token_that_was_taken_back_is_fetched_anew_once() {
    let refused = r#"{"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}}"#;
    let (server, fcm) = fcm(move |asked| match asked.header("authorization") {
        "Bearer t1" => Said::json(401, refused),
        _ => taken(),
    })
    .await;
    assert_eq!(fcm.send(&push(at())).await.name(), "accepted");
    assert_eq!(fetches(&server), 2);
    let (server, fcm) = self::fcm(move |_| Said::json(401, refused)).await;
    assert_eq!(fcm.send(&push(at())).await.name(), "misconfigured");
    assert_eq!(fetches(&server), 2, "no loop");
}

#[tokio::test]
async fn an_access_token_that_nobody_waits_for_any_more_is_fetched_all_the_same() {
    let (server, fcm) = fcm(|_| taken()).await;
    assert!(timeout(Duration::ZERO, fcm.tokens.get(at())).await.is_err(), "begun, and given up");
    while fetches(&server) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fcm.send(&push(at())).await.name(), "accepted");
    assert_eq!(fetches(&server), 1);
}

#[tokio::test]
async fn every_answer_of_fcm_has_its_meaning() {
    let error = |status: u16, code: &str, message: &str| {
        let detail =
            json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code });
        Said::json(
            status,
            &json!({ "error": { "code": status, "message": message, "details": [detail] } }).to_string(),
        )
    };
    let violated = |field: &str| {
        let details = json!([{ "@type": "type.googleapis.com/google.rpc.BadRequest",
                               "fieldViolations": [{ "field": field, "description": "invalid" }] },
                             { "errorCode": "INVALID_ARGUMENT" }]);
        Said::json(400, &json!({ "error": { "code": 400, "message": "Request contains an invalid argument.", "details": details } }).to_string())
    };
    let old = "The registration token is not a valid FCM registration token";
    for (said, wanted, dead) in [
        (error(404, "UNREGISTERED", "Requested entity was not found."), "give_up", true),
        (error(403, "SENDER_ID_MISMATCH", "SenderId mismatch"), "give_up", false),
        (error(400, "INVALID_ARGUMENT", old), "give_up", true),
        (violated("message.token"), "give_up", true),
        (violated("message.android.ttl"), "give_up", false),
        (error(429, "QUOTA_EXCEEDED", ""), "retry", false),
        (error(503, "UNAVAILABLE", ""), "retry", false),
        (Said::Status(503, vec![], "<html>".to_owned()), "retry", false),
        (error(500, "INTERNAL", ""), "unknown", false),
        (error(401, "THIRD_PARTY_AUTH_ERROR", ""), "misconfigured", false),
        (Said::Status(403, vec![], "<html>".to_owned()), "misconfigured", false),
        (Said::Status(404, vec![], "<html>".to_owned()), "misconfigured", false),
        (Said::Status(502, vec![], "<html>".to_owned()), "unknown", false),
        (Said::Status(302, vec![("location", "/".to_owned())], String::new()), "misconfigured", false),
        (Said::Status(200, vec![], "<html>".to_owned()), "unknown", false),
        (Said::json(200, r#"{"error": {"code": 500}}"#), "unknown", false),
        (Said::Hangup, "unknown", false),
    ] {
        let again = said.clone();
        let (_server, fcm) = fcm(move |_| again.clone()).await;
        let answer = fcm.send(&push(at())).await;
        assert_eq!(answer.name(), wanted, "{said:?}: {answer:?}");
        assert_eq!(matches!(answer, Answer::Dead { .. }), dead, "{said:?}");
        assert!(!format!("{answer:?}").contains("device-1"), "{answer:?}");
    }
    let wait = Said::Status(429, vec![("retry-after", "7".to_owned())], String::new());
    let (_server, fcm) = fcm(move |_| wait.clone()).await;
    let Answer::Retry { after, .. } = fcm.send(&push(at())).await else { panic!("to be tried again") };
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn without_an_access_token_nothing_is_sent_and_the_endpoint_is_not_stormed() {
    for (said, wanted) in [
        (
            Said::json(400, r#"{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}"#),
            "misconfigured",
        ),
        (Said::json(503, "{}"), "retry"),
        (Said::json(500, "{}"), "retry"),
        (Said::json(200, "{}"), "retry"),
        (Said::json(200, r#"{"access_token": "", "expires_in": 3599}"#), "retry"),
        (Said::Hangup, "retry"),
    ] {
        let again = said.clone();
        let server = Server::start(move |_| again.clone()).await;
        let fcm = open(&server);
        for _ in 0..3 {
            assert_eq!(fcm.send(&push(at())).await.name(), wanted, "{said:?}");
        }
        assert_eq!(server.asked().len(), 1, "{said:?}");
        fcm.send(&push(at() + TimeDelta::seconds(2))).await;
        assert_eq!(server.asked().len(), 2, "{said:?}");
        assert!(server.asked().iter().all(is_token));
    }
}

#[test]
fn an_account_that_cannot_sign_or_speaks_in_the_open_is_told_without_its_key() {
    let with = |name: &str, value: Value| {
        let mut file = file("https://oauth2.googleapis.com/token");
        file[name] = value;
        Account::read(&file.to_string())
    };
    assert_eq!(with("project_id", json!("p-1")).expect("account").project_id, "p-1");
    for (name, value) in [
        ("type", json!("authorized_user")),
        ("project_id", json!("")),
        ("project_id", json!("a/b")),
        ("client_email", json!("")),
        ("private_key", json!("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")),
        ("private_key", json!("hunter2")),
        ("private_key", json!(["hunter2"])),
        ("token_uri", json!("http://oauth2.googleapis.com/token")),
        ("token_uri", json!("")),
    ] {
        let fault = with(name, value.clone()).expect_err(name);
        assert!(!fault.contains("hunter2") && !fault.contains("c2VjcmV0"), "{fault}");
    }
    for setting in ["/no/such/file.json", "aHVudGVyMg", "-----BEGIN PRIVATE KEY-----\nhunter2"] {
        let fault = Account::read(setting).expect_err("no file");
        assert!(fault.starts_with("neither JSON nor a file that can be read: "), "{fault}");
        assert!(!fault.contains(setting) && !fault.contains("hunter2"), "{fault}");
    }
    let shown = format!("{:?}", with("project_id", json!("p-1")));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}
