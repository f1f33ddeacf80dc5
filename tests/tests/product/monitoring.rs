//! What `docs/monitoring` watches is there: every metric that the dashboard and the rules name is exposed
//! by the real binaries, from their start, under names of Prometheus' form.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use crate::support::process::{api, free_port, worker};
use crate::support::product::read;
use crate::support::{World, eventually};

const DASHBOARD: &str = include_str!("../../../docs/monitoring/grafana-dashboard.json");
const RULES: &str = include_str!("../../../docs/monitoring/alerts.yml");

/// One process's exposition.
#[derive(Default)]
struct Exposed {
    /// Type and help of each family.
    families: BTreeMap<String, (String, String)>,
    /// Names of samples.
    samples: BTreeSet<String>,
    text: String,
}

impl Exposed {
    async fn of(http: &Client, url: &str) -> Self {
        let answer = http.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let mut exposed = Self { text: answer.text().await.expect("text"), ..Self::default() };
        assert!(exposed.text.ends_with("# EOF\n"));
        for line in exposed.text.lines() {
            if let Some((name, rest)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                exposed.families.entry(name.to_owned()).or_default().1 = rest.to_owned();
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                exposed.families.entry(name.to_owned()).or_default().0 = kind.to_owned();
            } else if !line.starts_with('#') {
                let end = line.find(['{', ' ']).expect("a sample");
                exposed.samples.insert(line[..end].to_owned());
            }
        }
        exposed
    }

    /// The value of the first sample that begins so.
    fn value(&self, sample: &str) -> f64 {
        let line = self.text.lines().find(|line| line.starts_with(sample));
        let line = line.unwrap_or_else(|| panic!("{sample} in {}", self.text));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }
}

/// Names of ours in a PromQL expression.
fn names(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("keryu_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The values of a key, anywhere in a document.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|value| all(value, key, found));
        }
        Value::Array(list) => list.iter().for_each(|value| all(value, key, found)),
        _ => {}
    }
}

/// What stands after `key:` in each line of the rules that has it.
fn lines(key: &str) -> Vec<&'static str> {
    let start = format!("{key}: ");
    let trimmed = RULES.lines().map(|line| line.trim().trim_start_matches("- "));
    trimmed.filter_map(|line| line.strip_prefix(start.as_str())).collect()
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_is_watched_is_exposed_and_well_named() {
    let world = World::new().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let worker = worker(&world, &[], &[("KERYU_WORKER_LISTEN", &listen)]);
    let api = api(&world, free_port(), &[]).await;
    let http = Client::new();
    let (of_api, of_worker) = (format!("{}/metrics", api.base), format!("http://{listen}/metrics"));
    eventually("the worker is ready", Duration::from_secs(20), || async {
        http.get(format!("http://{listen}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    // before anything happened
    let (first, second) = (Exposed::of(&http, &of_api).await, Exposed::of(&http, &of_worker).await);
    let exposed: BTreeSet<&String> = first.samples.iter().chain(&second.samples).collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut expressions = Vec::new();
    all(&dashboard, "expr", &mut expressions);
    let rules = lines("expr");
    assert!(expressions.len() > 40 && rules.len() > 12);
    for expression in expressions.iter().chain(&rules) {
        let named = names(expression);
        assert!(!named.is_empty() || expression.starts_with("up{"), "{expression}");
        for name in named {
            assert!(exposed.contains(&name), "{name} of {expression} is exposed by neither process");
        }
    }

    // some work
    let body = serde_json::json!({ "identifier": "ada@example.org", "purpose": "register" });
    let asked = http.post(format!("{}/api/auth/otp/request", api.base)).json(&body).send().await;
    let (status, asked) = read(asked.expect("an answer")).await;
    assert_eq!(status, 202, "{asked}");
    http.get(format!("{}/wp-login.php", api.base)).send().await.expect("an answer");
    eventually("the code is sent", Duration::from_secs(20), || async {
        Exposed::of(&http, &of_worker).await.value(r#"keryu_codes_total{action="sent",outcome="ok"}"#) == 1.0
    })
    .await;
    let (first, second) = (Exposed::of(&http, &of_api).await, Exposed::of(&http, &of_worker).await);
    for sample in [
        r#"keryu_deliveries_total{message="otp_code",channel="email",state="accepted"}"#,
        r#"keryu_jobs_started_total{queue="critical",kind="notify.deliver_message"}"#,
        r#"keryu_jobs_finished_total{queue="critical",kind="notify.deliver_message",outcome="completed"}"#,
        r#"keryu_job_start_seconds_count{queue="critical",kind="notify.deliver_message"}"#,
        r#"keryu_provider_calls_total{provider="inbox",outcome="accepted"}"#,
        r#"keryu_provider_call_duration_seconds_count{provider="inbox"}"#,
    ] {
        assert_eq!(second.value(sample), 1.0, "{sample}");
    }
    assert_eq!(first.value(r#"keryu_codes_total{action="asked",outcome="ok"}"#), 1.0);
    for exposed in [&first, &second] {
        assert_eq!(exposed.value("keryu_postgres_up"), 1.0);
        assert_eq!(exposed.value("keryu_redis_up"), 1.0);
        assert!(exposed.value("process_resident_memory_bytes") > 1e6);
        well_named(exposed);
    }
    drop(worker);
}

/// Prometheus' rules of names (prometheus.io/docs/practices/naming), and labels from a short list whose
/// values are no ids and no paths.
fn well_named(exposed: &Exposed) {
    const LABELS: [&str; 18] = [
        "action", "bucket", "channel", "found", "kind", "le", "message", "method", "outcome", "provider",
        "queue", "reason", "route", "schedule", "state", "status", "target", "version",
    ];
    const WRONG: [&str; 12] = [
        "_ms",
        "_millis",
        "_milliseconds",
        "_minutes",
        "_hours",
        "_kb",
        "_mb",
        "_kilobytes",
        "_percent",
        "_count",
        "_sum",
        "_bucket",
    ];
    for (name, (kind, help)) in &exposed.families {
        assert!(help.len() > 5, "{name} has no help: {help}");
        assert!(name.starts_with("keryu_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        for wrong in WRONG {
            assert!(!name.ends_with(wrong), "{name}: not a base unit, or a suffix of samples");
        }
        // OpenMetrics names a counter's family without `_total` and its sample with it
        assert!(!name.ends_with("_total"), "{name}");
        match kind.as_str() {
            "counter" => assert!(exposed.samples.contains(&format!("{name}_total")), "{name}"),
            "histogram" => {
                assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{name}: without a unit");
                assert!(exposed.samples.contains(&format!("{name}_bucket")), "{name}");
            }
            "gauge" => assert!(exposed.samples.contains(name), "{name}"),
            "info" => assert!(exposed.samples.contains(&format!("{name}_info")), "{name}"),
            other => panic!("{name} is a {other}"),
        }
    }
    for line in exposed.text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, labels)) = line.split_once('{') else { continue };
        let labels = labels.rsplit_once('}').expect("labels").0;
        for pair in labels.split("\",") {
            let (label, value) = pair.split_once("=\"").expect("a label");
            let value = value.trim_end_matches('"');
            assert!(LABELS.contains(&label), "the label {label} in {line}");
            assert!(uuid::Uuid::try_parse(value).is_err() && !value.contains('@'), "{line}");
            assert!(value.len() <= 80 && !value.contains("wp-login"), "{line}");
        }
    }
}

#[test]
fn every_alert_says_what_is_wrong_and_where_the_way_out_is_written() {
    let (alerts, summaries, runbooks) = (lines("alert"), lines("summary"), lines("runbook"));
    assert!(alerts.len() > 12);
    assert_eq!((alerts.len(), alerts.len()), (summaries.len(), runbooks.len()));
    let root = keryu_tests::services::workspace();
    let text = std::fs::read_to_string(root.join("docs/monitoring/runbook.md")).expect("the runbook");
    let anchors: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
        .collect();
    for (alert, runbook) in alerts.iter().zip(runbooks) {
        assert_eq!(runbook, format!("docs/monitoring/runbook.md#{}", kebab(alert)), "{alert}");
        assert!(anchors.contains(&kebab(alert)), "no section tells what to do about {alert}");
    }
}
