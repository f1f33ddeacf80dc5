//! What every answer carries besides its body, what goes from a request into rows and logs, and the
//! documents that tell callers about it all.

use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde_json::Value;

use crate::support::command::{Logged, run};
use crate::support::gateway::Answer;
use crate::support::process::free_port;
use crate::support::product::{field, read};
use crate::support::{Gateway, Product, World, eventually};

const MAIL: &str = "ada@example.org";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn get(product: &Product, path: &str, fields: &[(&str, &str)]) -> Response {
    product.send(Method::GET, path, &Value::Null, fields).await
}

#[tokio::test]
async fn request_and_trace_ids_go_from_the_request_into_its_rows() {
    let product = Product::new().await;
    let fields = [("x-request-id", "r-42.a_B"), ("traceparent", PARENT)];
    let answer = product.request(MAIL, "register", &fields).await;
    assert_eq!(field(&answer, "x-request-id"), "r-42.a_B");
    for table in ["jobs", "deliveries"] {
        let sql = format!("SELECT request_id, traceparent FROM {table}");
        let (id, parent): (String, String) =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&product.world.db).await.expect(table);
        assert_eq!(id, "r-42.a_B", "{table}");
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-01"), "{table}: {parent}");
        assert_ne!(parent, PARENT, "{table}: a span of our own");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM audit WHERE request_id = 'r-42.a_B'").await, 1);
    for malformed in ["a b", "", "x\"y", &"a".repeat(65)] {
        let answer =
            get(&product, "/nope", &[("x-request-id", malformed), ("traceparent", "00-0-0-0")]).await;
        let id = field(&answer, "x-request-id");
        assert!(id != malformed && id.parse::<uuid::Uuid>().is_ok(), "{malformed:?} became {id}");
        assert_eq!(read(answer).await.1["instance"], format!("urn:keryu:request:{id}"));
    }
}

/// A JSON line of a log that holds this text.
fn line(log: &str, with: &[&str]) -> Option<Value> {
    let found = log.lines().find(|line| with.iter().all(|text| line.contains(text)))?;
    Some(serde_json::from_str(found).unwrap_or_else(|fault| panic!("{found}: {fault}")))
}

#[tokio::test]
async fn the_logs_of_both_binaries_name_request_and_trace_and_nobody() {
    let (world, gateway) = (World::new().await, Gateway::start().await);
    gateway.answers([Answer::Status(503)]);
    let port = free_port().to_string();
    let base = format!("http://127.0.0.1:{port}");
    let mut settings = world.settings();
    for (name, value) in gateway.settings().into_iter().chain([
        ("KERYU_ENV", "production"),
        ("KERYU_LISTEN", "127.0.0.1"),
        ("PORT", &port),
    ]) {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let (api, worker) = (
        Logged::start("keryu-api", &["serve"], &settings),
        Logged::start("keryu-worker", &["run"], &settings),
    );
    let http = Client::new();
    eventually("the API answers", Duration::from_secs(20), || async {
        http.get(format!("{base}/healthz")).send().await.is_ok()
    })
    .await;
    let request =
        http.post(format!("{base}/api/auth/otp/request?secret=1")).header("content-type", "application/json");
    let request = request.header("x-request-id", "r-43").header("traceparent", PARENT);
    let body = r#"{"identifier":"+254712345678","purpose":"register"}"#;
    assert_eq!(request.body(body).send().await.expect("answer").status(), 202);
    eventually("the code arrives", Duration::from_secs(20), || async {
        !gateway.accepted_for("+254712345678").is_empty()
    })
    .await;
    let (api, worker) = (api.end(), worker.end());
    let access = line(&api, &["keryu::access", "r-43"]).expect("an access line");
    assert_eq!(
        (&access["route"], &access["status"], &access["method"]),
        (&"/api/auth/otp/request".into(), &202.into(), &"POST".into())
    );
    assert!(access["traceparent"].as_str().is_some_and(|parent| parent.contains(TRACE)), "{access}");
    let failed = line(&worker, &["attempt failed"]).expect("the first try failed");
    assert_eq!((&failed["request_id"], &failed["kind"]), (&"r-43".into(), &"notify.deliver_message".into()));
    for hidden in ["254712345678", "secret=1"] {
        assert!(!api.contains(hidden) && !worker.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn answers_are_safe_for_browsers() {
    let product = Product::with(&[
        ("KERYU_CORS_ORIGINS", "https://app.example.org"),
        ("RATE_LIMIT_ALLOW", "127.0.0.1"),
    ])
    .await;
    for path in ["/healthz", "/api/docs", "/nope", "/dev/inbox", "/api/openapi.json"] {
        let answer = get(&product, path, &[]).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(field(&answer, name), value, "{path}");
        }
        let policy = field(&answer, "content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
    }
    for (origin, allowed) in
        [("https://app.example.org", true), ("https://app.example.org.evil.example", false), ("null", false)]
    {
        let answer = product.request(MAIL, "login", &[("origin", origin)]).await;
        assert_eq!(field(&answer, "access-control-allow-origin"), if allowed { origin } else { "" });
        assert!(field(&answer, "vary").contains("origin"));
        let ask = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "idempotency-key"),
        ];
        let answer = product.send(Method::OPTIONS, "/api/auth/otp/request", &Value::Null, &ask).await;
        assert_eq!(
            field(&answer, "access-control-allow-headers").contains("idempotency-key"),
            allowed,
            "{origin}"
        );
        assert_eq!(field(&answer, "access-control-allow-methods").contains("POST"), allowed, "{origin}");
    }
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_it() {
    let product = Product::new().await;
    let plain = get(&product, "/api/openapi.json", &[]).await.bytes().await.expect("body");
    for coding in ["br", "gzip"] {
        let answer = get(&product, "/api/openapi.json", &[("accept-encoding", coding)]).await;
        assert_eq!(field(&answer, "content-encoding"), coding);
        assert!(field(&answer, "vary").contains("accept-encoding"));
        let bytes = answer.bytes().await.expect("body");
        assert!(bytes.len() * 3 < plain.len(), "{coding}: {} of {}", bytes.len(), plain.len());
        assert!(coding != "gzip" || bytes.starts_with(&[0x1f, 0x8b]));
    }
    let short = get(&product, "/healthz", &[("accept-encoding", "br, gzip")]).await;
    assert_eq!(field(&short, "content-encoding"), "");
}

#[tokio::test]
async fn the_inbox_is_for_this_machine_in_development_alone() {
    let proxied = ("KERYU_TRUSTED_PROXIES", "127.0.0.1");
    let development = Product::with(&[proxied]).await;
    let production = Product::with(&[proxied, ("KERYU_ENV", "production")]).await;
    for path in ["/dev/inbox", "/dev/inbox.json"] {
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
            assert_eq!(get(&development, path, &[("host", host)]).await.status(), 200, "{host}");
        }
        for fields in [
            [("host", "evil.example")],
            [("host", "localhost.evil.example:8080")],
            [("x-forwarded-for", "192.0.2.1")],
        ] {
            let (status, body) = read(get(&development, path, &fields).await).await;
            assert_eq!((status, &body["code"]), (404, &"request.not_found".into()), "{fields:?}");
        }
        assert_eq!(get(&production, path, &[]).await.status(), 404, "never in production");
    }
}

#[tokio::test]
async fn the_documents_tell_what_is_so() {
    let root = keryu_tests::services::workspace();
    let kept = |name: &str| std::fs::read_to_string(root.join(name)).expect(name);
    let product = Product::new().await;
    let served: Value = get(&product, "/api/openapi.json", &[]).await.json().await.expect("json");
    let committed: Value = serde_json::from_str(&kept("api/openapi.json")).expect("json");
    assert!(served == committed, "out of date: cargo run -p keryu-api -- openapi > api/openapi.json");
    for (command, name) in [("openapi", "api/openapi.json"), ("errors", "docs/errors.md")] {
        let output = run("keryu-api", &[command], &[]);
        assert!(output.status.success());
        let now = String::from_utf8(output.stdout).expect("text");
        assert!(now == kept(name), "out of date: cargo run -p keryu-api -- {command} > {name}");
    }
    let page = get(&product, "/api/docs", &[]).await.text().await.expect("page");
    let loads = |attribute: &str| {
        page.match_indices(attribute).any(|(at, _)| page[at + attribute.len()..].starts_with("http"))
    };
    assert!(!loads("src=\"") && !loads("<link href=\""), "the page loads something");
}

#[tokio::test]
async fn metrics_count_by_template_and_name_nobody() {
    let product = Product::new().await;
    product.ask(MAIL, "register").await;
    product.ask(MAIL, "register").await;
    product.verify(MAIL, "register", "000000", None).await;
    get(&product, "/api/deliveries/00000000-0000-4000-8000-000000000000", &[]).await;
    get(&product, "/wp-login.php?user=ada", &[]).await;
    let text = get(&product, "/metrics", &[]).await.text().await.expect("metrics");
    for wanted in [
        r#"keryu_http_requests_total{route="/api/auth/otp/request",method="POST",status="202"} 1"#,
        r#"keryu_http_requests_total{route="/api/auth/otp/request",method="POST",status="429"} 1"#,
        r#"keryu_http_requests_total{route="/api/deliveries/{id}",method="GET",status="404"} 1"#,
        r#"keryu_http_requests_total{route="unmatched",method="GET",status="404"} 1"#,
        r#"keryu_codes_total{action="asked",outcome="ok"} 1"#,
        r#"keryu_codes_total{action="asked",outcome="otp.cooldown"} 1"#,
        r#"keryu_codes_total{action="verified",outcome="otp.invalid"} 1"#,
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(text.ends_with("# EOF\n") && !text.contains("ada") && !text.contains("wp-login"), "{text}");
}

#[tokio::test]
async fn problems_name_where_help_is_and_no_internals_in_production() {
    let help = ("KERYU_SUPPORT_URL", "https://help.example.org");
    let down = ("DATABASE_URL", "postgres://nobody@127.0.0.1:9/none");
    let product = Product::with(&[help, down, ("KERYU_ENV", "production")]).await;
    let answer = product.request(MAIL, "register", &[]).await;
    assert_eq!((answer.status().as_u16(), field(&answer, "retry-after").as_str()), (503, "2"));
    let (_, body) = read(answer).await;
    assert_eq!(
        (&body["code"], &body["help"]),
        (&"server.unavailable".into(), &"https://help.example.org".into())
    );
    assert!(body.get("debug").is_none() && !body.to_string().contains("127.0.0.1:9"), "{body}");
}
