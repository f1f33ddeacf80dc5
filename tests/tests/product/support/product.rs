//! The product in this process: the whole API on a loopback port, jobs drained by hand, and a clock
//! that stands still until the test moves it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::audit::Client;
use keryu_common::clock::Clock;
use keryu_common::config::{Config, Source};
use keryu_common::desk::Hand;
use keryu_common::notify::desk;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::World;

/// When every test begins: now, so that today's partitions fit, on a whole second.
fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(Utc::now().timestamp(), 0).expect("time")
}

/// The product under test.
pub struct Product {
    /// Its database.
    pub world: World,
    /// What verbs are given.
    pub ctx: Context,
    /// `http://127.0.0.1:port`.
    pub base: String,
    http: reqwest::Client,
}

impl Product {
    /// With the settings of a test, limits out of the way.
    pub async fn new() -> Self {
        Self::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await
    }

    /// With these settings besides.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(World::new().await, settings, Clock::fixed(beginning())).await
    }

    /// The same database, Redis and clock under other settings.
    pub async fn restarted(&self, settings: &[(&str, &str)]) -> Self {
        Self::on(self.world.again(), settings, self.ctx.clock.clone()).await
    }

    /// Beside real processes of this world, in their time.
    pub async fn beside(world: &World, settings: &[(&str, &str)]) -> Self {
        Self::on(world.again(), settings, Clock::system()).await
    }

    async fn on(world: World, settings: &[(&str, &str)], clock: Clock) -> Self {
        let mut all = world.settings();
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        if all.iter().all(|(name, _)| name != "KERYU_PUBLIC_URL") {
            all.push(("KERYU_PUBLIC_URL".to_owned(), base.clone()));
        }
        let config = Config::read(&mut Source::of(all)).expect("settings");
        let db = keryu_common::database::pool(&config).expect("pool");
        let ctx = Context::with(config, db, clock).expect("context");
        let app = keryu_api::app(ctx.clone()).expect("app");
        let acceptor = poem::listener::TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        Self { world, ctx, base, http: reqwest::Client::new() }
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.ctx.clock.advance(by);
    }

    /// Runs every due job. Answers with how many attempts ran.
    pub async fn drain(&self) -> usize {
        keryu_worker::drain::due(&self.ctx).await.expect("drain")
    }

    /// A request with a JSON body (`Null`: none) and these header fields.
    pub async fn send(&self, method: Method, path: &str, body: &Value, fields: &[(&str, &str)]) -> Response {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = self.http.request(method, url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.expect("answer")
    }

    /// Asks for a code: status and body.
    pub async fn ask(&self, identifier: &str, purpose: &str) -> (u16, Value) {
        self.ask_with(identifier, purpose, &[]).await
    }

    /// Asks for a code with header fields.
    pub async fn ask_with(&self, identifier: &str, purpose: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        read(self.request(identifier, purpose, fields).await).await
    }

    /// Asks for a code with header fields: the whole answer.
    pub async fn request(&self, identifier: &str, purpose: &str, fields: &[(&str, &str)]) -> Response {
        let body = json!({ "identifier": identifier, "purpose": purpose });
        self.send(Method::POST, "/api/auth/otp/request", &body, fields).await
    }

    /// Hands a code in: status and body.
    pub async fn verify(
        &self,
        identifier: &str,
        purpose: &str,
        otp: &str,
        challenge: Option<&str>,
    ) -> (u16, Value) {
        read(self.try_code(identifier, purpose, otp, challenge, &[]).await).await
    }

    /// Hands a code in with header fields: the whole answer.
    pub async fn try_code(
        &self,
        identifier: &str,
        purpose: &str,
        otp: &str,
        challenge: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Response {
        let mut body = json!({ "identifier": identifier, "purpose": purpose, "otp": otp });
        if let Some(challenge) = challenge {
            body["challenge_id"] = json!(challenge);
        }
        self.send(Method::POST, "/api/auth/otp/verify", &body, fields).await
    }

    /// POST with a JSON body: status and body.
    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.send(Method::POST, path, &body, &[]).await).await
    }

    /// GET as whoever these tokens are of: status and body.
    pub async fn get(&self, path: &str, tokens: &Value) -> (u16, Value) {
        self.call(Method::GET, path, &Value::Null, tokens).await
    }

    /// DELETE as whoever these tokens are of: status and body.
    pub async fn delete(&self, path: &str, tokens: &Value) -> (u16, Value) {
        self.call(Method::DELETE, path, &Value::Null, tokens).await
    }

    /// A request as whoever these tokens are of: status and body.
    pub async fn call(&self, method: Method, path: &str, body: &Value, tokens: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("access_token"));
        read(self.send(method, path, body, &[("authorization", &bearer)]).await).await
    }

    /// Asks for a code, reads it in the inbox and hands it in: the verification token.
    pub async fn prove(&self, identifier: &str, purpose: &str) -> String {
        let (status, issued) = self.ask(identifier, purpose).await;
        assert_eq!(status, 202, "{issued}");
        self.drain().await;
        let normal = keryu_common::user::Identifier::parse(identifier, Some("KE")).expect(identifier);
        let code = self.code_for(normal.as_str()).await.expect("a code");
        let (status, verified) =
            self.verify(identifier, purpose, &code, issued["challenge_id"].as_str()).await;
        assert_eq!(status, 200, "{verified}");
        verified["verification_token"].as_str().expect("verification_token").to_owned()
    }

    /// As [`Product::prove`], by somebody signed in.
    pub async fn prove_as(&self, identifier: &str, purpose: &str, tokens: &Value) -> String {
        let ask = json!({ "identifier": identifier, "purpose": purpose });
        let (status, issued) = self.call(Method::POST, "/api/auth/otp/request", &ask, tokens).await;
        assert_eq!(status, 202, "{issued}");
        self.drain().await;
        let normal = keryu_common::user::Identifier::parse(identifier, Some("KE")).expect(identifier);
        let code = self.code_for(normal.as_str()).await.expect("a code");
        let proof = json!({ "identifier": identifier, "purpose": purpose, "otp": code,
                            "challenge_id": issued["challenge_id"] });
        let (status, verified) = self.call(Method::POST, "/api/auth/otp/verify", &proof, tokens).await;
        assert_eq!(status, 200, "{verified}");
        verified["verification_token"].as_str().expect("verification_token").to_owned()
    }

    /// The next tokens of a session.
    pub async fn refreshed(&self, tokens: &Value) -> Value {
        let body = json!({ "refresh_token": tokens["refresh_token"] });
        let (status, next) = self.post("/api/auth/refresh", body).await;
        assert_eq!(status, 200, "{next}");
        next
    }

    /// Registers somebody by code: the tokens.
    pub async fn register(&self, identifier: &str, username: &str) -> Value {
        let token = self.prove(identifier, "register").await;
        let body = json!({ "identifier": identifier, "username": username, "verification_token": token });
        let (status, tokens) = self.post("/api/auth/register", body).await;
        assert_eq!(status, 201, "{tokens}");
        tokens
    }

    /// Signs somebody in by code: the tokens.
    pub async fn login(&self, identifier: &str) -> Value {
        let token = self.prove(identifier, "login").await;
        let body = json!({ "identifier": identifier, "verification_token": token });
        let (status, tokens) = self.post("/api/auth/login", body).await;
        assert_eq!(status, 200, "{tokens}");
        tokens
    }

    /// An operator at the command line.
    pub fn operator(&self) -> Client {
        let request_id = keryu_common::id::ordered(self.ctx.now()).to_string();
        let ip = std::net::IpAddr::from([127, 0, 0, 1]);
        Client { ip, user_agent: None, request_id, traceparent: None, language: "en".to_owned() }
    }

    /// What operators are shown of a delivery.
    pub async fn shown(&self, delivery_id: uuid::Uuid) -> desk::Detail {
        let client = self.operator();
        let hand = Hand { client: &client, person: None };
        desk::show(&self.ctx, hand, delivery_id).await.expect("shown")
    }

    /// An operator sends a delivery again.
    pub async fn resend(&self, delivery_id: uuid::Uuid) -> keryu_common::Result<desk::Resent> {
        let client = self.operator();
        desk::resend(&self.ctx, Hand { client: &client, person: None }, delivery_id, None).await
    }

    /// A receipt.
    pub async fn receipt(&self, issued: &Value) -> Value {
        let url = issued["delivery_url"].as_str().expect("delivery_url");
        let (status, body) = read(self.send(Method::GET, url, &Value::Null, &[]).await).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// What the development inbox holds, newest first.
    pub async fn letters(&self) -> Vec<Value> {
        let (status, body) = read(self.send(Method::GET, "/dev/inbox.json", &Value::Null, &[]).await).await;
        assert_eq!(status, 200, "{body}");
        body.as_array().expect("letters").clone()
    }

    /// The code in the newest letter to somebody.
    pub async fn code_for(&self, to: &str) -> Option<String> {
        let letters = self.letters().await.into_iter();
        let letter = letters.into_iter().find(|letter| letter["to"] == to && letter["kind"] == "otp_code")?;
        digits(letter["text"].as_str()?)
    }

    /// Nothing is left to be done: every test that drains ends with this.
    pub async fn assert_nothing_left(&self) {
        let left =
            self.world.count("SELECT count(*) FROM jobs WHERE state NOT IN ('discarded', 'scheduled')").await;
        assert_eq!(left, 0, "jobs were left over");
    }
}

/// Status and JSON body.
pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A header field, empty without it.
pub fn field(response: &Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// What `Retry-After` says.
pub fn retry_after(response: &Response) -> Duration {
    Duration::from_secs(field(response, "retry-after").parse().expect("Retry-After in whole seconds"))
}

/// Six digits that are not this code.
pub fn wrong(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

/// The first run of six digits.
pub fn digits(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).map(str::to_owned)
}
