//! Guards about slots, through the real transport: who has none takes nothing, who is busy blocks nobody,
//! who leaves keeps nothing.

use std::time::{Duration, Instant};

use keryu_common::job::{Queue, Terms};
use keryu_worker::worker;

use crate::support::kinds::{Note, Spin};
use crate::support::{Engine, eventually};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_fetches_no_more_than_it_has_slots_for() {
    let engine = Engine::live().await;
    for _ in 0..24 {
        engine.ask(&Note { tag: String::new(), millis: 1_500 }, Terms::default()).await;
    }
    let small = engine.worker(&[(Queue::Default, 2)]).await;
    eventually("it works", SOON, || async { engine.ran().await.len() == 2 }).await;
    let large = engine.worker(&[(Queue::Default, 40)]).await;
    // alone, the small one would need 18 s for them
    engine.until_completed(24, Duration::from_secs(9)).await;
    small.stop().await;
    large.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_keeps_a_processor_busy_stops_neither_the_others_nor_the_lease() {
    let engine = Engine::live().await;
    let worker = engine.worker(&[(Queue::Bulk, 2), (Queue::Default, 10)]).await;
    engine.noop().await;
    engine.until_completed(1, SOON).await;
    let began = Instant::now();
    engine.ask(&Spin { millis: 5_000 }, Terms::default()).await;
    eventually("it spins", SOON, || async {
        engine.world.count("SELECT count(*) FROM jobs WHERE state = 'running'").await == 1
    })
    .await;
    for count in 2..=4 {
        engine.noop().await;
        engine.until_completed(count, Duration::from_secs(2)).await;
    }
    let again = engine.ask(&Note::default(), Terms::default()).await;
    engine.world.execute("UPDATE jobs SET queue = 'bulk' WHERE kind = 'test.note'").await;
    engine.ctx.wake.queue(Queue::Bulk);
    eventually("the other slot of its queue", Duration::from_secs(2), || async {
        engine.look(again).await.is_some_and(|(state, _)| state == "completed")
    })
    .await;
    let age =
        "SELECT (extract(epoch FROM clock_timestamp() - max(renewed_at)) * 1000)::bigint FROM worker_leases";
    let age = engine.world.count(age).await;
    assert!(age < 4_000, "the lease was last renewed {age} ms ago");
    assert!(began.elapsed() < Duration::from_secs(5), "all that while it was busy");
    engine.until_completed(6, SOON * 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_time_is_given_back_at_the_stop_and_runs_elsewhere_at_once() {
    assert_eq!(worker::DRAIN, Duration::from_secs(25));
    let engine = Engine::live().await;
    for tag in ["held", "held", "waits", "waits", "waits"] {
        let millis = if tag == "held" { 600_000 } else { 0 };
        engine.ask(&Note { tag: tag.to_owned(), millis }, Terms::default()).await;
    }
    let leaves = engine.worker(&[(Queue::Default, 2)]).await;
    eventually("two are held", SOON, || async { engine.ran().await.len() == 2 }).await;
    let stays = engine.worker(&[(Queue::Default, 10)]).await;
    leaves.stop_within(Duration::from_secs(1)).await;
    eventually("all five have begun again elsewhere", SOON, || async { engine.ran().await.len() == 7 }).await;
    let attempts = "SELECT count(*) FROM jobs WHERE state = 'running' AND attempt = 2";
    assert_eq!(engine.world.count(attempts).await, 2, "the attempts counted");
    stays.stop_within(Duration::ZERO).await;
    assert_eq!(engine.world.count("SELECT count(*) FROM worker_leases").await, 0);
}
