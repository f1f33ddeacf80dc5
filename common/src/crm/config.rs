//! The settings of the sync. Credentials are kept where nothing prints them.

use std::time::Duration;

use crate::config::Source;
use crate::provider::crm::{address, hubspot, webhook};
use crate::provider::{PATIENCE, Secret};

/// Settings of the sync.
#[derive(Clone, Debug)]
pub struct Config {
    /// `HUBSPOT_BASE_URL`, `HUBSPOT_TOKEN`: on with the token.
    pub hubspot: Option<hubspot::Settings>,
    /// `CRM_WEBHOOK_URL`, `CRM_WEBHOOK_SECRET`: on with both.
    pub webhook: Option<webhook::Settings>,
    /// `CRM_TIMEOUT`: of one call. No longer than 10 s, so that a call has ended before another worker may have
    /// the job.
    pub timeout: Duration,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        Self { hubspot: hubspot(source), webhook: webhook(source), timeout: timeout(source) }
    }
}

fn timeout(source: &mut Source) -> Duration {
    let timeout = source.span("CRM_TIMEOUT", PATIENCE);
    if timeout.is_zero() || timeout > PATIENCE {
        source.fault("CRM_TIMEOUT: out of range (1ms to 10s)");
    }
    timeout
}

fn hubspot(source: &mut Source) -> Option<hubspot::Settings> {
    let base = source.get("HUBSPOT_BASE_URL", "https://api.hubapi.com".to_owned());
    let base = address(&base).map_err(|fault| source.fault(format!("HUBSPOT_BASE_URL: {fault}"))).ok();
    let token: String = source.find("HUBSPOT_TOKEN")?;
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        source.fault("HUBSPOT_TOKEN: holds characters that no token has");
        return None;
    }
    Some(hubspot::Settings { base_url: base?, token: Secret::new(token) })
}

fn webhook(source: &mut Source) -> Option<webhook::Settings> {
    let url: Option<String> = source.find("CRM_WEBHOOK_URL");
    let secret: Option<String> = source.find("CRM_WEBHOOK_SECRET");
    if url.is_some() && secret.is_none() {
        source.fault(
            "CRM_WEBHOOK_SECRET is not set, but CRM_WEBHOOK_URL is (echo whsec_$(openssl rand -base64 32))",
        );
    }
    if secret.is_some() && url.is_none() {
        source.fault("CRM_WEBHOOK_URL is not set, but CRM_WEBHOOK_SECRET is");
    }
    let url = url.filter(|url| match address(url) {
        Ok(_) => true,
        Err(fault) => {
            source.fault(format!("CRM_WEBHOOK_URL: {fault}"));
            false
        }
    });
    let key = secret.and_then(|secret| {
        let key = webhook::Key::parse(&secret);
        key.map_err(|fault| source.fault(format!("CRM_WEBHOOK_SECRET: {fault}"))).ok()
    });
    Some(webhook::Settings { url: Secret::new(url?), key: key? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(pairs: &[(&str, &str)]) -> String {
        let mut source = Source::of(pairs.iter().copied());
        Config::read(&mut source);
        let read = crate::config::Config::read(&mut source);
        read.err().map_or_else(String::new, |faults| faults.0.join("\n"))
    }

    #[test]
    fn what_is_wrong_is_named_at_once_and_never_shown() {
        let told = faults(&[
            ("HUBSPOT_BASE_URL", "http://api.hubapi.com"),
            ("HUBSPOT_TOKEN", "hunter2 with a space"),
            ("CRM_WEBHOOK_URL", "ftp://hunter2@example.org"),
            ("CRM_WEBHOOK_SECRET", "whsec_hunter2"),
            ("CRM_TIMEOUT", "11s"),
        ]);
        for name in [
            "HUBSPOT_BASE_URL: ",
            "HUBSPOT_TOKEN: ",
            "CRM_WEBHOOK_URL: ",
            "CRM_WEBHOOK_SECRET: ",
            "CRM_TIMEOUT: ",
        ] {
            assert!(told.contains(name), "{name} in {told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
        assert!(
            faults(&[("CRM_WEBHOOK_URL", "https://example.org")]).contains("CRM_WEBHOOK_SECRET is not set")
        );
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(faults(&[("CRM_WEBHOOK_SECRET", key)]).contains("CRM_WEBHOOK_URL is not set"));
    }

    #[test]
    fn each_is_on_with_its_settings() {
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let both = [
            ("HUBSPOT_TOKEN", "pat-1"),
            ("CRM_WEBHOOK_URL", "https://example.org/x"),
            ("CRM_WEBHOOK_SECRET", key),
        ];
        let config = Config::read(&mut Source::of(both));
        assert!(config.hubspot.is_some() && config.webhook.is_some());
        let shown = format!("{config:?}");
        assert!(!shown.contains("pat-1") && !shown.contains("example.org/x"), "{shown}");
        let none: [(&str, &str); 0] = [];
        let config = Config::read(&mut Source::of(none));
        assert!(config.hubspot.is_none() && config.webhook.is_none());
    }
}
