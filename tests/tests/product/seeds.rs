//! What `keryu-api seed` plants holds what the product holds itself to, and is there to be looked at.

use keryu_common::job::Terms;
use keryu_common::wallet::CheckLedger;
use serde_json::{Value, json};

use super::support::paper::somebody;
use super::support::{Engine, Product, World, command};
use super::usage::OFF;

async fn seed(world: &World, users: &str) -> Value {
    let all = world.settings();
    let users = users.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        command::run("keryu-api", &["seed", "--users", &users, "--seed", "7", "--json"], &all)
    });
    let output = ended.await.expect("command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The ledger adds up, figures are what a recount gives, and states are those of the documents.
async fn assert_sound(product: &Product) {
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(&CheckLedger::default(), Terms::default()).await;
    engine.drain().await;
    let count = |sql: &'static str| product.world.count(sql);
    assert_eq!(count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await, 0, "the ledger");
    assert_eq!(count("SELECT sum(amount)::bigint FROM entries").await, 0);
    let last = "SELECT count(*) FROM ledger_accounts a WHERE user_id IS NOT NULL AND balance <> (
                    SELECT balance FROM entries e WHERE e.ledger_account_id = a.ledger_account_id
                    ORDER BY at DESC, posting_id DESC LIMIT 1)";
    assert_eq!(count(last).await, 0, "the last line of a statement says what there is");
    assert_eq!(count(OFF).await, 0, "a recount of usage");
    let states = "SELECT count(*) FROM users u WHERE kyc_status <> coalesce(
                      (SELECT state FROM kyc_submissions k WHERE k.user_id = u.user_id
                       ORDER BY (state = 'approved') DESC, created_at DESC LIMIT 1), 'not_submitted')";
    assert_eq!(count(states).await, 0, "how far documents are");
}

#[tokio::test]
async fn what_a_seed_plants_is_as_the_product_would_have_made_it() {
    let product = Product::new().await;
    assert_eq!(seed(&product.world, "300").await["made"], 300);
    assert_sound(&product).await;
    for (rows, least) in [
        ("SELECT count(*) FROM profiles WHERE full_name IS NOT NULL", 200),
        ("SELECT count(*) FROM profiles WHERE emergency_phone IS NOT NULL", 150),
        ("SELECT count(*) FROM profiles WHERE notification_preferences <> '{}'", 20),
        ("SELECT count(*) FROM users WHERE address IS NOT NULL", 150),
        ("SELECT count(DISTINCT state) FROM kyc_submissions", 4),
        ("SELECT count(*) FROM consents WHERE kind = 'terms'", 300),
        ("SELECT count(*) FROM consents WHERE NOT given", 5),
        ("SELECT count(*) FROM postings WHERE kind = 'debit'", 50),
        ("SELECT count(*) FROM postings WHERE kind = 'referral'", 10),
        ("SELECT count(*) FROM usage_events", 300),
        ("SELECT count(*) FROM usage_favourites", 20),
    ] {
        let count = product.world.count(rows).await;
        assert!(count >= least, "{count} of {rows}");
    }
    let early = "SELECT (SELECT count(*) FROM usage_events e JOIN users u USING (user_id)
                         WHERE e.at < u.created_at - interval '1 second' OR e.at > now())
                      + (SELECT count(*) FROM postings WHERE at > now())
                      + (SELECT count(*) FROM consents WHERE ip_address IS NOT NULL AND at < now() - interval '90 days')";
    assert_eq!(product.world.count(early).await, 0, "nothing is of before they joined, or of tomorrow");
    // and staff find it all over HTTP
    let boss = somebody(&product, "boss", "admin").await;
    let (status, queue) = product.get("/api/admin/kyc?limit=200", &boss).await;
    let items = queue["items"].as_array().expect("items");
    assert!(status == 200 && items.len() >= 15, "{queue}");
    for item in &items[..3] {
        let (status, case) =
            product.get(&format!("/api/admin/kyc/{}", item["id"].as_str().unwrap()), &boss).await;
        let number = case["document_number"].as_str().expect("opened");
        assert!(status == 200 && number.len() >= 8, "{case}");
    }
    let whole: String = sqlx::query_scalar(
        "SELECT u.user_id::text FROM users u JOIN profiles p USING (user_id)
         JOIN ledger_accounts a ON a.user_id = u.user_id AND a.unit = 'USD'
         WHERE p.emergency_phone IS NOT NULL AND u.address IS NOT NULL AND a.balance > 0
         ORDER BY 1 LIMIT 1",
    )
    .fetch_one(&product.world.db)
    .await
    .expect("somebody");
    let (status, seen) = product.get(&format!("/api/users/{whole}"), &boss).await;
    assert_eq!((status, &seen["profile"]["missing"]), (200, &json!([])), "{seen}");
    assert_ne!(seen["wallet_balance"], "0.00");
    let (status, profile) = product.get(&format!("/api/users/{whole}/profile"), &boss).await;
    assert_eq!((status, &profile["is_profile_complete"]), (200, &json!(true)), "{profile}");
    let (status, consents) = product.get(&format!("/api/users/{whole}/consents"), &boss).await;
    assert_eq!((status, &consents["present"][0]["kind"]), (200, &json!("terms")), "{consents}");
}

#[tokio::test]
async fn a_seed_goes_on_where_it_was_and_plants_again_who_is_gone() {
    let product = Product::new().await;
    seed(&product.world, "200").await;
    let rows = "SELECT (SELECT count(*) FROM postings) + (SELECT count(*) FROM usage_events)
                     + (SELECT count(*) FROM consents) + (SELECT count(*) FROM kyc_submissions)";
    let before = product.world.count(rows).await;
    assert_eq!(seed(&product.world, "200").await["made"], 0);
    assert_eq!(product.world.count(rows).await, before, "the same again plants nothing");
    // the ledger keeps what was posted to who is gone
    let five = "SELECT DISTINCT user_id FROM ledger_accounts WHERE user_id IS NOT NULL ORDER BY 1 LIMIT 5";
    for table in ["usage_events", "users"] {
        let delete = sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE user_id IN ({five})"));
        sqlx::query(delete).execute(&product.world.db).await.expect("deleted");
    }
    assert_eq!(seed(&product.world, "300").await["made"], 105);
    assert_sound(&product).await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 300);
    assert!(product.world.count(rows).await > before);
}
