//! Measures the production path: ledger, relay, Redis, pump, in a worker process of its own.

mod child;
mod figures;
mod load;

use clap::{Args, ValueEnum};
use keryu_common::config::{Config, Source};
use keryu_common::job::{Queue, store};
use keryu_common::{Context, database, secret};
use serde::Serialize;

/// Slots with which one worker process drained the most (docs/benchmarks.md).
pub const BEST_CONCURRENCY: usize = 800;

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// Jobs that do nothing, or the shipped delivery through the generic SMS gateway
    #[arg(long, value_enum, default_value = "noop")]
    kind: Kind,
    /// How many
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
    /// Jobs a second, one by one, while the worker runs; absent: all at once, before it starts
    #[arg(long)]
    rate: Option<f64>,
    /// Slots of the worker
    #[arg(long, default_value_t = BEST_CONCURRENCY)]
    concurrency: usize,
    /// Where deliveries are POSTed; absent: a sink of its own
    #[arg(long)]
    sink: Option<String>,
    /// Enqueue one by one over this many connections, in place of batches
    #[arg(long)]
    connections: Option<usize>,
    /// What the worker derives codes with: the deployment's, or one made for this run.
    #[arg(skip)]
    secret_key: String,
}

impl Ask {
    /// Both processes derive codes with one key, also where none is set.
    pub fn settle(&mut self, source: &mut Source) {
        let made = || format!("bench:{}", secret::hex(&secret::random::<32>()));
        self.secret_key = source.find("KERYU_SECRET_KEY").unwrap_or_else(made);
        source.put("KERYU_SECRET_KEY", &self.secret_key);
    }
}

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `job.noop`.
    Noop,
    /// `notify.deliver_message`.
    Deliver,
}

impl Kind {
    fn queue(self) -> Queue {
        match self {
            Self::Noop => Queue::Default,
            Self::Deliver => Queue::Critical,
        }
    }
}

/// Runs the measurement and prints one line of JSON.
///
/// # Errors
/// The schema cannot be applied, the ledger is not idle, a part does not answer, or the counts do not match.
#[expect(clippy::print_stdout, reason = "the result is the output")]
pub async fn run(config: Config, ask: Ask) -> anyhow::Result<()> {
    let ctx = Context::build(Config { pool: 40, ..config })?;
    database::migrate(&ctx.config).await?;
    let began = store::now(&ctx.db).await?;
    let waiting = store::count_live(&ctx.db, ask.kind.queue()).await?;
    anyhow::ensure!(
        waiting == 0,
        "{waiting} jobs wait in {}: bench wants a ledger of its own",
        ask.kind.queue()
    );
    let sink = load::Sink::start(ask.sink.clone()).await?;
    let enqueue_per_s;
    let worker;
    let mut commits = load::Commits::new();
    if let Some(rate) = ask.rate {
        tokio::spawn(database::follow_clock(ctx.db.clone(), ctx.clock.clone()));
        worker = child::Worker::start(&ctx, &ask, &sink).await?;
        (enqueue_per_s, commits) = load::paced(&ctx, &ask, rate).await?;
    } else {
        enqueue_per_s = load::at_once(&ctx, &ask).await?;
        worker = child::Worker::start(&ctx, &ask, &sink).await?;
    }
    figures::wait_until_idle(&ctx, &ask).await?;
    let line =
        figures::measure(&ctx, &ask, began, enqueue_per_s, &commits, worker.peak_rss_mb(), sink.count())
            .await?;
    worker.stop().await?;
    println!("{}", serde_json::to_string(&line)?);
    line.check(&ask)
}
