//! One's own documents: files sent first, one document at a time, numbers and files sealed, nothing fetched.

use std::time::Duration;

use futures::future::join_all;
use image::ImageFormat;
use keryu_common::job::{Terms, schedule};
use keryu_common::kyc::ExpireDocuments;
use keryu_common::reminder::SendReminders;
use keryu_common::user::erase::EraseDue;
use keryu_worker::registry::registry;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::paper::{
    Part, animated, file, hand_in, passport, patch_form, picture, send_file, send_form, somebody,
};
use super::support::product::{field, read};
use super::support::{Engine, Product, dump};

const KYC: &str = "/api/users/kyc";
const FILES: &str = "/api/users/kyc/documents";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn engine(product: &Product) -> Engine {
    Engine { world: product.world.again(), ctx: product.ctx.clone() }
}

async fn post(product: &Product, body: &Value, tokens: &Value) -> (u16, Value) {
    product.call(Method::POST, KYC, body, tokens).await
}

async fn decide(product: &Product, record: &Value, how: &str, body: Value, tokens: &Value) -> (u16, Value) {
    let path = format!("/api/admin/kyc/{}/{how}", record["id"].as_str().unwrap());
    product.call(Method::POST, &path, &body, tokens).await
}

/// Pointer and code of every fault, in order.
fn faults(refused: &(u16, Value)) -> Vec<(String, String)> {
    assert_eq!((refused.0, &refused.1["code"]), (422, &json!("request.invalid")), "{}", refused.1);
    let text = |fault: &Value, name: &str| fault[name].as_str().unwrap_or_default().to_owned();
    let all = refused.1["errors"].as_array().unwrap().iter();
    let mut all: Vec<_> = all.map(|fault| (text(fault, "pointer"), text(fault, "code"))).collect();
    all.sort_unstable();
    all
}

fn fault(pointer: &str, code: &str) -> (String, String) {
    (pointer.to_owned(), code.to_owned())
}

async fn status(product: &Product, tokens: &Value) -> Value {
    let (status, shown) = product.get("/api/users/kyc/status", tokens).await;
    assert_eq!(status, 200, "{shown}");
    shown["status"].clone()
}

#[tokio::test]
async fn a_document_is_handed_in_and_read_by_its_owner() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    assert_eq!(status(&product, &ada).await, "not_submitted");
    assert_eq!(product.get(KYC, &ada).await.1["code"], "kyc.not_found");
    let bytes = picture(ImageFormat::Png, 7);
    let (sent, kept) = send_file(&product, &bytes, &ada).await;
    assert_eq!((sent, &kept["content_type"], &kept["size"]), (201, &json!("image/png"), &json!(bytes.len())));
    let url = kept["url"].as_str().unwrap();
    let body =
        json!({ "document_type": "passport", "document_number": "ak 0123456", "document_front_url": url });
    let record = hand_in(&product, &body, &ada).await;
    assert_eq!((&record["status"], &record["document_number"]), (&json!("pending"), &json!("***456")));
    assert_eq!((&record["document_front_url"], &record["verified_at"]), (&json!(url), &Value::Null));
    assert_eq!(status(&product, &ada).await, "pending");
    assert_eq!(product.get("/api/auth/me", &ada).await.1["kyc_status"], "pending");
    let (found, own) = product.get(KYC, &ada).await;
    assert_eq!((found, &own["id"], &own["history"]), (200, &record["id"], &json!([])));
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let shown = product.send(Method::GET, url, &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(
        (field(&shown, "content-type"), field(&shown, "cache-control")),
        ("image/png".into(), "no-store".into())
    );
    assert_eq!(field(&shown, "content-disposition"), "attachment; filename=\"document.png\"");
    assert_eq!(field(&shown, "x-content-type-options"), "nosniff");
    assert_eq!(shown.bytes().await.unwrap(), bytes);
    let looks = "SELECT count(*) FROM audit WHERE action = 'kyc.file_read' AND actor IS NOT NULL";
    assert_eq!(product.world.count(looks).await, 1);
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn numbers_are_nowhere_in_the_clear() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    hand_in(&product, &passport(&product, "AK7654321", &ada).await, &ada).await;
    let change = json!({ "document_number": "AK7654322" });
    let (status, record) = product.call(Method::PATCH, KYC, &change, &ada).await;
    assert_eq!(status, 200, "{record}");
    let id = record["id"].as_str().unwrap();
    assert_eq!(product.get(&format!("/api/admin/kyc/{id}"), &boss).await.1["document_number"], "AK7654322");
    assert_eq!(decide(&product, &record, "approve", Value::Null, &boss).await.0, 200);
    for (table, rows) in dump::tables(&product.world).await {
        let told = rows.iter().find(|row| row.contains("7654321") || row.contains("7654322"));
        assert_eq!(told, None, "{table}");
    }
    let redis = dump::redis(&product.world).await;
    assert!(!redis.contains("765432"));
    product.drain().await;
}

#[tokio::test]
async fn one_waits_per_person_also_under_parallel_calls() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let mut bodies = Vec::new();
    for _ in 0..12 {
        bodies.push(passport(&product, "AK0123456", &ada).await);
    }
    let asked = join_all(bodies.iter().map(|body| post(&product, body, &ada))).await;
    let made: Vec<_> = asked.iter().filter(|(status, _)| *status == 201).collect();
    assert_eq!(made.len(), 1);
    for (status, refused) in asked.iter().filter(|(status, _)| *status != 201) {
        assert_eq!((*status, &refused["code"]), (409, &json!("kyc.pending")));
    }
    assert_eq!(product.world.count("SELECT count(*) FROM kyc_submissions").await, 1);
    // what was refused took no file
    assert_eq!(product.world.count("SELECT count(*) FROM uploads WHERE attached_at IS NOT NULL").await, 1);
    product.drain().await;
}

#[tokio::test]
async fn no_url_but_of_an_unused_file_of_ones_own_is_taken() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let (mine, his) = (file(&product, 1, &ada).await, file(&product, 2, &bob).await);
    let body = |front: &str, back: Option<&str>| json!({ "document_type": "national_id", "document_number": "12345678", "document_front_url": front, "document_back_url": back });
    for other in
        ["https://evil.example/a.jpg", "http://169.254.169.254/latest", "file:///etc/passwd", "x", ""]
    {
        let refused = post(&product, &body(other, Some(other)), &ada).await;
        let both = [fault("/document_back_url", "kyc.url"), fault("/document_front_url", "kyc.url")];
        assert_eq!(faults(&refused), both, "{other}");
    }
    let nobodys = format!("{}{FILES}/{}", product.base, Uuid::from_u128(7));
    for other in [&his, &nobodys] {
        let refused = post(&product, &body(&mine, Some(other)), &ada).await;
        assert_eq!(faults(&refused), [fault("/document_back_url", "kyc.file")], "{other}");
    }
    let refused = post(&product, &body(&mine, Some(&mine)), &ada).await;
    assert_eq!(faults(&refused), [fault("/document_back_url", "kyc.file")], "one file is no two sides");
    for path in [&his, &nobodys] {
        let (status, refused) = product.get(path, &ada).await;
        assert_eq!((status, &refused["code"]), (404, &json!("kyc.file_not_found")));
    }
    // a path alone is enough, and a file that a document shows is not taken again
    let path = mine.strip_prefix(&product.base).unwrap();
    let back = file(&product, 3, &ada).await;
    let record = hand_in(&product, &body(path, Some(&back)), &ada).await;
    product.world.execute("UPDATE kyc_submissions SET state = 'expired'").await;
    let again = post(&product, &body(&mine, Some(&back)), &ada).await;
    assert_eq!(faults(&again).len(), 2, "{record}");
    product.drain().await;
}

#[tokio::test]
async fn each_kind_of_document_has_its_rules() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let front = file(&product, 1, &ada).await;
    let body = |kind: &str, number: &str| json!({ "document_type": kind, "document_number": number, "document_front_url": front });
    for (kind, number, wanted) in [
        (
            "national_id",
            "12345",
            vec![fault("/document_back_url", "kyc.back"), fault("/document_number", "kyc.number")],
        ),
        (
            "national_id",
            "1234567٨",
            vec![fault("/document_back_url", "kyc.back"), fault("/document_number", "kyc.number")],
        ),
        ("passport", "0123456", vec![fault("/document_number", "kyc.number")]),
        ("passport", "AK0123456\nAK0123456", vec![fault("/document_number", "field.characters")]),
        (
            "driving_licence",
            "-ABC-123-",
            vec![fault("/document_back_url", "kyc.back"), fault("/document_number", "kyc.number")],
        ),
        ("library_card", "AK0123456", vec![fault("/document_type", "kyc.document_type")]),
    ] {
        assert_eq!(faults(&post(&product, &body(kind, number), &ada).await), wanted, "{kind} {number}");
    }
    let refused = post(&product, &body("passport", "7"), &ada).await;
    assert_eq!(faults(&refused), [fault("/document_number", "field.length")]);
    let refused = post(&product, &body("passport", "7777777"), &ada).await.1;
    let told = refused["errors"][0]["detail"].as_str().unwrap();
    assert!(told.contains("one or two letters"), "the refusal names the rule: {told}");
    // rules are rows
    let row = "INSERT INTO kyc_document_types VALUES ('library_card', 'Library card', '[A-Z]{2}[0-9]{7}', 'as printed', 9, 9, false, NULL)";
    product.world.execute(row).await;
    hand_in(&product, &body("library_card", "AK0123456"), &ada).await;
    product.drain().await;
}

#[tokio::test]
async fn what_is_no_whole_picture_or_pdf_is_refused_by_its_content() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let jpeg = picture(ImageFormat::Jpeg, 1);
    let mut huge = picture(ImageFormat::Png, 1);
    huge[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]); // 30,000 by 30,000
    huge.resize(2_000_000, 0);
    let mut large = jpeg.clone();
    large.resize(5 * 1024 * 1024 + 1, 0);
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let [moving_png, moving_webp] = animated();
    for (bytes, status, code) in [
        (&moving_png[..], 422, "kyc.file_type"),
        (&moving_webp[..], 422, "kyc.file_type"),
        (&jpeg[..jpeg.len() / 2], 422, "kyc.file_broken"),
        (&huge[..], 422, "kyc.file_pixels"),
        (&svg[..], 422, "kyc.file_type"),
        (&b"GIF89a"[..], 422, "kyc.file_type"),
        (&b""[..], 422, "kyc.file_type"),
        (&b"%PDF-1.7\n1 0 obj"[..], 422, "kyc.file_broken"),
        (&large[..], 413, "kyc.file_too_large"),
    ] {
        let (answered, refused) = send_file(&product, bytes, &ada).await;
        assert_eq!((answered, &refused["code"]), (status, &json!(code)));
    }
    large.resize(6 * 1024 * 1024, 0);
    assert_eq!(send_file(&product, &large, &ada).await.1["code"], "request.too_large");
    large.truncate(5 * 1024 * 1024);
    assert_eq!(send_file(&product, &large, &ada).await.0, 201, "and not a byte more");
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(send_file(&product, &picture(format, 1), &ada).await.0, 201);
    }
    assert_eq!(
        send_file(&product, b"%PDF-1.7\n1 0 obj\nendobj\n%%EOF\n", &ada).await.1["content_type"],
        "application/pdf"
    );
    assert_eq!(
        product.world.count("SELECT count(*) FROM uploads").await,
        5,
        "nothing is kept of what was refused"
    );
    product.drain().await;
}

#[tokio::test]
async fn forms_that_are_none_are_refused() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let jpeg = picture(ImageFormat::Jpeg, 1);
    let one = ("file", Some("a.jpg"), &jpeg[..]);
    for (parts, wanted) in [
        (vec![], vec![fault("/file", "field.required")]),
        (
            vec![("other", Some("a.jpg"), &jpeg[..])],
            vec![fault("/file", "field.required"), fault("/other", "field.unknown")],
        ),
        (vec![one, one], vec![fault("/file", "field.invalid")]),
        (vec![one, ("", None, b"x")], vec![fault("/", "field.unknown")]),
    ] {
        assert_eq!(faults(&read(send_form(&product, FILES, &parts, &ada, None).await).await), wanted);
    }
    let (status, refused) = product.call(Method::POST, FILES, &json!({ "file": "x" }), &ada).await;
    assert_eq!((status, &refused["code"]), (415, &json!("request.media_type")));
    let bearer = ada["access_token"].as_str().unwrap();
    for (media, body) in [
        ("multipart/form-data", "x"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nhalf",
        ),
        ("multipart/form-data; boundary=b", "\0\0\0"),
        ("multipart/form-data; boundary=b", ""),
    ] {
        let request = reqwest::Client::new().post(format!("{}{FILES}", product.base)).bearer_auth(bearer);
        let answer = request.header("content-type", media).body(body).send().await.unwrap();
        let (status, refused) = read(answer).await;
        assert_eq!((status, &refused["code"]), (400, &json!("request.malformed")), "{media} {body:?}");
    }
    let many: Vec<_> = (0..17).map(|_| ("x", None, &b"x"[..])).collect();
    assert_eq!(send_form(&product, FILES, &many, &ada, None).await.status().as_u16(), 400);
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 0);
}

#[tokio::test]
async fn a_document_and_its_files_come_in_one_form() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (front, back) = (picture(ImageFormat::Jpeg, 1), picture(ImageFormat::WebP, 2));
    let text = |name, text: &'static str| (name, None, text.as_bytes());
    let files = [("document_front", Some("f.jpg"), &front[..]), ("document_back", Some("b"), &back[..])];
    let bad = [text("document_type", "national_id"), text("document_number", "1"), text("x", "\0"), files[1]];
    assert_eq!(read(send_form(&product, KYC, &bad, &ada, None).await).await.0, 400, "a NUL character");
    let bad = [text("document_type", "national_id"), text("document_number", "1"), text("x", "y"), files[1]];
    let refused = read(send_form(&product, KYC, &bad, &ada, None).await).await;
    assert_eq!(faults(&refused), [fault("/document_number", "field.length"), fault("/x", "field.unknown")]);
    let bad = [text("document_type", "national_id"), text("document_number", "12345678"), files[1]];
    let refused = read(send_form(&product, KYC, &bad, &ada, None).await).await;
    assert_eq!(faults(&refused), [fault("/document_front", "field.required")]);
    let url = file(&product, 3, &ada).await;
    let bad = [
        text("document_type", "national_id"),
        text("document_number", "12345678"),
        files[0],
        ("document_front_url", None, url.as_bytes()),
    ];
    let refused = read(send_form(&product, KYC, &bad, &ada, None).await).await;
    assert_eq!(faults(&refused), [fault("/document_front", "field.one_of")]);
    let whole =
        [text("document_type", "national_id"), text("document_number", "12345678"), files[0], files[1]];
    let (status, record) = read(send_form(&product, KYC, &whole, &ada, Some("k1")).await).await;
    assert_eq!((status, &record["status"]), (201, &json!("pending")), "{record}");
    let (status, again) = read(send_form(&product, KYC, &whole, &ada, Some("k1")).await).await;
    assert_eq!((status, again), (201, record.clone()), "the same key and form");
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let url = record["document_back_url"].as_str().unwrap();
    let shown = product.send(Method::GET, url, &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(
        (field(&shown, "content-type"), shown.bytes().await.unwrap()),
        ("image/webp".into(), back.into())
    );
    product.drain().await;
}

/// The parts of an identity card in one form.
fn card<'a>(number: &'a str, front: &'a [u8], back: &'a [u8]) -> [Part<'a>; 4] {
    [
        ("document_type", None, b"national_id"),
        ("document_number", None, number.as_bytes()),
        ("document_front", Some("front.jpg"), front),
        ("document_back", Some("back.jpg"), back),
    ]
}

#[tokio::test]
async fn a_form_that_is_refused_or_repeated_leaves_no_file() {
    let (front, back) = (picture(ImageFormat::Jpeg, 1), picture(ImageFormat::Jpeg, 2));
    // room for the two and for no byte more
    let room = (front.len() + back.len()).to_string();
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("STORAGE_PER_USER", &room)]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let kept = || product.world.count("SELECT count(*) FROM uploads");
    let send = async |parts: &[Part<'_>], key: Option<&str>| {
        read(send_form(&product, KYC, parts, &ada, key).await).await
    };
    let refused = send(&card("1234567\u{668}", &front, &back), Some("k0")).await;
    assert_eq!(faults(&refused), [fault("/document_number", "kyc.number")]);
    let refused = send(&card("12345678", &front, &back)[..3], None).await;
    assert_eq!(faults(&refused), [fault("/document_back_url", "kyc.back")]);
    let mut large = front.clone();
    large.resize(5 * 1024 * 1024 + 1, 0);
    for (second, status, code) in
        [(&back[..back.len() / 2], 422, "kyc.file_broken"), (&large, 413, "kyc.file_too_large")]
    {
        let (answered, refused) = send(&card("12345678", &front, second), None).await;
        assert_eq!((answered, &refused["code"]), (status, &json!(code)));
    }
    assert_eq!(kept().await, 0, "nothing is kept of what is refused");
    let (status, record) = send(&card("12345678", &front, &back), Some("k1")).await;
    assert_eq!(status, 201, "{record}");
    for _ in 0..3 {
        let again = send(&card("12345678", &front, &back), Some("k1")).await;
        assert_eq!(again, (201, record.clone()), "though there is no room for another two");
    }
    let (status, refused) = send(&card("12345679", &front, &back), Some("k1")).await;
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency.mismatch")));
    let (status, refused) = send(&card("12345678", &front, &back), None).await;
    assert_eq!((status, &refused["code"]), (409, &json!("kyc.pending")));
    assert_eq!(kept().await, 2);
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn forms_that_come_at_once_leave_the_files_of_one() {
    let product = Product::new().await;
    let (front, back) = (picture(ImageFormat::Jpeg, 1), picture(ImageFormat::Jpeg, 2));
    let form = card("12345678", &front, &back);
    let ada = product.register("ada@example.org", "ada").await;
    let sent = join_all((0..6).map(|_| send_form(&product, KYC, &form, &ada, Some("k1")))).await;
    let answers = join_all(sent.into_iter().map(read)).await;
    assert!(answers.iter().all(|answer| answer.0 == 201 && *answer == answers[0]), "{answers:?}");
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 2, "of one key");
    let bob = product.register("bob@example.org", "bob").await;
    let sent = join_all((0..6).map(|_| send_form(&product, KYC, &form, &bob, None))).await;
    let made = sent.iter().filter(|answer| answer.status() == 201).count();
    let refused = sent.iter().filter(|answer| answer.status() == 409).count();
    assert_eq!((made, refused), (1, 5));
    product.drain().await;
    assert_eq!(
        product.world.count("SELECT count(*) FROM uploads").await,
        4,
        "of those that were refused none"
    );
    product.assert_nothing_left().await;
}

/// A front.
fn to(bytes: &[u8]) -> Part<'_> {
    ("document_front", Some("front"), bytes)
}

#[tokio::test]
async fn a_document_is_changed_by_a_form_with_its_files() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let kept = || product.world.count("SELECT count(*) FROM uploads");
    let (front, other) = (picture(ImageFormat::Jpeg, 1), picture(ImageFormat::WebP, 2));
    let number = ("document_number", None, &b"AK0123457"[..]);
    let patch = async |parts: &[Part<'_>]| patch_form(&product, KYC, parts, &ada).await;
    let (status, refused) = patch(&[to(&front[..])]).await;
    assert_eq!((status, &refused["code"]), (404, &json!("kyc.not_found")));
    assert_eq!(kept().await, 0);
    let first = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let refused = patch(&[("document_number", None, &b"0123456"[..]), to(&other)]).await;
    assert_eq!(faults(&refused), [fault("/document_number", "kyc.number")]);
    let refused = patch(&[("document_front_url", None, &b"https://evil.example/"[..]), to(&other)]).await;
    assert_eq!(faults(&refused), [fault("/document_front_url", "kyc.url")]);
    let url = first["document_front_url"].as_str().unwrap();
    let refused = patch(&[("document_front_url", None, url.as_bytes()), to(&other)]).await;
    assert_eq!(faults(&refused), [fault("/document_front", "field.one_of")]);
    assert_eq!(patch(&[number, to(b"GIF89a")]).await.1["code"], "kyc.file_type");
    assert_eq!(kept().await, 1, "nothing is kept of what is refused");
    let (status, changed) = patch(&[number, to(&other)]).await;
    assert_eq!((status, &changed["id"], &changed["document_number"]), (200, &first["id"], &json!("***457")));
    product.drain().await;
    assert_eq!(product.get(url, &ada).await.0, 404, "it is deleted");
    assert_eq!(kept().await, 1);
    let shown = |record: &Value| record["document_front_url"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let read = product.send(Method::GET, &shown(&changed), &Value::Null, &[("authorization", &bearer)]).await;
    assert_eq!(field(&read, "content-type"), "image/webp");
    // after a rejection another one is handed in
    assert_eq!(decide(&product, &changed, "reject", json!({ "reason": "Blurred" }), &boss).await.0, 200);
    let (status, next) = patch(&[to(&front)]).await;
    assert_eq!(
        (status, &next["status"], &next["document_number"]),
        (200, &json!("pending"), &json!("***457"))
    );
    assert_ne!(next["id"], first["id"]);
    assert_eq!(decide(&product, &next, "approve", Value::Null, &boss).await.0, 200);
    assert_eq!(patch(&[to(&other)]).await.1["code"], "kyc.decided");
    product.drain().await;
    assert_eq!(kept().await, 1);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn documents_that_were_rejected_leave_room_for_the_next() {
    let (front, back) = (picture(ImageFormat::Jpeg, 1), picture(ImageFormat::Jpeg, 2));
    // room for two documents
    let room = (2 * (front.len() + back.len())).to_string();
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("STORAGE_PER_USER", &room)]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let form = card("12345678", &front, &back);
    let mut records = Vec::new();
    for n in 0..6 {
        let (status, record) = read(send_form(&product, KYC, &form, &ada, None).await).await;
        assert_eq!(status, 201, "document {n}: {record}");
        product.drain().await;
        let reason = json!({ "reason": "Blurred" });
        assert_eq!(decide(&product, &record, "reject", reason, &boss).await.0, 200);
        records.push(record);
    }
    let status = async |record: &Value, side: &str| {
        let bearer = format!("Bearer {}", boss["access_token"].as_str().unwrap());
        let path = format!("/api/admin/kyc/{}/documents/{side}", record["id"].as_str().unwrap());
        product.send(Method::GET, &path, &Value::Null, &[("authorization", &bearer)]).await.status().as_u16()
    };
    let first = records[0]["document_front_url"].as_str().unwrap();
    assert_eq!(product.get(first, &ada).await.1["code"], "kyc.file_not_found");
    assert_eq!((status(&records[0], "back").await, status(&records[5], "back").await), (404, 200));
    let (_, own) = product.get(KYC, &ada).await;
    assert_eq!(own["history"].as_array().unwrap().len(), 5, "the rows stay");
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 2, "of the last one");
    // what is approved, or taken over from the rejected one, stays
    let (_, next) = patch_form(&product, KYC, &form[2..3], &ada).await;
    assert_eq!(next["document_back_url"], records[5]["document_back_url"], "{next}");
    product.drain().await;
    assert_eq!((status(&next, "front").await, status(&next, "back").await), (200, 200));
    assert_eq!(decide(&product, &next, "approve", Value::Null, &boss).await.0, 200);
    assert_eq!(read(send_form(&product, KYC, &form, &ada, None).await).await.0, 201);
    product.drain().await;
    assert_eq!((status(&next, "front").await, status(&next, "back").await), (200, 200));
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 4);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_document_runs_out_within_the_minute() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let plans: Vec<_> = registry().plans().iter().filter(|plan| plan.name == "expire_kyc").cloned().collect();
    schedule::register(&product.ctx, &plans).await.unwrap();
    product.world.execute("UPDATE kyc_document_types SET valid_days = 10").await;
    let record = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    assert_eq!(decide(&product, &record, "approve", Value::Null, &boss).await.0, 200);
    let after = async |time: Duration| {
        product.advance(time);
        schedule::tick(&product.ctx, &plans).await.unwrap();
        product.drain().await;
        status(&product, &product.login("ada@example.org").await).await
    };
    assert_eq!(after(DAY * 10 - Duration::from_secs(120)).await, "approved");
    assert_eq!(after(Duration::from_secs(180)).await, "expired");
}

#[tokio::test]
async fn who_does_not_want_to_hear_of_documents_does_not() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let off = json!({ "sms": false, "email": false, "push": false });
    let kinds = ["kyc_approved", "kyc_rejected", "kyc_expired", "export_ready"];
    let off: serde_json::Map<_, _> = kinds.map(|kind| (kind.to_owned(), off.clone())).into_iter().collect();
    let wanted = json!({ "notification_preferences": off });
    let (status, profile) = product.call(Method::PATCH, "/api/users/profile", &wanted, &ada).await;
    assert_eq!(status, 200, "{profile}");
    let told = || product.world.count("SELECT count(*) FROM deliveries WHERE kind LIKE 'kyc\\_%'");
    let record = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    assert_eq!(decide(&product, &record, "reject", json!({ "reason": "Blurred" }), &boss).await.0, 200);
    assert_eq!(told().await, 0);
    let on = json!({ "notification_preferences": { "kyc_rejected": { "email": true } } });
    assert_eq!(product.call(Method::PATCH, "/api/users/profile", &on, &ada).await.0, 200);
    let record = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    assert_eq!(decide(&product, &record, "reject", json!({ "reason": "Blurred" }), &boss).await.0, 200);
    assert_eq!(told().await, 1);
    product.drain().await;
}

#[tokio::test]
async fn the_same_key_keeps_one_file_and_hands_in_once() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bytes = picture(ImageFormat::Jpeg, 1);
    let part = [("file", Some("a.jpg"), &bytes[..])];
    let sent = join_all((0..6).map(|_| send_form(&product, FILES, &part, &ada, Some("k1")))).await;
    let mut kept = Vec::new();
    for answer in sent {
        let (status, file) = read(answer).await;
        assert_eq!(status, 201, "{file}");
        kept.push(file);
    }
    assert!(kept.iter().all(|file| *file == kept[0]), "{kept:?}");
    let other = picture(ImageFormat::Jpeg, 2);
    let other = [("file", Some("a.jpg"), &other[..])];
    let (status, refused) = read(send_form(&product, FILES, &other, &ada, Some("k1")).await).await;
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency.mismatch")));
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1, "the others are deleted");
    let body = json!({ "document_type": "passport", "document_number": "AK0123456", "document_front_url": kept[0]["url"] });
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "k2")];
    let first = read(product.send(Method::POST, KYC, &body, &fields).await).await;
    let again = read(product.send(Method::POST, KYC, &body, &fields).await).await;
    assert_eq!((first.0, &first.1), (201, &again.1));
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_document_is_changed_while_it_waits_and_after_a_rejection() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    let patch = async |body: Value| product.call(Method::PATCH, KYC, &body, &ada).await;
    assert_eq!(patch(json!({})).await.1["code"], "kyc.not_found");
    let first = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let other = file(&product, 2, &ada).await;
    let (status, changed) = patch(json!({ "document_front_url": other })).await;
    assert_eq!((status, &changed["id"], &changed["document_front_url"]), (200, &first["id"], &json!(other)));
    assert_ne!(changed["updated_at"], first["updated_at"]);
    product.drain().await;
    assert_eq!(
        product.get(first["document_front_url"].as_str().unwrap(), &ada).await.0,
        404,
        "it is deleted"
    );
    let refused =
        patch(json!({ "document_type": "national_id", "document_front_url": "https://evil.example/" })).await;
    assert_eq!(faults(&refused), [fault("/document_front_url", "kyc.url")]);
    let refused = patch(json!({ "document_type": "national_id" })).await;
    assert_eq!(
        faults(&refused),
        [fault("/document_back_url", "kyc.back"), fault("/document_number", "kyc.number")]
    );
    let reason = json!({ "reason": "The number cannot be read." });
    assert_eq!(decide(&product, &first, "reject", reason, &boss).await.0, 200);
    let (_, me) = product.get("/api/users/kyc/status", &ada).await;
    assert_eq!(
        (&me["status"], &me["rejection_reason"]),
        (&json!("rejected"), &json!("The number cannot be read."))
    );
    let (status, next) = patch(json!({ "document_number": "AK0123457" })).await;
    assert_eq!(
        (status, &next["status"], &next["rejection_reason"]),
        (200, &json!("pending"), &Value::Null),
        "{next}"
    );
    assert_ne!(next["id"], first["id"], "what was decided stays");
    assert_eq!(next["document_front_url"], json!(other), "what is left out is taken over");
    let own = product.get(KYC, &ada).await.1;
    let history = own["history"].as_array().unwrap();
    assert_eq!(
        (history.len(), &history[0]["id"], &history[0]["status"]),
        (1, &first["id"], &json!("rejected"))
    );
    // in place of the file that the rejected one still shows
    let third = file(&product, 3, &ada).await;
    assert_eq!(patch(json!({ "document_front_url": third })).await.0, 200);
    product.drain().await;
    assert_eq!(product.get(&other, &ada).await.0, 200, "history keeps its files");
    assert_eq!(decide(&product, &next, "approve", Value::Null, &boss).await.0, 200);
    assert_eq!(patch(json!({ "document_number": "AK0123458" })).await.1["code"], "kyc.decided");
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_change_is_made_to_the_version_that_was_read() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let bearer = format!("Bearer {}", ada["access_token"].as_str().unwrap());
    let read = product.send(Method::GET, KYC, &Value::Null, &[("authorization", &bearer)]).await;
    let tag = field(&read, "etag");
    let fields = [("authorization", bearer.as_str()), ("if-match", tag.as_str())];
    let change = json!({ "document_number": "AK0123457" });
    let first = product.send(Method::PATCH, KYC, &change, &fields).await;
    assert_eq!(first.status().as_u16(), 200);
    assert_ne!(field(&first, "etag"), tag);
    assert_eq!(product.send(Method::PATCH, KYC, &change, &fields).await.status().as_u16(), 412);
    product.drain().await;
}

#[tokio::test]
async fn an_approved_document_is_renewed_and_runs_out() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = somebody(&product, "boss", "admin").await;
    product.world.execute("UPDATE kyc_document_types SET valid_days = 10").await;
    let first = hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    assert_eq!(decide(&product, &first, "approve", Value::Null, &boss).await.0, 200);
    product.drain().await;
    product.advance(DAY * 5);
    let (ada, boss) = (product.login("ada@example.org").await, product.login("boss@example.org").await);
    let second = hand_in(&product, &passport(&product, "AK0123457", &ada).await, &ada).await;
    assert_eq!(status(&product, &ada).await, "approved", "as long as the first one is");
    assert_eq!(decide(&product, &second, "approve", Value::Null, &boss).await.0, 200);
    let own = product.get(KYC, &ada).await.1;
    assert_eq!(
        (&own["id"], &own["status"], &own["history"][0]["status"]),
        (&second["id"], &json!("approved"), &json!("expired"))
    );
    let run_out = || async {
        engine(&product).ask(&ExpireDocuments::default(), Terms::default()).await;
        product.drain().await;
    };
    product.advance(DAY * 9);
    run_out().await;
    let ada = product.login("ada@example.org").await;
    assert_eq!(status(&product, &ada).await, "approved");
    product.advance(DAY);
    run_out().await;
    run_out().await;
    let ada = product.login("ada@example.org").await;
    assert_eq!(status(&product, &ada).await, "expired");
    let told = product.letters().await.into_iter().filter(|letter| letter["kind"] == "kyc_expired").count();
    assert_eq!(told, 1);
    let lines = "SELECT count(*) FROM audit WHERE action = 'kyc.expired'";
    assert_eq!(product.world.count(lines).await, 1);
    hand_in(&product, &passport(&product, "AK0123458", &ada).await, &ada).await;
    product.drain().await;
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_document_that_cannot_be_ended_keeps_no_other_from_it() {
    let product = Product::new().await;
    let boss = somebody(&product, "boss", "admin").await;
    product.world.execute("UPDATE kyc_document_types SET valid_days = 10").await;
    for (name, number) in [("ada", "AK0123456"), ("eve", "AK0123457")] {
        let owner = product.register(&format!("{name}@example.org"), name).await;
        let handed = hand_in(&product, &passport(&product, number, &owner).await, &owner).await;
        assert_eq!(decide(&product, &handed, "approve", Value::Null, &boss).await.0, 200);
        product.advance(Duration::from_secs(60));
    }
    // ada's is the first to run out
    product
        .world
        .execute(
            "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF new.user_id = (SELECT user_id FROM users WHERE username = 'ada') THEN
                     RAISE EXCEPTION 'stuck by the test';
                 END IF;
                 RETURN new;
             END $$;
             CREATE TRIGGER stuck BEFORE UPDATE ON kyc_submissions FOR EACH ROW EXECUTE FUNCTION stuck();",
        )
        .await;
    product.drain().await;
    product.advance(DAY * 11);
    engine(&product).ask(&ExpireDocuments::default(), Terms::default()).await;
    product.drain().await;
    let expired = "SELECT count(*) FROM kyc_submissions WHERE state = 'expired'";
    assert_eq!(product.world.count(expired).await, 1, "eve's is ended");
    let failed = "SELECT count(*) FROM jobs WHERE kind = 'kyc.expire_document' AND state <> 'completed'";
    assert_eq!(product.world.count(failed).await, 1, "ada's is tried again, or somebody is to look at it");
    product.world.execute("DROP TRIGGER stuck ON kyc_submissions").await;
    engine(&product).ask(&ExpireDocuments::default(), Terms::default()).await;
    product.drain().await;
    assert_eq!(product.world.count(expired).await, 2);
}

#[tokio::test]
async fn who_never_handed_in_or_was_rejected_is_reminded_three_times() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let eve = product.register("eve@example.org", "eve").await;
    product.register("bob@example.org", "bob").await;
    product.register("off@example.org", "off").await;
    let off = r#"UPDATE profiles SET notification_preferences = '{"kyc_reminder": {"email": false, "push": false, "sms": false}}'
                 WHERE user_id = (SELECT user_id FROM users WHERE username = 'off')"#;
    assert_eq!(product.world.execute(off).await, 1);
    let boss = somebody(&product, "boss", "admin").await;
    hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    let rejected = hand_in(&product, &passport(&product, "AK0123457", &eve).await, &eve).await;
    assert_eq!(decide(&product, &rejected, "reject", json!({ "reason": "Blurred" }), &boss).await.0, 200);
    let mut days = Vec::new();
    let all = "SELECT count(*) FROM deliveries WHERE kind = 'kyc_reminder'";
    for day in 1..=40 {
        product.advance(DAY);
        let before = product.world.count(all).await;
        engine(&product).ask(&SendReminders::default(), Terms::default()).await;
        product.drain().await;
        if product.world.count(all).await > before {
            days.push(day);
        }
    }
    assert_eq!(days, [3, 10, 30]);
    for (name, wanted) in [("ada", 0), ("eve", 3), ("bob", 3), ("off", 0)] {
        let told = "SELECT count(*) FROM deliveries d JOIN users u USING (user_id)
                    WHERE d.kind = 'kyc_reminder' AND u.username = $1";
        let told: i64 = sqlx::query_scalar(told).bind(name).fetch_one(&product.world.db).await.unwrap();
        assert_eq!(told, wanted, "{name}");
    }
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn erasing_takes_documents_numbers_and_files_along() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    hand_in(&product, &passport(&product, "AK0123456", &ada).await, &ada).await;
    file(&product, 5, &ada).await;
    assert_eq!(product.delete("/api/auth/account", &ada).await.0, 202);
    product.advance(DAY * 31);
    engine(&product).ask(&EraseDue::default(), Terms::default()).await;
    product.drain().await;
    for sql in
        ["SELECT count(*) FROM kyc_submissions", "SELECT count(*) FROM uploads WHERE released_at IS NULL"]
    {
        assert_eq!(product.world.count(sql).await, 0, "{sql}");
    }
}
