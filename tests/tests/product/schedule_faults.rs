//! Schedules when things break: workers killed every few ticks, clocks that jump, an outage of an hour; and
//! what the schedules of the shipped registry clean up. `bin/ticks` runs the first at full length.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use keryu_common::clock::Clock;
use keryu_common::job::schedule::{self, CatchUp};
use keryu_common::job::{Noop, Terms};
use keryu_common::retention::{CleanupAuditLogs, blank};
use keryu_worker::registry::Registry;
use serde_json::json;

use crate::support::process::{self, Process};
use crate::support::{Engine, Product, World, eventually, operate};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NAME: &str = "cleanup_expired";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn worker(world: &World) -> Process {
    process::worker(world, &["--queues", "low"], &[])
}

const TICKS: &str = "SELECT count(*) FROM ticks WHERE schedule = 'cleanup_expired'";
/// Seconds between the first tick and the last that have no tick.
const MISSING: &str = "SELECT (extract(epoch FROM max(at) - min(at)))::bigint + 1 - count(*) FROM ticks
                       WHERE schedule = 'cleanup_expired'";
const JOBS: &str = "SELECT (SELECT count(*) FROM jobs WHERE kind = 'retention.cleanup_expired')
                         + (SELECT count(*) FROM finished_jobs WHERE kind = 'retention.cleanup_expired')";
/// Ticks whose job has not run to its end.
const OPEN: &str = "SELECT count(*) FROM ticks t WHERE schedule = 'cleanup_expired' AND NOT EXISTS (
                        SELECT 1 FROM finished_jobs f WHERE f.job_id = t.job_id AND f.state = 'completed')";

#[tokio::test(flavor = "multi_thread")]
async fn every_second_has_one_job_and_it_runs_however_many_workers_are_killed() {
    let seconds = i64::try_from(setting("KERYU_TICKS_SECONDS", 12)).unwrap();
    let count = setting("KERYU_TICKS_WORKERS", 3) as usize;
    let every = i64::try_from(setting("KERYU_TICKS_KILL_EVERY", 4)).unwrap();
    let world = World::new().await;
    // built before the clock runs
    process::binaries();
    let began = Instant::now();
    let mut workers: Vec<Process> = (0..count).map(|_| worker(&world)).collect();
    eventually("the schedules are known", Duration::from_secs(60), || async {
        world.count("SELECT count(*) FROM schedules WHERE schedule = 'cleanup_expired'").await == 1
    })
    .await;
    // what ticked by the minute until now is not of this
    assert_eq!(operate(&world, &["schedules", "disable", NAME]).await.code, 0);
    eventually("nothing of before is left", Duration::from_secs(60), || async {
        world.count("SELECT count(*) FROM jobs WHERE kind = 'retention.cleanup_expired'").await == 0
    })
    .await;
    world.execute("DELETE FROM ticks; DELETE FROM finished_jobs").await;
    let change = ["schedules", "change", NAME, "--expression", "* * * * * *", "--catch-up", "all"];
    assert_eq!(operate(&world, &change).await.code, 0);
    assert_eq!(operate(&world, &["schedules", "enable", NAME]).await.code, 0);
    let (mut kills, mut next) = (0, every);
    loop {
        let wanted = next.min(seconds);
        eventually("ticks go on", Duration::from_secs(60), || async { world.count(TICKS).await >= wanted })
            .await;
        if wanted == seconds {
            break;
        }
        workers.remove(0).kill();
        workers.push(worker(&world));
        (kills, next) = (kills + 1, next + every);
    }
    assert_eq!(operate(&world, &["schedules", "disable", NAME]).await.code, 0);
    // a job in the hands of a killed worker is back within 45 s
    eventually("every tick has run", Duration::from_secs(120), || async { world.count(OPEN).await == 0 })
        .await;
    let (ticks, missing, jobs) =
        (world.count(TICKS).await, world.count(MISSING).await, world.count(JOBS).await);
    let again = world.count("SELECT count(*) FROM finished_jobs WHERE attempt > 1").await;
    let dead = world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await;
    let late = "SELECT (extract(epoch FROM max(f.created_at - t.at)) * 1000)::bigint FROM ticks t
                JOIN finished_jobs f USING (job_id) WHERE schedule = 'cleanup_expired'";
    let line = json!({
        "workers": count, "kills": kills, "ticks": ticks, "jobs": jobs, "missing": missing, "dead": dead,
        "run_again": again, "latest_ms": world.count(late).await, "seconds": began.elapsed().as_secs(),
    });
    eprintln!("{line}");
    assert!(ticks >= seconds && kills > 0, "{line}");
    assert_eq!((missing, jobs, dead), (0, ticks, 0), "{line}");
}

fn every_minute(catch_up: CatchUp) -> Registry {
    let mut registry = Registry::default();
    registry.scheduled::<Noop>("tick", "0 * * * * *", catch_up);
    registry
}

/// The same ledger by a clock that differs.
fn by_another_clock(engine: &Engine, by: TimeDelta) -> keryu_common::Context {
    let clock = Clock::fixed(engine.ctx.now() + by);
    keryu_common::Context::with(engine.ctx.config.clone(), engine.ctx.db.clone(), clock).expect("context")
}

#[tokio::test]
async fn a_clock_that_jumped_ahead_and_back_neither_stops_a_schedule_nor_repeats_a_tick() {
    for (catch_up, ahead) in [(CatchUp::All, 1), (CatchUp::One, 24 * 365), (CatchUp::Skip, 24 * 365)] {
        let engine = Engine::new().await;
        let registry = every_minute(catch_up);
        schedule::register(&engine.ctx, registry.plans()).await.unwrap();
        engine.advance(Duration::from_secs(60));
        schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
        let wrong = by_another_clock(&engine, TimeDelta::hours(ahead));
        schedule::tick(&wrong, registry.plans()).await.unwrap();
        let before = engine.world.count("SELECT count(*) FROM ticks").await;
        // right again: two hours go by, minute by minute
        for _ in 0..120 {
            engine.advance(Duration::from_secs(30));
            schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
            engine.advance(Duration::from_secs(30));
            schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
        }
        let ticks = engine.world.count("SELECT count(*) FROM ticks").await;
        assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, ticks, "{catch_up:?}");
        assert_eq!(engine.world.count("SELECT count(*) - count(DISTINCT at) FROM ticks").await, 0);
        let gap = "SELECT coalesce(max(gap), 0)::bigint FROM (
                       SELECT extract(epoch FROM at - lag(at) OVER (ORDER BY at)) AS gap FROM ticks
                       WHERE at < now() + interval '1 day') gaps";
        assert!(engine.world.count(gap).await <= 120, "{catch_up:?}: it went on after {before} ticks");
        assert!(ticks >= 119, "{catch_up:?}: {ticks}");
    }
}

#[tokio::test]
async fn after_an_hour_without_workers_what_was_missed_is_asked_for_as_the_schedule_says() {
    for (catch_up, jobs) in [(CatchUp::All, 60), (CatchUp::One, 1), (CatchUp::Skip, 1)] {
        let engine = Engine::new().await;
        let registry = every_minute(catch_up);
        schedule::register(&engine.ctx, registry.plans()).await.unwrap();
        engine.advance(Duration::from_secs(3600));
        let others: Vec<_> = (0..5).map(|_| engine.another()).collect();
        for done in
            futures::future::join_all(others.iter().map(|ctx| schedule::tick(ctx, registry.plans()))).await
        {
            done.unwrap();
        }
        assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, jobs, "{catch_up:?}");
    }
}

#[tokio::test]
async fn a_heavy_schedules_job_is_due_some_time_after_its_tick() {
    let engine = Engine::new().await;
    let mut registry = Registry::default();
    registry.scheduled::<Noop>("heavy", "0 * * * * *", CatchUp::All).spread(Duration::from_secs(3600));
    schedule::register(&engine.ctx, registry.plans()).await.unwrap();
    engine.advance(Duration::from_secs(30 * 60));
    schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 30);
    assert!(
        engine.world.count("SELECT count(DISTINCT run_at) FROM jobs WHERE state = 'scheduled'").await > 5
    );
    let late =
        "SELECT count(*) FROM jobs j JOIN ticks t USING (job_id) WHERE run_at > at + interval '1 hour'";
    assert_eq!(engine.world.count(late).await, 0);
    engine.advance(Duration::from_secs(3600));
    engine.drain().await;
    assert_eq!(engine.world.count("SELECT count(*) FROM finished_jobs").await, 30);
}

#[tokio::test]
async fn addresses_are_blanked_after_ninety_days_and_audit_lines_go_after_a_year() {
    let product = Product::new().await;
    let tokens = product.register("ada@example.org", "ada").await;
    let named = "SELECT (SELECT count(*) FROM audit WHERE ip_address IS NOT NULL)
                      + (SELECT count(*) FROM sessions WHERE ip_address IS NOT NULL)
                      + (SELECT count(*) FROM users WHERE last_login_ip IS NOT NULL)";
    // many pages, more than one batch
    product.world.execute("INSERT INTO audit (audit_id, at, action, entity_type, entity_id, ip_address, user_agent)
        SELECT gen_random_uuid(), now(), 'test', 'test', n::text, '192.0.2.7', repeat('x', 200) FROM generate_series(1, 9000) n").await;
    let lines = product.world.count("SELECT count(*) FROM audit").await;
    let engine = Engine { world: product.world, ctx: product.ctx };
    let before = engine.world.count(named).await;
    assert!(before > 9_000 && tokens["access_token"].is_string());
    engine.advance(DAY * 89);
    engine.ask(&blank::BlankOldAddresses::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count(named).await, before);
    engine.advance(DAY * 2);
    engine.ask(&blank::BlankOldAddresses::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count(named).await, 0);
    assert_eq!(engine.world.count("SELECT count(*) FROM audit WHERE user_agent IS NOT NULL").await, 0);
    assert_eq!(engine.world.count("SELECT count(*) FROM audit").await, lines, "the lines stay");
    engine.advance(DAY * 275 + DAY * 31);
    engine.ask(&CleanupAuditLogs::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count("SELECT count(*) FROM audit").await, 0);
}

#[tokio::test]
async fn the_push_token_of_a_device_that_is_switched_off_is_forgotten() {
    let product = Product::new().await;
    product.register("ada@example.org", "ada").await;
    product.world.execute("INSERT INTO devices SELECT gen_random_uuid(), user_id, 'd' || n, 't' || n, 'web', '', '', '', n > 5000, now(), now()
        FROM users, generate_series(1, 5003) n").await;
    let engine = Engine { world: product.world, ctx: product.ctx };
    engine.ask(&blank::CleanupPushTokens::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count("SELECT count(*) FROM devices WHERE fcm_token <> ''").await, 3);
    assert_eq!(engine.world.count("SELECT count(*) FROM devices").await, 5_003);
}
