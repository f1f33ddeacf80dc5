//! Runs everything that is due, here and now, without Redis: for tests under a clock they set. Beside a
//! running worker its reaper would take these jobs for lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keryu_common::Context;
use keryu_common::job::{Holds, Queue, store};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::registry::{Registry, registry};
use crate::runner::{Runner, Shared};
use crate::watchdog::Watchdog;

/// Runs due jobs, and what they lead to, until none is due. Answers with how many attempts ran.
///
/// # Errors
/// The database does not answer.
pub async fn due(ctx: &Context) -> keryu_common::Result<usize> {
    due_of(ctx, registry()).await
}

/// As [`due`], of these kinds.
///
/// # Errors
/// The database does not answer.
pub async fn due_of(ctx: &Context, registry: Registry) -> keryu_common::Result<usize> {
    let holds = Holds::default();
    holds.renewed(Instant::now());
    let shared = Shared {
        ctx: ctx.clone(),
        registry: Arc::new(registry),
        lease_id: keryu_common::id::ordered(ctx.now()),
        holds: holds.clone(),
        metrics: Metrics::new(&mut prometheus_client::registry::Registry::default()),
        watchdog: Watchdog::default(),
        freed: Arc::new(Notify::new()),
    };
    let renewed = tokio::spawn(renew(holds));
    let ran = until_none(ctx, &shared).await;
    renewed.abort();
    ran
}

/// What is claimed here holds for as long as this runs.
async fn renew(holds: Holds) {
    loop {
        holds.renewed(Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn until_none(ctx: &Context, shared: &Shared) -> keryu_common::Result<usize> {
    let runners: Vec<_> =
        Queue::ALL.into_iter().map(|queue| Runner::new(queue, 32, shared.clone())).collect();
    let mut ran = 0;
    loop {
        let mut connection = ctx.db.acquire().await?;
        store::promote_due(&mut connection, ctx.now(), 1_000).await?;
        for queue in Queue::ALL {
            store::discard_expired(&mut connection, queue, ctx.now(), 1_000).await?;
        }
        drop(connection);
        let mut started = 0;
        for runner in &runners {
            started += runner.take_direct().await;
            runner.settle().await;
        }
        if started == 0 {
            return Ok(ran);
        }
        ran += started;
    }
}
