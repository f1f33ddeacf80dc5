//! `keryu-worker crm`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use keryu_common::config::Config;
use keryu_common::crm::TARGETS;
use keryu_common::crm::desk::{self, State};
use serde_json::json;

use super::table::Table;
use super::{Desk, at, or_dash, plain};

/// How CRM and analytics systems do: what they have yet to be told, what they refused; set them going again
#[derive(Args)]
pub struct Crm {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// How each does, and whom it refused, with the reasons
    #[command(after_help = "Example:
  keryu-worker crm show --json")]
    Show,
    /// Once what was wrong is mended: call at once, and take up again whoever was set aside
    #[command(after_help = "Example:
  keryu-worker crm retry --target hubspot")]
    Retry {
        /// hubspot, webhook; all without it
        #[arg(long, value_parser = TARGETS)]
        target: Option<String>,
    },
}

impl Crm {
    /// Runs it.
    ///
    /// # Errors
    /// No database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let desk = &Desk::open(config, self.json).await?;
        match self.command {
            Command::Show => {
                let all = desk::show(&desk.ctx, desk.hand()).await.map_err(plain)?;
                desk.say(&all, || text(&all))
            }
            Command::Retry { target } => {
                let count = desk::retry(&desk.ctx, desk.hand(), target.as_deref()).await.map_err(plain)?;
                desk.say(&json!({ "taken_up": count }), || format!("{count} taken up again\n"))
            }
        }
    }
}

fn text(states: &[State]) -> String {
    let head =
        Table::new(["target", "on", "waiting", "set aside", "took something", "no call before", "reason"]);
    let table = states.iter().fold(head, |table, state| {
        table.row([
            state.target.target.clone(),
            if state.target.enabled { "yes" } else { "no" }.to_owned(),
            state.waiting.to_string(),
            state.set_aside.to_string(),
            at(state.target.synced_at),
            at(state.target.held_until),
            or_dash(state.target.reason.as_deref()),
        ])
    });
    let refused = states.iter().flat_map(|state| state.refused.iter().map(move |one| (state, one)));
    let head = Table::new(["target", "user", "since", "tries", "reason"]);
    let aside = refused.fold(head, |table, (state, one)| {
        table.row([
            state.target.target.clone(),
            one.user_id.to_string(),
            at(one.set_aside_at),
            one.tries.to_string(),
            or_dash(one.reason.as_deref()),
        ])
    });
    match states.iter().any(|state| !state.refused.is_empty()) {
        true => format!("{}\n{}", table.text(), aside.text()),
        false => table.text(),
    }
}
