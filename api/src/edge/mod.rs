//! The edges: what happens to every request before and after its handler, in one place and in order.
//! Nothing here knows a slice.

pub mod body;
pub mod choice;
pub mod client;
pub mod compress;
pub mod fault;
pub mod field;
pub mod fixed;
pub mod form;
pub mod health;
pub mod idempotency;
pub mod json;
pub mod limit;
pub mod party;
pub mod problem;
pub mod query;
pub mod report;
pub mod route;
pub mod secure;
pub mod signed;
pub mod version;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keryu_common::ip_block::BLOCKED;
use keryu_common::limit::Limiter;
use keryu_common::telemetry::trace::Span;
use keryu_common::{Context, Result};
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderValue, Method, Uri, header};
use poem::{Endpoint, Request, Response};

use body::Schemas;
use client::Caller;
use problem::Allow;
use route::{Template, method_name};

/// What edges and handlers share.
#[derive(Clone, Debug)]
pub struct State(Arc<Parts>);

/// The contents of a [`State`].
#[derive(Debug)]
pub struct Parts {
    /// What verbs are given.
    pub ctx: Context,
    /// Counts requests.
    pub limiter: Limiter,
    /// Schemas of bodies.
    pub schemas: Schemas,
    /// Room for files that are sent.
    pub room: form::Room,
    rules: secure::Rules,
    /// In which there are messages.
    languages: Vec<String>,
    unmatched: Arc<str>,
}

impl std::ops::Deref for State {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl State {
    /// Connects lazily.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn build(ctx: Context) -> Result<Self> {
        let config = &ctx.config;
        let limiter =
            Limiter::open(&config.http, &config.redis_url, &config.job.prefix, ctx.metrics.clone())?;
        let rules = secure::Rules::of(config);
        let languages = config.notify.templates.all_languages();
        let (schemas, room) = (Schemas::default(), form::Room::default());
        let unmatched = "unmatched".into();
        ctx.metrics.expect_requests(&unmatched);
        Ok(Self(Arc::new(Parts { ctx, limiter, schemas, room, rules, languages, unmatched })))
    }
}

/// All edges around a router.
pub struct Edge<E> {
    inner: E,
    state: State,
}

impl<E: Endpoint<Output = Response>> Edge<E> {
    /// Around `inner`.
    pub fn around(inner: E, state: State) -> Self {
        Self { inner, state }
    }

    /// Runs the handler; an error becomes a problem.
    async fn answer(&self, request: Request, caller: &Caller) -> (Response, Arc<str>) {
        let unmatched = || Arc::clone(&self.state.unmatched);
        match self.inner.call(request).await {
            Ok(response) => {
                let route = response.data::<Template>().map(|template| Arc::clone(&template.0));
                (response, route.unwrap_or_else(unmatched))
            }
            Err(error) => {
                let route = error.data::<Template>().map(|template| Arc::clone(&template.0));
                let allow = error.data::<Allow>().cloned();
                let error = problem::read(error);
                let response = problem::render(&error, allow, &caller.request_id, &self.state.ctx.config);
                (response, route.unwrap_or_else(unmatched))
            }
        }
    }

    /// Nobody is served from this address.
    fn refuse_blocked(&self, caller: &Caller) -> Response {
        let refusal = BLOCKED.refuse("Requests from this address are not served.");
        problem::render(&refusal.into(), None, &caller.request_id, &self.state.ctx.config)
    }

    /// The access line and the metrics of one request.
    fn observe(&self, method: &Method, route: &Arc<str>, status: u16, took: Duration, caller: &Caller) {
        let (method, millis) = (method_name(method), took.as_secs_f64() * 1e3);
        self.state.ctx.metrics.request(route, method, status, took);
        tracing::info!(
            target: "keryu::access", method, route = &**route, status, millis, ip = %caller.ip,
            request_id = caller.request_id, traceparent = caller.traceparent, "answered"
        );
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let started = Instant::now();
        let state = &self.state;
        let proxies = &state.ctx.config.http.trusted_proxies;
        let method = request.method().clone();
        let span = Span::request(method_name(&method), client::given_trace(request.headers()));
        let caller = Caller::read(&request, proxies, &state.languages, state.ctx.now(), &span);
        let coding = compress::wanted(request.headers());
        let origin = state.rules.origin(request.headers());
        let preflight = state.rules.preflight(&request, origin.as_ref());
        let endless = body::is_endless(request.headers(), state.ctx.config.http.body_limit);
        trim_slash(request.uri_mut());
        request.set_data(state.clone());
        request.set_data(state.ctx.clone());
        request.set_data(caller.clone());

        let blocked =
            !health::is_probe(request.uri().path()) && state.ctx.shield.covers(caller.ip, state.ctx.now());
        let (mut response, route) = match preflight {
            _ if blocked => (self.refuse_blocked(&caller), Arc::clone(&state.unmatched)),
            Some(response) => (response, Arc::clone(&state.unmatched)),
            None => span.around(self.answer(request, &caller)).await,
        };
        let response_is_error = response.status().as_u16() >= 400;
        let headers = response.headers_mut();
        state.rules.write(headers, origin);
        if endless && response_is_error {
            // the rest of the body is not read: who sent it must not use the connection again
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some((bucket, decision)) = caller.call().limited.get() {
            limit::write(headers, *bucket, decision);
        }
        if let Ok(id) = HeaderValue::from_str(&caller.request_id) {
            headers.insert("x-request-id", id);
        }
        response = compress::apply(response, coding).await;
        if method == Method::HEAD {
            response.set_body(());
        }
        let status = response.status().as_u16();
        self.observe(&method, &route, status, started.elapsed(), &caller);
        let route = (!Arc::ptr_eq(&route, &state.unmatched)).then_some(&*route);
        span.answered(method_name(&method), route, status);
        Ok(response)
    }
}

/// `/api/docs/` is `/api/docs`, without a redirect.
fn trim_slash(uri: &mut Uri) {
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else { return };
    let trimmed = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    if let Ok(trimmed) = trimmed {
        *uri = Uri::from(trimmed);
    }
}

#[cfg(test)]
mod tests {
    use keryu_common::config::{Config, Source};
    use poem::http::HeaderMap;
    use poem::test::{TestClient, TestResponse};
    use poem::web::Data;
    use poem::{IntoResponse, handler};
    use serde_json::Value;

    use super::*;
    use crate::edge::route::Table;

    #[handler]
    fn boom() {
        panic!("something secret");
    }

    #[handler]
    fn trace(caller: Data<&Caller>) -> String {
        caller.traceparent.clone().unwrap_or_default()
    }

    #[handler]
    fn long() -> Response {
        poem::web::Json(vec!["a long answer"; 500]).into_response()
    }

    fn client() -> TestClient<impl Endpoint> {
        let pairs = [
            ("KERYU_ENV", "development"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1"),
            ("KERYU_CORS_ORIGINS", "https://app.example.org"),
        ];
        let config = Config::read(&mut Source::of(pairs)).expect("settings");
        let state = State::build(Context::build(config).expect("context")).expect("state");
        let table = Table::default().get("/boom", boom).get("/trace", trace).get("/long", long);
        TestClient::new(Edge::around(table.into_route(), state))
    }

    fn field(answer: &TestResponse, name: &str) -> String {
        let headers: &HeaderMap = answer.0.headers();
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_like_others() {
        let answer = client().get("/boom").header("x-request-id", "r-1").send().await;
        answer.assert_status(poem::http::StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(field(&answer, "x-request-id"), "r-1");
        assert_eq!(field(&answer, "content-type"), problem::MEDIA_TYPE);
        let body: Value = answer.json().await.value().deserialize();
        assert_eq!(body["code"], "server.internal");
        assert!(!body["detail"].as_str().expect("detail").contains("secret"));
    }

    #[tokio::test]
    async fn a_trace_and_a_request_id_go_through() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let answer = client()
            .get("/trace/?x=1")
            .header("traceparent", given)
            .header("x-request-id", "a b")
            .send()
            .await;
        assert_eq!(field(&answer, "x-request-id").len(), 36);
        answer.assert_status_is_ok();
        let ours = answer.0.into_body().into_string().await.expect("text");
        assert!(ours.starts_with(&given[..36]) && ours != given, "{ours}");
    }

    #[tokio::test]
    async fn other_origins_learn_nothing() {
        let client = client();
        let known = client.get("/trace").header("origin", "https://app.example.org").send().await;
        assert_eq!(field(&known, "access-control-allow-origin"), "https://app.example.org");
        let other = client.get("/trace").header("origin", "https://evil.example").send().await;
        assert_eq!(field(&other, "access-control-allow-origin"), "");
        for (origin, methods) in [("https://app.example.org", true), ("https://evil.example", false)] {
            let ask = client
                .options("/trace")
                .header("origin", origin)
                .header("access-control-request-method", "PUT");
            let answer = ask.send().await;
            answer.assert_status(poem::http::StatusCode::NO_CONTENT);
            assert_eq!(!field(&answer, "access-control-allow-methods").is_empty(), methods, "{origin}");
        }
    }

    #[tokio::test]
    async fn long_answers_are_compressed_for_those_who_can_read_it() {
        let client = client();
        for (accepted, coding) in [("br, gzip", "br"), ("gzip", "gzip"), ("identity", "")] {
            let answer = client.get("/long").header("accept-encoding", accepted).send().await;
            assert_eq!(field(&answer, "content-encoding"), coding);
            assert!(field(&answer, "vary").contains("origin"));
        }
    }
}
