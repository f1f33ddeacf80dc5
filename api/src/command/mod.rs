//! The operators' commands: each reads its options, calls one verb and says what happened, as a table for
//! people or as JSON (`--json`) for programs.

pub mod keys;
pub mod seed;
pub mod superuser;
mod table;

use std::net::{IpAddr, Ipv4Addr};

use keryu_common::audit::Client;
use keryu_common::config::Config;
use keryu_common::{Context, Error};
use serde::Serialize;
use table::Table;

/// What verbs are given. What a command seals must open later: without a key of the deployment's own,
/// development makes one up for each process, and that is gone at the end of this one.
fn context(config: Config) -> anyhow::Result<Context> {
    if config.keys.current().starts_with("made-") {
        anyhow::bail!("KERYU_SECRET_KEY is not set: give the key that the API and the worker have");
    }
    Ok(Context::build(config)?)
}

/// Who acts at the command line: nobody we know by name, on this machine.
fn operator(ctx: &Context) -> Client {
    let languages = ctx.config.notify.templates.all_languages();
    Client {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        user_agent: Some(concat!("keryu-api/", env!("CARGO_PKG_VERSION")).to_owned()),
        request_id: keryu_common::id::ordered(ctx.now()).to_string(),
        traceparent: None,
        language: languages.first().cloned().unwrap_or_default(),
    }
}

/// What went wrong, in words for whoever typed the command.
fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::Refusal(refusal) => {
            let faults: Vec<String> = refusal
                .faults
                .iter()
                .map(|fault| format!("{}: {}", fault.pointer.trim_start_matches('/'), fault.detail))
                .collect();
            let said = if faults.is_empty() { refusal.detail.into_owned() } else { faults.join("\n  ") };
            anyhow::anyhow!("{said} ({})", refusal.code)
        }
        other => other.into(),
    }
}

/// Says it as JSON or as a table.
fn say<T: Serialize>(json: bool, value: &T, table: impl FnOnce() -> Table) -> anyhow::Result<()> {
    let text = if json { format!("{}\n", serde_json::to_string_pretty(value)?) } else { table().text() };
    print(&text)
}

/// Writes to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
