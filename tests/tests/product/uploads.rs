//! Files of people: what is kept, for whom, how much of it, how it is sealed, and how it goes.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use keryu_common::error::Error;
use keryu_common::job::Terms;
use keryu_common::upload::{self, Cleanup, Purpose, Upload};
use keryu_common::user::erase::EraseDue;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::support::bucket::{Bucket, files};
use super::support::{Engine, Product, World, eventually};

const DAY: Duration = Duration::from_secs(24 * 3600);
const TYPE: &str = "image/webp";

fn code(result: Result<Upload, Error>) -> String {
    match result {
        Err(Error::Refusal(refusal)) => refusal.code.to_owned(),
        other => panic!("{other:?}"),
    }
}

async fn keep(product: &Product, owner: Uuid, purpose: Purpose, text: &'static str) -> Upload {
    upload::keep(&product.ctx, owner, purpose, TYPE, Bytes::from_static(text.as_bytes())).await.expect("kept")
}

async fn attach(product: &Product, upload: &Upload) -> bool {
    let mut tx = product.ctx.db.begin().await.expect("begin");
    let now = product.ctx.now();
    let done = upload::attach(&mut tx, upload.upload_id, upload.user_id, upload.purpose, now).await;
    tx.commit().await.expect("commit");
    done.expect("attached")
}

async fn release(product: &Product, upload: &Upload) {
    let mut tx = product.ctx.db.begin().await.expect("begin");
    upload::release(&mut tx, upload.upload_id, product.ctx.now()).await.expect("released");
    tx.commit().await.expect("commit");
}

async fn text(product: &Product, upload: &Upload) -> Option<Bytes> {
    let found = upload::read(&product.ctx, upload.upload_id, upload.user_id, upload.purpose).await;
    found.expect("read").map(|(_, bytes)| bytes)
}

async fn run(product: &Product, job: &impl keryu_common::job::Job) {
    let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
    engine.ask(job, Terms::default()).await;
    engine.drain().await;
}

fn on_disk(product: &Product) -> Vec<std::path::PathBuf> {
    files(Path::new(&product.world.files.path()))
}

async fn with(settings: &[(&'static str, String)]) -> Product {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Product::with(&settings).await
}

#[tokio::test]
async fn a_file_is_its_owners_and_of_its_purpose_until_it_is_released() {
    let product = Product::new().await;
    let (ada, bob) =
        (product.world.user("ada@example.org").await, product.world.user("bob@example.org").await);
    let kept = keep(&product, ada, Purpose::KycDocument, "the front of a passport").await;
    assert_eq!((kept.size, kept.content_type.as_str()), (23, TYPE));
    assert_eq!(text(&product, &kept).await.as_deref(), Some(&b"the front of a passport"[..]));
    for (owner, purpose) in [(bob, Purpose::KycDocument), (ada, Purpose::Picture), (ada, Purpose::Export)] {
        let other = Upload { user_id: owner, purpose, ..kept.clone() };
        assert_eq!(text(&product, &other).await, None, "{purpose:?}");
        assert!(!attach(&product, &other).await, "{purpose:?}");
    }
    assert!(attach(&product, &kept).await);
    assert!(!attach(&product, &kept).await, "one thing refers to it");
    release(&product, &kept).await;
    release(&product, &kept).await;
    assert_eq!(text(&product, &kept).await, None);
    assert_eq!(product.drain().await, 1, "released twice, deleted once");
    assert_eq!(on_disk(&product), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 0);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn documents_and_exports_are_sealed_at_rest_and_do_not_open_when_changed() {
    let product = Product::new().await;
    let ada = product.world.user("ada@example.org").await;
    let open = keep(&product, ada, Purpose::Picture, "seen by all").await;
    let there = |text: &str| {
        let holds = |path: &std::path::PathBuf| {
            std::fs::read(path).expect("object").windows(text.len()).any(|part| part == text.as_bytes())
        };
        on_disk(&product).iter().any(holds)
    };
    assert!(there("seen by all"));
    release(&product, &open).await;
    product.drain().await;
    for purpose in [Purpose::KycDocument, Purpose::Export] {
        let kept = keep(&product, ada, purpose, "for few eyes").await;
        assert!(!there("for few eyes"), "{purpose:?}");
        let [object] = &on_disk(&product)[..] else { panic!("one object") };
        let mut changed = std::fs::read(object).expect("object");
        changed[0] ^= 1;
        std::fs::write(object, &changed).expect("changed");
        let read = upload::read(&product.ctx, kept.upload_id, ada, purpose).await;
        assert!(matches!(read, Err(Error::Internal(_))), "{read:?}");
        release(&product, &kept).await;
        product.drain().await;
    }
}

#[tokio::test]
async fn sixty_four_uploads_at_once_never_pass_the_quota() {
    let product = Product::with(&[("STORAGE_PER_USER", "10000")]).await;
    let ada = product.world.user("ada@example.org").await;
    let one = || upload::keep(&product.ctx, ada, Purpose::Picture, TYPE, Bytes::from(vec![1; 1_000]));
    let kept: Vec<Upload> =
        join_all((0..64).map(|_| one())).await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(kept.len(), 10);
    assert_eq!(on_disk(&product).len(), 10);
    assert_eq!(code(one().await), "storage.quota");
    // what is about to be deleted still takes room
    release(&product, &kept[0]).await;
    assert_eq!(code(one().await), "storage.quota");
    product.drain().await;
    one().await.expect("there is room again");
    // an export takes none of it
    upload::keep(&product.ctx, ada, Purpose::Export, TYPE, Bytes::from(vec![1; 20_000])).await.expect("kept");
    product.drain().await;
}

#[tokio::test]
async fn a_file_written_in_pieces_counts_once_it_is_whole() {
    let product = Product::with(&[("STORAGE_PER_USER", "10000")]).await;
    let ada = product.world.user("ada@example.org").await;
    let mut large = upload::writer(&product.ctx, ada, Purpose::KycDocument, TYPE).await.expect("writer");
    for _ in 0..11 {
        large.write(Bytes::from(vec![1; 1_000])).await.expect("write");
    }
    assert_eq!(code(large.finish(&product.ctx).await), "storage.quota");
    let mut small = upload::writer(&product.ctx, ada, Purpose::KycDocument, TYPE).await.expect("writer");
    small.write(Bytes::from(vec![1; 9_000])).await.expect("write");
    let small = small.finish(&product.ctx).await.expect("finished");
    assert_eq!((small.size, on_disk(&product).len()), (9_000, 1));
    let next = upload::keep(&product.ctx, ada, Purpose::Picture, TYPE, Bytes::from(vec![1; 2_000])).await;
    assert_eq!(code(next), "storage.quota");
}

#[tokio::test]
async fn what_nothing_refers_to_goes_after_a_day() {
    let product = Product::new().await;
    let ada = product.world.user("ada@example.org").await;
    let (used, unused) = (
        keep(&product, ada, Purpose::Picture, "used").await,
        keep(&product, ada, Purpose::KycDocument, "unused").await,
    );
    assert!(attach(&product, &used).await);
    let mut dropped = upload::writer(&product.ctx, ada, Purpose::Export, TYPE).await.expect("writer");
    dropped.write(Bytes::from_static(b"and the process died")).await.expect("write");
    drop(dropped);
    product.advance(DAY - Duration::from_secs(60));
    run(&product, &Cleanup::default()).await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 3);
    assert_eq!(text(&product, &unused).await.as_deref(), Some(&b"unused"[..]));
    product.advance(Duration::from_secs(120));
    run(&product, &Cleanup::default()).await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1);
    assert_eq!(on_disk(&product).len(), 1);
    assert!(!attach(&product, &unused).await);
    assert_eq!(text(&product, &used).await.as_deref(), Some(&b"used"[..]));
}

#[tokio::test]
async fn erasing_somebody_deletes_their_files_too() {
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    let ada: Uuid = tokens["user_id"].as_str().expect("id").parse().expect("id");
    let other = product.world.user("bob@example.org").await;
    for purpose in [Purpose::Picture, Purpose::KycDocument] {
        assert!(attach(&product, &keep(&product, ada, purpose, "a file").await).await);
    }
    assert!(attach(&product, &keep(&product, other, Purpose::Picture, "another's").await).await);
    assert_eq!(product.call(Method::DELETE, "/api/auth/account", &Value::Null, &tokens).await.0, 202);
    product.advance(DAY * 31);
    run(&product, &EraseDue::default()).await;
    assert_eq!(product.world.count("SELECT count(*) FROM users").await, 1);
    assert_eq!(product.world.count("SELECT count(*) FROM uploads WHERE user_id IS NULL").await, 2);
    run(&product, &Cleanup::default()).await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1);
    assert_eq!(on_disk(&product).len(), 1);
}

#[tokio::test]
async fn a_bucket_keeps_what_a_folder_does() {
    let bucket = Bucket::start("keeps").await;
    let product = with(&bucket.settings()).await;
    let storage = &product.ctx.storage;
    assert_eq!(storage.get("a/b").await.expect("get"), None);
    assert!(storage.stream("a/b").await.expect("stream").is_none());
    storage.delete("a/b").await.expect("what is not there is deleted");
    storage.put("a/b", Bytes::from_static(b"first")).await.expect("put");
    storage.put("a/b", Bytes::from_static(b"second")).await.expect("put");
    assert_eq!(storage.get("a/b").await.expect("get").as_deref(), Some(&b"second"[..]));
    storage.delete("a/b").await.expect("delete");
    assert_eq!(storage.get("a/b").await.expect("get"), None);
    // an export in parts, sealed on the way and opened on the way back
    let ada = product.world.user("ada@example.org").await;
    let piece = Bytes::from((0..700_001).map(|n: u32| (n % 251) as u8).collect::<Vec<u8>>());
    let mut writer =
        upload::writer(&product.ctx, ada, Purpose::Export, "application/zip").await.expect("writer");
    for _ in 0..20 {
        writer.write(piece.clone()).await.expect("write");
    }
    let export = writer.finish(&product.ctx).await.expect("finished");
    assert_eq!(export.size, 20 * 700_001);
    let read = || async {
        let found = upload::stream(&product.ctx, export.upload_id, ada, Purpose::Export).await;
        let (_, mut pieces) = found.expect("stream").expect("there");
        let (mut whole, mut end) = (Vec::new(), Ok(()));
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => whole.extend_from_slice(&piece),
                Err(error) => end = Err(error),
            }
        }
        (whole, end)
    };
    let (whole, end) = read().await;
    assert!(end.is_ok() && whole.chunks(piece.len()).all(|part| part == piece) && whole.len() == 14_000_020);
    // cut off at the end of a chunk
    let objects = bucket.objects();
    let object = objects.iter().find(|path| path.to_string_lossy().contains("/export/")).expect("object");
    let file = std::fs::OpenOptions::new().write(true).open(object).expect("object");
    file.set_len(100 * (64 * 1024 + 16)).expect("cut");
    let (part, end) = read().await;
    assert!(end.is_err() && part.len() <= 100 * 64 * 1024, "{} bytes", part.len());
    release(&product, &export).await;
    product.drain().await;
    assert!(!object.exists());
}

#[tokio::test]
async fn a_store_that_refuses_is_told_and_takes_no_room() {
    let bucket = Bucket::start("refuses").await;
    let mut settings = bucket.settings_with("another secret");
    settings.push(("STORAGE_PER_USER", "1000".to_owned()));
    let product = with(&settings).await;
    let ada = product.world.user("ada@example.org").await;
    let one = |ctx| upload::keep(ctx, ada, Purpose::Picture, TYPE, Bytes::from(vec![1; 900]));
    for _ in 0..2 {
        assert_eq!(code(one(&product.ctx).await), "storage.unavailable");
    }
    assert!(bucket.objects().is_empty());
    let mended = bucket.settings();
    let mut mended: Vec<(&str, &str)> = mended.iter().map(|(name, value)| (*name, value.as_str())).collect();
    mended.push(("STORAGE_PER_USER", "1000"));
    let product = product.restarted(&mended).await;
    one(&product.ctx).await.expect("kept");
}

#[tokio::test]
async fn one_object_that_cannot_be_deleted_keeps_no_other() {
    let product = Product::new().await;
    let ada = product.world.user("ada@example.org").await;
    keep(&product, ada, Purpose::Picture, "stuck").await;
    let [stuck] = &on_disk(&product)[..] else { panic!("one object") };
    product.advance(Duration::from_secs(1));
    for text in ["one", "two"] {
        keep(&product, ada, Purpose::Picture, text).await;
    }
    // a folder in its place cannot be deleted as a file
    std::fs::remove_file(stuck).expect("object");
    std::fs::create_dir(stuck).expect("folder");
    product.advance(DAY + Duration::from_secs(60));
    run(&product, &Cleanup::default()).await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 1, "those behind it are deleted");
    assert_eq!(on_disk(&product).len(), 0);
    let tried = "SELECT count(*) FROM jobs WHERE kind = 'upload.cleanup' AND state = 'retryable'";
    assert_eq!(product.world.count(tried).await, 1, "and the failure is told");
    std::fs::remove_dir(stuck).expect("folder");
    product.advance(Duration::from_secs(60));
    run(&product, &Cleanup::default()).await;
    assert_eq!(product.world.count("SELECT count(*) FROM uploads").await, 0);
}

/// A store that somebody else listens for.
fn of_listener(listener: &TcpListener) -> Vec<(&'static str, String)> {
    let address = listener.local_addr().expect("address");
    vec![
        ("STORAGE_URL", format!("s3://files?endpoint=http://{address}&region=eu-west-1")),
        ("STORAGE_ACCESS_KEY", "AKID".to_owned()),
        ("STORAGE_SECRET_KEY", "secret".to_owned()),
    ]
}

#[tokio::test]
async fn who_hangs_up_while_a_file_is_written_has_their_room_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let product = with(&of_listener(&listener)).await;
    let ada = product.world.user("ada@example.org").await;
    tokio::select! {
        kept = keep(&product, ada, Purpose::KycDocument, "half") => panic!("{kept:?}"),
        called = listener.accept() => called.expect("the object is on its way"),
    };
    eventually("the room is free", Duration::from_secs(10), || async {
        product.world.count("SELECT count(*) FROM uploads WHERE released_at IS NULL").await == 0
    })
    .await;
    assert_eq!(
        product.world.count("SELECT count(*) FROM uploads").await,
        1,
        "what may come of it goes later"
    );
}

/// Says once that there is no such object, and does this before.
async fn missing(listener: &TcpListener, world: &World, before: &'static str) {
    let (mut socket, _) = listener.accept().await.expect("call");
    let mut head = [0; 4096];
    assert!(socket.read(&mut head).await.expect("head") > 0);
    world.execute(before).await;
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    socket.write_all(answer).await.expect("answer");
}

#[tokio::test]
async fn what_goes_while_it_is_read_is_not_there() {
    let product = Product::new().await;
    let ada = product.world.user("ada@example.org").await;
    let kept = keep(&product, ada, Purpose::Picture, "replaced just now").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let settings = of_listener(&listener);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let product = product.restarted(&settings).await;
    let gone = "UPDATE uploads SET released_at = created_at";
    let read = || upload::read(&product.ctx, kept.upload_id, ada, Purpose::Picture);
    let (found, ()) = tokio::join!(read(), missing(&listener, &product.world, gone));
    assert!(matches!(found, Ok(None)), "{found:?}");
    let there = "UPDATE uploads SET released_at = NULL";
    product.world.execute(there).await;
    let stream = upload::stream(&product.ctx, kept.upload_id, ada, Purpose::Picture);
    let (found, ()) = tokio::join!(stream, missing(&listener, &product.world, gone));
    assert!(matches!(found, Ok(None)));
    // one that somebody took from the store is a defect
    product.world.execute(there).await;
    let (found, ()) = tokio::join!(read(), missing(&listener, &product.world, "SELECT 1"));
    assert!(matches!(found, Err(Error::Internal(_))), "{found:?}");
}
