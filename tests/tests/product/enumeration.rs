//! Nobody learns from the product whether an identifier belongs to somebody: same answers, same rows,
//! same receipts at the same moments.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::Answer;
use crate::support::product::read;
use crate::support::{Gateway, Product, dump, eventually};

/// What an answer looks like from outside, with values that must differ blotted out.
async fn shape(product: &Product, identifier: &str, purpose: &str) -> (String, Value) {
    let answer = product.request(identifier, purpose, &[]).await;
    let mut fields: Vec<_> = answer.headers().keys().map(ToString::to_string).collect();
    fields.sort_unstable();
    let (status, body) = read(answer).await;
    let mut blotted = body.clone();
    for (name, value) in blotted.as_object_mut().expect("an object") {
        if matches!(name.as_str(), "challenge_id" | "delivery_url" | "instance") {
            *value = Value::from(value.as_str().map_or(0, str::len));
        }
    }
    (format!("{status} {fields:?} {blotted}"), body)
}

/// How many rows each table gained.
fn gained(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    after.iter().map(|(table, rows)| (table.clone(), rows - before[table])).collect()
}

/// A receipt without its own id and channel's time.
async fn receipt(product: &Product, issued: &Value) -> Value {
    let mut receipt = product.receipt(issued).await;
    receipt.as_object_mut().expect("an object").remove("id");
    receipt
}

/// Two people in the dark: the first is known, the second is not.
struct Pair {
    known: &'static str,
    unknown: &'static str,
}

const PAIRS: [Pair; 2] = [
    Pair { known: "ada@example.org", unknown: "bob@example.org" },
    Pair { known: "+254712345678", unknown: "+254712345679" },
];

const PURPOSES: [&str; 3] = ["login", "reset_password", "register"];

#[tokio::test]
async fn known_and_unknown_get_the_same_answer_and_write_the_same_rows() {
    for purpose in PURPOSES {
        let product = Product::new().await;
        for Pair { known, unknown } in PAIRS {
            product.world.user(known).await;
            // granted, then refused
            for _ in 0..2 {
                let before = dump::counts(&product.world).await;
                let (of_known, _) = shape(&product, known, purpose).await;
                let between = dump::counts(&product.world).await;
                let (of_unknown, _) = shape(&product, unknown, purpose).await;
                let after = dump::counts(&product.world).await;
                assert_eq!(of_known, of_unknown, "{purpose}");
                assert_eq!(gained(&before, &between), gained(&between, &after), "{purpose}: rows by table");
                assert_eq!(gained(&before, &between)["audit"], 1);
            }
        }
        let before = dump::counts(&product.world).await;
        product.drain().await;
        let after = dump::counts(&product.world).await;
        assert_eq!(gained(&before, &after)["finished_jobs"], 4, "{purpose}: a job each");
        product.assert_nothing_left().await;
    }
}

/// Follows the receipts of a known and an unknown identifier over five minutes, step by step.
async fn same_receipts(product: &Product, purpose: &str, pair: &Pair, provider: &str) -> Vec<Value> {
    let (_, of_known) = shape(product, pair.known, purpose).await;
    let (_, of_unknown) = shape(product, pair.unknown, purpose).await;
    let mut states = Vec::new();
    for step in 0..12 {
        let (known, unknown) = (receipt(product, &of_known).await, receipt(product, &of_unknown).await);
        assert_eq!(known, unknown, "{purpose}, provider {provider}, step {step}");
        if states.last() != Some(&known["state"]) {
            states.push(known["state"].clone());
        }
        product.drain().await;
        product.advance(Duration::from_secs(60));
    }
    states
}

#[tokio::test]
async fn receipts_of_a_sign_in_are_the_same_whatever_the_provider_does() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    for (provider, answer, purpose) in [
        ("accepts", None, "login"),
        ("is busy", Some(Answer::Status(503)), "login"),
        ("fails", Some(Answer::Status(500)), "login"),
        ("fails", Some(Answer::Status(500)), "reset_password"),
        ("refuses", Some(Answer::Status(400)), "login"),
        ("refuses", Some(Answer::Status(400)), "reset_password"),
    ] {
        gateway.always(answer);
        let product = Product::with(&settings).await;
        product.world.user(PAIRS[1].known).await;
        let states = same_receipts(&product, purpose, &PAIRS[1], provider).await;
        assert_eq!(states, ["queued", "accepted", "expired"], "{purpose}, provider {provider}");
    }
}

#[tokio::test]
async fn a_slow_provider_shows_in_no_receipt_while_it_is_asked() {
    let gateway = Gateway::start().await;
    gateway.always(Some(Answer::Slow(Duration::from_secs(2))));
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    let product = Product::with(&settings).await;
    product.world.user(PAIRS[1].known).await;
    let (_, of_known) = shape(&product, PAIRS[1].known, "login").await;
    let (_, of_unknown) = shape(&product, PAIRS[1].unknown, "login").await;
    let taken_up = async |issued: &Value| product.receipt(issued).await["state"] == "accepted";
    let look = async {
        eventually("both are taken up", Duration::from_secs(10), || async {
            taken_up(&of_known).await && taken_up(&of_unknown).await
        })
        .await;
        assert!(gateway.received().is_empty(), "the provider still thinks");
        while gateway.received().is_empty() {
            assert_eq!(receipt(&product, &of_known).await, receipt(&product, &of_unknown).await);
        }
    };
    tokio::join!(product.drain(), look);
    assert_eq!(gateway.accepted_for(PAIRS[1].known).len(), 1);
    assert!(gateway.accepted_for(PAIRS[1].unknown).is_empty());
}

#[tokio::test]
async fn who_registers_with_a_taken_identifier_is_told_nothing_and_its_owner_is() {
    let product = Product::new().await;
    for Pair { known, unknown } in PAIRS {
        product.world.user(known).await;
        let (of_known, issued) = shape(&product, known, "register").await;
        let (of_unknown, other) = shape(&product, unknown, "register").await;
        assert_eq!(of_known, of_unknown);
        assert_eq!(receipt(&product, &issued).await, receipt(&product, &other).await);
        product.drain().await;
        assert_eq!(receipt(&product, &issued).await, receipt(&product, &other).await);
    }
    let alike = "SELECT count(DISTINCT (queue, priority, version, attempt, expires_at - created_at)) FROM
                 (SELECT queue, priority, version, attempt, NULL::timestamptz AS expires_at, created_at FROM finished_jobs) j";
    assert_eq!(product.world.count(alike).await, 1, "one queue and priority for both");
    let expiries = "SELECT count(DISTINCT (expires_at - created_at, provider, purpose)) FROM deliveries";
    assert_eq!(product.world.count(expiries).await, 1);
    let letters = product.letters().await;
    let kind = |to: &str| letters.iter().find(|letter| letter["to"] == to).expect(to)["kind"].clone();
    for Pair { known, unknown } in PAIRS {
        assert_eq!((kind(known), kind(unknown)), ("account_exists".into(), "otp_code".into()));
        assert_eq!(product.code_for(known).await, None, "a note, no code");
    }
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_wrong_code_tells_known_from_unknown_by_nothing() {
    let product = Product::new().await;
    let Pair { known, unknown } = PAIRS[0];
    product.world.user(known).await;
    let mut answers = Vec::new();
    for identifier in [known, unknown, "nobody@example.org"] {
        if identifier != "nobody@example.org" {
            product.ask(identifier, "login").await;
        }
        let before = dump::counts(&product.world).await;
        let (status, mut body) = product.verify(identifier, "login", "000000", None).await;
        body["instance"] = Value::Null;
        let gained = gained(&before, &dump::counts(&product.world).await);
        answers.push(format!("{status} {body} audit {} tries {}", gained["audit"], gained["wrong_tries"]));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}
