//! Passwords: what is taken (`policy`), how it is kept (`hash`) and where that is computed (`hasher`).

pub mod bare;
mod hash;
mod hasher;
mod policy;

use url::Url;

pub use hash::Cost;
pub use hasher::Hasher;
pub use policy::Password;

use crate::config::{Source, Stage};
use crate::error::Code;
use crate::provider::http;

/// Too many passwords wait to be checked.
pub const BUSY: Code = Code {
    code: "auth.busy",
    status: 503,
    title: "Too many sign-ins just now",
    advice: "Send the request again after `Retry-After`.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[BUSY];

/// Settings of passwords.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AUTH_PASSWORD`: whether there are any.
    pub enabled: bool,
    /// `PASSWORD_MIN`: characters of a new one.
    pub least: usize,
    /// `PASSWORD_MEMORY` (KiB), `PASSWORD_PASSES`.
    pub cost: Cost,
    /// `PASSWORD_THREADS`: hashes at once.
    pub threads: usize,
    /// `PASSWORD_BREACH_URL`: the list of leaked passwords.
    pub breach_url: Option<Url>,
}

impl Config {
    pub(crate) fn read(source: &mut Source, stage: Stage) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let breach_url: Option<String> = source.find("PASSWORD_BREACH_URL");
        let config = Self {
            enabled: source.switch("AUTH_PASSWORD", true),
            least: source.get("PASSWORD_MIN", 8),
            cost: Cost {
                memory: source.get("PASSWORD_MEMORY", 19_456),
                passes: source.get("PASSWORD_PASSES", 2),
            },
            threads: source.find("PASSWORD_THREADS").unwrap_or(cores),
            breach_url: breach_url.and_then(|text| match http::address(&text) {
                Ok(url) => Some(url),
                Err(fault) => {
                    source.fault(format!("PASSWORD_BREACH_URL: {fault}"));
                    None
                }
            }),
        };
        // OWASP: no less than 7 MiB
        let floor = if stage == Stage::Production { 7_168 } else { 8 };
        for (name, holds, range) in [
            ("PASSWORD_MIN", (8..=64).contains(&config.least), "8 to 64"),
            ("PASSWORD_MEMORY", (floor..=1_048_576).contains(&config.cost.memory), "7168 to 1048576"),
            ("PASSWORD_PASSES", (1..=32).contains(&config.cost.passes), "1 to 32"),
            ("PASSWORD_THREADS", (1..=256).contains(&config.threads), "1 to 256"),
        ] {
            if !holds {
                source.fault(format!("{name}: out of range ({range})"));
            }
        }
        config
    }
}
