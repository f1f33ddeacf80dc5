//! `keryu-worker deliveries`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use keryu_common::config::Config;
use keryu_common::desk::job::Page;
use keryu_common::notify::State;
use keryu_common::notify::desk::{self, Detail, Filter, Line};
use keryu_common::user::Identifier;
use uuid::Uuid;

use super::table::{Table, list};
use super::{Desk, at, cut, more, or_dash, plain};

/// What became of messages: list, show with cause and next step, send again
#[derive(Args)]
pub struct Deliveries {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List deliveries, newest first; recipients are masked
    #[command(after_help = "Examples:
  keryu-worker deliveries list --to '+254712345678'
  keryu-worker deliveries list --state failed --since 2026-01-31T00:00:00Z
  keryu-worker deliveries list --user 019a9f31-7cf2-7b0a-9e1c-2d3e4f506172 --json")]
    List(List),
    /// Show why a message did or did not arrive, and what to do
    #[command(after_help = "Example:
  keryu-worker deliveries show 0b9f7c1e-63a5-4d28-8f10-7c2e9d4b6a53")]
    Show {
        /// From the list, or from the receipt of whoever asked for it
        id: Uuid,
    },
    /// Send a message again, while its time lasts
    #[command(after_help = "Example:
  keryu-worker deliveries resend 0b9f7c1e-63a5-4d28-8f10-7c2e9d4b6a53")]
    Resend {
        /// From the list
        id: Uuid,
    },
}

#[derive(Args)]
struct List {
    /// queued, sending, accepted, delivered, failed, expired, unknown: of the last 24 hours, unless --since says
    /// otherwise
    #[arg(long)]
    state: Option<State>,
    /// otp_code, verify_email_link, welcome, ...: of the last 24 hours, unless --since says otherwise
    #[arg(long)]
    kind: Option<String>,
    /// sms, email, push: of the last 24 hours, unless --since says otherwise
    #[arg(long)]
    channel: Option<String>,
    /// To this address or number: of the last 7 days, unless --since says otherwise
    #[arg(long)]
    to: Option<String>,
    /// About this account: of the last 7 days, unless --since says otherwise
    #[arg(long)]
    user: Option<Uuid>,
    /// Asked for at this moment or later: 2026-01-31T12:00:00Z
    #[arg(long)]
    since: Option<DateTime<Utc>>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// What the piece before said under `more`
    #[arg(long)]
    cursor: Option<String>,
}

impl Deliveries {
    /// Runs it.
    ///
    /// # Errors
    /// A refusal, or no database.
    pub async fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let hands = &Desk::open(config, self.json).await?;
        match self.command {
            Command::List(List { state, kind, channel, to, user, since, limit, cursor }) => {
                let region = hands.ctx.config.default_region.as_deref();
                let to = to.map(|text| Identifier::parse(&text, region)).transpose();
                let to = to.map_err(|(_, fault)| anyhow::anyhow!("--to: {fault}"))?;
                let to = to.map(|identifier| identifier.as_str().to_owned());
                let filter = Filter { state, kind, channel, to, user_id: user, since, cursor };
                let page = desk::list(&hands.ctx, hands.hand(), &filter, limit).await.map_err(plain)?;
                hands.say(&page, || rows(&page))
            }
            Command::Show { id } => {
                let shown = desk::show(&hands.ctx, hands.hand(), id).await.map_err(plain)?;
                hands.say(&shown, || detail(&shown))
            }
            Command::Resend { id } => {
                let resent = desk::resend(&hands.ctx, hands.hand(), id, None).await.map_err(plain)?;
                hands.say(&resent, || format!("asked for: job {}\n", resent.job_id))
            }
        }
    }
}

fn rows(page: &Page<Line>) -> String {
    let head = Table::new(["id", "kind", "to", "state", "tries", "provider", "asked for", "reason"]);
    let table = page.items.iter().fold(head, |table, line| {
        table.row([
            line.id.to_string(),
            line.kind.clone(),
            line.recipient.clone(),
            line.state.name().to_owned(),
            line.tries.to_string(),
            or_dash(line.provider.as_deref()),
            at(Some(line.created_at)),
            cut(line.reason.as_deref(), 60),
        ])
    });
    table.text() + &more(page.next_cursor.as_deref())
}

fn detail(shown: &Detail) -> String {
    let line = &shown.line;
    let purpose = line.purpose.as_ref().map_or_else(String::new, |purpose| format!(" ({purpose})"));
    let mut text = list([
        ("id", Some(line.id.to_string())),
        ("kind", Some(format!("{}{purpose}", line.kind))),
        ("to", Some(format!("{} by {}", line.recipient, line.channel))),
        ("state", Some(line.state.name().to_owned())),
        ("cause", Some(shown.cause.clone())),
        ("next step", Some(shown.next_step.clone())),
        ("asked for", Some(at(Some(line.created_at)))),
        ("dies", Some(at(Some(line.expires_at)))),
        ("request", line.request_id.clone()),
        ("provider id", line.provider_id.clone()),
    ]);
    if !shown.attempts.is_empty() {
        let head = Table::new(["try", "provider", "started", "took", "outcome", "reason"]);
        let table = shown.attempts.iter().fold(head, |table, attempt| {
            let took = attempt
                .finished_at
                .map(|end| format!("{} ms", (end - attempt.started_at).num_milliseconds()));
            table.row([
                attempt.attempt.to_string(),
                attempt.provider.clone(),
                at(Some(attempt.started_at)),
                or_dash(took.as_deref()),
                attempt.outcome.clone().unwrap_or_else(|| "not known".to_owned()),
                or_dash(attempt.reason.as_deref()),
            ])
        });
        text.push_str(&format!("\n{}", table.text()));
    }
    if !shown.jobs.is_empty() {
        let table = shown.jobs.iter().fold(Table::new(["job", "state", "error"]), |table, job| {
            table.row([job.id.to_string(), job.state.clone(), or_dash(job.error.as_deref())])
        });
        text.push_str(&format!("\n{}", table.text()));
    }
    text
}
