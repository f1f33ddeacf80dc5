//! `keryu-api`: serves the HTTP API, and the commands around it.

mod command;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Parser, Subcommand};
use command::keys::Keys;
use command::seed::Seed;
use command::superuser::CreateSuperuser;
use keryu_api::{app, catalogue, document};
use keryu_common::auth::password::{Cost, bare};
use keryu_common::config::{Config, Source, Stage};
use keryu_common::user::Identifier;
use keryu_common::{Context, activity, database, session, telemetry};
use poem::listener::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Half of what a request does besides asking the database is to build small texts: a tenth more of them in a second,
/// at less memory, than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long requests under way may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(20);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(75);

/// The HTTP API of Keryu. Settings come from the environment and the file named by KERYU_CONFIG.
#[derive(Parser)]
#[command(name = "keryu-api", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (the default)
    Serve,
    /// Bring the database's schema up to date
    Migrate,
    /// Print the OpenAPI document
    Openapi,
    CreateSuperuser(CreateSuperuser),
    Keys(Keys),
    Seed(Seed),
    /// Print the catalogue of error codes
    #[command(hide = true)]
    Errors,
    /// Hash passwords with nothing around it and print how many a second
    #[command(hide = true)]
    BenchHash {
        /// For how long, each of the two ways
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let command = Args::parse().command.unwrap_or(Command::Serve);
    let done = match command {
        Command::Openapi => document::text().map_err(Into::into).and_then(|text| print(&text)),
        Command::Errors => print(&catalogue::page()),
        Command::BenchHash { seconds } => {
            with_settings(async move |config| bench_hash(&config, Duration::from_secs(seconds)))
        }
        Command::Serve => with_settings(serve),
        Command::Migrate => with_settings(migrate),
        Command::CreateSuperuser(ask) => with_settings(|config| ask.run(config)),
        Command::Keys(ask) => with_settings(|config| ask.run(config)),
        Command::Seed(ask) => with_settings(|config| ask.run(config)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keryu-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    command::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings and runs `work` on them. Faulty settings: all of them on standard error, code 2.
fn with_settings<F>(work: impl FnOnce(Config) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let config = match Config::read(&mut Source::open()) {
        Ok(config) => config,
        Err(faults) => {
            eprintln!("keryu-api: {faults}");
            return Ok(ExitCode::from(2));
        }
    };
    telemetry::start(&config.log, config.stage);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work(config))?;
    Ok(ExitCode::SUCCESS)
}

/// One line of JSON: Argon2id at this deployment's setting on all its threads.
fn bench_hash(config: &Config, span: Duration) -> anyhow::Result<()> {
    let Cost { memory, passes } = config.password.cost;
    let threads = config.password.threads;
    let bare = bare::per_second(config.password.cost, threads, span, false)?;
    let kept = bare::per_second(config.password.cost, threads, span, true)?;
    let line = serde_json::json!({
        "memory": memory, "passes": passes, "threads": threads,
        "bare_per_s": bare.round(), "kept_memory_per_s": kept.round(),
    });
    print(&format!("{line}\n"))?;
    Ok(())
}

async fn migrate(config: Config) -> anyhow::Result<()> {
    database::migrate(&config).await?;
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let everywhere = IpAddr::V4(if config.stage == Stage::Production {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::LOCALHOST
    });
    let address = (config.http.listen.unwrap_or(everywhere), config.http.port);
    let ctx = Context::build(config)?;
    let traces = telemetry::trace::start(&ctx.config.log, "keryu-api", &ctx.metrics)?;
    tokio::spawn(database::follow_clock(ctx.db.clone(), ctx.clock.clone()));
    tokio::spawn(session::follow_keys(ctx.clone()));
    tokio::spawn(activity::follow(ctx.clone()));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let leaving = ctx.clone();
    let stop = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => return }
        // balancers see it in /readyz before the door closes
        leaving.leaving.store(true, Ordering::Relaxed);
        let delay = tokio::time::sleep(leaving.config.http.shutdown_delay);
        tokio::select! { () = delay => {}, _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    // the tables of the phone library take a moment to read: not on somebody's first request
    tokio::task::spawn_blocking(|| Identifier::parse("+254712345678", None).is_ok());
    let server = poem::Server::new(TcpListener::bind(address)).idle_timeout(IDLE);
    server.run_with_graceful_shutdown(app(ctx.clone())?, stop, Some(DRAIN)).await?;
    if let Err(error) = activity::flush(&ctx).await {
        tracing::warn!(%error, "who was here last is not written down");
    }
    traces.stop().await;
    Ok(())
}
