//! The families of both processes, in Prometheus' words: base units, `_total`, `_seconds`, `_bytes`.
//! Those a process counts are there from its start, at zero: a rule finds them, and the first event is
//! a rise.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::ledger::Ledger;
use super::process::Process;
use super::trace::Span;
use crate::notify::{Message, State as Delivery, Via};

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
    calls: Family<Call, Counter>,
    call_seconds: Family<Provider, Histogram, fn() -> Histogram>,
    deliveries: Family<Delivered, Counter>,
    /// Decisions taken without Redis.
    pub limiter_fallbacks: Counter,
    /// Balances and postings found not to add up.
    pub ledger_faults: Counter,
    pool: Family<State, Gauge>,
    pool_most: Gauge,
    /// What the ledger holds.
    pub(super) ledger: Ledger,
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
    method: &'static str,
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
struct Call {
    provider: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Provider {
    provider: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivered {
    message: &'static str,
    channel: &'static str,
    state: &'static str,
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

/// How a provider's call can end.
const OUTCOMES: [&str; 5] = ["accepted", "retry", "unknown", "give_up", "misconfigured"];
/// How a delivery's try can end.
const ENDS: [Delivery; 3] = [Delivery::Accepted, Delivery::Failed, Delivery::Unknown];

impl Default for Metrics {
    fn default() -> Self {
        let request: fn() -> Histogram =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]);
        let call: fn() -> Histogram =
            || Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let metrics = Self(Arc::new(Families {
            registry: Mutex::new(Registry::default()),
            http_requests: Family::default(),
            http_seconds: Family::new_with_constructor(request),
            codes: Family::default(),
            sign_ins: Family::default(),
            limits: Family::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(call),
            deliveries: Family::default(),
            limiter_fallbacks: Counter::default(),
            ledger_faults: Counter::default(),
            pool: Family::default(),
            pool_most: Gauge::default(),
            ledger: Ledger::default(),
        }));
        Process::register(&mut metrics.registry.lock().unwrap_or_else(PoisonError::into_inner));
        metrics.register(|registry| metrics.0.register_in(registry));
        metrics
    }
}

impl Families {
    fn register_in(&self, registry: &mut Registry) {
        registry.register(
            "http_requests",
            "Requests by route template, method and status",
            self.http_requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time to answer by route template and method",
            self.http_seconds.clone(),
        );
        registry.register(
            "codes",
            "One-time codes asked for, sent and handed in, by outcome",
            self.codes.clone(),
        );
        registry.register("sign_ins", "Sign-ins tried, by method and outcome", self.sign_ins.clone());
        registry.register("provider_calls", "Calls of providers outside, by outcome", self.calls.clone());
        registry.register(
            "provider_call_duration_seconds",
            "Time of a call of a provider outside",
            self.call_seconds.clone(),
        );
        registry.register(
            "deliveries",
            "Tries to deliver a message that ended, by message, channel and the state they led to",
            self.deliveries.clone(),
        );
        registry.register("limiter_decisions", "Rate limit decisions by bucket", self.limits.clone());
        registry.register(
            "limiter_fallbacks",
            "Rate limit decisions taken without Redis",
            self.limiter_fallbacks.clone(),
        );
        registry.register(
            "wallet_faults",
            "Balances and postings of the wallets' ledger found not to add up",
            self.ledger_faults.clone(),
        );
        registry.register("db_connections", "Connections of the pool by state", self.pool.clone());
        registry.register(
            "db_connections_max",
            "The most connections the pool may hold",
            self.pool_most.clone(),
        );
        registry.register(
            "build",
            "The build that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        self.ledger.register(registry);
    }
}

impl Metrics {
    /// Adds families of the caller's; names get the prefix `keryu_`.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        add(registry.sub_registry_with_prefix("keryu"))
    }

    /// This process serves requests.
    pub fn expect_requests(&self, unmatched: &Arc<str>) {
        let (route, method) = (Arc::clone(unmatched), "GET");
        drop(self.http_requests.get_or_create(&Http { route: Arc::clone(&route), method, status: 404 }));
        drop(self.http_seconds.get_or_create(&Route { route, method }));
        for action in ["asked", "verified"] {
            drop(self.codes.get_or_create(&Outcome { action, outcome: "ok" }));
        }
        for method in ["otp", "password", "passkey"] {
            drop(self.sign_ins.get_or_create(&SignIn { method, outcome: "ok" }));
        }
    }

    /// This process delivers messages.
    pub fn expect_deliveries(&self) {
        for message in Message::ALL.map(Message::name) {
            for channel in Via::ALL.map(Via::name) {
                for state in ENDS.map(Delivery::name) {
                    drop(self.deliveries.get_or_create(&Delivered { message, channel, state }));
                }
            }
        }
        for outcome in ENDS.map(outcome_of) {
            drop(self.codes.get_or_create(&Outcome { action: "sent", outcome }));
        }
    }

    /// This process calls these providers.
    pub fn expect_providers(&self, names: impl IntoIterator<Item = &'static str>) {
        for provider in names {
            for outcome in OUTCOMES {
                drop(self.calls.get_or_create(&Call { provider, outcome }));
            }
            drop(self.call_seconds.get_or_create(&Provider { provider }));
        }
    }

    /// This process limits calls in these buckets.
    pub fn expect_buckets(&self, names: impl IntoIterator<Item = &'static str>) {
        for bucket in names {
            for outcome in ["allowed", "refused"] {
                drop(self.limits.get_or_create(&Limit { bucket, outcome }));
            }
        }
    }

    /// One answered request. `route` is the template, never the path.
    pub fn request(&self, route: &Arc<str>, method: &'static str, status: u16, took: Duration) {
        self.http_requests.get_or_create(&Http { route: Arc::clone(route), method, status }).inc();
        let route = Route { route: Arc::clone(route), method };
        self.http_seconds.get_or_create(&route).observe(took.as_secs_f64());
    }

    /// One code `asked` for, `sent` or `verified`, with `ok` or the code of the refusal.
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

    /// One try to deliver ended and left the delivery in this state. A message or channel that this
    /// build does not know is not counted.
    pub fn delivered(&self, message: &str, channel: &str, state: Delivery) {
        let Some(message) = Message::named(message) else { return };
        let Some(via) = Via::named(channel) else { return };
        let labels = Delivered { message: message.name(), channel: via.name(), state: state.name() };
        self.deliveries.get_or_create(&labels).inc();
        if message == Message::OtpCode {
            self.code("sent", outcome_of(state));
        }
    }

    /// Makes a call of a provider: counted, timed, and a client span of the trace that leads here. `read`
    /// says how it ended, in the words of attempt rows: `accepted`, `retry`, `unknown`, `give_up`,
    /// `misconfigured`; or a few words more, never a text of the answer's.
    pub async fn called<T>(
        &self,
        provider: &'static str,
        read: impl FnOnce(&T) -> &'static str,
        call: impl Future<Output = T>,
    ) -> T {
        let (began, span) = (Instant::now(), Span::call(provider));
        let answer = span.around(call).await;
        let outcome = read(&answer);
        self.calls.get_or_create(&Call { provider, outcome }).inc();
        self.call_seconds.get_or_create(&Provider { provider }).observe(began.elapsed().as_secs_f64());
        span.ended(outcome, outcome == "accepted");
        answer
    }

    /// Everything, as Prometheus reads it ([`super::MEDIA_TYPE`]); of the ledger what was read last.
    pub fn render(&self, db: &sqlx::PgPool) -> String {
        let idle = i64::try_from(db.num_idle()).unwrap_or(0);
        self.pool.get_or_create(&State { state: "idle" }).set(idle);
        self.pool.get_or_create(&State { state: "in_use" }).set((i64::from(db.size()) - idle).max(0));
        self.pool_most.set(i64::from(db.options().get_max_connections()));
        let mut out = String::with_capacity(32 * 1024);
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // writing to a String does not fail
        let _: std::fmt::Result = text::encode(&mut out, &registry);
        out
    }
}

/// A code's sending in the words of the other actions with codes.
fn outcome_of(state: Delivery) -> &'static str {
    if state == Delivery::Accepted { "ok" } else { state.name() }
}
