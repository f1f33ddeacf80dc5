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
use super::support::bucket;
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
    for name in ["Ada King", "Ada Lovelace"] {
        let change = json!({ "full_name": name });
        let path = "/api/users/profile";
        product.advance(Duration::from_secs(1));
        assert_eq!(product.call(Method::PATCH, path, &change, &ada).await.0, 200);
    }
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
    let changes = json_of(&files, "profile_changes.json");
    assert_eq!(
        (&changes[0]["fields"]["full_name"], &changes[1]["fields"]["full_name"]),
        (&json!({ "old": null, "new": "Ada King" }), &json!({ "old": "Ada King", "new": "Ada Lovelace" })),
        "{changes}"
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
    assert_eq!(index["unreadable"], json!([]));
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

/// As long as any wait between two attempts of a job.
const LONG: Duration = Duration::from_secs(750);

#[tokio::test]
async fn a_store_that_is_away_for_hours_puts_an_export_off() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let folder = product.world.files.path();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let export = request(&product, &ada).await;
    for _ in 0..60 {
        product.drain().await;
        product.advance(LONG);
    }
    let ada = product.login("ada@example.org").await;
    let again = request(&product, &ada).await;
    assert_eq!(again["id"], export["id"], "after twelve hours it still waits");
    std::fs::remove_file(&folder).unwrap();
    product.drain().await;
    let (_, shown) = product.get(&format!("{}/{}", path(&ada), export["id"].as_str().unwrap()), &ada).await;
    assert_eq!(shown["status"], "ready", "{shown}");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn whose_job_was_put_away_gets_another_one_by_asking_again() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let export = request(&product, &ada).await;
    let dead = "UPDATE jobs SET state = 'discarded', ready = false, waiting_key = NULL, run_at = 'infinity',
                       discarded_at = now() WHERE kind = 'export.build_export'";
    product.world.execute(dead).await;
    product.drain().await;
    assert_eq!(ready(&product, &ada).await["id"], export["id"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_all_else_is_there() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let ada_id: Uuid = ada["user_id"].as_str().unwrap().parse().unwrap();
    let keep = |purpose, bytes: &'static [u8]| {
        upload::keep(&product.ctx, ada_id, purpose, "image/png", Bytes::from_static(bytes))
    };
    let name = |file: &upload::Upload| format!("files/{}-{}.png", file.purpose.name(), file.upload_id);
    let lost = keep(Purpose::Picture, b"a picture").await.unwrap();
    let scan = keep(Purpose::KycDocument, b"a scan").await.unwrap();
    let object = bucket::files(std::path::Path::new(&product.world.files.path()))
        .into_iter()
        .find(|path| path.to_string_lossy().contains("picture/"))
        .unwrap();
    std::fs::remove_file(&object).unwrap();
    let export = ready(&product, &ada).await;
    let found = files(&product, &ada, &export).await;
    assert_eq!(json_of(&found, "index.json")["unreadable"], json!([name(&lost)]));
    assert!(!found.contains_key(&name(&lost)));
    assert_eq!(found[&name(&scan)], b"a scan");
    // one that the store never gives is waited for, and then named too
    std::os::unix::fs::symlink(&object, &object).unwrap();
    let export = request(&product, &ada).await;
    let one = format!("{}/{}", path(&ada), export["id"].as_str().unwrap());
    product.drain().await;
    assert_eq!(product.get(&one, &ada).await.1["status"], "waiting", "it may be the store as a whole");
    for _ in 0..30 {
        product.advance(LONG);
        product.drain().await;
    }
    let ada = product.login("ada@example.org").await;
    let (_, export) = product.get(&one, &ada).await;
    let found = files(&product, &ada, &export).await;
    assert_eq!(json_of(&found, "index.json")["unreadable"], json!([name(&lost)]));
    assert_eq!(found[&name(&scan)], b"a scan");
}

#[tokio::test]
async fn what_is_deleted_while_an_archive_is_written_moves_no_other_row() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    // whenever the table is read, its first row is gone for who reads it next
    let statements = "
        INSERT INTO usage_services (name) VALUES ('rentals');
        INSERT INTO usage_events (service_id, event_id, user_id, kind, at)
            SELECT 1, 'e' || lpad(n::text, 5, '0'), user_id, 'rental_started', now()
            FROM users, generate_series(1, 2100) n;
        ALTER TABLE usage_events RENAME TO usage_rows;
        CREATE FUNCTION shrink() RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM usage_rows WHERE event_id = (SELECT min(event_id) FROM usage_rows);
            RETURN true;
        END $$;
        CREATE VIEW usage_events AS SELECT * FROM usage_rows WHERE (SELECT shrink());";
    product.world.execute(statements).await;
    let export = ready(&product, &ada).await;
    let events = json_of(&files(&product, &ada, &export).await, "usage_events.json");
    let events: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    let wanted: Vec<String> = (1..=2_100).map(|n| format!("e{n:05}")).collect();
    assert_eq!(events, wanted);
}

#[tokio::test]
async fn an_archive_names_nobody_whom_one_referred() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (_, me) = product.get("/api/auth/me", &ada).await;
    let token = product.prove("bob@example.org", "register").await;
    let body = json!({ "identifier": "bob@example.org", "username": "bobby", "verification_token": token,
                       "referral_code": me["referral_code"] });
    let (status, bob) = product.post("/api/auth/register", body).await;
    assert_eq!(status, 201, "{bob}");
    let export = ready(&product, &ada).await;
    let files = files(&product, &ada, &export).await;
    let posted = &json_of(&files, "wallet_postings.json")[0];
    assert_eq!((&posted["kind"], &posted["reference"]), (&json!("referral"), &Value::Null), "{posted}");
    let bob = bob["user_id"].as_str().unwrap();
    for (name, content) in &files {
        assert!(!String::from_utf8_lossy(content).contains(bob), "{name}");
    }
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
