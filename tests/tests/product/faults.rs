//! Workers that die, stop and are asked to leave in the middle of a delivery: the real binaries, and a
//! gateway that takes its time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::gateway::Answer;
use crate::support::process::{self, Process};
use crate::support::{Gateway, Product, eventually};

const PROMISE: Duration = Duration::from_secs(15);
const UP: Duration = Duration::from_secs(20);

async fn product(gateway: &Gateway) -> Product {
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    Product::with(&settings).await
}

fn worker(product: &Product, slots: usize, settings: &[(&str, &str)]) -> Process {
    let concurrency = format!("critical={slots}");
    process::worker(&product.world, &["--queues", "critical", "--concurrency", &concurrency], settings)
}

/// Waits until so many workers hold a lease.
async fn up(product: &Product, workers: i64) {
    eventually("the workers are up", UP, || async {
        product.world.count("SELECT count(*) FROM worker_leases").await == workers
    })
    .await;
}

/// Waits until so many calls are under way.
async fn calls(product: &Product, count: i64) {
    eventually("calls are under way", UP, || async {
        product.world.count("SELECT count(*) FROM delivery_attempts WHERE finished_at IS NULL").await == count
    })
    .await;
}

async fn all_accepted(product: &Product, within: Duration) {
    eventually("every code is accepted", within, || async {
        product.world.count("SELECT count(*) FROM deliveries WHERE state <> 'accepted'").await == 0
    })
    .await;
}

#[tokio::test]
async fn a_code_in_the_hands_of_a_killed_worker_goes_out_from_another_within_fifteen_seconds() {
    let gateway = Gateway::start().await;
    let product = product(&gateway).await;
    gateway.answers([Answer::Slow(Duration::from_secs(60))]);
    let first = worker(&product, 10, &gateway.settings());
    up(&product, 1).await;
    product.ask("+254712345678", "register").await;
    calls(&product, 1).await;
    // invariant 10: the gateway holds the call, and no transaction waits for it
    let idle = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    assert_eq!(product.world.count(idle).await, 0);
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                AND xact_start < clock_timestamp() - interval '1 second'";
    assert_eq!(product.world.count(open).await, 0);
    let second = worker(&product, 10, &gateway.settings());
    up(&product, 2).await;
    let killed = Instant::now();
    first.kill();
    eventually("the code arrives", PROMISE, || async { !gateway.accepted_for("+254712345678").is_empty() })
        .await;
    eprintln!("after kill -9 the code went out again in {:?}", killed.elapsed());
    all_accepted(&product, UP).await;
    eventually("the job is done", UP, || async {
        product.world.count("SELECT count(*) FROM finished_jobs WHERE attempt = 2").await == 1
    })
    .await;
    let rows = "SELECT count(*) FROM delivery_attempts WHERE (finished_at IS NULL) = (attempt = 1)";
    assert_eq!(product.world.count(rows).await, 2, "both attempts are on record, the first without an end");
    second.terminate(UP).await;
}

#[tokio::test]
async fn a_worker_asked_to_leave_finishes_what_it_has_begun_and_gives_the_rest_back_at_once() {
    let gateway = Gateway::start().await;
    let product = product(&gateway).await;
    let hold = Duration::from_secs(5);
    gateway.answers([Answer::Slow(hold), Answer::Slow(hold)]);
    let leaves = worker(&product, 2, &gateway.settings());
    up(&product, 1).await;
    for n in 0..8 {
        product.ask(&format!("+25471234567{n}"), "register").await;
    }
    calls(&product, 2).await;
    let stays = worker(&product, 10, &gateway.settings());
    let leaving = leaves.terminate(Duration::from_secs(25));
    let rest = async {
        let asked = Instant::now();
        eventually("the other six are sent", UP, || async { gateway.received().len() >= 6 }).await;
        assert!(asked.elapsed() < hold, "they waited for the worker that left: {:?}", asked.elapsed());
    };
    let (took, ()) = futures::future::join(leaving, rest).await;
    eprintln!("it left after {took:?}");
    all_accepted(&product, UP).await;
    assert_eq!(gateway.received().len(), 8, "each of them once");
    assert_eq!(product.world.count("SELECT count(*) FROM delivery_attempts").await, 8);
    stays.terminate(UP).await;
}

#[tokio::test]
async fn a_leader_that_stands_still_loses_the_lead_and_another_goes_on() {
    let gateway = Gateway::start().await;
    let product = product(&gateway).await;
    let leads = worker(&product, 10, &gateway.settings());
    up(&product, 1).await;
    product.ask("+254712345670", "register").await;
    all_accepted(&product, UP).await;
    let follows = worker(&product, 10, &gateway.settings());
    up(&product, 2).await;
    leads.pause();
    let asked = Instant::now();
    product.ask("+254712345671", "register").await;
    eventually("the code arrives", PROMISE, || async { gateway.received().len() == 2 }).await;
    eprintln!("with the leader paused the code went out in {:?}", asked.elapsed());
    leads.resume();
    product.ask("+254712345672", "register").await;
    eventually("and the next", PROMISE, || async { gateway.received().len() == 3 }).await;
    all_accepted(&product, UP).await;
    leads.terminate(UP).await;
    follows.terminate(UP).await;
}

/// A provider that takes a call and says nothing until it is told to hang up.
async fn silent(listener: TcpListener, hang_up: tokio::sync::oneshot::Receiver<()>) {
    let (mut stream, _) = listener.accept().await.expect("a call");
    let mut request = [0; 4096];
    let read = stream.read(&mut request).await.expect("a request");
    assert!(read > 0);
    hang_up.await.expect("told");
    let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
}

#[tokio::test]
async fn a_worker_that_was_frozen_past_its_lease_makes_no_further_call() {
    let gateway = Gateway::start().await;
    let product = product(&gateway).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let twilio = format!("http://{}", listener.local_addr().expect("address"));
    let (tell, told) = tokio::sync::oneshot::channel();
    let provider = tokio::spawn(silent(listener, told));
    let mut both = gateway.settings();
    both.retain(|(name, _)| *name != "SMS_PROVIDERS");
    both.extend([
        ("SMS_PROVIDERS", "twilio,http"),
        ("TWILIO_BASE_URL", twilio.as_str()),
        ("TWILIO_ACCOUNT_SID", crate::support::twilio::SID),
        ("TWILIO_AUTH_TOKEN", crate::support::twilio::TOKEN),
        ("TWILIO_FROM", crate::support::twilio::FROM),
    ]);
    let frozen = worker(&product, 10, &both);
    up(&product, 1).await;
    product.ask("+254712345678", "register").await;
    calls(&product, 1).await;
    let other = worker(&product, 10, &gateway.settings());
    up(&product, 2).await;
    frozen.pause();
    eventually("another worker sends the code", PROMISE, || async { gateway.received().len() == 1 }).await;
    all_accepted(&product, UP).await;
    // the first provider refuses: now it would be the second provider's turn
    tell.send(()).expect("listening");
    frozen.resume();
    provider.await.expect("provider");
    eventually("it has understood", UP, || async {
        let open = "SELECT count(*) FROM delivery_attempts WHERE finished_at IS NULL";
        product.world.count(open).await == 0
    })
    .await;
    frozen.terminate(UP).await;
    assert_eq!(gateway.received().len(), 1, "sent once");
    let refused = "SELECT count(*) FROM delivery_attempts WHERE attempt = 1 AND outcome = 'retry'";
    assert!(product.world.count(refused).await >= 1);
    assert_eq!(product.world.count("SELECT count(*) FROM deliveries WHERE state = 'accepted'").await, 1);
    assert_eq!(product.world.count("SELECT count(*) FROM finished_jobs WHERE attempt = 2").await, 1);
    other.terminate(UP).await;
}
