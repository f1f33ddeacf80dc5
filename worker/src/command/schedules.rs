//! `keryu-worker schedules`.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use keryu_common::config::Config;
use keryu_common::desk::schedule::{self, Change, Schedule};
use keryu_common::job::schedule::CatchUp;

use super::table::Table;
use super::{Desk, at, cut, or_dash, plain};

/// List, run, switch and change schedules (UTC)
#[derive(Args)]
pub struct Schedules {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// All schedules: when they come due, what became of the last job
    #[command(after_help = "Example:
  keryu-worker schedules list --json")]
    List,
    /// Ask for a schedule's job now; its ticks go on as before
    #[command(after_help = "Example:
  keryu-worker schedules run cleanup_expired")]
    Run {
        /// From the list
        name: String,
    },
    /// Switch a schedule on: it begins now, and what lies before is not caught up
    #[command(after_help = "Example:
  keryu-worker schedules enable send_reminders")]
    Enable {
        /// From the list
        name: String,
    },
    /// Switch a schedule off
    #[command(after_help = "Example:
  keryu-worker schedules disable send_reminders")]
    Disable {
        /// From the list
        name: String,
    },
    /// Change when a schedule comes due, or what it asks for after an outage
    #[command(group = ArgGroup::new("what").args(["expression", "catch_up", "reset"]).multiple(true).required(true))]
    #[command(after_help = "Examples:
  keryu-worker schedules change send_reminders --expression '0 30 8 * * Mon-Fri'
  keryu-worker schedules change cleanup_expired --catch-up all
  keryu-worker schedules change send_reminders --reset")]
    Change {
        /// From the list
        name: String,
        /// cron in UTC, five fields, or six with seconds first
        #[arg(long)]
        expression: Option<String>,
        /// After an outage: skip, one (the latest missed tick), all
        #[arg(long)]
        catch_up: Option<CatchUp>,
        /// The expression it was shipped with
        #[arg(long, conflicts_with = "expression")]
        reset: bool,
    },
}

impl Schedules {
    /// Runs it.
    ///
    /// # Errors
    /// A refusal, or no database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let desk = &Desk::open(config, self.json).await?;
        let (name, change) = match self.command {
            Command::List => {
                let all = schedule::list(&desk.ctx, desk.hand()).await.map_err(plain)?;
                return desk.say(&all, || rows(&all));
            }
            Command::Run { name } => {
                let ran = schedule::run(&desk.ctx, desk.hand(), &name, None).await.map_err(plain)?;
                return desk.say(&ran, || format!("asked for: job {}\n", ran.job_id));
            }
            Command::Enable { name } => (name, Change { enabled: Some(true), ..Change::default() }),
            Command::Disable { name } => (name, Change { enabled: Some(false), ..Change::default() }),
            Command::Change { name, expression, catch_up, reset } => {
                let expression = if reset { shipped(desk, &name).await? } else { expression };
                (name, Change { expression, catch_up, enabled: None })
            }
        };
        let changed = schedule::change(&desk.ctx, desk.hand(), &name, change).await.map_err(plain)?;
        desk.say(&changed, || rows(std::slice::from_ref(&changed)))
    }
}

/// The expression a schedule was shipped with.
async fn shipped(desk: &Desk, name: &str) -> anyhow::Result<Option<String>> {
    let all = schedule::list(&desk.ctx, desk.hand()).await.map_err(plain)?;
    Ok(all.into_iter().find(|one| one.name == name).and_then(|one| one.default_expression))
}

fn rows(schedules: &[Schedule]) -> String {
    let head = Table::new(["name", "expression", "catch-up", "on", "next", "last", "last job", "error"]);
    let table = schedules.iter().fold(head, |table, one| {
        let last_job = match (&one.last_state, one.last_job_id) {
            (Some(state), _) => state.clone(),
            (None, Some(_)) => "no longer kept".to_owned(),
            (None, None) => or_dash(None),
        };
        let changed = one.default_expression.as_ref().is_some_and(|shipped| *shipped != one.expression);
        table.row([
            one.name.clone(),
            format!("{}{}", one.expression, if changed { " (changed)" } else { "" }),
            one.catch_up.clone(),
            if one.enabled { "yes" } else { "no" }.to_owned(),
            at(one.next_at),
            at(one.last_at),
            last_job,
            cut(one.last_error.as_deref(), 40),
        ])
    });
    table.text()
}
