//! What apalis 1.0 was measured to do, and the guards against it, through the real transport: workers in
//! this process over Redis. `docs/guards.md` says which change removes each guard and what is told then.

use std::time::{Duration, Instant};

use keryu_common::job::{Queue, Terms, wake};
use keryu_worker::metrics::Metrics;
use keryu_worker::pump::{self, Envelope};
use keryu_worker::relay;
use keryu_worker::worker::Worker;

use crate::support::kinds::{Fail, Note, Panic, kinds};
use crate::support::{Engine, eventually};

const SOON: Duration = Duration::from_secs(5);

impl Engine {
    /// The slowest start so far, in milliseconds from the request.
    async fn slowest_start(&self) -> i64 {
        self.world
            .count(
                "SELECT (extract(epoch FROM max(started_at - created_at)) * 1000)::bigint FROM finished_jobs",
            )
            .await
    }

    /// How many keys of the queue's in Redis hold a message or something about one.
    async fn traces(&self, queue: Queue) -> usize {
        let mut redis = self.redis().await;
        let data = format!("{}:data", pump::redis_name(&self.world.prefix, queue));
        let messages: usize = redis::cmd("HLEN").arg(data).query_async(&mut redis).await.expect("HLEN");
        let about =
            self.keys().await.into_iter().filter(|key| key.contains(":meta:") || key.contains(":inflight:"));
        messages + about.count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_job_starts_at_once_and_not_at_a_heartbeat() {
    let engine = Engine::live().await;
    let worker = engine.worker(&[(Queue::Default, 10)]).await;
    for count in 1..=20 {
        engine.noop().await;
        engine.until_completed(count, SOON).await;
    }
    let slowest = engine.slowest_start().await;
    assert!(slowest < 2_500, "a start took {slowest} ms");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_wake_up_was_lost_is_found_by_the_poll_each_time() {
    let engine = Engine::live().await;
    let worker = engine.worker(&[(Queue::Default, 10)]).await;
    let mut redis = wake::connect(&engine.world.redis_url, SOON).unwrap();
    for count in 1..=3 {
        // pushed by a relay elsewhere, and nobody hears of it
        let mut tx = engine.ctx.db.begin().await.unwrap();
        let id =
            keryu_common::job::enqueue(&mut tx, engine.ctx.now(), &Note::default(), Terms::default()).await;
        let id = id.unwrap();
        let push = "UPDATE jobs SET pushed = true, push = 1, pushed_at = now() WHERE job_id = $1";
        sqlx::query(push).bind(id).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let message = Envelope { serial: false, pairs: vec![(id, 1)] };
        pump::push(&mut redis, &engine.world.prefix, Queue::Default, &[message]).await.unwrap();
        engine.until_completed(count, SOON).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_due_is_not_pushed() {
    let engine = Engine::live().await;
    let worker = engine.worker(&[(Queue::Default, 10)]).await;
    let later = Some(engine.ctx.now() + Duration::from_secs(3600));
    let id = engine.ask(&Note::default(), Terms { run_at: later, ..Terms::default() }).await;
    engine.noop().await;
    engine.until_completed(1, SOON).await;
    assert_eq!(engine.state(id).await, "scheduled");
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs WHERE push > 0").await, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_waits_in_the_ledger_and_no_fetch_is_too_large() {
    let engine = Engine::live().await;
    // bulk jobs travel one to a message, and nothing is fetched while all slots are taken
    for _ in 0..40 {
        engine.ask(&Note { tag: String::new(), millis: 4_000 }, Terms::default()).await;
    }
    engine.world.execute("UPDATE jobs SET queue = 'bulk'").await;
    let worker = engine.worker(&[(Queue::Bulk, 40)]).await;
    eventually("all slots are taken", SOON, || async {
        engine.world.count("SELECT count(*) FROM jobs WHERE state = 'running'").await == 40
    })
    .await;
    engine.noops(9_000).await;
    engine.world.execute("UPDATE jobs SET queue = 'bulk'").await;
    engine.ctx.wake.queue(Queue::Bulk);
    eventually("a window is pushed", SOON, || async {
        engine.world.count("SELECT count(*) FROM jobs WHERE pushed AND state = 'available'").await >= 2_000
    })
    .await;
    // the rest follows only as fast as it is taken; apalis would choke on 8,000
    engine.until_completed(9_040, Duration::from_secs(60)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_share_one_window() {
    let engine = Engine::live().await;
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(engine.worker(&[(Queue::Default, 25)]).await);
    }
    engine.noops(6_000).await;
    let mut redis = engine.redis().await;
    let name = pump::redis_name(&engine.world.prefix, Queue::Default);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut fullest = (0, 0);
    while engine.world.count("SELECT count(*) FROM jobs WHERE queue = 'default'").await > 0 {
        assert!(Instant::now() < deadline, "the backlog does not drain");
        let pushed =
            engine.world.count("SELECT count(*) FROM jobs WHERE pushed AND state = 'available'").await;
        let (due, active): (i64, i64) = redis::pipe()
            .cmd("ZCARD")
            .arg(format!("{name}:scheduled"))
            .cmd("LLEN")
            .arg(format!("{name}:active"))
            .query_async(&mut redis)
            .await
            .unwrap();
        fullest = (fullest.0.max(pushed), fullest.1.max(due + active));
        assert!(pushed <= relay::WINDOW, "{pushed} rows are pushed and unclaimed");
        assert!(due + active <= relay::WINDOW, "{} messages wait in Redis", due + active);
    }
    assert!(fullest.0 > 0, "the window was seen in use: {fullest:?}");
    assert_eq!(engine.world.count("SELECT count(*) FROM finished_jobs WHERE attempt = 1").await, 6_000);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_host_have_names_of_their_own_and_a_restart_has_a_new_one() {
    let engine = Engine::live().await;
    let key = format!("{}:workers", pump::redis_name(&engine.world.prefix, Queue::Default));
    let names = || async {
        let mut redis = engine.redis().await;
        let all: Vec<String> =
            redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query_async(&mut redis).await.expect("names");
        all
    };
    let one = engine.worker(&[(Queue::Default, 1)]).await;
    let two = engine.worker(&[(Queue::Default, 1)]).await;
    eventually("both are known to Redis", SOON, || async { names().await.len() == 2 }).await;
    let before = names().await;
    one.stop().await;
    eventually("the one that left is forgotten", SOON, || async { names().await.len() == 1 }).await;
    let one = engine.worker(&[(Queue::Default, 1)]).await;
    eventually("it is back at once", SOON, || async {
        names().await.iter().filter(|name| !before.contains(name)).count() == 1
    })
    .await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pump_that_cannot_work_is_tried_again_with_patience_and_told_of() {
    let engine = Engine::live().await;
    let mut redis = engine.redis().await;
    let key = format!("{}:workers", pump::redis_name(&engine.world.prefix, Queue::Default));
    // a key of another type in its place: every call of apalis fails at once, and Redis answers
    let () = redis::cmd("SET").arg(&key).arg("not a set").query_async(&mut redis).await.unwrap();
    let began = Instant::now();
    let ctx = engine.another();
    let metrics = ctx.metrics.register(Metrics::new);
    let worker = Worker::start(ctx.clone(), kinds(), &[(Queue::Default, 2)], metrics).await.unwrap();
    let restarts = || {
        let text = ctx.metrics.render(&ctx.db);
        let line = text.lines().find(|line| line.starts_with("keryu_pump_restarts_total{queue=\"default\"}"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    eventually("it is tried again", SOON, || async { restarts() >= 4 }).await;
    assert!(began.elapsed() > Duration::from_millis(600), "four times in {:?}", began.elapsed());
    engine.noop().await;
    let () = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
    engine.until_completed(1, SOON).await;
    eventually("it is ready", SOON, || async { worker.health().is_fetching() }).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apalis_hears_ok_whatever_becomes_of_a_job() {
    let engine = Engine::live().await;
    let worker = engine.worker(&[(Queue::Default, 10)]).await;
    let failing = engine.ask(&Fail {}, Terms::default()).await;
    let falling = engine.ask(&Panic {}, Terms::default()).await;
    for id in [failing, falling] {
        eventually("the ledger has the verdict", SOON, || async { engine.state(id).await == "retryable" })
            .await;
    }
    let name = pump::redis_name(&engine.world.prefix, Queue::Default);
    let mut redis = engine.redis().await;
    for set in ["dead", "failed"] {
        let members: i64 =
            redis::cmd("SCARD").arg(format!("{name}:{set}")).query_async(&mut redis).await.unwrap();
        assert_eq!(members, 0, "apalis has its own idea of what failed: {set}");
    }
    engine.noop().await;
    engine.until_completed(1, SOON).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_nobody_can_read_harms_nobody() {
    let engine = Engine::live().await;
    let worker = engine.worker(&[(Queue::Default, 10)]).await;
    engine.noop().await;
    engine.until_completed(1, SOON).await;
    let name = pump::redis_name(&engine.world.prefix, Queue::Default);
    let mut redis = engine.redis().await;
    for (n, body) in ["", "garbage", "{\"v\":2}", "K1short", "K7\0\0\0\0\0\0\0\0\0\0"].into_iter().enumerate()
    {
        let id = format!("stranger{n}");
        let () = redis::pipe()
            .cmd("HSET")
            .arg(format!("{name}:data"))
            .arg(&id)
            .arg(body)
            .ignore()
            .cmd("HSET")
            .arg(format!("{name}:meta:{id}"))
            .arg(&["attempts", "0", "max_attempts", "25", "status", "Pending"])
            .ignore()
            .cmd("RPUSH")
            .arg(format!("{name}:active"))
            .arg(&id)
            .ignore()
            .query_async(&mut redis)
            .await
            .unwrap();
    }
    // and one without a body at all
    let () =
        redis::cmd("RPUSH").arg(format!("{name}:active")).arg("ghost").query_async(&mut redis).await.unwrap();
    for count in 2..=6 {
        engine.noop().await;
        engine.until_completed(count, SOON).await;
    }
    assert!(worker.health().is_fetching());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_holds_nothing_of_what_is_done() {
    let engine = Engine::live().await;
    let mut keys = Vec::new();
    for round in 1..=3 {
        let worker = engine.worker(&[(Queue::Default, 20)]).await;
        engine.noops(1_500).await;
        engine.until_completed(1_500 * round, Duration::from_secs(30)).await;
        eventually("messages are acknowledged and removed", SOON, || async {
            engine.traces(Queue::Default).await == 0
        })
        .await;
        worker.stop().await;
        keys.push(engine.keys().await);
    }
    assert_eq!(keys[0].len(), keys[2].len(), "keys after one worker and after three: {keys:?}");
}

#[tokio::test]
async fn every_push_is_a_message_of_its_own() {
    let engine = Engine::live().await;
    let mut redis = wake::connect(&engine.world.redis_url, SOON).unwrap();
    let id = keryu_common::id::unguessable();
    for _ in 0..3 {
        let message = Envelope { serial: false, pairs: vec![(id, 1)] };
        pump::push(&mut redis, &engine.world.prefix, Queue::Default, &[message]).await.unwrap();
    }
    let waiting = format!("{}:scheduled", pump::redis_name(&engine.world.prefix, Queue::Default));
    let count: i64 = redis::cmd("ZCARD").arg(waiting).query_async(&mut redis).await.unwrap();
    assert_eq!(count, 3, "apalis ignores an id it has seen");
}
