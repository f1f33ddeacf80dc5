//! Everything about a person, for that person: asked for after a proof, gathered by a job, downloaded by its owner
//! alone; and what no archive may hold or forget.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use keryu_common::export::BuildExport;
use keryu_common::export::area::{AREAS, NOT_THEIRS};
use keryu_common::job::Terms;
use keryu_common::retention::CleanupExpired;
use keryu_common::upload::{self, Purpose};
use keryu_common::user::erase::EraseDue;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::erasure::SUSPECTS;
use super::support::product::{field, read};
use super::support::{Engine, Product};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn engine(product: &Product) -> Engine {
    Engine { world: product.world.again(), ctx: product.ctx.clone() }
}

fn path(tokens: &Value) -> String {
    format!("/api/users/{}/exports", tokens["user_id"].as_str().unwrap())
}

async fn request(product: &Product, tokens: &Value) -> Value {
    let (status, export) = product.call(Method::POST, &path(tokens), &Value::Null, tokens).await;
    assert_eq!(status, 202, "{export}");
    export
}

async fn ready(product: &Product, tokens: &Value) -> Value {
    let export = request(product, tokens).await;
    product.drain().await;
    let (status, shown) =
        product.get(&format!("{}/{}", path(tokens), export["id"].as_str().unwrap()), tokens).await;
    assert_eq!((status, &shown["status"]), (200, &json!("ready")), "{shown}");
    shown
}

/// The files of an archive.
async fn files(product: &Product, tokens: &Value, export: &Value) -> BTreeMap<String, Vec<u8>> {
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let url = export["download_url"].as_str().unwrap();
    let answer = product.send(Method::GET, url, &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(field(&answer, "content-type"), "application/zip");
    assert_eq!(field(&answer, "cache-control"), "no-store");
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(export["size"], bytes.len(), "the size that was told");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut files = BTreeMap::new();
    for n in 0..archive.len() {
        let mut file = archive.by_index(n).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    files
}

fn json_of(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    serde_json::from_slice(&files[name]).unwrap()
}

#[tokio::test]
async fn a_person_takes_away_everything_about_them_and_no_secret() {
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("AUTH_CLASSIC_FORM", "true")]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let ada_id: Uuid = ada["user_id"].as_str().unwrap().parse().unwrap();
    let own = format!("/api/users/{ada_id}");
    let change = json!({ "address": "Byron Street 1", "national_id": "12345678" });
    assert_eq!(product.call(Method::PATCH, &own, &change, &ada).await.0, 200);
    let device = json!({ "device_id": "loom", "fcm_token": "push-secret-token", "device_type": "android",
                         "device_name": "Loom", "app_version": "1", "os_version": "1" });
    assert_eq!(product.call(Method::POST, "/api/auth/device", &device, &ada).await.0, 201);
    let picture = Bytes::from(vec![7u8; 300_000]);
    let kept =
        upload::keep(&product.ctx, ada_id, Purpose::Picture, "image/png", picture.clone()).await.unwrap();
    let scan = Bytes::from_static(b"a scan of a document");
    let scanned =
        upload::keep(&product.ctx, ada_id, Purpose::KycDocument, "image/jpeg", scan.clone()).await.unwrap();
    product.register("bob@example.org", "bob").await;
    let (status, refused) = product
        .get(
            &format!("{}/{}/download", path(&ada), request(&product, &ada).await["id"].as_str().unwrap()),
            &ada,
        )
        .await;
    assert_eq!((status, &refused["code"]), (409, &json!("export.not_ready")));
    let export = ready(&product, &ada).await;
    let files = files(&product, &ada, &export).await;
    let account = &json_of(&files, "account.json")[0];
    assert_eq!((&account["username"], &account["email"]), (&json!("ada"), &json!("ada@example.org")));
    assert_eq!(
        (&account["address"], &account["national_id"]),
        (&json!("Byron Street 1"), &json!("12345678"))
    );
    assert_eq!(json_of(&files, "devices.json")[0]["device_name"], "Loom");
    assert_eq!(json_of(&files, "sessions.json").as_array().unwrap().len(), 1);
    assert!(json_of(&files, "messages.json").as_array().unwrap().iter().any(|one| one["kind"] == "welcome"));
    let activity = json_of(&files, "activity.json");
    let changed = activity.as_array().unwrap().iter().find(|line| line["action"] == "user.changed").unwrap();
    assert_eq!(changed["new_values"]["address"], "Byron Street 1");
    assert_eq!(files[&format!("files/picture-{}.png", kept.upload_id)], picture);
    assert_eq!(files[&format!("files/kyc_document-{}.jpeg", scanned.upload_id)], scan);
    let index = json_of(&files, "index.json");
    for area in AREAS {
        let name = format!("{}.json", area.name);
        let rows = json_of(&files, &name).as_array().unwrap().len();
        assert_eq!(index["entries"][&name], rows, "{name}");
    }
    let hashes: Vec<String> = sqlx::query_scalar(
        "SELECT encode(token_hash, 'hex') FROM sessions UNION ALL SELECT encode(sealed, 'hex') FROM user_keys
         UNION ALL SELECT encode(national_id_hash, 'hex') FROM users WHERE national_id_hash IS NOT NULL
         UNION ALL SELECT encode(national_id_sealed, 'hex') FROM users WHERE national_id_sealed IS NOT NULL
         UNION ALL SELECT encode(token_hash, 'hex') FROM device_tokens",
    )
    .fetch_all(&product.world.db)
    .await
    .unwrap();
    for (name, content) in files.iter().filter(|(name, _)| name.ends_with(".json")) {
        let text = std::str::from_utf8(content).unwrap();
        for hidden in
            hashes.iter().map(String::as_str).chain(["push-secret-token", "bob@example.org", "\\\\x"])
        {
            assert!(!text.contains(hidden), "{hidden} in {name}");
        }
    }
    let letters = product.letters().await;
    let told = |letter: &&Value| letter["kind"] == "export_ready" && letter["channel"] == "email";
    assert_eq!(letters.iter().filter(told).count(), 1, "{letters:?}");
    let told =
        "SELECT count(*) FROM audit WHERE action IN ('user.export_requested', 'user.export_downloaded')";
    assert_eq!(product.world.count(told).await, 2);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn one_waits_per_person_and_the_next_one_replaces_it() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let url = path(&ada);
    let asked = join_all((0..16).map(|_| product.call(Method::POST, &url, &Value::Null, &ada))).await;
    for (status, export) in &asked {
        assert_eq!((*status, &export["id"]), (202, &asked[0].1["id"]), "{export}");
    }
    assert_eq!(product.world.count("SELECT count(*) FROM jobs WHERE kind = 'export.build_export'").await, 1);
    let export_id: Uuid = asked[0].1["id"].as_str().unwrap().parse().unwrap();
    engine(&product).ask(&BuildExport { export_id }, Terms::default()).await;
    engine(&product).ask(&BuildExport { export_id: Uuid::from_u128(7) }, Terms::default()).await;
    product.drain().await;
    let told = "SELECT count(*) FROM deliveries WHERE kind = 'export_ready'";
    assert_eq!(product.world.count(told).await, 1, "a body that starts twice tells once");
    let first = format!("{}/{export_id}", path(&ada));
    assert_eq!(product.get(&first, &ada).await.0, 200);
    ready(&product, &ada).await;
    assert_eq!(product.get(&first, &ada).await.1["code"], "export.not_found");
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1, "one archive is kept");
}

#[tokio::test]
async fn a_stale_session_proves_first_and_the_same_key_asks_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let first = read(product.send(Method::POST, &path(&ada), &Value::Null, &fields).await).await;
    product.drain().await;
    let again = read(product.send(Method::POST, &path(&ada), &Value::Null, &fields).await).await;
    assert_eq!((first.0, &first.1), (202, &again.1));
    assert_eq!(product.world.count("SELECT count(*) FROM exports").await, 1);
    product.advance(DAY);
    let later = product.refreshed(&ada).await;
    let (status, refused) = product.call(Method::POST, &path(&ada), &Value::Null, &later).await;
    assert_eq!((status, &refused["code"]), (403, &json!("auth.step_up_required")), "{refused}");
}

#[tokio::test]
async fn nobody_but_its_owner_sees_an_export() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'boss'").await;
    let export = ready(&product, &ada).await;
    let one = format!("{}/{}", path(&ada), export["id"].as_str().unwrap());
    for (method, path) in
        [(Method::POST, path(&ada)), (Method::GET, one.clone()), (Method::GET, format!("{one}/download"))]
    {
        let (status, refused) = product.call(method.clone(), &path, &Value::Null, &boss).await;
        assert_eq!((status, &refused["code"]), (404, &json!("user.not_found")), "{path}");
        let answer = product.send(method, &path, &Value::Null, &[]).await;
        assert_eq!(answer.status().as_u16(), 401);
    }
    let (status, refused) =
        product.get(&format!("{}/{}", path(&boss), export["id"].as_str().unwrap()), &boss).await;
    assert_eq!((status, &refused["code"]), (404, &json!("export.not_found")), "also under one's own path");
    assert_eq!(product.get(&format!("{}/x", path(&ada)), &ada).await.0, 404);
}

#[tokio::test]
async fn an_export_is_kept_for_seven_days_and_goes_with_its_owner() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let export = ready(&product, &ada).await;
    let one = format!("{}/{}", path(&ada), export["id"].as_str().unwrap());
    product.advance(DAY * 6);
    let ada = product.login("ada@example.org").await;
    assert_eq!(product.get(&one, &ada).await.0, 200);
    product.advance(DAY * 2);
    let ada = product.login("ada@example.org").await;
    assert_eq!(product.get(&one, &ada).await.0, 404, "also before the clean-up");
    engine(&product).ask(&CleanupExpired::default(), Terms::default()).await;
    product.drain().await;
    let kept = "SELECT (SELECT count(*) FROM exports) + (SELECT count(*) FROM uploads)";
    assert_eq!(product.world.count(kept).await, 0, "neither row nor file");
    ready(&product, &ada).await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.advance(DAY * 31);
    engine(&product).ask(&EraseDue::default(), Terms::default()).await;
    product.drain().await;
    let kept =
        "SELECT (SELECT count(*) FROM exports) + (SELECT count(*) FROM uploads WHERE released_at IS NULL)";
    assert_eq!(product.world.count(kept).await, 0);
}

#[tokio::test]
async fn no_column_that_names_a_person_is_left_out_without_a_reason() {
    let product = Product::new().await;
    let db = &product.world.db;
    let found: Vec<(String, String)> = sqlx::query_as(SUSPECTS).fetch_all(db).await.unwrap();
    let areas: BTreeSet<&str> = AREAS.iter().map(|area| area.table).collect();
    let known: BTreeSet<(&str, &str)> =
        NOT_THEIRS.iter().map(|(table, column, _)| (*table, *column)).collect();
    let forgotten: Vec<_> = found
        .iter()
        .filter(|(table, column)| !areas.contains(table.as_str()) && !known.contains(&(table, column)))
        .collect();
    assert!(forgotten.is_empty(), "say in export::area whether these are exported: {forgotten:?}");
    for (table, column, reason) in NOT_THEIRS {
        assert!(
            !reason.is_empty()
                && found.iter().any(|one| (one.0.as_str(), one.1.as_str()) == (*table, *column)),
            "{table}.{column}"
        );
    }
    for area in AREAS {
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT column_name::text FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name = $1",
        )
        .bind(area.table)
        .fetch_all(db)
        .await
        .unwrap();
        let there: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
        let left = area.leave.iter().map(|(column, _)| *column);
        let said = area.take.iter().copied().chain(area.open.iter().map(|one| one.column)).chain(left);
        let said: BTreeSet<&str> = said.collect();
        assert_eq!(said, there, "{}: say of each column in export::area whether it is taken", area.table);
    }
}
