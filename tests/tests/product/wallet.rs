//! Wallets: postings by staff and services, exact, once each, and never below zero.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use keryu_common::api_key::{self, Ask, Scope};
use keryu_common::job::Terms;
use keryu_common::wallet::CheckLedger;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::product::read;
use crate::support::{Engine, Product};

const WALLET: &str = "/api/users/wallet";

/// The key of a service with these scopes.
async fn service(product: &Product, name: &str, scopes: &[Scope]) -> String {
    let ask = Ask { name: name.to_owned(), scopes: scopes.to_vec(), expires_at: None };
    api_key::create_by_operator(&product.ctx, &product.operator(), ask).await.expect("a key").text
}

fn id(tokens: &Value) -> String {
    tokens["user_id"].as_str().expect("user_id").to_owned()
}

fn posting(reference: &str, kind: &str, unit: &str, amount: &str) -> Value {
    json!({ "reference": reference, "kind": kind, "unit": unit, "amount": amount, "reason": "A test" })
}

/// Posts as a service.
async fn post(product: &Product, key: &str, to: &str, body: &Value) -> (u16, Value) {
    let path = format!("/api/users/{to}/wallet/postings");
    read(product.send(Method::POST, &path, body, &[("x-api-key", key)]).await).await
}

async fn wallet(product: &Product, tokens: &Value) -> Value {
    let (status, wallet) = product.get(WALLET, tokens).await;
    assert_eq!(status, 200, "{wallet}");
    wallet
}

/// All postings sum to zero, and the standing check finds nothing.
async fn assert_sound(product: &Product) {
    assert_eq!(product.world.count("SELECT coalesce(sum(amount), 0)::bigint FROM entries").await, 0);
    check(product).await;
    assert_eq!(product.world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await, 0);
}

async fn check(product: &Product) {
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&CheckLedger::default(), Terms::default()).await;
    product.drain().await;
}

#[tokio::test]
async fn a_wallet_is_empty_then_holds_what_a_service_posts_and_its_statement_says_how() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let empty = json!({ "balance": "0.00", "currency": "USD", "points": { "current": "0", "total": "0" },
                        "last_updated": null });
    assert_eq!(wallet(&product, &ada).await, empty);
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let (status, first) = post(&product, &key, &id(&ada), &posting("r1", "credit", "money", "20")).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(
        (&first["amount"], &first["balance"], &first["currency"]),
        (&json!("20.00"), &json!("20.00"), &json!("USD"))
    );
    for (reference, kind, unit, amount, balance) in [
        ("r2", "debit", "money", "7.55", "12.45"),
        ("r3", "credit", "points", "50", "50"),
        ("r4", "debit", "points", "20", "30"),
    ] {
        product.advance(Duration::from_millis(1));
        let (status, done) = post(&product, &key, &id(&ada), &posting(reference, kind, unit, amount)).await;
        assert_eq!((status, &done["balance"]), (201, &json!(balance)), "{done}");
    }
    let held = wallet(&product, &ada).await;
    assert_eq!(held["balance"], "12.45");
    assert_eq!(held["points"], json!({ "current": "30", "total": "50" }));
    assert!(held["last_updated"].is_string(), "{held}");
    let mut seen = Vec::new();
    let mut path = format!("{WALLET}/statement?limit=3");
    loop {
        let (status, page) = product.get(&path, &ada).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["reference"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{WALLET}/statement?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, ["r4", "r3", "r2", "r1"]);
    let (_, points) = product.get(&format!("{WALLET}/statement?unit=points"), &ada).await;
    assert_eq!(points["items"].as_array().unwrap().len(), 2, "{points}");
    // a cursor is good for its own list and person
    let cursor = path.split("cursor=").nth(1).unwrap();
    let (status, _) = product.get(&format!("{WALLET}/statement?unit=money&cursor={cursor}"), &ada).await;
    assert_eq!(status, 422);
    let bob = product.register("bob@example.org", "bobby").await;
    assert_eq!(product.get(&path, &bob).await.0, 422);
    // and for nothing once a letter of it is another
    for place in [0, cursor.len() / 2, cursor.len() - 1] {
        let mut letters: Vec<char> = cursor.chars().collect();
        letters[place] = if letters[place] == 'A' { 'Q' } else { 'A' };
        let other: String = letters.into_iter().collect();
        let (status, refused) = product.get(&format!("{WALLET}/statement?cursor={other}"), &ada).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{other}");
    }
    assert_eq!(wallet(&product, &bob).await, empty);
    let lines =
        "SELECT count(*) FROM audit WHERE action = 'wallet.posted' AND details->>'service' = 'rentals'";
    assert_eq!(product.world.count(lines).await, 4);
    assert_sound(&product).await;
}

#[tokio::test]
async fn a_reference_counts_once_for_its_service_whatever_its_key() {
    let product = Product::new().await;
    let (ada, bob) = (
        product.register("ada@example.org", "ada").await,
        product.register("bob@example.org", "bobby").await,
    );
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let body = posting("r1", "credit", "money", "5.00");
    let first = post(&product, &key, &id(&ada), &body).await;
    let next_key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let same = posting("r1", "credit", "money", "5");
    for (key, body) in [(&key, &body), (&next_key, &body), (&key, &same)] {
        assert_eq!(post(&product, key, &id(&ada), body).await, first);
    }
    let mut reason = body.clone();
    reason["reason"] = json!("Another");
    for (to, body) in [
        (&ada, posting("r1", "credit", "money", "5.01")),
        (&ada, posting("r1", "debit", "money", "5.00")),
        (&ada, posting("r1", "credit", "points", "5")),
        (&ada, reason),
        (&bob, body.clone()),
    ] {
        let (status, refused) = post(&product, &key, &id(to), &body).await;
        assert_eq!((status, &refused["code"]), (409, &json!("wallet.reference_taken")), "{body}");
    }
    // another service's reference is another
    let other = service(&product, "shop", &[Scope::WalletWrite]).await;
    assert_eq!(post(&product, &other, &id(&ada), &body).await.0, 201);
    assert_eq!(wallet(&product, &ada).await["balance"], "10.00");
    // and a key for the request itself
    let fields = [("x-api-key", key.as_str()), ("idempotency-key", "k1")];
    let path = |to: &Value| format!("/api/users/{}/wallet/postings", id(to));
    let fresh = posting("r2", "credit", "money", "1");
    let once = read(product.send(Method::POST, &path(&ada), &fresh, &fields).await).await;
    let again = read(product.send(Method::POST, &path(&ada), &fresh, &fields).await).await;
    assert_eq!((once.0, &once.1), (201, &again.1));
    let (status, refused) = read(product.send(Method::POST, &path(&bob), &fresh, &fields).await).await;
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency.mismatch")));
    assert_sound(&product).await;
}

#[tokio::test]
async fn a_repeat_is_answered_whatever_became_of_the_person_since() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let path = format!("/api/users/{}/wallet/postings", id(&ada));
    let fields = [("x-api-key", key.as_str()), ("idempotency-key", "k1")];
    let body = posting("r1", "credit", "money", "5.00");
    let saved = read(product.send(Method::POST, &path, &body, &fields).await).await;
    assert_eq!(saved.0, 201, "{}", saved.1);
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    assert_eq!(read(product.send(Method::POST, &path, &body, &fields).await).await, saved, "by its key");
    assert_eq!(post(&product, &key, &id(&ada), &body).await, saved, "by its reference");
    // anything else is refused as before
    for body in [posting("r1", "credit", "money", "5.01"), posting("r2", "credit", "money", "5.00")] {
        let (status, refused) = post(&product, &key, &id(&ada), &body).await;
        assert_eq!((status, &refused["code"]), (404, &json!("user.not_found")), "{body}");
    }
    let other = service(&product, "shop", &[Scope::WalletWrite]).await;
    assert_eq!(post(&product, &other, &id(&ada), &body).await.0, 404, "another's reference is another");
    assert_eq!(product.world.count("SELECT count(*) FROM postings").await, 1);
    assert_sound(&product).await;
}

#[tokio::test]
async fn sixty_four_postings_at_once_are_all_there_and_none_goes_below_zero() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let to = id(&ada);
    let credits: Vec<Value> = (0..64).map(|n| posting(&format!("c{n}"), "credit", "money", "1.25")).collect();
    let done = join_all(credits.iter().map(|body| post(&product, &key, &to, body))).await;
    assert!(done.iter().all(|(status, _)| *status == 201), "{done:?}");
    assert_eq!(wallet(&product, &ada).await["balance"], "80.00");
    // one of each balance, for each was taken under the lock
    let balances: std::collections::BTreeSet<String> =
        done.iter().map(|(_, posted)| posted["balance"].to_string()).collect();
    assert_eq!(balances.len(), 64);
    // 80.00 is 32 times 2.50: the other half is refused
    let debits: Vec<Value> = (0..64).map(|n| posting(&format!("d{n}"), "debit", "money", "2.50")).collect();
    let done = join_all(debits.iter().map(|body| post(&product, &key, &to, body))).await;
    let refused: Vec<&Value> =
        done.iter().filter(|(status, _)| *status == 409).map(|(_, body)| body).collect();
    assert_eq!((refused.len(), done.iter().filter(|(status, _)| *status == 201).count()), (32, 32));
    assert!(refused.iter().all(|body| body["code"] == "wallet.insufficient"), "{refused:?}");
    assert_eq!(wallet(&product, &ada).await["balance"], "0.00");
    // one posting, sent 64 times
    let same = posting("s", "credit", "money", "3");
    let done = join_all((0..64).map(|_| post(&product, &key, &to, &same))).await;
    assert!(done.iter().all(|answer| *answer == done[0] && answer.0 == 201), "{done:?}");
    assert_eq!(wallet(&product, &ada).await["balance"], "3.00");
    assert_eq!(product.world.count("SELECT count(*) FROM postings").await, 64 + 32 + 1);
    // the statement's order is that of the balances
    let (_, page) = product.get(&format!("{WALLET}/statement?limit=200"), &ada).await;
    let mut after = Decimal::new(300, 2);
    for item in page["items"].as_array().unwrap() {
        let of = |field: &str| item[field].as_str().unwrap().parse::<Decimal>().unwrap();
        assert_eq!(of("balance"), after, "{item}");
        after -= if item["kind"] == "debit" { -of("amount") } else { of("amount") };
    }
    assert_eq!(after, Decimal::ZERO);
    assert_sound(&product).await;
}

#[tokio::test]
async fn what_is_no_amount_is_refused_and_nothing_is_posted() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let to = id(&ada);
    for (unit, amount, code) in [
        ("money", json!("0.123456789012345678901234567890"), "field.range"),
        ("money", json!("0.001"), "field.range"),
        ("points", json!("1.5"), "field.range"),
        ("money", json!("-5"), "field.range"),
        ("money", json!("NaN"), "field.format"),
        ("money", json!("1e400"), "field.format"),
        ("money", json!("1e2"), "field.format"),
        ("money", json!("0"), "field.range"),
        ("money", json!("0.00"), "field.range"),
        ("money", json!("1000000000000.01"), "field.range"),
        ("money", json!("9".repeat(400)), "field.range"),
        ("money", json!(""), "field.format"),
        ("money", json!("12,50"), "field.format"),
        ("money", json!(12.5), "field.type"),
        ("money", Value::Null, "field.type"),
    ] {
        let mut body = posting("r", "credit", unit, "1");
        body["amount"] = amount.clone();
        let (status, refused) = post(&product, &key, &to, &body).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{amount}: {refused}");
        let fault = &refused["errors"][0];
        assert_eq!((&fault["pointer"], &fault["code"]), (&json!("/amount"), &json!(code)), "{amount}");
    }
    let body =
        json!({ "reference": "a b", "kind": "theft", "unit": "gold", "amount": "x", "reason": " ", "x": 1 });
    let (status, refused) = post(&product, &key, &to, &body).await;
    let pointers: Vec<&Value> =
        refused["errors"].as_array().unwrap().iter().map(|fault| &fault["pointer"]).collect();
    assert_eq!(status, 422);
    assert_eq!(pointers, ["/amount", "/kind", "/reason", "/reference", "/unit", "/x"]);
    let (status, refused) = post(&product, &key, &to, &posting("r", "debit", "money", "0.01")).await;
    assert_eq!((status, &refused["code"]), (409, &json!("wallet.insufficient")));
    assert_eq!(product.world.count("SELECT count(*) FROM postings").await, 0);
    assert_eq!(product.world.count("SELECT count(*) FROM ledger_accounts").await, 0);
}

#[tokio::test]
async fn only_services_with_the_scope_and_staff_with_the_right_post_and_not_to_themselves_or_above() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = product.register("boss@example.org", "boss").await;
    let root = product.register("root@example.org", "root.one").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username IN ('boss', 'root.one')").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'root.one'").await;
    let path = |to: &str| format!("/api/users/{to}/wallet/postings");
    let body = posting("r1", "credit", "money", "5");
    let answer = |answer: (u16, Value)| (answer.0, answer.1["code"].as_str().unwrap_or_default().to_owned());
    for (by, to, wanted) in [
        (&ada, &ada, (403, "auth.forbidden")),
        (&ada, &boss, (403, "auth.forbidden")),
        (&boss, &boss, (409, "user.self")),
        (&boss, &root, (403, "auth.forbidden")),
        (&boss, &ada, (201, "")),
        (&root, &boss, (201, "")),
    ] {
        let (status, code) = answer(product.call(Method::POST, &path(&id(to)), &body, by).await);
        assert_eq!((status, code.as_str()), wanted);
    }
    let nobody = Uuid::from_u128(7).to_string();
    assert_eq!(
        answer(product.call(Method::POST, &path(&nobody), &body, &boss).await),
        (404, "user.not_found".to_owned())
    );
    let key = service(&product, "reader", &[Scope::UsersRead]).await;
    assert_eq!(answer(post(&product, &key, &id(&ada), &body).await), (403, "auth.forbidden".to_owned()));
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    assert_eq!(answer(post(&product, &key, &nobody, &body).await), (404, "user.not_found".to_owned()));
    assert_eq!(post(&product, &key, "%00", &body).await.0, 404);
    let lines = "SELECT count(*) FROM audit WHERE action = 'wallet.posted' AND session_id IS NOT NULL";
    assert_eq!(product.world.count(lines).await, 2);
    assert_eq!(
        product.world.count("SELECT count(*) FROM postings").await,
        2,
        "what was refused is not written"
    );
}

/// A small generator: the same seed makes the same postings.
struct Luck(u64);

impl Luck {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test]
async fn random_postings_leave_what_a_plain_sum_says() {
    let product = Product::new().await;
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    let mut people = Vec::new();
    for name in ["anna", "bert", "cleo"] {
        people.push(product.register(&format!("{name}@example.org"), name).await);
    }
    let seed = u64::from(std::process::id());
    let mut luck = Luck(seed);
    let mut model: HashMap<(usize, &str), Decimal> = HashMap::new();
    let mut earned: HashMap<usize, Decimal> = HashMap::new();
    let mut used: HashMap<u64, (usize, Value, u16)> = HashMap::new();
    for _ in 0..200 {
        let (who, reference) = (luck.below(3) as usize, luck.below(150));
        let kind = ["credit", "debit"][luck.below(2) as usize];
        let unit = ["money", "points"][luck.below(2) as usize];
        let cents = i64::try_from(luck.below(5_000) + 1).unwrap();
        let amount = if unit == "money" { Decimal::new(cents, 2) } else { Decimal::new(cents, 0) };
        let body = posting(&format!("r{reference}"), kind, unit, &amount.to_string());
        let (status, answer) = post(&product, &key, &id(&people[who]), &body).await;
        if let Some((to, known, before)) = used.get(&reference) {
            let same = *to == who && *known == body;
            assert_eq!(status, if same { *before } else { 409 }, "seed {seed}: {answer}");
            continue;
        }
        let balance = model.entry((who, unit)).or_default();
        let change = if kind == "debit" { -amount } else { amount };
        if *balance + change < Decimal::ZERO {
            assert_eq!((status, &answer["code"]), (409, &json!("wallet.insufficient")), "seed {seed}");
            continue;
        }
        assert_eq!(status, 201, "seed {seed}: {answer}");
        *balance += change;
        if unit == "points" && kind == "credit" {
            *earned.entry(who).or_default() += amount;
        }
        assert_eq!(answer["balance"].as_str().unwrap().parse::<Decimal>().unwrap(), *balance, "seed {seed}");
        used.insert(reference, (who, body, 201));
    }
    for (who, tokens) in people.iter().enumerate() {
        let held = wallet(&product, tokens).await;
        let of = |value: &Value| value.as_str().unwrap().parse::<Decimal>().unwrap();
        let known = |unit: &'static str| model.get(&(who, unit)).copied().unwrap_or_default();
        assert_eq!(of(&held["balance"]), known("money"), "seed {seed}");
        assert_eq!(of(&held["points"]["current"]), known("points"), "seed {seed}");
        assert_eq!(
            of(&held["points"]["total"]),
            earned.get(&who).copied().unwrap_or_default(),
            "seed {seed}"
        );
    }
    assert_sound(&product).await;
}

#[tokio::test]
async fn the_ledger_is_only_added_to_and_only_what_sums_to_zero() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    assert_eq!(post(&product, &key, &id(&ada), &posting("r1", "credit", "money", "5")).await.0, 201);
    for (statement, refusal) in [
        ("UPDATE entries SET amount = amount + 1", "entries is only added to"),
        ("DELETE FROM entries", "entries is only added to"),
        ("TRUNCATE postings CASCADE", "only added to"),
        ("DELETE FROM postings", "postings is only added to"),
        ("UPDATE postings SET reason = 'x'", "postings is only added to"),
        (
            "UPDATE ledger_accounts SET balance = -1 WHERE user_id IS NOT NULL",
            "ledger_accounts_balance_check",
        ),
        (
            "INSERT INTO entries SELECT posting_id, gen_random_uuid(), 1, NULL, at FROM postings",
            "do not sum to zero",
        ),
    ] {
        let error = sqlx::query(statement).execute(&product.world.db).await.expect_err(statement);
        assert!(error.to_string().contains(refusal), "{statement}: {error}");
    }
    assert_sound(&product).await;
}

#[tokio::test]
async fn a_balance_that_somebody_changed_by_hand_is_found() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let key = service(&product, "rentals", &[Scope::WalletWrite]).await;
    assert_eq!(post(&product, &key, &id(&ada), &posting("r1", "credit", "money", "5")).await.0, 201);
    product.world.execute("UPDATE ledger_accounts SET balance = 500 WHERE user_id IS NOT NULL").await;
    check(&product).await;
    let dead = "SELECT count(*) FROM jobs WHERE state = 'discarded' AND kind = 'wallet.check_ledger'
                AND error LIKE '%1 balances, 0 postings%'";
    assert_eq!(product.world.count(dead).await, 1);
    let metrics = product.send(Method::GET, "/metrics", &Value::Null, &[]).await.text().await.unwrap();
    assert!(metrics.contains("keryu_wallet_faults_total 1"), "counted for the alert");
}
