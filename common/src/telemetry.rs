//! Sight: how logs are written and the metrics both processes serve. What is measured where belongs to
//! the slices; no label may hold a path, an identifier or a secret.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::config::{Source, Stage};

/// The media type of [`Metrics::render`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Settings of logs.
#[derive(Clone, Debug)]
pub struct Config {
    /// `KERYU_LOG`: a level, or directives such as `info,sqlx=warn`.
    pub filter: String,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        let filter = source.get("KERYU_LOG", "info".to_owned());
        if let Err(fault) = EnvFilter::try_new(&filter) {
            source.fault(format!("KERYU_LOG: {fault}"));
        }
        Self { filter }
    }
}

/// Starts the logs of this process: JSON lines on standard error, in development lines for people
/// (standard output is for what commands print). Panics are logged too. Called twice, the first holds.
pub fn start(config: &Config, stage: Stage) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match stage {
        Stage::Production => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        Stage::Development => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string);
            tracing::error!(at, "panic: {}", panic.payload_as_str().unwrap_or("no text"));
        }));
    }
}

/// The metrics of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

/// The contents of [`Metrics`].
#[derive(Debug)]
pub struct Families {
    registry: Mutex<Registry>,
    http_requests: Family<Http, Counter>,
    http_seconds: Family<Route, Histogram, fn() -> Histogram>,
    codes: Family<Outcome, Counter>,
    sign_ins: Family<SignIn, Counter>,
    limits: Family<Limit, Counter>,
    sends: Family<Send, Counter>,
    /// Decisions taken without Redis.
    pub limiter_fallbacks: Counter,
    pool: Family<State, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Http {
    route: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignIn {
    method: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    bucket: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Send {
    provider: &'static str,
    answer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl std::ops::Deref for Metrics {
    type Target = Families;
    fn deref(&self) -> &Families {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds: fn() -> Histogram =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]);
        let families = Families {
            registry: Mutex::new(Registry::with_prefix("keryu")),
            http_requests: Family::default(),
            http_seconds: Family::new_with_constructor(seconds),
            codes: Family::default(),
            sign_ins: Family::default(),
            limits: Family::default(),
            sends: Family::default(),
            limiter_fallbacks: Counter::default(),
            pool: Family::default(),
        };
        let metrics = Self(Arc::new(families));
        metrics.register(|registry| {
            let m = &metrics.0;
            registry.register(
                "http_requests",
                "Requests by route template, method and status",
                m.http_requests.clone(),
            );
            registry.register(
                "http_request_duration_seconds",
                "Time to answer by route template",
                m.http_seconds.clone(),
            );
            registry.register("codes", "One-time codes asked for and handed in, by outcome", m.codes.clone());
            registry.register("sign_ins", "Sign-ins tried, by method and outcome", m.sign_ins.clone());
            registry.register("provider_calls", "Messages handed to providers, by answer", m.sends.clone());
            registry.register("limiter_decisions", "Rate limit decisions by bucket", m.limits.clone());
            registry.register(
                "limiter_fallbacks",
                "Rate limit decisions taken without Redis",
                m.limiter_fallbacks.clone(),
            );
            registry.register("db_connections", "Connections of the pool by state", m.pool.clone());
        });
        metrics
    }
}

impl Metrics {
    /// One message handed to a provider, and what it answered (as attempt rows say it).
    pub fn sent(&self, provider: &'static str, answer: &'static str) {
        self.sends.get_or_create(&Send { provider, answer }).inc();
    }

    /// Adds families of the caller's; names get the prefix `keryu_`.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One answered request. `route` is the template, never the path.
    pub fn request(&self, route: &Arc<str>, method: &'static str, status: u16, took: Duration) {
        self.http_requests.get_or_create(&Http { route: Arc::clone(route), method, status }).inc();
        self.http_seconds.get_or_create(&Route { route: Arc::clone(route) }).observe(took.as_secs_f64());
    }

    /// One code `asked` for or `verified`, with `ok` or the code of the refusal.
    pub fn code(&self, action: &'static str, outcome: &'static str) {
        self.codes.get_or_create(&Outcome { action, outcome }).inc();
    }

    /// One sign-in tried, with `ok` or the code of the refusal.
    pub fn sign_in(&self, method: &'static str, outcome: &'static str) {
        self.sign_ins.get_or_create(&SignIn { method, outcome }).inc();
    }

    /// One decision of the limiter.
    pub fn limited(&self, bucket: &'static str, allowed: bool) {
        let outcome = if allowed { "allowed" } else { "refused" };
        self.limits.get_or_create(&Limit { bucket, outcome }).inc();
    }

    /// Everything, as Prometheus reads it ([`MEDIA_TYPE`]).
    pub fn render(&self, db: &sqlx::PgPool) -> String {
        let idle = i64::try_from(db.num_idle()).unwrap_or(0);
        self.pool.get_or_create(&State { state: "idle" }).set(idle);
        self.pool.get_or_create(&State { state: "in_use" }).set(i64::from(db.size()) - idle);
        let mut text = String::with_capacity(4096);
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // writing to a String does not fail
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}
