//! The operators' commands: each reads its options, calls one verb and says what happened, as a table for
//! people or as JSON (`--json`) for programs.
//!
//! Exit codes: 0 done; 1 refused, not found, or a server does not answer; 2 not understood.

pub mod crm;
pub mod deliveries;
pub mod enqueue;
pub mod jobs;
pub mod queues;
pub mod rates;
pub mod schedules;
mod table;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use keryu_common::audit::Client;
use keryu_common::config::Config;
use keryu_common::desk::Hand;
use keryu_common::job::store;
use keryu_common::{Context, Error, id};
use serde::Serialize;

/// What a command has in hand.
pub struct Desk {
    ctx: Context,
    client: Client,
    json: bool,
}

impl Desk {
    /// Takes the database's time: what operators do is written down by it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn open(config: Config, json: bool) -> anyhow::Result<Self> {
        let ctx = Context::build(config)?;
        let now = store::now(&ctx.db).await.map_err(|error| anyhow::anyhow!("Postgres: {error}"))?;
        ctx.clock.follow(now, std::time::Duration::ZERO);
        let client = Client {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user_agent: Some(concat!("keryu-worker/", env!("CARGO_PKG_VERSION")).to_owned()),
            request_id: id::ordered(now).to_string(),
            traceparent: None,
            language: ctx.config.notify.templates.all_languages().first().cloned().unwrap_or_default(),
        };
        Ok(Self { ctx, client, json })
    }

    /// Nobody we know by name, on this machine.
    fn hand(&self) -> Hand<'_> {
        Hand { client: &self.client, person: None }
    }

    /// Says it as JSON or as text.
    fn say<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<ExitCode> {
        let text = if self.json { format!("{}\n", serde_json::to_string_pretty(value)?) } else { text() };
        use std::io::Write;
        match std::io::stdout().write_all(text.as_bytes()) {
            // whoever read it has enough
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What went wrong, in words for whoever typed the command, with the code for programs.
fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::Refusal(refusal) if refusal.faults.is_empty() => {
            anyhow::anyhow!("{} ({})", refusal.detail, refusal.code)
        }
        Error::Refusal(refusal) => {
            let faults: Vec<String> = refusal
                .faults
                .iter()
                .map(|fault| format!("{}: {}", fault.pointer.trim_start_matches('/'), fault.detail))
                .collect();
            anyhow::anyhow!("{} ({})", faults.join("\n  "), refusal.code)
        }
        other => other.into(),
    }
}

/// A moment as a table shows it.
fn at(moment: Option<DateTime<Utc>>) -> String {
    moment.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// A text cut for a column.
fn cut(text: Option<&str>, most: usize) -> String {
    let text = or_dash(text);
    if text.chars().count() <= most {
        return text;
    }
    format!("{}…", text.chars().take(most - 1).collect::<String>())
}

/// What the next piece of a list is asked for with.
fn more(cursor: Option<&str>) -> String {
    cursor.map_or_else(String::new, |cursor| format!("more: --cursor {cursor}\n"))
}
