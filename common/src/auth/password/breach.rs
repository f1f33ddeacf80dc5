//! Whether a new password has leaked elsewhere, where the operator named a list. Fails open, counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Config, Password};
use crate::error::Result;
use crate::provider::breach::{BreachList, Found};
use crate::telemetry::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Looked {
    found: &'static str,
}

/// The list of leaked passwords, if there is one.
#[derive(Debug)]
pub struct Breaches {
    list: Option<BreachList>,
    lookups: Family<Looked, Counter>,
}

impl Breaches {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The system's root certificates cannot be read.
    pub fn open(config: &Config, metrics: &Metrics) -> Result<Self> {
        let lookups = Family::<Looked, Counter>::default();
        for found in [Found::Breached, Found::Unknown, Found::NoAnswer] {
            drop(lookups.get_or_create(&Looked { found: found.name() }));
        }
        metrics.register(|registry| {
            registry.register(
                "password_lookups",
                "New passwords looked up in the list of leaked ones, by what it said",
                lookups.clone(),
            );
        });
        Ok(Self { list: config.breach_url.as_ref().map(BreachList::open).transpose()?, lookups })
    }

    /// Whether a password is known to have leaked. Without a list or an answer: no.
    pub async fn has(&self, password: &Password) -> bool {
        let Some(list) = &self.list else { return false };
        let found = list.find(password.as_str()).await;
        self.lookups.get_or_create(&Looked { found: found.name() }).inc();
        found == Found::Breached
    }
}
