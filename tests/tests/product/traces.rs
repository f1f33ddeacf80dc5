//! Traces: one from the request over the job to the provider's call, and a collector that is away is
//! nobody's business.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keryu_common::secret::hex;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{EndpointExt, Request, Route, handler};
use prost::Message;
use reqwest::Client;

use crate::support::process::{Api, Process, api, free_port, worker};
use crate::support::{Gateway, World, eventually};

const NUMBER: &str = "+254712345678";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ABOVE: &str = "00f067aa0ba902b7";

type Tape = Arc<Mutex<Vec<ResourceSpans>>>;

/// A collector: OTLP over HTTP, protobuf.
struct Collector {
    url: String,
    tape: Tape,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let tape = Tape::default();
        let app = Route::new().at("/v1/traces", poem::post(take)).data(Arc::clone(&tape));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("listener");
        tokio::spawn(async move { poem::Server::new_with_acceptor(acceptor).run(app).await });
        Self { url, tape }
    }

    /// Every span with the service it is of.
    fn spans(&self) -> Vec<(String, Span)> {
        let tape = self.tape.lock().unwrap();
        let mut spans = Vec::new();
        for group in tape.iter() {
            let attributes = &group.resource.as_ref().expect("a resource").attributes;
            let service = attributes.iter().find(|pair| pair.key == "service.name").expect("service.name");
            let service = format!("{:?}", service.value);
            let ours = group.scope_spans.iter().flat_map(|scope| scope.spans.iter().cloned());
            spans.extend(ours.map(|span| (service.clone(), span)));
        }
        spans
    }

    /// The only span with this name.
    fn only(&self, name: &str) -> (String, Span) {
        let mut found: Vec<_> = self.spans().into_iter().filter(|(_, span)| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} among {:?}", self.names());
        found.remove(0)
    }

    fn names(&self) -> Vec<String> {
        self.spans().into_iter().map(|(_, span)| span.name).collect()
    }
}

#[handler]
fn take(request: &Request, tape: Data<&Tape>, body: Vec<u8>) -> StatusCode {
    assert_eq!(request.content_type(), Some("application/x-protobuf"));
    assert_eq!(request.header("authorization"), Some("Basic a+b=="));
    let batch = ExportTraceServiceRequest::decode(body.as_slice()).expect("protobuf");
    tape.lock().unwrap().extend(batch.resource_spans);
    StatusCode::OK
}

async fn start(world: &World, gateway: &Gateway, traces: &[(&'static str, &str)]) -> (Api, Process) {
    let mut settings = gateway.settings();
    settings.extend_from_slice(traces);
    let worker = worker(world, &[], &settings);
    (api(world, free_port(), &settings).await, worker)
}

async fn ask(http: &Client, api: &Api, number: &str, traceparent: Option<&str>) {
    let body = serde_json::json!({ "identifier": number, "purpose": "register" });
    let mut request = http.post(format!("{}/api/auth/otp/request?secret={number}", api.base)).json(&body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    assert_eq!(request.send().await.expect("an answer").status(), 202);
}

async fn arrives(gateway: &Gateway, number: &str) {
    eventually("the code arrives", Duration::from_secs(20), || async {
        !gateway.accepted_for(number).is_empty()
    })
    .await;
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == key);
    let value = found.and_then(|pair| pair.value.as_ref()?.value.as_ref());
    value.map(|value| format!("{value:?}")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_its_job_and_the_providers_call_are_one_trace_that_names_nobody() {
    let (world, gateway, collector) = (World::new().await, Gateway::start().await, Collector::start().await);
    // of its own no trace is kept: only what a caller decided
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20a+b=="),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    let (api, worker) = start(&world, &gateway, &settings).await;
    let http = Client::new();
    ask(&http, &api, NUMBER, Some(&format!("00-{TRACE}-{ABOVE}-01"))).await;
    arrives(&gateway, NUMBER).await;
    ask(&http, &api, "+254712345679", None).await;
    ask(&http, &api, "+254712345680", Some(&format!("00-{}-{ABOVE}-00", TRACE.replace('4', "5")))).await;
    arrives(&gateway, "+254712345679").await;
    arrives(&gateway, "+254712345680").await;
    let running = "SELECT count(*) FROM jobs WHERE kind = 'notify.deliver_message'";
    eventually("the jobs are done", Duration::from_secs(10), || async { world.count(running).await == 0 })
        .await;
    // what waits is exported at the stop
    worker.terminate(Duration::from_secs(30)).await;
    api.process.terminate(Duration::from_secs(30)).await;

    assert_eq!(collector.spans().len(), 3, "only what was sampled: {:?}", collector.names());
    let (service, request) = collector.only("POST /api/auth/otp/request");
    assert!(service.contains("keryu-api"), "{service}");
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(hex(&request.parent_span_id), ABOVE);
    assert!(attribute(&request, "http.route").contains("/api/auth/otp/request"));
    assert!(attribute(&request, "http.response.status_code").contains("202"));
    let (service, job) = collector.only("notify.deliver_message");
    assert!(service.contains("keryu-worker"), "{service}");
    assert_eq!(job.kind(), SpanKind::Consumer);
    assert_eq!(job.parent_span_id, request.span_id);
    assert!(attribute(&job, "keryu.outcome").contains("completed"));
    let (_, call) = collector.only("call http");
    assert_eq!(call.kind(), SpanKind::Client);
    assert_eq!(call.parent_span_id, job.span_id);
    assert!(attribute(&call, "keryu.outcome").contains("accepted"));

    let body = gateway.accepted_for(NUMBER).remove(0).body;
    assert_eq!(body["to"], NUMBER);
    let text = body["text"].as_str().expect("text");
    let code = text.split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 6).expect("a code");
    for (_, span) in collector.spans() {
        assert_eq!(hex(&span.trace_id), TRACE, "{}", span.name);
        assert!(span.events.is_empty() && span.links.is_empty());
        let said = format!("{} {:?} {:?}", span.name, span.attributes, span.status);
        for secret in ["712345678", "secret", code] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_keeps_nobody() {
    let (world, gateway) = (World::new().await, Gateway::start().await);
    // connections are taken and never read
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}", silent.local_addr().expect("address"));
    let (api, worker) = start(&world, &gateway, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).await;
    let http = Client::new();
    for n in 0..3 {
        let number = format!("+2547123456{n:02}");
        ask(&http, &api, &number, None).await;
        arrives(&gateway, &number).await;
    }
    worker.terminate(Duration::from_secs(30)).await;
    api.process.terminate(Duration::from_secs(30)).await;
}
