//! The staff's desk for documents: a queue, every look on record, one decision that holds.

use futures::future::join_all;
use image::ImageFormat;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::Product;
use super::support::paper::{file, hand_in, passport, picture, send_file, somebody};
use super::support::product::field;

const DESK: &str = "/api/admin/kyc";

fn path(record: &Value, rest: &str) -> String {
    format!("{DESK}/{}{rest}", record["id"].as_str().unwrap())
}

async fn decide(product: &Product, record: &Value, how: &str, tokens: &Value) -> (u16, Value) {
    let body = if how == "/reject" { json!({ "reason": "Blurred" }) } else { Value::Null };
    product.call(Method::POST, &path(record, how), &body, tokens).await
}

#[tokio::test]
async fn a_document_is_found_looked_at_and_approved() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let (front, back) = (picture(ImageFormat::Jpeg, 1), picture(ImageFormat::Png, 2));
    let (_, first) = send_file(&product, &front, &ada).await;
    let (_, second) = send_file(&product, &back, &ada).await;
    let body = json!({ "document_type": "national_id", "document_number": "12345678",
                       "document_front_url": first["url"], "document_back_url": second["url"] });
    let record = hand_in(&product, &body, &ada).await;
    let (status, queue) = product.get(DESK, &boss).await;
    assert_eq!(status, 200, "{queue}");
    let items = queue["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["id"], &items[0]["username"]), (1, &record["id"], &json!("ada")));
    assert!(!queue.to_string().contains("678"), "no number in a list: {queue}");
    let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
    let shown =
        product.send(Method::GET, &path(&record, ""), &Value::Null, &[("authorization", &bearer)]).await;
    let tag = field(&shown, "etag");
    let case: Value = serde_json::from_str(&shown.text().await.unwrap()).unwrap();
    assert_eq!((&case["document_number"], &case["same_number"]), (&json!("12345678"), &json!([])));
    for (side, bytes, name) in
        [("front", &front, "national_id-front.jpg"), ("back", &back, "national_id-back.png")]
    {
        let url = case[format!("document_{side}_url")].as_str().unwrap();
        let shown = product.send(Method::GET, url, &Value::Null, &[("authorization", &bearer)]).await;
        assert_eq!(field(&shown, "content-disposition"), format!("attachment; filename=\"{name}\""));
        assert_eq!(
            (field(&shown, "cache-control"), field(&shown, "x-content-type-options")),
            ("no-store".into(), "nosniff".into())
        );
        assert_eq!(&shown.bytes().await.unwrap(), bytes);
    }
    let fields = [("authorization", bearer.as_str()), ("if-match", tag.as_str())];
    let approved = product.send(Method::POST, &path(&record, "/approve"), &Value::Null, &fields).await;
    assert_eq!(approved.status().as_u16(), 200);
    let own = product.get("/api/users/kyc", &ada).await.1;
    assert_eq!(own["status"], "approved");
    assert!(own["verified_at"].is_string() && own["expires_at"].is_string(), "{own}");
    assert_eq!(product.get("/api/auth/me", &ada).await.1["kyc_status"], "approved");
    let detail = format!("/api/users/{}", ada["user_id"].as_str().unwrap());
    assert_eq!(product.get(&detail, &boss).await.1["kyc_status"], "approved");
    assert_eq!(product.get(DESK, &boss).await.1["items"], json!([]));
    product.drain().await;
    let letters = product.letters().await;
    let letter = letters.iter().find(|letter| letter["kind"] == "kyc_approved").unwrap();
    assert!(letter["text"].as_str().unwrap().contains("good until"), "{letter}");
    for (action, times) in
        [("kyc.listed", 2), ("kyc.read", 1), ("kyc.file_read", 2), ("kyc.approved", 1), ("kyc.submitted", 1)]
    {
        let lines =
            "SELECT count(*) FROM audit WHERE action = $1 AND actor IS NOT NULL AND session_id IS NOT NULL";
        let lines: i64 = sqlx::query_scalar(lines).bind(action).fetch_one(&product.world.db).await.unwrap();
        assert_eq!(lines, times, "{action}");
    }
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn of_decisions_at_once_one_holds() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let record = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let how = |n: usize| if n.is_multiple_of(2) { "/approve" } else { "/reject" };
    let all = join_all((0..16).map(|n| decide(&product, &record, how(n), &boss))).await;
    let won: Vec<_> = all.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(won.len(), 1, "{all:?}");
    for (status, refused) in all.iter().filter(|(status, _)| *status != 200) {
        assert_eq!((*status, &refused["code"]), (409, &json!("kyc.not_pending")));
    }
    assert_eq!(product.get("/api/users/kyc", &ada).await.1["status"], won[0].1["status"]);
    let lines = "SELECT count(*) FROM audit WHERE action IN ('kyc.approved', 'kyc.rejected')";
    assert_eq!(product.world.count(lines).await, 1);
    product.drain().await;
    let told = "SELECT count(*) FROM deliveries WHERE kind IN ('kyc_approved', 'kyc_rejected')";
    assert_eq!(product.world.count(told).await, 1);
}

#[tokio::test]
async fn what_was_changed_since_it_was_looked_at_is_not_approved() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let record = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
    let shown =
        product.send(Method::GET, &path(&record, ""), &Value::Null, &[("authorization", &bearer)]).await;
    let tag = field(&shown, "etag");
    let change = json!({ "document_number": "AK6666666" });
    assert_eq!(product.call(Method::PATCH, "/api/users/kyc", &change, &ada).await.0, 200);
    let fields = [("authorization", bearer.as_str()), ("if-match", tag.as_str())];
    let late = product.send(Method::POST, &path(&record, "/approve"), &Value::Null, &fields).await;
    assert_eq!(late.status().as_u16(), 412);
    assert_eq!(product.get("/api/users/kyc", &ada).await.1["status"], "pending");
    product.drain().await;
}

#[tokio::test]
async fn nobody_decides_on_their_own_or_above_their_rank_or_without_the_right() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let chief = somebody(&product, "chief", "admin").await;
    let clerk = somebody(&product, "clerk", "hod").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'chief'").await;
    product.world.execute("UPDATE roles SET permissions = '{kyc.read,kyc.review}' WHERE role = 'hod'").await;
    let adas = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let boss_own = hand_in(&product, &passport(&product, "AK0123457", &boss).await, &boss).await;
    let chiefs = hand_in(&product, &passport(&product, "AK0123458", &chief).await, &chief).await;
    for how in ["/approve", "/reject"] {
        let code = |(status, refused): (u16, Value)| {
            (status, refused["code"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(code(decide(&product, &boss_own, how, &boss).await), (409, "user.self".into()));
        assert_eq!(code(decide(&product, &boss_own, how, &clerk).await), (403, "auth.forbidden".into()));
        assert_eq!(code(decide(&product, &chiefs, how, &boss).await), (403, "auth.forbidden".into()));
        assert_eq!(code(decide(&product, &adas, how, &ada).await), (403, "auth.forbidden".into()));
        let none = json!({ "id": Uuid::from_u128(7) });
        assert_eq!(code(decide(&product, &none, how, &boss).await), (404, "kyc.not_found".into()));
    }
    for rest in ["", "/documents/front"] {
        assert_eq!(product.get(&path(&chiefs, rest), &boss).await.0, 403);
        assert_eq!(product.get(&path(&boss_own, rest), &clerk).await.0, 403);
        assert_eq!(product.get(&path(&adas, rest), &ada).await.0, 403);
    }
    assert_eq!(product.get(&path(&adas, "/documents/back"), &boss).await.1["code"], "kyc.file_not_found");
    assert_eq!(product.get(&path(&adas, "/documents/inside"), &boss).await.0, 404);
    let read = "SELECT count(*) FROM audit WHERE action IN ('kyc.read', 'kyc.file_read', 'kyc.approved', 'kyc.rejected')";
    assert_eq!(product.world.count(read).await, 0, "nobody saw or changed anything");
    // who may read alone decides on nothing
    product.world.execute("UPDATE roles SET permissions = '{kyc.read}' WHERE role = 'hod'").await;
    assert_eq!(product.get(&path(&adas, ""), &clerk).await.0, 200);
    assert_eq!(decide(&product, &adas, "/approve", &clerk).await.0, 403);
    let reason = json!({ "reason": " \u{200b} " });
    let (status, refused) = product.call(Method::POST, &path(&adas, "/reject"), &reason, &boss).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!("/reason")));
    product.drain().await;
}

#[tokio::test]
async fn a_number_that_somebody_else_proved_is_told_to_staff_alone() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let eve = product.register("eve@example.org", "eve").await;
    let boss = somebody(&product, "boss", "admin").await;
    let first = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let second = hand_in(&product, &passport(&product, "ak 0123456", &eve).await, &eve).await;
    assert_eq!(
        product.get(&path(&second, ""), &boss).await.1["same_number"],
        json!([]),
        "none is approved yet"
    );
    assert_eq!(decide(&product, &first, "/approve", &boss).await.0, 200);
    let case = product.get(&path(&second, ""), &boss).await.1;
    assert_eq!(case["same_number"], json!([ada["user_id"]]));
    let own = product.get("/api/users/kyc", &eve).await.1.to_string();
    assert!(!own.contains("same_number") && !own.contains(ada["user_id"].as_str().unwrap()), "{own}");
    product.drain().await;
}

#[tokio::test]
async fn the_queue_runs_oldest_first_by_signed_cursors() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    let chief = somebody(&product, "chief", "admin").await;
    let mut handed = Vec::new();
    for n in 0..5 {
        let person = product.register(&format!("p{n}@example.org"), &format!("person{n}")).await;
        let record =
            hand_in(&product, &passport(&product, &format!("AK012345{n}"), &person).await, &person).await;
        handed.push((record["id"].clone(), person["user_id"].clone()));
        product.advance(std::time::Duration::from_secs(1));
    }
    let (mut seen, mut at) = (Vec::new(), format!("{DESK}?limit=2"));
    loop {
        let (status, page) = product.get(&at, &boss).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        at = format!("{DESK}?limit=2&cursor={next}");
    }
    let all: Vec<Value> = handed.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(seen, all);
    let page = product.get(&format!("{DESK}?limit=2"), &boss).await.1;
    let cursor = page["next_cursor"].as_str().unwrap();
    for at in [
        format!("{DESK}?status=rejected&cursor={cursor}"),
        format!("{DESK}?cursor={}x", &cursor[1..]),
        format!("{DESK}?limit=0"),
        format!("{DESK}?status=x"),
        format!("{DESK}?user_id=x"),
    ] {
        assert_eq!(product.get(&at, &boss).await.0, 422, "{at}");
    }
    assert_eq!(product.get(&format!("{DESK}?cursor={cursor}"), &chief).await.0, 422, "somebody else's");
    let whose = handed[3].1.as_str().unwrap();
    let of_one = product.get(&format!("{DESK}?user_id={whose}"), &boss).await.1;
    assert_eq!(of_one["items"].as_array().unwrap().len(), 1);
    assert_eq!(product.get(&format!("{DESK}?status=approved"), &boss).await.1["items"], json!([]));
    let filter = "SELECT count(*) FROM audit WHERE action = 'kyc.listed' AND details->>'status' = 'approved'";
    assert_eq!(product.world.count(filter).await, 1);
    product.drain().await;
}

#[tokio::test]
async fn a_rejection_tells_its_reason_and_a_deleted_account_is_left_alone() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let boss = somebody(&product, "boss", "admin").await;
    let record = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let bobs = hand_in(&product, &passport(&product, "AK0123457", &bob).await, &bob).await;
    let reason = json!({ "reason": "The number & the name <cannot> be read." });
    let (status, rejected) = product.call(Method::POST, &path(&record, "/reject"), &reason, &boss).await;
    assert_eq!((status, &rejected["rejection_reason"]), (200, &reason["reason"]), "{rejected}");
    product.drain().await;
    let letters = product.letters().await;
    let letter = letters.iter().find(|letter| letter["kind"] == "kyc_rejected").unwrap();
    assert!(letter["text"].as_str().unwrap().contains("The number & the name <cannot> be read."), "{letter}");
    assert_eq!(product.delete("/api/auth/account", &bob).await.0, 202);
    let (status, refused) = decide(&product, &bobs, "/approve", &boss).await;
    assert_eq!((status, &refused["code"]), (409, &json!("user.deleted")));
    file(&product, 4, &ada).await;
    product.drain().await;
    product.assert_nothing_left().await;
}
