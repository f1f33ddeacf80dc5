//! Twilio on loopback, as strict as the real one: what it would refuse is refused with its own codes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::{Data, Path};
use poem::{EndpointExt, Request, Response, Route, handler};

/// The account it knows.
pub const SID: &str = "AC00000000000000000000000000000001";
/// The account's token.
pub const TOKEN: &str = "the-auth-token-of-this-test";
/// A number of the account's.
pub const FROM: &str = "+15005550006";

/// A message it was asked to send.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The recipient.
    pub to: String,
    /// The text.
    pub body: String,
    /// Where the status is to go.
    pub callback: String,
    /// The status it got.
    pub status: u16,
}

/// A refusal or another answer: status and body.
pub type Reply = (u16, &'static str);

#[derive(Default)]
struct Tape {
    sent: Vec<Sent>,
    script: VecDeque<Reply>,
    always: Option<Reply>,
}

/// Twilio.
#[derive(Clone)]
pub struct Twilio {
    /// `TWILIO_BASE_URL`.
    pub url: String,
    tape: Arc<Mutex<Tape>>,
}

impl Twilio {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let tape: Arc<Mutex<Tape>> = Arc::default();
        let app = Route::new()
            .at("/2010-04-01/Accounts/:sid/Messages.json", poem::post(take))
            .data(Arc::clone(&tape));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        Self { url, tape }
    }

    /// The settings that make it a provider.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        vec![
            ("TWILIO_BASE_URL", self.url.as_str()),
            ("TWILIO_ACCOUNT_SID", SID),
            ("TWILIO_AUTH_TOKEN", TOKEN),
            ("TWILIO_FROM", FROM),
        ]
    }

    /// The answers to the next calls that are sound.
    pub fn answers(&self, script: impl IntoIterator<Item = Reply>) {
        self.tape.lock().expect("tape").script.extend(script);
    }

    /// The answer to every sound call that no script covers; `None`: taken.
    pub fn always(&self, reply: Option<Reply>) {
        self.tape.lock().expect("tape").always = reply;
    }

    /// Every call so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.tape.lock().expect("tape").sent.clone()
    }
}

/// What is wrong with a call, in Twilio's codes.
fn fault(request: &Request, sid: &str, form: &[(String, String)]) -> Option<Reply> {
    let field =
        |name: &str| form.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    let (to, from, body, callback) = (field("To"), field("From"), field("Body"), field("StatusCallback"));
    let credentials = format!("Basic {}", base64(format!("{SID}:{TOKEN}")));
    if request.header("authorization") != Some(credentials.as_str()) {
        return Some((401, r#"{"code": 20003, "message": "Authenticate"}"#));
    }
    if sid != SID {
        return Some((404, r#"{"code": 20404, "message": "not found"}"#));
    }
    let form_type =
        request.content_type().is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let shaped =
        matches!((&to[..], &from[..], &body[..], &callback[..]), ([_], [_], [_], [_])) && form.len() == 4;
    if !form_type || !shaped {
        return Some((400, r#"{"code": 20001, "message": "malformed"}"#));
    }
    if !to[0].starts_with('+') || to[0].len() < 9 {
        return Some((400, r#"{"code": 21211, "message": "invalid To"}"#));
    }
    if from[0] != FROM {
        return Some((400, r#"{"code": 21606, "message": "not your number"}"#));
    }
    if body[0].is_empty() || body[0].chars().count() > 160 {
        return Some((400, r#"{"code": 21602, "message": "body"}"#));
    }
    callback[0].parse::<reqwest::Url>().err().map(|_| (400, r#"{"code": 21609, "message": "callback"}"#))
}

#[handler]
async fn take(
    request: &Request,
    Path(sid): Path<String>,
    body: String,
    Data(tape): Data<&Arc<Mutex<Tape>>>,
) -> Response {
    let url = format!("http://form/?{body}");
    let form: Vec<(String, String)> =
        url.parse::<reqwest::Url>().map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let mut tape = tape.lock().expect("tape");
    let told = fault(request, &sid, &form).or_else(|| tape.script.pop_front()).or(tape.always);
    let (status, answer) = told.unwrap_or((201, r#"{"sid": "SM1", "status": "queued", "error_code": null}"#));
    tape.sent.push(Sent { to: field("To"), body: field("Body"), callback: field("StatusCallback"), status });
    let kind = if answer.starts_with('<') { "text/html" } else { "application/json" };
    let status = StatusCode::from_u16(status).expect("status");
    Response::builder().status(status).content_type(kind).body(answer)
}

/// Standard base64 (RFC 4648, 4).
pub fn base64(text: impl AsRef<[u8]>) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
