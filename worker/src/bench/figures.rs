//! What is read off the ledger afterwards.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keryu_common::Context;
use keryu_common::job::{Job, Noop, store};
use keryu_common::notify::DeliverMessage;
use serde::Serialize;

use super::load::Commits;
use super::{Ask, Kind};

/// The line that is printed.
#[derive(Debug, Serialize)]
pub struct Line {
    kind: Kind,
    jobs: usize,
    concurrency: usize,
    enqueue_per_s: f64,
    drain_per_s: f64,
    start_p50_ms: f64,
    start_p99_ms: f64,
    start_max_ms: f64,
    worker_rss_mb: f64,
    sink_count: Option<u64>,
    ledger_completed: i64,
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Noop => Noop::KIND,
        Kind::Deliver => DeliverMessage::KIND,
    }
}

/// Waits until nothing is ready or retryable; fails when nothing moves for half a minute.
pub async fn wait_until_idle(ctx: &Context, ask: &Ask) -> anyhow::Result<()> {
    let mut last = (i64::MAX, tokio::time::Instant::now());
    loop {
        let left = store::count_live(&ctx.db, ask.kind.queue()).await?;
        if left == 0 {
            return Ok(());
        }
        if left < last.0 {
            last = (left, tokio::time::Instant::now());
        }
        anyhow::ensure!(last.1.elapsed() < Duration::from_secs(30), "stuck with {left} jobs left");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Reads the figures. Starts are measured from the commits the enqueuer saw, or, where all was there
/// before the worker, from when it was asked for.
pub async fn measure(
    ctx: &Context,
    ask: &Ask,
    began: DateTime<Utc>,
    enqueue_per_s: f64,
    commits: &Commits,
    rss: f64,
    sink_count: Option<u64>,
) -> anyhow::Result<Line> {
    let rows = store::list_finished(&ctx.db, name(ask.kind), began).await?;
    let mut waits: Vec<f64> = rows
        .iter()
        .filter_map(|row| Some((row, row.started_at?)))
        .map(|(row, started)| millis(started - commits.get(&row.job_id).copied().unwrap_or(row.created_at)))
        .collect();
    waits.sort_unstable_by(f64::total_cmp);
    let at =
        |share: f64| waits.get(((waits.len() as f64 * share) as usize).min(waits.len().max(1) - 1)).copied();
    let first = rows.iter().filter_map(|row| row.started_at).min().unwrap_or(began);
    let last = rows.iter().map(|row| row.finished_at).max().unwrap_or(began);
    let round = |value: Option<f64>| (value.unwrap_or_default() * 100.0).round() / 100.0;
    Ok(Line {
        kind: ask.kind,
        jobs: ask.jobs,
        concurrency: ask.concurrency,
        enqueue_per_s: enqueue_per_s.round(),
        drain_per_s: (rows.len() as f64 * 1000.0 / millis(last - first).max(1e-3)).round(),
        start_p50_ms: round(at(0.5)),
        start_p99_ms: round(at(0.99)),
        start_max_ms: round(waits.last().copied()),
        worker_rss_mb: round(Some(rss)),
        sink_count,
        ledger_completed: i64::try_from(rows.len())?,
    })
}

fn millis(span: TimeDelta) -> f64 {
    span.num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0
}

impl Line {
    /// Fails unless the counts match.
    pub fn check(&self, ask: &Ask) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.ledger_completed == i64::try_from(ask.jobs)?,
            "the ledger's count does not match"
        );
        if let (Kind::Deliver, Some(sunk)) = (ask.kind, self.sink_count) {
            anyhow::ensure!(sunk == ask.jobs as u64, "the sink's count does not match");
        }
        Ok(())
    }
}
