//! Erasing for good: what is left of a person is nothing, and no column that could name one is forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use keryu_common::api_key::{self, Ask, Scope};
use keryu_common::job::Terms;
use keryu_common::user::erase::{COVERED, EraseDue, Way};
use keryu_common::user::unused::CleanupUnused;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::product::read;
use super::support::{Engine, Product, dump};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Columns whose names say that they may name somebody.
pub const SUSPECTS: &str = r"
    SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c
    JOIN pg_class p ON p.relname = c.table_name AND p.relnamespace = 'public'::regnamespace
    WHERE c.table_schema = 'public' AND p.relkind IN ('r', 'p') AND NOT p.relispartition
      AND (c.column_name ~ '(^|_)(user|actor|owner|person|created_by|referred_by|by)(_id)?$'
           OR c.column_name IN ('identifier', 'recipient', 'client', 'entity_id', 'identifier_hash', 'subject_hash')
           OR c.column_name ~ '(^|_)(ip|ip_address|user_agent)$')
    ORDER BY 1, 2";

#[tokio::test]
async fn no_column_that_could_name_a_person_is_forgotten() {
    let product = Product::new().await;
    let found: Vec<(String, String)> = sqlx::query_as(SUSPECTS).fetch_all(&product.world.db).await.unwrap();
    let known: BTreeSet<(&str, &str)> = COVERED.iter().map(|(table, column, _)| (*table, *column)).collect();
    let forgotten: Vec<_> =
        found.iter().filter(|(table, column)| !known.contains(&(table.as_str(), column.as_str()))).collect();
    assert!(forgotten.is_empty(), "say in user::erase::COVERED how they are erased: {forgotten:?}");
    let there: BTreeSet<(&str, &str)> =
        found.iter().map(|(table, column)| (table.as_str(), column.as_str())).collect();
    let gone: Vec<_> =
        COVERED.iter().filter(|(table, column, _)| !there.contains(&(*table, *column))).collect();
    assert!(gone.is_empty(), "no such columns: {gone:?}");
    for (table, column, way) in COVERED.iter().filter(|(.., way)| *way == Way::Cascade) {
        let rule: Option<String> = sqlx::query_scalar(
            "SELECT confdeltype::text FROM pg_constraint WHERE contype = 'f' AND conrelid = $1::regclass
             AND confrelid = 'users'::regclass",
        )
        .bind(table)
        .fetch_optional(&product.world.db)
        .await
        .unwrap();
        assert_eq!(rule.as_deref(), Some("c"), "{table}.{column} is said to go by {way:?}");
    }
}

#[tokio::test]
async fn what_was_counted_of_a_persons_devices_goes_too() {
    let product = Product::new().await;
    let gone = product.register("erase.me@example.org", "erase.me").await;
    product.advance(Duration::from_secs(61));
    let body = json!({ "identifier": "erase.me@example.org", "purpose": "login",
                       "device_token": gone["device_token"] });
    let (status, issued) = product.post("/api/auth/otp/request", body.clone()).await;
    assert_eq!(status, 202, "{issued}");
    let mut proof = body;
    (proof["otp"], proof["challenge_id"]) = (json!("000000"), issued["challenge_id"].clone());
    assert_eq!(product.post("/api/auth/otp/verify", proof).await.0, 422);
    let counted = "SELECT (SELECT count(*) FROM identifier_budgets) + (SELECT count(*) FROM wrong_tries)";
    assert!(product.world.count(counted).await >= 4, "of the address, its devices, this one");
    assert_eq!(product.delete("/api/auth/account", &gone).await.0, 202);
    product.advance(DAY * 31);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 0);
    assert_eq!(product.world.count(counted).await, 0);
}

#[tokio::test]
async fn nothing_is_left_of_a_person_but_lines_that_lead_nowhere() {
    let product = Product::new().await;
    let friend = product.register("friend@example.org", "friend").await;
    let (_, me) = product.get("/api/auth/me", &friend).await;
    let invited = product.prove("erase.me@example.org", "register").await;
    let body = json!({ "identifier": "erase.me@example.org", "username": "erase.me", "verification_token": invited,
                       "referral_code": me["referral_code"] });
    let (status, gone) = product.post("/api/auth/register", body).await;
    assert_eq!(status, 201, "{gone}");
    let path = format!("/api/users/{}", gone["user_id"].as_str().unwrap());
    let change = json!({ "first_name": "Erasmus", "last_name": "Erasable", "address": "Erasure Road 1", "national_id": "ERASE-123" });
    assert_eq!(product.call(Method::PATCH, &path, &change, &gone).await.0, 200);
    product.advance(Duration::from_secs(61));
    let agent = [("user-agent", "EraseMeBrowser/1.0")];
    product.ask_with("erase.me@example.org", "login", &agent).await;
    product.drain().await;
    assert_eq!(product.delete("/api/auth/account", &gone).await.0, 202);
    product.drain().await;
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    let erase = || async {
        engine.ask(&EraseDue::default(), Terms::default()).await;
        engine.drain().await;
    };
    product.advance(DAY * 29);
    erase().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 2, "within the grace time");
    product.advance(DAY * 2);
    erase().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 1);
    let all = dump::tables(&product.world).await;
    let left = |trace: &str, but: &[&str]| -> Vec<String> {
        let tables = all.iter().filter(|(table, _)| !but.contains(&table.as_str()));
        let rows = tables.flat_map(|(table, rows)| rows.iter().map(move |row| format!("{table}: {row}")));
        rows.filter(|row| row.contains(trace)).collect()
    };
    for trace in
        ["erase.me", "Erasmus", "Erasable", "Erasure Road", "ERASE-123", "ERASE123", "EraseMeBrowser"]
    {
        assert_eq!(left(trace, &[]), [""; 0], "{trace}");
    }
    let id = gone["user_id"].as_str().unwrap();
    // the report says how much it was, and nothing that names anybody
    let report: Value = sqlx::query_scalar("SELECT details FROM audit WHERE action = 'user.erased'")
        .fetch_one(&product.world.db)
        .await
        .unwrap();
    assert_eq!(
        (&report["deleted"]["users"], &report["deleted"]["sessions"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert!(report["deleted"]["deliveries"].as_u64() >= Some(2), "{report}");
    assert!(report["blanked"]["audit"].as_u64() >= Some(2), "{report}");
    // the id alone stays in audit lines, in the record of the job that erased, and with the points of the referral
    assert_eq!(left(id, &["audit", "finished_jobs", "ledger_accounts", "postings"]), [""; 0]);
    // a second erasure finds nobody, and the one who invited is untouched
    erase().await;
    let friend = product.login("friend@example.org").await;
    assert_eq!(product.get("/api/auth/me", &friend).await.0, 200);
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.erased'";
    assert_eq!(product.world.count(lines).await, 1);
    assert_eq!(me["username"], Value::from("friend"));
}

#[tokio::test]
async fn what_is_known_under_an_earlier_address_goes_too_unless_somebody_else_has_it() {
    let product = Product::new().await;
    let gone = product.register("first@example.org", "erase.me").await;
    let path = format!("/api/users/{}", gone["user_id"].as_str().unwrap());
    for address in ["second@example.org", "third@example.org"] {
        let token = product.prove_as(address, "change_identifier", &gone).await;
        let body = json!({ "email": address, "verification_token": token });
        assert_eq!(product.call(Method::PATCH, &path, &body, &gone).await.0, 200);
    }
    product.advance(Duration::from_secs(61));
    product.register("second@example.org", "second").await;
    product.drain().await;
    let named = "SELECT count(DISTINCT entity_id) FROM audit
                 WHERE entity_type = 'identifier' AND ip_address IS NOT NULL";
    let counted = "SELECT count(*) FROM identifier_budgets";
    assert_eq!((product.world.count(named).await, product.world.count(counted).await), (3, 3));
    assert_eq!(product.delete("/api/auth/account", &gone).await.0, 202);
    product.advance(DAY * 31);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 1);
    assert_eq!((product.world.count(named).await, product.world.count(counted).await), (1, 1));
}

/// What is counted of addresses, told to them without an account, and noted of tries to get in from somewhere.
async fn kept_of_addresses(product: &Product) -> [i64; 5] {
    let count = |sql: &'static str| product.world.count(sql);
    [
        count("SELECT count(*) FROM identifier_budgets").await,
        count("SELECT sum(wrong_in_row)::bigint FROM identifier_budgets").await,
        count("SELECT sum(tries)::bigint FROM wrong_tries").await,
        count("SELECT count(*) FROM deliveries WHERE user_id IS NULL").await,
        count("SELECT count(*) FROM audit WHERE entity_type = 'identifier' AND ip_address IS NOT NULL").await,
    ]
}

/// A wrong code for an address.
async fn guess(product: &Product, address: &str) {
    product.advance(Duration::from_secs(61));
    let (status, issued) = product.ask(address, "login").await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    let challenge = issued["challenge_id"].as_str();
    assert_eq!(product.verify(address, "login", "000000", challenge).await.0, 422);
}

#[tokio::test]
async fn who_comes_back_with_the_same_address_keeps_what_is_kept_of_it() {
    let product = Product::new().await;
    let old = product.register("ada@example.org", "ada").await;
    assert_eq!(product.delete("/api/auth/account", &old).await.0, 202);
    product.advance(DAY * 29);
    let new = product.register("ada@example.org", "ada.again").await;
    guess(&product, "ada@example.org").await;
    let before = kept_of_addresses(&product).await;
    assert!(before.iter().all(|kept| *kept > 0), "{before:?}");
    product.advance(DAY);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    engine.drain().await;
    let left: String =
        sqlx::query_scalar("SELECT user_id::text FROM users").fetch_one(&product.world.db).await.unwrap();
    assert_eq!(left, new["user_id"].as_str().unwrap());
    assert_eq!(kept_of_addresses(&product).await, before, "the address has another owner");
}

#[tokio::test]
async fn an_account_that_a_stranger_made_with_ones_address_takes_nothing_along() {
    let product = Product::with(&[("AUTH_CLASSIC_FORM", "true"), ("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(61));
    let form = json!({ "username": "stranger", "email": "ada@example.org",
                       "password": "correct horse battery staple" });
    let (status, issued) = product.post("/api/auth/register", form).await;
    assert_eq!(status, 202, "{issued}");
    product.drain().await;
    product.advance(DAY * 91);
    guess(&product, "ada@example.org").await;
    let before = kept_of_addresses(&product).await;
    assert!(before.iter().all(|kept| *kept > 0), "{before:?}");
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&CleanupUnused::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 1, "the stranger's is erased");
    assert_eq!(kept_of_addresses(&product).await, before, "and nobody is let off");
}

#[tokio::test]
async fn who_has_very_many_lines_is_erased_by_small_steps() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product
        .world
        .execute(
            "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, actor, ip_address, user_agent)
             SELECT gen_random_uuid(), now() - n * interval '1 second', 'test', 'test', n::text, user_id,
                    '192.0.2.7', 'EraseMeBrowser' FROM users, generate_series(1, 12000) n",
        )
        .await;
    let statements = "
        CREATE TABLE steps (changed bigint NOT NULL);
        CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO steps SELECT count(*) FROM changed; RETURN NULL; END $$;
        CREATE TRIGGER note_step AFTER UPDATE ON audit REFERENCING NEW TABLE AS changed
            FOR EACH STATEMENT EXECUTE FUNCTION note_step();";
    product.world.execute(statements).await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.advance(DAY * 31);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 0);
    let named = "SELECT count(*) FROM audit WHERE ip_address IS NOT NULL OR user_agent IS NOT NULL";
    assert_eq!(product.world.count(named).await, 0);
    assert!(product.world.count("SELECT max(changed) FROM steps").await <= 5_000, "in one statement");
    let blanked = product.world.count("SELECT sum(changed)::bigint FROM steps").await;
    assert!(blanked > 12_000, "{blanked}");
    let report: Value = sqlx::query_scalar("SELECT details FROM audit WHERE action = 'user.erased'")
        .fetch_one(&product.world.db)
        .await
        .unwrap();
    assert_eq!(report["blanked"]["audit"], blanked, "each line once: {report}");
}

#[tokio::test]
async fn the_report_names_every_table_that_rows_went_from_and_what_stays() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let ask = Ask {
        name: "rentals".to_owned(),
        scopes: vec![Scope::UsageWrite, Scope::WalletWrite],
        expires_at: None,
    };
    let key = api_key::create_by_operator(&product.ctx, &product.operator(), ask).await.expect("a key").text;
    let fields = [("x-api-key", key.as_str())];
    let events = json!({ "events": [{ "event_id": "1", "user_id": ada["user_id"], "kind": "rental_started",
                                      "at": product.ctx.now() }] });
    let posted = product.send(Method::POST, "/api/usage-events", &events, &fields).await;
    assert_eq!(read(posted).await.0, 200);
    let path = format!("/api/users/{}/wallet/postings", ada["user_id"].as_str().unwrap());
    for (reference, unit) in [("1", "money"), ("2", "money"), ("3", "points")] {
        let body = json!({ "reference": reference, "kind": "credit", "unit": unit, "amount": "5",
                           "reason": "A gift" });
        assert_eq!(read(product.send(Method::POST, &path, &body, &fields).await).await.0, 201);
    }
    guess(&product, "ada@example.org").await;
    product.advance(Duration::from_secs(61));
    product.prove("ada@example.org", "login").await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.drain().await;
    let gone = COVERED.iter().filter(|(.., way)| *way == Way::Deleted).map(|(table, ..)| *table);
    let gone: BTreeSet<&str> = gone.chain(["delivery_attempts"]).collect();
    let mut before = Vec::new();
    for table in gone {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&product.world.db).await.unwrap();
        assert!(rows > 0, "of a table without a row nothing is proved: {table}");
        before.push((table, rows));
    }
    product.advance(DAY * 31);
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&EraseDue::default(), Terms::default()).await;
    engine.drain().await;
    let report: Value = sqlx::query_scalar("SELECT details FROM audit WHERE action = 'user.erased'")
        .fetch_one(&product.world.db)
        .await
        .unwrap();
    for (table, rows) in before {
        assert_eq!(report["deleted"][table], rows, "{table} in {report}");
    }
    assert_eq!(report["kept"], json!({ "ledger_accounts": 2, "postings": 3 }), "{report}");
}

#[tokio::test]
async fn accounts_that_nobody_came_for_go_after_90_days_and_their_names_are_free() {
    let product = Product::with(&[("AUTH_CLASSIC_FORM", "true")]).await;
    let kept = product.register("kept@example.org", "kept").await;
    product.world.execute("UPDATE users SET email_verified_at = NULL, email = 'new@example.org'").await;
    let form = |name: &str| json!({ "username": name, "email": format!("{name}@example.org"), "password": "correct horse battery staple" });
    let (status, issued) = product.post("/api/auth/register", form("squatted")).await;
    assert_eq!(status, 202, "{issued}");
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    let clean_up = || async {
        engine.ask(&CleanupUnused::default(), Terms::default()).await;
        engine.drain().await;
    };
    product.advance(DAY * 89);
    clean_up().await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 2);
    product.advance(DAY * 2);
    clean_up().await;
    let left: String =
        sqlx::query_scalar("SELECT user_id::text FROM users").fetch_one(&product.world.db).await.unwrap();
    assert_eq!(left, kept["user_id"].as_str().unwrap());
    let lines = "SELECT count(*) FROM audit WHERE action IN ('user.deleted', 'user.erased')";
    assert_eq!(product.world.count(lines).await, 2);
    product.register("else@example.org", "squatted").await;
}
