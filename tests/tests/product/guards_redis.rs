//! Redis is disposable: it may forget, end, stall or fill up under running workers, and they come back
//! by themselves. On a pair of servers of the test's own.

use std::time::{Duration, Instant};

use keryu_common::clock::Clock;
use keryu_common::job::{Queue, Terms};

use crate::support::kinds::Note;
use crate::support::{Engine, Own, World, eventually};

async fn engine(own: &Own) -> Engine {
    Engine::on(World::on(own.database_url(), own.redis_url()).await, Clock::system()).await
}

/// A job asked for now is done within the time.
async fn works(engine: &Engine, what: &str, within: Duration) -> Duration {
    let began = Instant::now();
    let id = engine.noop().await;
    eventually(what, within, || async {
        engine.look(id).await.is_some_and(|(state, _)| state == "completed")
    })
    .await;
    began.elapsed()
}

const PROMISE: Duration = Duration::from_secs(10);
/// What the transport takes, with much to spare; the way around it takes longer.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn workers_outlive_whatever_redis_does() {
    let mut own = Own::start("redis-faults");
    let engine = engine(&own).await;
    let worker = engine.worker(&[(Queue::Default, 2)]).await;
    works(&engine, "in good weather", SOON).await;

    // 1. it forgets, with messages in it
    for _ in 0..2 {
        engine.ask(&Note { tag: "holds the slots".into(), millis: 2_000 }, Terms::default()).await;
    }
    eventually("both slots are taken", SOON, || async { engine.ran().await.len() == 2 }).await;
    engine.noops(300).await;
    let pushed = "SELECT count(*) FROM jobs WHERE pushed AND state = 'available'";
    eventually("they are on their way", SOON, || async { engine.world.count(pushed).await == 300 }).await;
    let mut redis = engine.redis().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    engine.until_completed(303, PROMISE).await;
    assert_eq!(engine.world.count("SELECT count(*) FROM finished_jobs WHERE attempt > 1").await, 0);
    assert!(engine.world.count("SELECT max(epoch) FROM queues").await > 1, "the loss was noticed");
    works(&engine, "after FLUSHALL", SOON).await;

    // 2. it restarts
    own.redis.kill().unwrap();
    own.redis.start().unwrap();
    works(&engine, "at once after a restart", PROMISE).await;
    eventually("the transport is back", PROMISE, || async { worker.health().is_fetching() }).await;
    works(&engine, "after a restart", SOON).await;

    // 3. it stalls for longer than any of us waits for an answer
    own.redis.pause().unwrap();
    let began = Instant::now();
    works(&engine, "while Redis stalls", PROMISE).await;
    eventually("the stall outlasts apalis' patience", PROMISE, || async { began.elapsed().as_secs() >= 6 })
        .await;
    works(&engine, "while Redis stalls", PROMISE).await;
    own.redis.resume().unwrap();
    eventually("Redis is felt again", PROMISE, || async { worker.health().redis_answers() }).await;
    works(&engine, "after a stall", PROMISE).await;
    works(&engine, "and again", SOON).await;

    // 4. it is gone: 60 s are promised, and what holds for these few seconds goes on for any time
    own.redis.kill().unwrap();
    let first = works(&engine, "with Redis gone", PROMISE).await;
    assert!(!worker.health().redis_answers());
    for _ in 0..3 {
        works(&engine, "with Redis gone, once it is known", Duration::from_secs(2)).await;
    }
    let serial = Terms { serial_key: Some("k".to_owned()), ..Terms::default() };
    let id = engine.ask(&Note::default(), serial).await;
    eventually("one with a serial key too", SOON, || async {
        engine.look(id).await.is_some_and(|(state, _)| state == "completed")
    })
    .await;
    own.redis.start().unwrap();
    eventually("Redis is felt again", PROMISE, || async { worker.health().redis_answers() }).await;
    works(&engine, "with Redis back", PROMISE).await;
    works(&engine, "and again", SOON).await;
    eprintln!("with Redis gone the first job was done after {first:?}");

    // 5. it is full: it answers, and takes nothing
    let mut redis = engine.redis().await;
    let () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).query_async(&mut redis).await.unwrap();
    works(&engine, "with Redis full", PROMISE).await;
    let () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).query_async(&mut redis).await.unwrap();
    eventually("Redis is felt again", PROMISE, || async { worker.health().redis_answers() }).await;
    works(&engine, "with room again", PROMISE).await;
    works(&engine, "and again", SOON).await;
    assert_eq!(
        engine.world.count("SELECT count(*) FROM jobs WHERE queue = 'default'").await,
        0,
        "nothing is left over"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_starts_without_redis_and_without_postgres_and_works_when_they_come() {
    let mut own = Own::start("late-servers");
    let engine = engine(&own).await;
    own.redis.kill().unwrap();
    own.postgres.stop().unwrap();
    let worker = engine.worker(&[(Queue::Default, 2)]).await;
    own.postgres.start().unwrap();
    works(&engine, "with Postgres there", PROMISE).await;
    own.redis.start().unwrap();
    eventually("Redis is felt", PROMISE, || async { worker.health().redis_answers() }).await;
    works(&engine, "with both", PROMISE).await;
    // an outage of Postgres in the middle of work: nothing is lost, nothing stays behind
    engine.noops(2_000).await;
    own.postgres.kill().unwrap();
    own.postgres.start().unwrap();
    eventually("all is done", Duration::from_secs(30), || async {
        let left = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM jobs WHERE queue = 'default'")
            .fetch_one(&engine.world.db)
            .await;
        left.is_ok_and(|left| left == 0)
    })
    .await;
    assert_eq!(engine.world.count("SELECT count(DISTINCT job_id) FROM finished_jobs").await, 2_002);
    worker.stop().await;
}
