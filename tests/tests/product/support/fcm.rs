//! Firebase Cloud Messaging on loopback, as strict as the real one: the signature of the service account is
//! checked, access tokens are its own, run out and can be taken back, and a body that is not of the documented
//! shape is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use keryu_common::clock::Clock;
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::{Data, Path};
use poem::{EndpointExt, Request, Response, Route, handler};
use serde_json::{Value, json};

use super::twilio::base64;

/// The project it knows.
pub const PROJECT: &str = "keryu-test";
const KEY_ID: &str = "0f1e2d3c";
const EMAIL: &str = "push@keryu-test.iam.gserviceaccount.com";

/// Made once: a key of this size takes a while.
static KEY: LazyLock<(String, String)> = LazyLock::new(|| {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("key");
    let private: Pkcs8V1Der<'_> = pair.as_der().expect("private");
    let public: PublicKeyX509Der<'_> = {
        use aws_lc_rs::signature::KeyPair;
        pair.public_key().as_der().expect("public")
    };
    let pem =
        |kind: &str, der: &[u8]| format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", base64(der));
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
});

/// A message it was asked to send.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The `message` object.
    pub message: Value,
    /// The status it got.
    pub status: u16,
}

/// How a sound message is answered: status and FCM's error code.
pub type Reply = (u16, &'static str);

#[derive(Default)]
struct Tape {
    pushed: Vec<Pushed>,
    fetched: usize,
    /// Access tokens and when they end, in seconds.
    tokens: HashMap<String, i64>,
    script: VecDeque<Reply>,
    /// By device token.
    dead: HashMap<String, Reply>,
}

/// FCM and Google's token endpoint.
#[derive(Clone)]
pub struct Fcm {
    /// `FCM_BASE_URL`.
    pub url: String,
    /// `FCM_SERVICE_ACCOUNT`.
    pub account: String,
    tape: Arc<Mutex<Tape>>,
    clock: Arc<Mutex<Option<Clock>>>,
}

impl Fcm {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let account = json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": KEY_ID, "private_key": KEY.0,
            "client_email": EMAIL, "client_id": "1", "token_uri": format!("{url}/token"),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com",
        });
        let fcm = Self { url, account: account.to_string(), tape: Arc::default(), clock: Arc::default() };
        let app = Route::new()
            .at("/token", poem::post(grant))
            .at("/v1/projects/:project/:verb", poem::post(send))
            .data(fcm.clone());
        let acceptor = TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        fcm
    }

    /// The settings that make it the push provider.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        vec![("FCM_BASE_URL", self.url.as_str()), ("FCM_SERVICE_ACCOUNT", self.account.as_str())]
    }

    /// Goes by the clock of a product.
    pub fn keep_time(&self, clock: &Clock) {
        *self.clock.lock().expect("clock") = Some(clock.clone());
    }

    fn now(&self) -> i64 {
        let clock = self.clock.lock().expect("clock");
        clock.as_ref().map_or_else(chrono::Utc::now, Clock::now).timestamp()
    }

    /// The answers to the next sound messages.
    pub fn answers(&self, script: impl IntoIterator<Item = Reply>) {
        self.tape.lock().expect("tape").script.extend(script);
    }

    /// The answer to every sound message to this device token.
    pub fn kill(&self, token: &str, reply: Reply) {
        self.tape.lock().expect("tape").dead.insert(token.to_owned(), reply);
    }

    /// Takes every access token back.
    pub fn revoke(&self) {
        self.tape.lock().expect("tape").tokens.clear();
    }

    /// How many access tokens it gave out.
    pub fn fetched(&self) -> usize {
        self.tape.lock().expect("tape").fetched
    }

    /// Every message so far.
    pub fn pushed(&self) -> Vec<Pushed> {
        self.tape.lock().expect("tape").pushed.clone()
    }

    /// The messages it took for a device token.
    pub fn taken_for(&self, token: &str) -> Vec<Value> {
        let taken = self.pushed().into_iter().filter(|one| one.status == 200).map(|one| one.message);
        taken.filter(|message| message["token"] == token).collect()
    }
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("status");
    Response::builder().status(status).content_type("application/json").body(body.to_string())
}

/// RFC 7523: the assertion is of this account, for this endpoint and for messaging, and is young.
#[handler]
async fn grant(request: &Request, body: String, Data(fcm): Data<&Fcm>) -> Response {
    let refused = |error: &str, why: &str| answer(400, &json!({ "error": error, "error_description": why }));
    if !request.content_type().is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        return refused("invalid_request", "not a form");
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    if form.get("grant_type").map(String::as_str) != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return refused("unsupported_grant_type", "");
    }
    let assertion = form.get("assertion").cloned().unwrap_or_default();
    let header = jsonwebtoken::decode_header(assertion.as_bytes()).ok();
    if !header.is_some_and(|header| header.alg == Algorithm::RS256 && header.kid.as_deref() == Some(KEY_ID)) {
        return refused("invalid_grant", "header");
    }
    let mut rules = Validation::new(Algorithm::RS256);
    (rules.validate_exp, rules.validate_aud) = (false, false);
    rules.required_spec_claims.clear();
    let key = DecodingKey::from_rsa_pem(KEY.1.as_bytes()).expect("public key");
    let Ok(read) = jsonwebtoken::decode::<Value>(assertion.as_bytes(), &key, &rules) else {
        return refused("invalid_grant", "Invalid JWT Signature.");
    };
    let (claims, now) = (read.claims, fcm.now());
    let (iat, exp) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
    let sound = claims["iss"] == EMAIL
        && claims["aud"] == format!("{}/token", fcm.url)
        && claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
        && (now - 60..=now + 60).contains(&iat)
        && exp > now
        && exp <= iat + 3600;
    if !sound {
        return refused("invalid_grant", "claims");
    }
    let mut tape = fcm.tape.lock().expect("tape");
    tape.fetched += 1;
    let token = format!("ya29.{}", tape.fetched);
    tape.tokens.insert(token.clone(), now + 3599);
    answer(200, &json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" }))
}

/// What is wrong with the body of a message, by its field.
fn fault(body: &Value) -> Option<&'static str> {
    let message = &body["message"];
    let known = ["token", "notification", "data", "android", "apns", "webpush"];
    let strange = |value: &Value, known: &[&str]| {
        value.as_object().is_none_or(|all| all.keys().any(|name| !known.contains(&name.as_str())))
    };
    let text = |value: &Value, most: usize| {
        value.as_str().is_some_and(|text| !text.is_empty() && text.chars().count() <= most)
    };
    let note = &message["notification"];
    if strange(body, &["message"]) || strange(message, &known) {
        return Some("message");
    }
    if !text(&message["token"], 4096) {
        return Some("message.token");
    }
    if strange(note, &["title", "body"]) || !text(&note["title"], 100) || !text(&note["body"], 240) {
        return Some("message.notification");
    }
    if !message["data"].as_object().is_some_and(|data| data.values().all(Value::is_string)) {
        return Some("message.data");
    }
    let ttl = message["android"]["ttl"].as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse::<u64>().ok());
    let seconds = |value: &Value| value.as_str().is_some_and(|text| text.parse::<u64>().is_ok());
    if ttl.is_none_or(|ttl| ttl > 2_419_200)
        || !seconds(&message["apns"]["headers"]["apns-expiration"])
        || !seconds(&message["webpush"]["headers"]["TTL"])
    {
        return Some("message.android.ttl");
    }
    (message.to_string().len() > 4096).then_some("message")
}

fn error(status: u16, code: &str, field: Option<&str>) -> Value {
    let mut details =
        vec![json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code })];
    details.extend(field.map(|field| {
        json!({ "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{ "field": field, "description": "invalid" }] })
    }));
    json!({ "error": { "code": status, "message": "refused", "status": code, "details": details } })
}

#[handler]
async fn send(
    request: &Request,
    Path((project, verb)): Path<(String, String)>,
    body: String,
    Data(fcm): Data<&Fcm>,
) -> Response {
    let now = fcm.now();
    let mut tape = fcm.tape.lock().expect("tape");
    let bearer = request.header("authorization").and_then(|field| field.strip_prefix("Bearer "));
    if bearer.and_then(|token| tape.tokens.get(token)).is_none_or(|end| *end <= now) {
        return answer(401, &json!({ "error": { "code": 401, "status": "UNAUTHENTICATED", "message": "" } }));
    }
    if project != PROJECT || verb != "messages:send" {
        return answer(404, &json!({ "error": { "code": 404, "status": "NOT_FOUND", "message": "" } }));
    }
    let is_json = request.content_type().is_some_and(|kind| kind.starts_with("application/json"));
    let body: Value = serde_json::from_str(&body).ok().filter(|_| is_json).unwrap_or(Value::Null);
    let token = body["message"]["token"].as_str().unwrap_or_default().to_owned();
    let told = match fault(&body) {
        Some(field) => Some((400, error(400, "INVALID_ARGUMENT", Some(field)))),
        None => {
            let reply = tape.dead.get(&token).copied();
            let reply = reply.or_else(|| tape.script.pop_front());
            reply.filter(|(status, _)| *status != 200).map(|(status, code)| {
                let field = (code == "INVALID_ARGUMENT").then_some("message.token");
                (status, error(status, code, field))
            })
        }
    };
    let number = tape.pushed.len();
    let (status, said) =
        told.unwrap_or_else(|| (200, json!({ "name": format!("projects/{PROJECT}/messages/{number}") })));
    tape.pushed.push(Pushed { message: body["message"].clone(), status });
    answer(status, &said)
}
