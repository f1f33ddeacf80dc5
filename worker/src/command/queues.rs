//! `keryu-worker queues`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use keryu_common::config::Config;
use keryu_common::desk::queue::{self, QueueState};
use keryu_common::job::Queue;

use super::table::Table;
use super::{Desk, at, plain};

/// List, pause and resume queues
#[derive(Args)]
pub struct Queues {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// How many jobs of each queue are in which state (counted up to 100,000), how long the oldest due one waits, who
    /// works it
    #[command(after_help = "Example:
  keryu-worker queues list --json")]
    List,
    /// Pause a queue: every worker stops beginning jobs of it, until it is resumed; restarts change nothing
    #[command(after_help = "Example:
  keryu-worker queues pause low")]
    Pause {
        /// critical, default, low, media, bulk
        queue: Queue,
    },
    /// Let a paused queue go on
    #[command(after_help = "Example:
  keryu-worker queues resume low")]
    Resume {
        /// critical, default, low, media, bulk
        queue: Queue,
    },
}

impl Queues {
    /// Runs it.
    ///
    /// # Errors
    /// A refusal, or no database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let desk = &Desk::open(config, self.json).await?;
        match self.command {
            Command::List => {
                let all = queue::list(&desk.ctx, desk.hand()).await.map_err(plain)?;
                desk.say(&all, || rows(&all))
            }
            Command::Pause { queue } => {
                let state = queue::pause(&desk.ctx, desk.hand(), queue.name()).await.map_err(plain)?;
                desk.say(&state, || rows(std::slice::from_ref(&state)))
            }
            Command::Resume { queue } => {
                let state = queue::resume(&desk.ctx, desk.hand(), queue.name()).await.map_err(plain)?;
                desk.say(&state, || rows(std::slice::from_ref(&state)))
            }
        }
    }
}

/// A count, where there is one.
fn number(count: Option<i64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

fn rows(states: &[QueueState]) -> String {
    let head = Table::new([
        "queue",
        "due",
        "pushed",
        "running",
        "scheduled",
        "retryable",
        "dead",
        "oldest",
        "workers",
        "paused",
    ]);
    let table = states.iter().fold(head, |table, state| {
        table.row([
            state.queue.clone(),
            number(state.available),
            number(state.pushed),
            number(state.running),
            number(state.scheduled),
            number(state.retryable),
            number(state.discarded),
            state.oldest_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
            number(state.workers),
            at(state.paused_at),
        ])
    });
    table.text()
}
