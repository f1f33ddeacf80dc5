//! An SMS gateway on loopback, as strict as a real one: what it is sent must be whole. Records every
//! message; answers as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{EndpointExt, Request, Response, Route, handler};
use serde_json::Value;

/// How the next call is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status, at once.
    Status(u16),
    /// 200 after a while.
    Slow(Duration),
}

/// One accepted or refused message.
#[derive(Clone, Debug)]
pub struct Received {
    /// The body as sent.
    pub body: Value,
    /// `Idempotency-Key`.
    pub key: String,
    /// The status it got.
    pub status: u16,
}

#[derive(Default)]
struct Tape {
    received: Vec<Received>,
    script: VecDeque<Answer>,
    always: Option<Answer>,
}

/// The gateway.
#[derive(Clone)]
pub struct Gateway {
    /// Where to POST.
    pub url: String,
    tape: Arc<Mutex<Tape>>,
}

impl Gateway {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/sms", listener.local_addr().expect("address"));
        let tape: Arc<Mutex<Tape>> = Arc::default();
        let app = Route::new().at("/sms", poem::post(take)).data(Arc::clone(&tape));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        Self { url, tape }
    }

    /// The settings that make it the one SMS provider.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        vec![("SMS_PROVIDERS", "http"), ("SMS_HTTP_URL", self.url.as_str())]
    }

    /// The answers to the next calls; after them, `always` or 200.
    pub fn answers(&self, script: impl IntoIterator<Item = Answer>) {
        self.tape.lock().expect("tape").script.extend(script);
    }

    /// The answer to every call that no script covers.
    pub fn always(&self, answer: Option<Answer>) {
        self.tape.lock().expect("tape").always = answer;
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.tape.lock().expect("tape").received.clone()
    }

    /// The messages it accepted for a number.
    pub fn accepted_for(&self, to: &str) -> Vec<Received> {
        self.received().into_iter().filter(|one| one.body["to"] == to && one.status == 200).collect()
    }
}

#[handler]
async fn take(request: &Request, body: String, Data(tape): Data<&Arc<Mutex<Tape>>>) -> Response {
    let key = request.header("idempotency-key").unwrap_or_default().to_owned();
    let answer = {
        let mut tape = tape.lock().expect("tape");
        tape.script.pop_front().or_else(|| tape.always.clone()).unwrap_or(Answer::Status(200))
    };
    let (mut status, wait) = match answer {
        Answer::Status(status) => (status, Duration::ZERO),
        Answer::Slow(wait) => (200, wait),
    };
    let json: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let whole = request.content_type().is_some_and(|kind| kind.starts_with("application/json"))
        && json["to"].as_str().is_some_and(|to| to.starts_with('+'))
        && json["text"].as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= 160)
        && !key.is_empty();
    if !whole {
        status = 400;
    }
    tokio::time::sleep(wait).await;
    tape.lock().expect("tape").received.push(Received { body: json, key, status });
    Response::builder().status(StatusCode::from_u16(status).expect("status")).body("{\"id\":\"m1\"}")
}
