//! One job row per tick: however many schedulers run, however late, whatever the clock does.

use std::time::Duration;

use keryu_common::job::schedule::{self, CatchUp};
use keryu_worker::registry::Registry;

use crate::support::Engine;
use crate::support::kinds::Note;

fn every_minute(catch_up: CatchUp) -> Registry {
    let mut registry = Registry::default();
    registry.scheduled::<Note>("tick", "0 * * * * *", catch_up);
    registry
}

async fn begin(engine: &Engine, registry: &Registry) {
    // half a minute in, so that no tick is due
    let second = engine.ctx.now().timestamp().rem_euclid(60) as u64;
    engine.advance(Duration::from_secs(90 - second));
    schedule::register(&engine.ctx, registry.plans()).await.expect("registered");
}

#[tokio::test]
async fn many_schedulers_ask_for_one_job_per_tick() {
    let engine = Engine::new().await;
    let registry = every_minute(CatchUp::One);
    begin(&engine, &registry).await;
    let others: Vec<_> = (0..8).map(|_| engine.another()).collect();
    for minute in 1..=3 {
        engine.advance(Duration::from_secs(60));
        let ticks = others.iter().map(|ctx| schedule::tick(ctx, registry.plans()));
        for tick in futures::future::join_all(ticks).await {
            tick.expect("a scheduler that comes second finds nothing to do");
        }
        assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, minute);
        assert_eq!(engine.world.count("SELECT count(*) FROM ticks").await, minute);
    }
    assert_eq!(engine.world.count("SELECT count(DISTINCT at) FROM ticks").await, 3);
}

#[tokio::test]
async fn an_outage_is_caught_up_as_the_schedule_says() {
    for (catch_up, late, jobs) in [
        (CatchUp::All, 0, 5),
        (CatchUp::One, 0, 1),
        (CatchUp::Skip, 0, 1),
        (CatchUp::All, 3600 * 24 * 2, 2885),
        (CatchUp::One, 3600 * 24 * 2, 1),
    ] {
        let engine = Engine::new().await;
        let registry = every_minute(catch_up);
        begin(&engine, &registry).await;
        engine.advance(Duration::from_secs(5 * 60 + late));
        // up to a thousand a round
        for _ in 0..4 {
            schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
        }
        assert_eq!(
            engine.world.count("SELECT count(*) FROM jobs").await,
            jobs,
            "{catch_up:?} after {late} s"
        );
    }
}

#[tokio::test]
async fn a_tick_missed_by_more_than_a_minute_is_skipped_where_the_schedule_says_so() {
    let engine = Engine::new().await;
    let mut registry = Registry::default();
    registry.scheduled::<Note>("hourly", "0 0 * * * *", CatchUp::Skip);
    schedule::register(&engine.ctx, registry.plans()).await.expect("registered");
    let second = engine.ctx.now().timestamp().rem_euclid(3600) as u64;
    engine.advance(Duration::from_secs(3600 - second + 61));
    schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 0);
    engine.advance(Duration::from_secs(3600 - 61));
    schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 1);
}

#[tokio::test]
async fn a_clock_that_jumps_back_repeats_no_tick() {
    let engine = Engine::new().await;
    let registry = every_minute(CatchUp::All);
    begin(&engine, &registry).await;
    engine.advance(Duration::from_secs(180));
    schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
    // another host's clock is two minutes behind
    let behind = keryu_common::clock::Clock::fixed(engine.ctx.now() - Duration::from_secs(120));
    let other = Engine { ctx: engine.another(), world: engine.world };
    let late = keryu_common::Context::with(other.ctx.config.clone(), other.ctx.db.clone(), behind).unwrap();
    schedule::tick(&late, registry.plans()).await.unwrap();
    other.world.execute("UPDATE schedules SET ticked_at = ticked_at - interval '1 hour'").await;
    schedule::tick(&late, registry.plans()).await.unwrap();
    schedule::tick(&other.ctx, registry.plans()).await.unwrap();
    assert_eq!(
        other.world.count("SELECT count(*) FROM jobs").await,
        other.world.count("SELECT count(*) FROM ticks").await
    );
    assert_eq!(other.world.count("SELECT count(*) - count(DISTINCT at) FROM ticks").await, 0);
}

#[tokio::test]
async fn a_schedule_nobody_can_read_does_not_stop_the_others() {
    let engine = Engine::new().await;
    let registry = every_minute(CatchUp::One);
    begin(&engine, &registry).await;
    let broken = "INSERT INTO schedules (schedule, expression, catch_up, ticked_at) VALUES ('a', 'never', 'one', now())";
    engine.world.execute(broken).await;
    let mut both = every_minute(CatchUp::One);
    both.scheduled::<Note>("a", "0 * * * * *", CatchUp::One);
    engine.advance(Duration::from_secs(60));
    schedule::tick(&engine.ctx, both.plans()).await.unwrap();
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 1);
}

#[tokio::test]
async fn an_operator_may_change_a_schedule_or_switch_it_off() {
    let engine = Engine::new().await;
    let registry = every_minute(CatchUp::One);
    begin(&engine, &registry).await;
    engine.world.execute("UPDATE schedules SET enabled = false").await;
    engine.advance(Duration::from_secs(60));
    schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 0);
    engine.world.execute("UPDATE schedules SET enabled = true, expression = '*/10 * * * * *'").await;
    schedule::register(&engine.ctx, registry.plans()).await.expect("registered");
    engine.advance(Duration::from_secs(10));
    schedule::tick(&engine.ctx, registry.plans()).await.unwrap();
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 1, "what the operator set stays");
}
