//! `keryu-worker enqueue`.

use std::process::ExitCode;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::Args;
use keryu_common::config::Config;
use keryu_common::crm::SyncUsers;
use keryu_common::desk::job;
use keryu_common::job::{Job, Terms};
use serde_json::Value;

use super::jobs::detail;
use super::{Desk, plain};
use crate::registry;

/// Ask for a job by hand: its kind, and its arguments as JSON
#[derive(Args)]
#[command(after_help = "Examples:
  keryu-worker enqueue retention.cleanup_expired '{}'
  keryu-worker enqueue user.erase_account '{\"user_id\": \"019a9f31-7cf2-7b0a-9e1c-2d3e4f506172\"}'
  keryu-worker enqueue job.noop '{}' --at 2026-01-31T12:00:00Z --json")]
pub struct Enqueue {
    /// slice.verb_noun; a wrong one names them all
    kind: String,
    /// What its payload holds
    arguments: String,
    /// Not before this moment: 2026-01-31T12:00:00Z
    #[arg(long)]
    at: Option<DateTime<Utc>>,
    /// 0 goes first, 9 last; without it, the kind's
    #[arg(long, value_parser = clap::value_parser!(i16).range(0..=9))]
    priority: Option<i16>,
    /// One waiting job for each: a later one replaces the arguments of the one that waits
    #[arg(long)]
    unique_key: Option<String>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

impl Enqueue {
    /// Runs it.
    ///
    /// # Errors
    /// An unknown kind, arguments that are none of its, or no database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let desk = &Desk::open(config, self.json).await?;
        let registry = registry::registry();
        let Some(kind) = registry.find(&self.kind) else {
            bail!("{} is not a kind; there are:\n  {}", self.kind, registry.names().join("\n  "));
        };
        // two at once could tell an older state after a newer one
        if kind.name == SyncUsers::KIND {
            bail!("{} runs one at a time for each target: ask for it by `keryu-worker crm retry`", self.kind);
        }
        let payload: Value = match serde_json::from_str(&self.arguments) {
            Ok(payload) => payload,
            Err(error) => bail!("the arguments are not JSON: {error}"),
        };
        let terms = Terms {
            run_at: self.at,
            priority: self.priority,
            unique_key: self.unique_key,
            request_id: Some(desk.client.request_id.clone()),
            ..Terms::default()
        };
        let row = match kind.row(desk.ctx.now(), payload, terms) {
            Ok(row) => row,
            Err(error) => bail!("these are not arguments of {}: {error}", self.kind),
        };
        let shown = job::enqueue(&desk.ctx, desk.hand(), &row).await.map_err(plain)?;
        desk.say(&shown, || detail(&shown))
    }
}
