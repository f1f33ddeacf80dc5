//! `keryu-worker rates`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use keryu_common::config::Config;
use keryu_common::desk::rate::{self, Rate};

use super::table::Table;
use super::{Desk, at, plain};

/// How often providers may be called, over all workers
#[derive(Args)]
pub struct Rates {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// The rates that hold
    #[command(after_help = "Example:
  keryu-worker rates list --json")]
    List,
    /// Set a rate; every worker keeps to it within 2 s, and it wins over PROVIDER_RATES
    #[command(after_help = "Examples:
  keryu-worker rates set twilio 10
  keryu-worker rates set smtp 0.5")]
    Set {
        /// As `deliveries list` and `crm show` name it
        #[arg(value_parser = rate::PROVIDERS)]
        provider: String,
        /// Calls a second: 0.001 to 100000
        #[arg(value_parser = per_second)]
        per_second: f64,
    },
    /// Take a rate back: from then on what PROVIDER_RATES says holds
    #[command(after_help = "Example:
  keryu-worker rates clear twilio")]
    Clear {
        /// From the list
        provider: String,
    },
}

fn per_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| rate::is_rate(*rate));
    rate.ok_or_else(|| "not a number from 0.001 to 100000".to_owned())
}

impl Rates {
    /// Runs it.
    ///
    /// # Errors
    /// No database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let desk = &Desk::open(config, self.json).await?;
        match self.command {
            Command::List => {}
            Command::Set { provider, per_second } => {
                rate::set(&desk.ctx, desk.hand(), &provider, Some(per_second)).await.map_err(plain)?;
            }
            Command::Clear { provider } => {
                rate::set(&desk.ctx, desk.hand(), &provider, None).await.map_err(plain)?;
            }
        }
        let all = rate::list(&desk.ctx, desk.hand()).await.map_err(plain)?;
        desk.say(&all, || rows(&all))
    }
}

fn rows(rates: &[Rate]) -> String {
    let table = rates.iter().fold(Table::new(["provider", "a second", "set"]), |table, rate| {
        let set = if rate.updated_at.is_some() { at(rate.updated_at) } else { "PROVIDER_RATES".to_owned() };
        table.row([rate.provider.clone(), rate.per_second.to_string(), set])
    });
    table.text()
}
