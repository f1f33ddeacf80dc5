//! Asks for scheduled jobs: one row per tick, however many schedulers run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keryu_common::job::schedule;
use keryu_common::{Context, crm, database};
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;
use crate::relay::Woken;

/// How often ticks are looked for.
const EVERY: Duration = Duration::from_millis(500);
/// How often schedules are registered: a worker of the build before that starts again in the middle of a deploy
/// must not have the last word.
const REGISTER: Duration = Duration::from_secs(60);

/// Looks for due ticks until stopped.
pub async fn run(ctx: Context, registry: Arc<Registry>, woken: Arc<Woken>, stop: CancellationToken) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: Option<Instant> = None;
    database::clock_led(&ctx.clock).await;
    while !stop.is_cancelled() {
        every.tick().await;
        if known.is_none_or(|at| at.elapsed() >= REGISTER)
            && schedule::register(&ctx, registry.plans()).await.is_ok()
            && (known.is_some() || crm::register(&ctx).await.is_ok())
        {
            known = Some(Instant::now());
        }
        match schedule::tick(&ctx, registry.plans()).await {
            Ok(queues) => queues.into_iter().for_each(|queue| woken.wake(queue)),
            Err(error) => tracing::debug!(%error, "no ticks: tried again shortly"),
        }
    }
}
