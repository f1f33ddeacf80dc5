//! `keryu-worker`: runs jobs, and the operators' commands around them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use keryu_common::config::{Config, Source};
use keryu_common::job::Queue;
use keryu_common::notify::Via;
use keryu_common::{Context, telemetry};
use keryu_worker::command::crm::Crm;
use keryu_worker::command::deliveries::Deliveries;
use keryu_worker::command::enqueue::Enqueue;
use keryu_worker::command::jobs::Jobs;
use keryu_worker::command::queues::Queues;
use keryu_worker::command::rates::Rates;
use keryu_worker::command::schedules::Schedules;
use keryu_worker::metrics::Metrics;
use keryu_worker::worker::{Share, Worker};
use keryu_worker::{bench, listen, registry};

#[derive(Parser)]
#[command(version, about = "Keryu's worker: delivers codes and does all background work")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run jobs until SIGTERM; running ones get 25 s to finish, the rest goes back at once
    Run(Run),
    Enqueue(Enqueue),
    Jobs(Jobs),
    Queues(Queues),
    Schedules(Schedules),
    Deliveries(Deliveries),
    Rates(Rates),
    Crm(Crm),
    /// Measure: enqueue, start a worker process of its own, drain, print one line of JSON
    Bench(bench::Ask),
}

#[derive(clap::Args)]
struct Run {
    /// Queues to work, separated by commas; all if absent
    #[arg(long, value_delimiter = ',')]
    queues: Vec<Queue>,
    /// Slots per queue: critical=50,default=20
    #[arg(long, value_delimiter = ',', value_parser = share)]
    concurrency: Vec<Share>,
}

/// The best measured (docs/benchmarks.md); media and bulk work is heavy, so it runs few at a time.
fn default_slots(queue: Queue) -> usize {
    match queue {
        Queue::Critical | Queue::Default => bench::BEST_CONCURRENCY,
        Queue::Low => 50,
        Queue::Media => 2,
        Queue::Bulk => 2,
    }
}

fn share(text: &str) -> Result<Share, String> {
    let (queue, slots) = text.split_once('=').ok_or("not of the form queue=slots")?;
    let slots = slots.parse().ok().filter(|slots| (1..=10_000).contains(slots)).ok_or("slots: 1 to 10000")?;
    Ok((queue.parse()?, slots))
}

impl Run {
    fn shares(&self) -> anyhow::Result<Vec<Share>> {
        let queues = if self.queues.is_empty() { Queue::ALL.to_vec() } else { self.queues.clone() };
        let mut shares: BTreeMap<Queue, usize> =
            queues.into_iter().map(|queue| (queue, default_slots(queue))).collect();
        for (queue, slots) in &self.concurrency {
            *shares
                .get_mut(queue)
                .with_context(|| format!("--concurrency names {queue}, --queues does not"))? = *slots;
        }
        Ok(shares.into_iter().collect())
    }
}

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    let mut source = Source::open();
    if let Command::Bench(ask) = &mut cli.command {
        ask.settle(&mut source);
    }
    let config = match Config::read(&mut source) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("keryu-worker: {faults}");
            return ExitCode::from(2);
        }
    };
    match work(cli.command, config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keryu-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Run(run) => {
                telemetry::start(&config.log, config.stage);
                serve(Context::build(config)?, &run.shares()?).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Bench(ask) => bench::run(config, ask).await.map(|()| ExitCode::SUCCESS),
            Command::Enqueue(ask) => ask.run(config).await,
            Command::Jobs(ask) => ask.run(config).await,
            Command::Queues(ask) => ask.run(config).await,
            Command::Schedules(ask) => ask.run(config).await,
            Command::Deliveries(ask) => ask.run(config).await,
            Command::Rates(ask) => ask.run(config).await,
            Command::Crm(ask) => ask.run(config).await,
        }
    })
}

async fn serve(ctx: Context, shares: &[Share]) -> anyhow::Result<()> {
    let traces = telemetry::trace::start(&ctx.config.log, "keryu-worker", &ctx.metrics)?;
    let metrics = ctx.metrics.register(Metrics::new);
    ctx.metrics.expect_deliveries();
    let providers = Via::ALL.into_iter().flat_map(|via| ctx.notify.names(via));
    ctx.metrics.expect_providers(providers.chain(ctx.crm.names()));
    let worker = Worker::start(ctx.clone(), registry::registry(), shares, metrics).await?;
    let shown: Vec<String> = shares.iter().map(|(queue, slots)| format!("{queue}={slots}")).collect();
    tracing::info!(queues = shown.join(","), "the worker runs");
    if let Some(address) = ctx.config.worker_listen {
        listen::start(address, ctx, worker.health()).await?;
    }
    terminated().await?;
    tracing::info!("stopping: running jobs may finish");
    worker.stop().await;
    traces.stop().await;
    tracing::info!("stopped");
    Ok(())
}

async fn terminated() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => {}
        result = tokio::signal::ctrl_c() => result?,
    }
    Ok(())
}
