//! Sight: how logs are written, what both processes measure, and traces. What is measured where belongs
//! to the slices; no label and no attribute may hold a path, an identifier or a secret.

mod ledger;
mod metrics;
mod process;
pub mod trace;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use metrics::Metrics;

use crate::config::{Source, Stage};
use crate::context::Context;

/// The media type of [`scrape`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Settings of logs and traces.
#[derive(Clone, Debug)]
pub struct Config {
    /// `KERYU_LOG`: a level, or directives such as `info,sqlx=warn`.
    pub filter: String,
    /// Where traces go; none: there are none.
    pub traces: Option<trace::Config>,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        let filter = source.get("KERYU_LOG", "info".to_owned());
        if let Err(fault) = EnvFilter::try_new(&filter) {
            source.fault(format!("KERYU_LOG: {fault}"));
        }
        Self { filter, traces: trace::Config::read(source) }
    }
}

/// Starts the logs of this process: JSON lines on standard error, in development lines for people
/// (standard output is for what commands print). Panics are logged too. Called twice, the first holds.
pub fn start(config: &Config, stage: Stage) {
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match stage {
        Stage::Production => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        Stage::Development => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string);
            tracing::error!(at, "panic: {}", panic.payload_as_str().unwrap_or("no text"));
        }));
    }
}

/// Everything measured here, as Prometheus reads it ([`MEDIA_TYPE`]). What the ledger holds is read for
/// it, at most once in five seconds.
pub async fn scrape(ctx: &Context) -> String {
    ctx.metrics.ledger.read(ctx).await;
    ctx.metrics.render(&ctx.db)
}
