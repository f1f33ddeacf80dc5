//! `keryu-worker jobs`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use keryu_common::config::Config;
use keryu_common::desk::job::{self, DeadFilter, Detail, Filter, Page, STATES};
use keryu_common::job::Queue;
use uuid::Uuid;

use super::table::{Table, list};
use super::{Desk, at, cut, more, plain};

/// List, show, retry and cancel jobs
#[derive(Args)]
pub struct Jobs {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List jobs, live and finished, newest first. By kind, queue or error, completed ones are those asked for in the
    /// last hour, unless --since (or eight characters of an --id) says otherwise
    #[command(after_help = "Examples:
  keryu-worker jobs list --state discarded --since 2026-01-31T00:00:00Z
  keryu-worker jobs list --kind notify.deliver_message --error 401
  keryu-worker jobs list --id 019a9f31 --json")]
    List(List),
    /// Show one job: what it was asked to do, its attempts, what happens next
    #[command(after_help = "Example:
  keryu-worker jobs show 019a9f31-7cf2-7b0a-9e1c-2d3e4f506174")]
    Show {
        /// From the list
        id: Uuid,
    },
    /// Try a job again now: a dead letter, or one that waits for its next try; or all dead letters of a filter
    #[command(after_help = "Examples:
  keryu-worker jobs retry 019a9f31-7cf2-7b0a-9e1c-2d3e4f506174
  keryu-worker jobs retry --dead --kind crm.sync_users --error 'answered 503' --since 2026-01-31T00:00:00Z
  keryu-worker jobs retry --dead --queue low")]
    Retry(Retry),
    /// Cancel a job that waits, or put a dead letter away. A running job is left alone
    #[command(after_help = "Example:
  keryu-worker jobs cancel 019a9f31-7cf2-7b0a-9e1c-2d3e4f506174")]
    Cancel {
        /// From the list
        id: Uuid,
    },
}

#[derive(Args)]
struct List {
    /// In this state
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Of this kind: notify.deliver_message
    #[arg(long)]
    kind: Option<String>,
    /// Of this queue: critical, default, low, media, bulk
    #[arg(long)]
    queue: Option<Queue>,
    /// Whose error holds this text
    #[arg(long)]
    error: Option<String>,
    /// Whose id begins so
    #[arg(long)]
    id: Option<String>,
    /// Asked for at this moment or later: 2026-01-31T12:00:00Z
    #[arg(long)]
    since: Option<DateTime<Utc>>,
    /// Asked for before this moment
    #[arg(long)]
    before: Option<DateTime<Utc>>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// What the piece before said under `more`
    #[arg(long)]
    cursor: Option<Uuid>,
}

#[derive(Args)]
struct Retry {
    /// From the list
    #[arg(required_unless_present = "dead", conflicts_with = "dead")]
    id: Option<Uuid>,
    /// All dead letters that the other options leave
    #[arg(long)]
    dead: bool,
    /// Of this kind
    #[arg(long, requires = "dead", conflicts_with = "id")]
    kind: Option<String>,
    /// Of this queue
    #[arg(long, requires = "dead", conflicts_with = "id")]
    queue: Option<Queue>,
    /// Whose error holds this text
    #[arg(long, requires = "dead", conflicts_with = "id")]
    error: Option<String>,
    /// Dead since this moment or later: 2026-01-31T12:00:00Z
    #[arg(long, requires = "dead", conflicts_with = "id")]
    since: Option<DateTime<Utc>>,
}

impl Jobs {
    /// Runs it.
    ///
    /// # Errors
    /// A refusal, or no database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let desk = &Desk::open(config, self.json).await?;
        match self.command {
            Command::List(List { state, kind, queue, error, id, since, before, limit, cursor }) => {
                let filter = Filter { state, kind, queue, error, id, since, before, cursor };
                let page = job::list(&desk.ctx, desk.hand(), &filter, limit).await.map_err(plain)?;
                desk.say(&page, || rows(&page))
            }
            Command::Show { id } => {
                let shown = job::show(&desk.ctx, desk.hand(), id).await.map_err(plain)?;
                desk.say(&shown, || detail(&shown))
            }
            Command::Retry(Retry { id: Some(id), .. }) => {
                let shown = job::retry(&desk.ctx, desk.hand(), id).await.map_err(plain)?;
                desk.say(&shown, || detail(&shown))
            }
            Command::Retry(Retry { id: None, kind, queue, error, since, .. }) => {
                let filter = DeadFilter { kind, queue, error, since };
                let done = job::retry_dead(&desk.ctx, desk.hand(), &filter, u64::MAX).await.map_err(plain)?;
                desk.say(&done, || format!("{} dead letters are tried again\n", done.retried))
            }
            Command::Cancel { id } => {
                let shown = job::cancel(&desk.ctx, desk.hand(), id).await.map_err(plain)?;
                desk.say(&shown, || detail(&shown))
            }
        }
    }
}

fn rows(page: &Page<job::Job>) -> String {
    let head = Table::new(["id", "kind", "queue", "state", "tries", "asked for", "error"]);
    let table = page.items.iter().fold(head, |table, job| {
        let most = job.max_attempts.map_or_else(String::new, |most| format!("/{most}"));
        table.row([
            job.id.to_string(),
            job.kind.clone(),
            job.queue.clone(),
            job.state.clone(),
            format!("{}{most}", job.attempts),
            at(Some(job.created_at)),
            cut(job.error.as_deref(), 60),
        ])
    });
    table.text() + &more(page.next_cursor.as_deref())
}

/// One job for people.
pub fn detail(shown: &Detail) -> String {
    let job = &shown.job;
    let most = job.max_attempts.map_or_else(String::new, |most| format!(" of {most}"));
    let some = |moment: Option<DateTime<Utc>>| moment.map(|moment| at(Some(moment)));
    list([
        ("id", Some(job.id.to_string())),
        ("kind", Some(format!("{} (version {})", job.kind, shown.version))),
        ("queue", Some(format!("{}, priority {}", job.queue, job.priority))),
        ("state", Some(job.state.clone())),
        ("attempts", Some(format!("{}{most}", job.attempts))),
        ("payload", Some(shown.payload.to_string())),
        ("delivery", shown.delivery_id.map(|id| id.to_string())),
        ("unique key", shown.unique_key.clone()),
        ("serial key", shown.serial_key.clone()),
        ("request", job.request_id.clone()),
        ("asked for", Some(at(Some(job.created_at)))),
        ("due", some(job.run_at)),
        ("started", some(job.started_at)),
        ("ended", some(job.ended_at)),
        ("dies", some(job.expires_at)),
        ("error", job.error.clone()),
        ("next step", Some(shown.next_step.clone())),
    ])
}
