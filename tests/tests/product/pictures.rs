//! Pictures of people: what is taken, what is made of it, who sees it, and how it goes.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use keryu_common::job::Terms;
use keryu_common::picture::SettleLost;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::bucket::{Bucket, files};
use crate::support::product::{field, read};
use crate::support::{Engine, Product, paper};

const MIB: usize = 1024 * 1024;

fn of(tokens: &Value) -> String {
    format!("/api/users/{}/profile/picture", tokens["user_id"].as_str().expect("user_id"))
}

fn bearer(tokens: &Value) -> String {
    format!("Bearer {}", tokens["access_token"].as_str().expect("access_token"))
}

/// A picture of one colour, as a file.
fn picture(colour: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_pixel(640, 320, Rgb(colour)))
        .write_to(&mut bytes, format)
        .expect("written");
    bytes.into_inner()
}

/// A form with these fields.
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in fields {
        let head = format!(
            "--frontier\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"me.jpg\"\r\ncontent-type: image/jpeg\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--frontier--\r\n");
    body
}

async fn post(product: &Product, path: &str, body: Vec<u8>, fields: &[(&str, &str)]) -> Response {
    let mut request = reqwest::Client::new().post(format!("{}{path}", product.base)).body(body);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    if fields.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "multipart/form-data; boundary=frontier");
    }
    request.send().await.expect("answer")
}

async fn send(product: &Product, tokens: &Value, file: &[u8]) -> (u16, Value) {
    let bearer = bearer(tokens);
    read(post(product, &of(tokens), form(&[("file", file)]), &[("authorization", &bearer)]).await).await
}

async fn show(product: &Product, path: &str, fields: &[(&str, &str)]) -> Response {
    product.send(Method::GET, path, &Value::Null, fields).await
}

/// The picture as shown to whom it is of.
async fn shown(product: &Product, tokens: &Value, size: u32) -> RgbImage {
    let answer =
        show(product, &format!("{}?size={size}", of(tokens)), &[("authorization", &bearer(tokens))]).await;
    assert_eq!((answer.status().as_u16(), field(&answer, "content-type").as_str()), (200, "image/jpeg"));
    image::load_from_memory(&answer.bytes().await.expect("bytes")).expect("a JPEG").into_rgb8()
}

async fn profile(product: &Product, tokens: &Value) -> Value {
    product.get("/api/users/profile", tokens).await.1
}

fn near(pixel: Rgb<u8>, wanted: [u8; 3]) -> bool {
    pixel.0.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 12)
}

/// A segment of metadata behind the head of a JPEG: the orientation, and where it was taken.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    exif.extend_from_slice(b"GPS 1.2921 S 36.8219 E");
    let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

/// A baseline JPEG of one block in four inks, as editors write them: inverted, and marked as Adobe's.
fn four_inks(stored: [u8; 4]) -> Vec<u8> {
    let mut jpeg = vec![0xff, 0xd8];
    let mut segment = |marker: u8, body: &[u8]| {
        jpeg.extend_from_slice(&[0xff, marker]);
        jpeg.extend_from_slice(&u16::try_from(body.len() + 2).expect("short").to_be_bytes());
        jpeg.extend_from_slice(body);
    };
    segment(0xee, b"Adobe\0\x64\0\0\0\0\0");
    segment(0xdb, &[&[0][..], &[1; 64]].concat());
    segment(0xc0, &[8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0]);
    // of direct current: twelve codes of four bits; of the rest: the end of the block in one bit
    segment(
        0xc4,
        &[&[0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &(0..12).collect::<Vec<u8>>()].concat(),
    );
    segment(0xc4, &[&[0x10, 1][..], &[0; 15], &[0]].concat());
    segment(0xda, &[4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
    let mut bits = String::new();
    for value in stored {
        let step = (i32::from(value) - 128) * 8;
        let size = 32 - step.unsigned_abs().leading_zeros();
        bits.push_str(&format!("{size:04b}"));
        let coded = if step < 0 { step + (1 << size) - 1 } else { step };
        if size > 0 {
            bits.push_str(&format!("{coded:0width$b}", width = size as usize));
        }
        bits.push('0');
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        jpeg.push(byte);
        if byte == 0xff {
            jpeg.push(0);
        }
    }
    jpeg.extend_from_slice(&[0xff, 0xd9]);
    jpeg
}

/// What happens to a picture from its sending to its deletion, wherever objects are kept.
async fn from_sending_to_deletion(product: &Product, objects: impl Fn() -> usize) {
    let ada = product.register("ada@example.org", "ada").await;
    let red = picture([200, 30, 30], ImageFormat::Png);
    let (status, sent) = send(product, &ada, &red).await;
    assert_eq!((status, &sent), (202, &json!({ "status": "processing", "url": of(&ada) })));
    let waiting = profile(product, &ada).await;
    assert_eq!((&waiting["avatar_status"], &waiting["avatar_url"]), (&json!("processing"), &Value::Null));
    let none = show(product, &of(&ada), &[("authorization", &bearer(&ada))]).await;
    assert_eq!(read(none).await.1["code"], "picture.not_found");
    product.drain().await;
    let ready = profile(product, &ada).await;
    assert_eq!((&ready["avatar_status"], &ready["avatar_url"]), (&json!("ready"), &json!(of(&ada))));
    assert_eq!(product.get("/api/auth/me", &ada).await.1["profile_picture"], json!(of(&ada)));
    for size in [512, 128] {
        let made = shown(product, &ada, size).await;
        assert_eq!(made.dimensions(), (size, size / 2));
        assert!(near(*made.get_pixel(9, 9), [200, 30, 30]));
    }
    assert_eq!(objects(), 2, "what was sent is gone");
    // another one takes its place once it is ready
    product.advance(Duration::from_secs(1));
    assert_eq!(send(product, &ada, &picture([30, 30, 200], ImageFormat::WebP)).await.0, 202);
    assert!(near(*shown(product, &ada, 128).await.get_pixel(9, 9), [200, 30, 30]));
    product.drain().await;
    assert!(near(*shown(product, &ada, 128).await.get_pixel(9, 9), [30, 30, 200]));
    assert_eq!(objects(), 2);
    assert_eq!(product.delete(&of(&ada), &ada).await.0, 204);
    assert_eq!(product.delete(&of(&ada), &ada).await.1["code"], "picture.not_found");
    assert_eq!(profile(product, &ada).await["avatar_status"], "none");
    product.drain().await;
    assert_eq!(objects(), 0);
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 0);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_picture_is_sent_made_ready_replaced_and_deleted() {
    let product = Product::new().await;
    let folder = product.world.files.path();
    from_sending_to_deletion(&product, || files(Path::new(&folder)).len()).await;
}

#[tokio::test]
async fn a_picture_lives_in_a_bucket_as_it_does_in_a_folder() {
    let bucket = Bucket::start("pictures").await;
    let settings = bucket.settings();
    let mut settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    let product = Product::with(&settings).await;
    from_sending_to_deletion(&product, || bucket.objects().len()).await;
}

#[tokio::test]
async fn what_is_no_picture_is_refused_and_nothing_of_it_is_kept() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let jpeg = picture([9, 9, 9], ImageFormat::Jpeg);
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
    let mut wide = picture([9, 9, 9], ImageFormat::Png);
    wide[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    wide.resize(2 * MIB, 0);
    let mut largest = jpeg.clone();
    largest.resize(5 * MIB, 0);
    let mut larger = largest.clone();
    larger.push(0);
    let [moving_png, moving_webp] = paper::animated();
    for (file, status, code) in [
        (&moving_png[..], 422, "picture.animated"),
        (&moving_webp, 422, "picture.animated"),
        (&b""[..], 415, "picture.type"),
        (svg, 415, "picture.type"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", 415, "picture.type"),
        (&jpeg[..jpeg.len() - 9], 422, "picture.broken"),
        (&wide, 422, "picture.pixels"),
        (&larger, 413, "request.too_large"),
        (&[9; 7 * MIB], 413, "request.too_large"),
    ] {
        let (answered, refused) = send(&product, &ada, file).await;
        assert_eq!((answered, &refused["code"]), (status, &json!(code)), "{} bytes", file.len());
    }
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 0);
    assert_eq!(send(&product, &ada, &largest).await.0, 202, "5 MiB to the byte");
    product.drain().await;
    assert_eq!(profile(&product, &ada).await["avatar_status"], "ready");
}

#[tokio::test]
async fn a_picture_that_only_looks_whole_leaves_the_one_before() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    send(&product, &ada, &picture([200, 30, 30], ImageFormat::Png)).await;
    product.drain().await;
    let mut damaged = picture([30, 30, 200], ImageFormat::Png);
    let data = damaged.windows(4).position(|kind| kind == b"IDAT").expect("data");
    damaged[data + 6..data + 16].fill(0xee);
    assert_eq!(send(&product, &ada, &damaged).await.0, 202);
    product.drain().await;
    let after = profile(&product, &ada).await;
    assert_eq!((&after["avatar_status"], &after["avatar_url"]), (&json!("failed"), &json!(of(&ada))));
    assert!(near(*shown(&product, &ada, 128).await.get_pixel(9, 9), [200, 30, 30]));
    assert_eq!(files(Path::new(&product.world.files.path())).len(), 2);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn what_cameras_and_editors_write_is_shown_as_it_was_meant() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    // red on the left; the camera lay on its side
    let half = |x: u32, _| if x < 200 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) };
    let mut jpeg = Cursor::new(Vec::new());
    let halves = DynamicImage::from(RgbImage::from_fn(400, 200, half));
    halves.write_to(&mut jpeg, ImageFormat::Jpeg).expect("written");
    assert_eq!(send(&product, &ada, &turned(&jpeg.into_inner(), 6)).await.0, 202);
    product.drain().await;
    let upright = shown(&product, &ada, 512).await;
    assert_eq!(upright.dimensions(), (200, 400));
    let (above, below) = (*upright.get_pixel(100, 20), *upright.get_pixel(100, 380));
    assert!(near(above, [220, 20, 20]) && near(below, [20, 20, 220]), "{above:?} over {below:?}");
    let small = shown(&product, &ada, 128).await;
    assert_eq!(small.dimensions(), (64, 128));
    // cyan ink alone
    product.advance(Duration::from_secs(1));
    assert_eq!(send(&product, &ada, &four_inks([0, 255, 255, 255])).await.0, 202);
    product.drain().await;
    let printed = *shown(&product, &ada, 512).await.get_pixel(4, 4);
    assert!(printed.0[0] < 30 && printed.0[1] > 225 && printed.0[2] > 225, "{printed:?}");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_picture_that_fills_the_room_is_made_ready_and_its_key_answered_again() {
    let file = picture([1, 2, 3], ImageFormat::Jpeg);
    let room = file.len().to_string();
    let product = Product::with(&[("RATE_LIMIT_ALLOW", "127.0.0.1"), ("STORAGE_PER_USER", &room)]).await;
    let ada = product.register("ada@example.org", "ada").await;
    let (bearer, path) = (bearer(&ada), of(&ada));
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    for _ in 0..3 {
        let (status, sent) = read(post(&product, &path, form(&[("file", &file)]), &fields).await).await;
        assert_eq!(status, 202, "{sent}");
    }
    assert_eq!(send(&product, &ada, &file).await.1["code"], "storage.quota");
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1);
    product.drain().await;
    assert_eq!(profile(&product, &ada).await["avatar_status"], "ready");
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 2);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_picture_whose_job_is_lost_is_told_as_failed() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    send(&product, &ada, &picture([200, 30, 30], ImageFormat::Png)).await;
    product.drain().await;
    product.world.execute("UPDATE queues SET paused_at = now() WHERE queue = 'media'").await;
    product.advance(Duration::from_secs(1));
    send(&product, &ada, &picture([30, 30, 200], ImageFormat::Png)).await;
    let look = async |tokens: &Value| {
        let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
        engine.ask(&SettleLost::default(), Terms::default()).await;
        product.drain().await;
        profile(&product, tokens).await["avatar_status"].clone()
    };
    assert_eq!(look(&ada).await, "processing", "its job is still to be done");
    product.advance(Duration::from_secs(25 * 3600));
    let ada = product.login("ada@example.org").await;
    assert_eq!(look(&ada).await, "failed", "its time was over");
    assert!(near(*shown(&product, &ada, 128).await.get_pixel(9, 9), [200, 30, 30]), "the one before stays");
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 2);
    // an operator who has it done after all finds nothing to do
    product.world.execute("UPDATE queues SET paused_at = NULL WHERE queue = 'media'").await;
    let again = "UPDATE jobs SET state = 'available', ready = true, discarded_at = NULL, expires_at = NULL,
                                 run_at = created_at WHERE kind = 'picture.make_sizes'";
    assert_eq!(product.world.execute(again).await, 1);
    assert_eq!(look(&ada).await, "failed");
    send(&product, &ada, &picture([30, 30, 200], ImageFormat::Png)).await;
    product.drain().await;
    assert_eq!(look(&ada).await, "ready");
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn forms_that_do_not_hold_are_told_so() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (bearer, jpeg) = (bearer(&ada), picture([9, 9, 9], ImageFormat::Jpeg));
    let whole = form(&[("file", &jpeg)]);
    let cases: [(Vec<u8>, &str, u16, &str); 8] = [
        (form(&[]), "multipart/form-data; boundary=frontier", 422, "request.invalid"),
        (form(&[("picture", &jpeg)]), "multipart/form-data; boundary=frontier", 422, "request.invalid"),
        (
            form(&[("file", &jpeg), ("file", &jpeg)]),
            "multipart/form-data; boundary=frontier",
            422,
            "request.invalid",
        ),
        (
            whole[..whole.len() - 20].to_vec(),
            "multipart/form-data; boundary=frontier",
            400,
            "request.malformed",
        ),
        (whole.clone(), "multipart/form-data; boundary=other", 400, "request.malformed"),
        (whole.clone(), "multipart/form-data", 400, "request.malformed"),
        (jpeg.clone(), "image/jpeg", 415, "request.media_type"),
        (b"{}".to_vec(), "application/json", 415, "request.media_type"),
    ];
    for (n, (body, kind, status, code)) in cases.into_iter().enumerate() {
        let fields = [("authorization", bearer.as_str()), ("content-type", kind)];
        let (answered, refused) = read(post(&product, &of(&ada), body, &fields).await).await;
        assert_eq!((answered, &refused["code"]), (status, &json!(code)), "case {n}: {refused}");
    }
    let (status, refused) = read(post(&product, &of(&ada), whole, &[]).await).await;
    assert_eq!((status, &refused["code"]), (401, &json!("auth.required")));
}

#[tokio::test]
async fn whoever_may_sees_it_and_caches_are_told_how_long() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bob = product.register("bob@example.org", "bob").await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    send(&product, &ada, &picture([1, 2, 3], ImageFormat::Jpeg)).await;
    product.drain().await;
    let own = bearer(&ada);
    let answer = show(&product, &of(&ada), &[("authorization", &own)]).await;
    let tag = field(&answer, "etag");
    assert_eq!(field(&answer, "cache-control"), "private, max-age=300");
    assert_eq!(field(&answer, "x-content-type-options"), "nosniff");
    let known = show(&product, &of(&ada), &[("authorization", &own), ("if-none-match", &tag)]).await;
    assert_eq!((known.status().as_u16(), field(&known, "etag")), (304, tag.clone()));
    let other = format!("{}?size=128", of(&ada));
    let small = show(&product, &other, &[("authorization", &own), ("if-none-match", &tag)]).await;
    assert_eq!(small.status(), 200, "another size is another picture");
    let wrong = show(&product, &format!("{}?size=64", of(&ada)), &[("authorization", &own)]).await;
    assert_eq!(wrong.status(), 422);
    let other = show(&product, &of(&ada), &[("authorization", &bearer(&bob))]).await;
    assert_eq!(read(other).await.1["code"], "user.not_found");
    assert_eq!(show(&product, &of(&ada), &[("authorization", &bearer(&boss))]).await.status(), 200);
    let body = json!({ "name": "timetable", "scopes": ["users:read"] });
    let (status, made) = product.call(Method::POST, "/api/admin/api-keys", &body, &boss).await;
    assert_eq!(status, 201, "{made}");
    let key = made["key"].as_str().expect("key");
    let path = of(&ada);
    let basic = show(&product, path.trim_end_matches("/profile/picture"), &[("x-api-key", key)]).await;
    assert_eq!(read(basic).await.1["profile_picture"], json!(path));
    assert_eq!(show(&product, &path, &[("x-api-key", key)]).await.status(), 200);
    let lines = "SELECT count(*) FROM audit WHERE action = 'picture.read'";
    assert_eq!(product.world.count(lines).await, 2, "of staff and of the service");
}

#[tokio::test]
async fn staff_set_pictures_of_those_below_them_alone() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let boss = product.register("boss@example.org", "boss").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await;
    let above = product.register("owner@example.org", "owner").await;
    product.world.execute("UPDATE users SET is_superuser = true WHERE username = 'owner'").await;
    let file = form(&[("file", &picture([1, 2, 3], ImageFormat::Jpeg))]);
    for (whose, who, status) in [(&ada, &boss, 202), (&boss, &ada, 404), (&above, &boss, 403)] {
        let bearer = bearer(who);
        let answer = post(&product, &of(whose), file.clone(), &[("authorization", &bearer)]).await;
        assert_eq!(answer.status().as_u16(), status);
    }
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1);
    product.drain().await;
    assert_eq!(product.delete(&of(&ada), &boss).await.0, 204);
    product.drain().await;
}

#[tokio::test]
async fn one_key_sends_one_picture_however_often_it_comes() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let (bearer, file) = (bearer(&ada), form(&[("file", &picture([1, 2, 3], ImageFormat::Jpeg))]));
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let path = of(&ada);
    let calls = (0..4).map(|_| post(&product, &path, file.clone(), &fields));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.status(), 202);
    }
    let jobs = "SELECT count(*) FROM jobs WHERE kind = 'picture.make_sizes'";
    assert_eq!(product.world.count(jobs).await, 1);
    let other = form(&[("file", &picture([3, 2, 1], ImageFormat::Jpeg))]);
    let (status, refused) = read(post(&product, &path, other, &fields).await).await;
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency.mismatch")));
    product.drain().await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 2, "two sizes of one picture");
}

#[tokio::test]
async fn pictures_that_come_at_once_leave_one_and_no_orphan() {
    let product = Product::new().await;
    let ada = product.register("ada@example.org", "ada").await;
    let bearer = bearer(&ada);
    let path = of(&ada);
    let calls = (0..6u8).map(|n| {
        let file = form(&[("file", &picture([n * 40, 9, 9], ImageFormat::Jpeg))]);
        let (product, path, bearer) = (&product, path.as_str(), bearer.as_str());
        async move { post(product, path, file, &[("authorization", bearer)]).await }
    });
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.status(), 202);
    }
    product.drain().await;
    assert_eq!(profile(&product, &ada).await["avatar_status"], "ready");
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 2);
    assert_eq!(files(Path::new(&product.world.files.path())).len(), 2);
}
