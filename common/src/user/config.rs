//! Settings of accounts.

use std::time::Duration;

use crate::config::Source;

/// Settings of accounts.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ACCOUNT_GRACE`: how long a deleted account can be restored before it is erased.
    pub grace: Duration,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        Self { grace: source.span("ACCOUNT_GRACE", Duration::from_secs(30 * 24 * 3600)) }
    }
}
