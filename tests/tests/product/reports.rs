//! Reports about one's own use: asked for, built by a job, told, downloaded by their owner alone.

use std::time::Duration;

use futures::future::join_all;
use keryu_common::job::Terms;
use keryu_common::report::BuildReport;
use keryu_common::retention::CleanupExpired;
use keryu_common::user::erase::EraseDue;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::product::{field, read};
use super::support::{Engine, Product, eventually, process};

const PATH: &str = "/api/users/analytics/reports";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn engine(product: &Product) -> Engine {
    Engine { world: product.world.again(), ctx: product.ctx.clone() }
}

async fn request(product: &Product, tokens: &Value) -> Value {
    let (status, report) = product.call(Method::POST, PATH, &Value::Null, tokens).await;
    assert_eq!(status, 202, "{report}");
    report
}

fn path(report: &Value) -> String {
    format!("{PATH}/{}", report["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_report_is_built_told_and_downloaded_in_both_forms() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    product.advance(Duration::from_secs(61));
    product.login("ada@example.org").await;
    let report = request(&product, &ada).await;
    assert_eq!((&report["status"], &report["download_url"]), (&json!("waiting"), &Value::Null));
    let (status, refused) = product.get(&format!("{}/download", path(&report)), &ada).await;
    assert_eq!((status, &refused["code"]), (409, &json!("report.not_ready")));
    product.drain().await;
    let (status, shown) = product.get(&path(&report), &ada).await;
    assert_eq!((status, &shown["status"]), (200, &json!("ready")), "{shown}");
    let (status, figures) = product.get(shown["download_url"].as_str().unwrap(), &ada).await;
    assert_eq!(status, 200, "{figures}");
    let sections = &figures["sections"];
    assert_eq!(sections["account"]["username"], "ada");
    assert_eq!(sections["account"]["verification_status"], "email_verified");
    assert_eq!(sections["sign_ins"]["total"], 2);
    let months = sections["sign_ins"]["by_month"].as_array().unwrap();
    assert_eq!((months.len(), &months[11]["by_method"]["code"]), (12, &json!(2)), "{months:?}");
    assert_eq!(sections["devices"]["open_sessions"], 2);
    let kinds = sections["notifications"]["by_kind"].as_array().unwrap();
    assert!(kinds.iter().any(|row| row["kind"] == "welcome" && row["count"] == 1), "{kinds:?}");
    assert_eq!(sections["verifications"]["history"][0]["channel"], "email");
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let url = format!("{}/download?format=html", path(&report));
    let page = product.send(Method::GET, &url, &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(field(&page, "content-type"), "text/html; charset=utf-8");
    let day = product.ctx.now().format("%Y-%m-%d");
    assert_eq!(field(&page, "content-disposition"), format!("attachment; filename=\"report-{day}.html\""));
    assert_eq!(field(&page, "cache-control"), "no-store");
    let page = page.text().await.unwrap();
    assert!(page.contains("<svg") && page.contains("ada") && !page.contains("<script"), "{page}");
    for loaded in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(loaded), "it loads nothing: {loaded}");
    }
    assert!(!page.contains("ada@example.org"), "no address is told in a file that is carried around");
    let letters = product.letters().await;
    assert_eq!(letters.iter().filter(|letter| letter["kind"] == "report_ready").count(), 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn one_report_waits_per_person_also_under_parallel_calls() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let asked = join_all((0..16).map(|_| product.call(Method::POST, PATH, &Value::Null, &ada))).await;
    for (status, report) in &asked {
        assert_eq!((*status, &report["id"]), (202, &asked[0].1["id"]), "{report}");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM jobs WHERE kind = 'report.build_report'").await, 1);
    product.drain().await;
    let next = request(&product, &ada).await;
    assert_ne!(next["id"], asked[0].1["id"], "that one is ready");
}

#[tokio::test]
async fn nobody_but_its_owner_sees_a_report() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'boss'").await;
    let report = request(&product, &ada).await;
    product.drain().await;
    for path in
        [path(&report), format!("{}/download", path(&report)), format!("{PATH}/{}", Uuid::from_u128(7))]
    {
        let (status, refused) = product.get(&path, &boss).await;
        assert_eq!((status, &refused["code"]), (404, &json!("report.not_found")), "{path}");
        let answer = product.send(Method::GET, &path, &Value::Null, &[]).await;
        assert_eq!(answer.status().as_u16(), 401);
    }
    let (status, _) = product.get(&format!("{}/download?format=pdf", path(&report)), &ada).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_body_that_starts_twice_tells_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let report = request(&product, &ada).await;
    let report_id: Uuid = report["id"].as_str().unwrap().parse().unwrap();
    for _ in 0..3 {
        engine(&product).ask(&BuildReport { report_id }, Terms::default()).await;
    }
    engine(&product).ask(&BuildReport { report_id: Uuid::from_u128(7) }, Terms::default()).await;
    product.drain().await;
    let told = "SELECT count(*) FROM deliveries WHERE kind = 'report_ready'";
    assert_eq!(product.world.count(told).await, 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn reports_are_kept_for_thirty_days_and_ten_of_a_person() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let first = request(&product, &ada).await;
    product.drain().await;
    for _ in 0..10 {
        product.advance(Duration::from_secs(1));
        request(&product, &ada).await;
        product.drain().await;
    }
    let kept = "SELECT count(*) FROM reports";
    assert_eq!(product.world.count(kept).await, 10);
    assert_eq!(product.get(&path(&first), &ada).await.0, 404);
    let last = request(&product, &ada).await;
    product.drain().await;
    product.advance(DAY * 29);
    let ada = product.login("ada@example.org").await;
    assert_eq!(product.get(&path(&last), &ada).await.0, 200);
    product.advance(DAY * 2);
    let ada = product.login("ada@example.org").await;
    assert_eq!(product.get(&path(&last), &ada).await.0, 404, "also before the clean-up");
    engine(&product).ask(&CleanupExpired::default(), Terms::default()).await;
    product.drain().await;
    assert_eq!(product.world.count(kept).await, 0);
}

#[tokio::test]
async fn a_report_that_could_not_be_built_in_a_day_makes_room_for_another() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let first = request(&product, &ada).await;
    product.advance(DAY);
    product.drain().await;
    let ada = product.refreshed(&ada).await;
    let next = request(&product, &ada).await;
    assert_ne!(first["id"], next["id"]);
    product.drain().await;
    assert_eq!(product.get(&path(&next), &ada).await.1["status"], "ready");
}

#[tokio::test]
async fn the_same_key_asks_once_and_erasing_takes_reports_along() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let first = read(product.send(Method::POST, PATH, &Value::Null, &fields).await).await;
    product.drain().await;
    let again = read(product.send(Method::POST, PATH, &Value::Null, &fields).await).await;
    assert_eq!((first.0, &first.1), (202, &again.1));
    assert_eq!(product.world.count("SELECT count(*) FROM reports").await, 1);
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.advance(DAY * 31);
    engine(&product).ask(&EraseDue::default(), Terms::default()).await;
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM reports").await, 0);
}

#[tokio::test]
async fn the_real_worker_builds_it() {
    let product =
        Product::beside(&super::support::World::new().await, &[("RATE_LIMIT_ALLOW", "127.0.0.1")]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let report = request(&product, &ada).await;
    let worker = process::worker(&product.world, &[], &[]);
    eventually("the report is ready", Duration::from_secs(20), || async {
        product.get(&path(&report), &ada).await.1["status"] == "ready"
    })
    .await;
    worker.terminate(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn whose_job_was_put_away_gets_another_one_by_asking_again() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let report = request(&product, &ada).await;
    let dead = "UPDATE jobs SET state = 'discarded', ready = false, waiting_key = NULL, run_at = 'infinity',
                       discarded_at = now() WHERE kind = 'report.build_report'";
    product.world.execute(dead).await;
    product.drain().await;
    assert_eq!(request(&product, &ada).await["id"], report["id"]);
    product.drain().await;
    assert_eq!(product.get(&path(&report), &ada).await.1["status"], "ready");
}
