//! Traces: one from a request over the job it asked for to the provider's call, exported over OTLP/HTTP
//! where `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Without it there are no spans and nothing is done for any.
//!
//! Spans are made by the few functions here and hold what those write: no text of the log, no path, no
//! identifier. An export never waits on a request: spans go into a bounded queue that a thread of its own
//! empties, and what finds no room is dropped.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::trace::{
    FutureExt, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use url::Url;
use uuid::Uuid;

use super::Metrics;
use crate::config::Source;
use crate::error::{Error, Result};
use crate::job::Queue;
use crate::provider::{self, Secret};

/// Spans that may wait for their export.
const MOST_WAITING: usize = 4_096;
/// How long a span waits for others before it is exported.
const DELAY: Duration = Duration::from_secs(2);
/// How long one export may take, and the last one at a stop.
const PATIENCE: Duration = Duration::from_secs(3);

/// The tracer of this process, where traces are on.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Where traces go, in the words of OpenTelemetry's specification.
#[derive(Clone, Debug)]
pub struct Config {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`.
    pub endpoint: Url,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: fields of each export, such as a credential.
    pub headers: Vec<(String, Secret)>,
    /// `OTEL_TRACES_SAMPLER`.
    pub sampler: Choice,
    /// `OTEL_TRACES_SAMPLER_ARG`: the share of traces that a ratio keeps, 0 to 1.
    pub ratio: f64,
}

/// Which traces are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the caller decided, that holds.
    parent_based: bool,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    On,
    Off,
    Ratio,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::On => "always_on",
            Rule::Off => "always_off",
            Rule::Ratio => "traceidratio",
        };
        write!(f, "{}{rule}", if self.parent_based { "parentbased_" } else { "" })
    }
}

impl FromStr for Choice {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let (parent_based, rest) =
            name.strip_prefix("parentbased_").map_or((false, name), |rest| (true, rest));
        let rule = match rest {
            "always_on" => Rule::On,
            "always_off" => Rule::Off,
            "traceidratio" => Rule::Ratio,
            _ => {
                return Err(format!(
                    "{name} is not always_on, always_off or traceidratio, with or without parentbased_"
                ));
            }
        };
        Ok(Self { parent_based, rule })
    }
}

impl Choice {
    fn sampler(self, ratio: f64) -> Sampler {
        let root = match self.rule {
            Rule::On => Sampler::AlwaysOn,
            Rule::Off => Sampler::AlwaysOff,
            Rule::Ratio => Sampler::TraceIdRatioBased(ratio),
        };
        if self.parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
    }
}

impl Config {
    pub(super) fn read(source: &mut Source) -> Option<Self> {
        let endpoint: Option<String> = source.find("OTEL_EXPORTER_OTLP_ENDPOINT");
        let headers: Option<String> = source.find("OTEL_EXPORTER_OTLP_HEADERS");
        let on = Choice { parent_based: true, rule: Rule::On };
        let sampler = source.get("OTEL_TRACES_SAMPLER", on);
        let ratio = source.get("OTEL_TRACES_SAMPLER_ARG", 1.0);
        if !(0.0..=1.0).contains(&ratio) {
            source.fault("OTEL_TRACES_SAMPLER_ARG: not from 0 to 1");
        }
        let headers = headers.as_deref().map_or(Ok(Vec::new()), pairs);
        let headers = headers.unwrap_or_else(|fault| {
            source.fault(format!("OTEL_EXPORTER_OTLP_HEADERS: {fault}"));
            Vec::new()
        });
        let address = format!("{}/v1/traces", endpoint?.trim_end_matches('/'));
        match provider::http::address(&address) {
            Ok(endpoint) => Some(Self { endpoint, headers, sampler, ratio }),
            Err(fault) => {
                source.fault(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {fault}"));
                None
            }
        }
    }
}

/// `name=value,name=value`, values percent-encoded (as W3C Baggage has them).
fn pairs(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let plain = value.trim().replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
        let value = url::form_urlencoded::parse(plain.as_bytes()).next()?.0.into_owned();
        http::HeaderName::from_str(name.trim()).ok()?;
        http::HeaderValue::from_str(&value).ok()?;
        Some((name.trim().to_owned(), Secret::new(value)))
    };
    parts.map(|part| read(part).ok_or_else(|| "not of the form name=value,name=value".to_owned())).collect()
}

/// Exports until it is stopped.
#[derive(Debug)]
pub struct Tracing(Option<SdkTracerProvider>);

/// Starts the traces of this process, if they are on. The first call holds.
///
/// # Errors
/// The system's root certificates cannot be read.
pub fn start(config: &super::Config, service: &'static str, metrics: &Metrics) -> Result<Tracing> {
    let Some(config) = &config.traces else { return Ok(Tracing(None)) };
    let exports = Family::<Export, Counter>::default();
    metrics.register(|registry| {
        registry.register("trace_exports", "Batches of spans sent to the collector", exports.clone());
    });
    let client = Client {
        http: provider::http::client(&config.endpoint)?,
        runtime: tokio::runtime::Handle::current(),
        exports,
        fails: AtomicBool::new(false),
    };
    let headers: HashMap<String, String> =
        config.headers.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(config.endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .with_headers(headers)
        .build()
        .map_err(Error::internal)?;
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(MOST_WAITING).with_scheduled_delay(DELAY).build();
    let resource = Resource::builder_empty()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(config.sampler.sampler(config.ratio))
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .build();
    // who came first stays
    let _ = TRACER.set(provider.tracer(service));
    tracing::info!(collector = config.endpoint.host_str(), "traces are exported");
    Ok(Tracing(Some(provider)))
}

impl Tracing {
    /// Exports what waits, for at most three seconds.
    pub async fn stop(self) {
        let Some(provider) = self.0 else { return };
        let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last spans were not exported");
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Export {
    outcome: &'static str,
}

/// The product's own HTTP client under the exporter's thread, which has no runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
    exports: Family<Export, Counter>,
    fails: AtomicBool,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let call = async move {
            let mut request = reqwest::Request::try_from(request)?;
            *request.timeout_mut() = Some(PATIENCE);
            let answer = http.execute(request).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::new(Bytes::from(provider::http::body(answer).await?));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok::<_, reqwest::Error>(response)
        };
        let answer = self.runtime.spawn(call).await?;
        let accepted = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
        let outcome = if accepted { "accepted" } else { "failed" };
        self.exports.get_or_create(&Export { outcome }).inc();
        if self.fails.swap(!accepted, Ordering::Relaxed) == accepted {
            match &answer {
                _ if accepted => tracing::info!("the collector takes traces again"),
                Ok(answer) => {
                    tracing::warn!(status = answer.status().as_u16(), "the collector takes no traces")
                }
                Err(error) => tracing::warn!(%error, "the collector does not answer: spans are dropped"),
            }
        }
        Ok(answer?)
    }
}

/// A span under way; nothing, where traces are off. Ends when it is dropped, if not before.
#[derive(Debug)]
pub struct Span(Option<Context>);

impl Span {
    /// A request that came in. `traceparent` is a valid one, or none.
    pub fn request(method: &'static str, traceparent: Option<&str>) -> Self {
        Self::start(|| {
            let span = SpanBuilder::from_name(method)
                .with_kind(SpanKind::Server)
                .with_attributes([KeyValue::new("http.request.method", method)]);
            (span, parent(traceparent))
        })
    }

    /// An attempt of a job, below the request that asked for it.
    pub fn job(
        kind: &'static str,
        queue: Queue,
        job_id: Uuid,
        attempt: i16,
        traceparent: Option<&str>,
    ) -> Self {
        Self::start(|| {
            let span = SpanBuilder::from_name(kind).with_kind(SpanKind::Consumer).with_attributes([
                KeyValue::new("messaging.system", "keryu"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", queue.name()),
                KeyValue::new("messaging.message.id", job_id.to_string()),
                KeyValue::new("keryu.job.kind", kind),
                KeyValue::new("keryu.job.attempt", i64::from(attempt)),
            ]);
            (span, parent(traceparent))
        })
    }

    /// A call of a provider, below the span around it; none without one.
    pub fn call(provider: &'static str) -> Self {
        if TRACER.get().is_none() || !Context::map_current(Context::has_active_span) {
            return Self(None);
        }
        Self::start(|| {
            let span = SpanBuilder::from_name(format!("call {provider}"))
                .with_kind(SpanKind::Client)
                .with_attributes([KeyValue::new("peer.service", provider)]);
            (span, Context::current())
        })
    }

    fn start(make: impl FnOnce() -> (SpanBuilder, Context)) -> Self {
        Self(TRACER.get().map(|tracer| {
            let (span, parent) = make();
            let span = span.start_with_context(tracer, &parent);
            parent.with_span(span)
        }))
    }

    /// Runs `work` with this span around it.
    pub async fn around<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// The span as W3C Trace Context has it, for what follows.
    pub fn traceparent(&self) -> Option<String> {
        let span = self.0.as_ref()?.span().span_context().clone();
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags() & TraceFlags::SAMPLED);
        span.is_valid().then(|| format!("00-{trace}-{id}-{:02x}", flags.to_u8()))
    }

    /// A request was answered. `route` is the template; none where no route matched.
    pub fn answered(self, method: &'static str, route: Option<&str>, status: u16) {
        let Some(context) = self.0 else { return };
        let span = context.span();
        if let Some(route) = route {
            span.update_name(format!("{method} {route}"));
            span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        }
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    /// The attempt or call ended, in a word of a few.
    pub fn ended(self, outcome: &'static str, well: bool) {
        let Some(context) = self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("keryu.outcome", outcome));
        if !well {
            span.set_attribute(KeyValue::new("error.type", outcome));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// The context of a valid `traceparent`; without one, that of a trace which begins.
fn parent(traceparent: Option<&str>) -> Context {
    match traceparent.and_then(remote) {
        Some(span) => Context::new().with_remote_span_context(span),
        None => Context::new(),
    }
}

fn remote(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&'static str, &'static str)]) -> Result<Option<Config>, crate::config::Faults> {
        let needed = [
            ("KERYU_ENV", "development"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1"),
        ];
        let pairs = needed.into_iter().chain(given.iter().copied());
        crate::config::Config::read(&mut Source::of(pairs)).map(|config| config.log.traces)
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named() {
        assert!(read(&[]).expect("settings").is_none());
        let config = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example.org:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20a+b==, x-tenant=7"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
        ]);
        let config = config.expect("settings").expect("traces");
        assert_eq!(config.endpoint.as_str(), "https://collector.example.org:4318/v1/traces");
        let headers: Vec<_> =
            config.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(headers, [("authorization", "Basic a+b=="), ("x-tenant", "7")]);
        assert_eq!(config.sampler.to_string(), "parentbased_traceidratio");
        for broken in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ] {
            assert!(read(&[broken]).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_parent_is_read_as_it_was_written() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = remote(given).expect("valid");
        assert_eq!(format!("00-{}-{}-01", read.trace_id(), read.span_id()), given);
        assert!(read.is_sampled() && read.is_remote());
        for broken in ["", "00", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert!(remote(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn nothing_is_made_where_traces_are_off() {
        let span = Span::request("GET", None);
        assert!(span.0.is_none() && span.traceparent().is_none());
    }
}
