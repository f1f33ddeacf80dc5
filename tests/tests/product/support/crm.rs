//! A CRM on loopback, as strict as the real one: HubSpot's contacts, and an endpoint that takes Standard
//! Webhooks. It keeps what it is told, and answers as the script says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{EndpointExt, Request, Response, Route, handler};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

/// The token it knows.
pub const TOKEN: &str = "pat-the-token-of-this-test";
/// What its webhooks are signed with.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Who has this family name is refused: in part, naming them.
pub const NAMED: &str = "Refused-by-name";
/// Who has this family name has the whole batch refused, naming nobody.
pub const NAMELESS: &str = "Refused-with-all";

/// How a call that is sound is answered.
#[derive(Clone, Debug)]
pub enum Act {
    /// With this status and body; nothing is taken.
    Say(u16, &'static str),
    /// 429: come back after these seconds.
    Wait(u64),
    /// Taken, and told after a while.
    Slow(Duration),
}

/// One call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// How many people it tells of.
    pub size: usize,
    /// What it got; 0: it had to wait for its answer.
    pub status: u16,
    /// `webhook-id`.
    pub id: String,
}

/// What it heard.
#[derive(Default)]
pub struct Tape {
    /// Every call, in order.
    pub calls: Vec<Call>,
    /// People as they were last told of, by `keryu_id`.
    pub people: BTreeMap<String, Map<String, Value>>,
    /// Who was erased, in order.
    pub erased: Vec<String>,
    /// What no client may do.
    pub wrong: Vec<String>,
    /// Whose address it is, at HubSpot.
    emails: BTreeMap<String, String>,
    script: VecDeque<Act>,
    always: Option<Act>,
    busy: usize,
    halt: Option<(Arc<Notify>, Arc<Notify>)>,
}

/// A CRM.
#[derive(Clone)]
pub struct Crm {
    /// `http://127.0.0.1:port`.
    pub url: String,
    /// `CRM_WEBHOOK_URL`.
    pub hook: String,
    tape: Arc<Mutex<Tape>>,
}

impl Crm {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let tape: Arc<Mutex<Tape>> = Arc::default();
        let app = Route::new()
            .at("/crm/v3/objects/contacts/batch/upsert", poem::post(upsert))
            .at("/crm/v3/objects/contacts/gdpr-delete", poem::post(delete))
            .at("/hook", poem::post(hook))
            .data(Arc::clone(&tape));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        Self { hook: format!("{url}/hook"), url, tape }
    }

    /// The settings that make it HubSpot.
    pub fn hubspot(&self) -> Vec<(&'static str, &str)> {
        vec![("HUBSPOT_BASE_URL", self.url.as_str()), ("HUBSPOT_TOKEN", TOKEN)]
    }

    /// The settings that make it the webhook.
    pub fn webhook(&self) -> Vec<(&'static str, &str)> {
        vec![("CRM_WEBHOOK_URL", self.hook.as_str()), ("CRM_WEBHOOK_SECRET", SECRET)]
    }

    /// The answers to the next calls that are sound.
    pub fn answers(&self, script: impl IntoIterator<Item = Option<Act>>) {
        let take = || Act::Slow(Duration::ZERO);
        self.tape().script.extend(script.into_iter().map(|act| act.unwrap_or_else(take)));
    }

    /// The answer to every sound call that no script covers; `None`: taken.
    pub fn always(&self, act: Option<Act>) {
        self.tape().always = act;
    }

    /// The next call waits for its answer: tells when it is there, and when to go on.
    pub fn halt(&self) -> (Arc<Notify>, Arc<Notify>) {
        let halt = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        self.tape().halt = Some(halt.clone());
        halt
    }

    /// What it heard so far.
    pub fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().expect("tape")
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.tape().calls.len()
    }

    /// What it was last told of somebody.
    pub fn person(&self, id: &Value) -> Value {
        let tape = self.tape();
        assert_eq!(tape.wrong, [""; 0], "no client may do this");
        tape.people.get(id.as_str().expect("id")).cloned().map_or(Value::Null, Value::Object)
    }
}

type Shared = Arc<Mutex<Tape>>;

/// A call under way. Nobody may have heard its answer: the client may be gone.
struct Under<'a> {
    tape: &'a Shared,
    number: usize,
    slow: Duration,
}

impl<'a> Under<'a> {
    fn new(tape: &'a Shared, size: usize, id: &str) -> Self {
        let mut told = tape.lock().expect("tape");
        told.busy += 1;
        if told.busy > 1 {
            told.wrong.push("two calls at a time: the older may win".to_owned());
        }
        told.calls.push(Call { size, status: 0, id: id.to_owned() });
        Self { tape, number: told.calls.len() - 1, slow: Duration::ZERO }
    }

    /// What the script says; nothing: it is to be taken.
    async fn told(&mut self) -> Option<Response> {
        let (act, halt) = {
            let mut tape = self.tape.lock().expect("tape");
            (tape.script.pop_front().or_else(|| tape.always.clone()), tape.halt.take())
        };
        if let Some((here, on)) = halt {
            here.notify_one();
            on.notified().await;
        }
        match act? {
            Act::Slow(wait) => {
                self.slow = wait;
                None
            }
            Act::Say(status, body) => Some(answer(status, body.to_owned())),
            Act::Wait(seconds) => {
                let body = r#"{"status": "error", "policyName": "TEN_SECONDLY_ROLLING"}"#;
                let mut told = answer(429, body.to_owned());
                told.headers_mut().insert("retry-after", seconds.into());
                Some(told)
            }
        }
    }

    async fn end(self, response: Response) -> Response {
        let (tape, number, slow) = (self.tape, self.number, self.slow);
        drop(self);
        tokio::time::sleep(slow).await;
        tape.lock().expect("tape").calls[number].status = response.status().as_u16();
        response
    }
}

/// Also when the client is gone.
impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.tape.lock().expect("tape").busy -= 1;
    }
}

fn answer(status: u16, body: String) -> Response {
    let kind = if body.starts_with('<') { "text/html; charset=utf-8" } else { "application/json" };
    let status = StatusCode::from_u16(status).expect("status");
    Response::builder().status(status).content_type(kind).body(body)
}

fn error(status: u16, category: &str, message: &str) -> Response {
    let body = json!({ "status": "error", "category": category, "message": message, "correlationId": "c-1" });
    answer(status, body.to_string())
}

/// What is wrong with a call to HubSpot.
fn faults(request: &Request, body: &Value, fields: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    if request.header("authorization") != Some(format!("Bearer {TOKEN}").as_str()) {
        faults.push("authorization".to_owned());
    }
    if request.content_type() != Some("application/json") {
        faults.push(format!("content type {:?}", request.content_type()));
    }
    let known: BTreeSet<&str> = fields.iter().copied().collect();
    let given: BTreeSet<&str> =
        body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if known != given {
        faults.push(format!("fields {given:?}"));
    }
    faults
}

fn wrong(tape: &Shared, faults: Vec<String>) -> Response {
    tape.lock().expect("tape").wrong.extend(faults);
    error(400, "VALIDATION_ERROR", "Invalid input JSON")
}

#[handler]
async fn upsert(request: &Request, body: String, Data(tape): Data<&Shared>) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
    let mut bad = faults(request, &body, &["inputs"]);
    if !(1..=100).contains(&inputs.len()) {
        bad.push(format!("{} inputs", inputs.len()));
    }
    let ids: BTreeSet<&str> = inputs.iter().filter_map(|input| input["id"].as_str()).collect();
    if ids.len() != inputs.len() || ids.iter().any(|id| id.parse::<Uuid>().is_err()) {
        bad.push("ids are given twice, or are none".to_owned());
    }
    for input in &inputs {
        let texts = input["properties"].as_object().is_some_and(|all| all.values().all(Value::is_string));
        if input["idProperty"] != "keryu_id" || !texts {
            bad.push(format!("input {}", input["id"]));
        }
    }
    let mut call = Under::new(tape, inputs.len(), "");
    let told = if bad.is_empty() { call.told().await } else { Some(wrong(tape, bad)) };
    let response = told.unwrap_or_else(|| take(&inputs, tape));
    call.end(response).await
}

/// A batch as HubSpot takes it: e-mail addresses are unique, and values are looked at.
fn take(inputs: &[Value], tape: &Shared) -> Response {
    if inputs.iter().any(|input| input["properties"]["lastname"] == NAMELESS) {
        let message = format!(
            r#"Property values were not valid: [{{"isValid":false,"message":"{NAMELESS} is no name","error":"INVALID_NAME","name":"lastname"}}]"#
        );
        return error(400, "VALIDATION_ERROR", &message);
    }
    let mut tape = tape.lock().expect("tape");
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in inputs {
        let (id, properties) =
            (input["id"].as_str().expect("id"), input["properties"].as_object().expect("object"));
        let email = properties["email"].as_str().unwrap_or_default();
        let taken = tape.emails.get(email).is_some_and(|holder| holder != id);
        let fault = match (properties["lastname"] == NAMED, taken) {
            (true, _) => Some(("VALIDATION_ERROR", format!("{NAMED} is no name"))),
            (_, true) => Some(("CONFLICT", format!("{email} belongs to another contact"))),
            _ => None,
        };
        match fault {
            Some((category, message)) => errors.push(json!({
                "status": "error", "category": category, "message": message,
                "context": { "objectWriteTraceId": [input["objectWriteTraceId"]] },
            })),
            None => {
                let before = tape.people.insert(id.to_owned(), properties.clone());
                if let Some(before) = before.as_ref().and_then(|before| before["email"].as_str()) {
                    tape.emails.remove(before);
                }
                if !email.is_empty() {
                    tape.emails.insert(email.to_owned(), id.to_owned());
                }
                results.push(json!({ "id": "1", "objectWriteTraceId": input["objectWriteTraceId"], "properties": properties }));
            }
        }
    }
    let status = if errors.is_empty() { 200 } else { 207 };
    let body =
        json!({ "status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors });
    answer(status, body.to_string())
}

#[handler]
async fn delete(request: &Request, body: String, Data(tape): Data<&Shared>) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut bad = faults(request, &body, &["objectId", "idProperty"]);
    if body["idProperty"] != "keryu_id" {
        bad.push("idProperty".to_owned());
    }
    let mut call = Under::new(tape, 1, "");
    let told = if bad.is_empty() { call.told().await } else { Some(wrong(tape, bad)) };
    let response = told.unwrap_or_else(|| {
        let mut tape = tape.lock().expect("tape");
        let id = body["objectId"].as_str().unwrap_or_default().to_owned();
        let known = tape.people.remove(&id).is_some();
        tape.emails.retain(|_, holder| *holder != id);
        tape.erased.push(id);
        if known { answer(204, String::new()) } else { error(404, "OBJECT_NOT_FOUND", "no such contact") }
    });
    call.end(response).await
}

/// Whether a delivery is signed as Standard Webhooks says.
fn is_signed(request: &Request, body: &str) -> bool {
    let field = |name: &str| request.header(name).unwrap_or_default();
    let key = STANDARD.decode(&SECRET["whsec_".len()..]).expect("base64");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let text = format!("{}.{}.{body}", field("webhook-id"), field("webhook-timestamp"));
    let given = field("webhook-signature").strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
    field("webhook-timestamp").parse::<i64>().is_ok()
        && given.is_some_and(|given| hmac::verify(&key, text.as_bytes(), &given).is_ok())
}

#[handler]
async fn hook(request: &Request, body: String, Data(tape): Data<&Shared>) -> Response {
    let mut bad = Vec::new();
    if !is_signed(request, &body) || request.content_type() != Some("application/json") {
        bad.push("a delivery that is not signed".to_owned());
    }
    let event: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let users = event["data"]["users"].as_array().cloned().unwrap_or_default();
    let ids: BTreeSet<&str> = users.iter().filter_map(|user| user["keryu_id"].as_str()).collect();
    let whole = match event["type"].as_str() {
        Some("users.changed") => (1..=100).contains(&users.len()) && ids.len() == users.len(),
        Some("user.erased") => event["data"]["keryu_id"].is_string(),
        _ => false,
    };
    if !whole || !event["timestamp"].is_string() {
        bad.push(format!("event {event}"));
    }
    let mut call = Under::new(tape, users.len(), request.header("webhook-id").unwrap_or_default());
    let told = if bad.is_empty() { call.told().await } else { Some(wrong(tape, bad)) };
    let refused = users.iter().any(|user| user["last_name"] == NAMELESS);
    let response = match told {
        Some(response) => response,
        None if refused => answer(422, r#"{"message": "no"}"#.to_owned()),
        None => {
            let mut tape = tape.lock().expect("tape");
            for user in &users {
                let id = user["keryu_id"].as_str().expect("id").to_owned();
                let later = tape.people.get(&id).map_or(0, |known| known["change"].as_i64().expect("change"));
                if user["change"].as_i64().expect("change") < later {
                    tape.wrong.push(format!("{id} is told of in an older state"));
                }
                tape.people.insert(id, user.as_object().expect("object").clone());
            }
            if let Some(id) = event["data"]["keryu_id"].as_str() {
                tape.people.remove(id);
                tape.erased.push(id.to_owned());
            }
            answer(200, String::new())
        }
    };
    call.end(response).await
}
