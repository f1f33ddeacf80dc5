//! What lies outside: providers of mail, text messages and push, each behind a trait, with a recording fake
//! beside the real ones; and the object store. Nothing here knows a slice, a table or a job: a message comes in whole, an
//! [`Answer`] goes out, and no reason in it holds the text, the code or the recipient.

pub mod breach;
pub mod crm;
pub mod fake;
#[cfg(test)]
pub(crate) mod fake_http;
pub mod fcm;
pub mod gateway;
pub mod http;
pub mod inbox;
pub mod smtp;
pub mod storage;
pub mod twilio;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// How long one provider call may take, from first byte to last.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A mail to send.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// One RFC 5321 address.
    pub to: &'a str,
    /// Without line breaks.
    pub subject: &'a str,
    /// The plain alternative.
    pub text: &'a str,
    /// The HTML alternative.
    pub html: &'a str,
    /// The same at every try of one job: becomes the Message-ID, so that a mail sent twice can be told.
    pub idempotency_key: Uuid,
    /// For the `Date` field.
    pub at: DateTime<Utc>,
}

/// A text message to send.
#[derive(Clone, Copy, Debug)]
pub struct Sms<'a> {
    /// E.164.
    pub to: &'a str,
    /// What the person reads.
    pub text: &'a str,
    /// Names the message in status webhooks.
    pub reference: Uuid,
    /// The same at every try of one job.
    pub idempotency_key: Uuid,
}

/// A push message to send.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The provider's address of a device.
    pub token: &'a str,
    /// One line.
    pub title: &'a str,
    /// What the person reads.
    pub text: &'a str,
    /// `new_device`, ...: for the app.
    pub kind: &'a str,
    /// The present moment.
    pub at: DateTime<Utc>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// What a provider said, in the terms that decide what happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The provider has the message.
    Accepted {
        /// Its name for the message.
        provider_id: Option<String>,
    },
    /// Certainly not accepted; trying again is safe.
    Retry {
        /// Not before, where the provider said so.
        after: Option<Duration>,
        /// For a person.
        reason: String,
    },
    /// It may have been accepted or not.
    Unknown {
        /// For a person.
        reason: String,
    },
    /// This message or recipient will never be accepted.
    GiveUp {
        /// For a person.
        reason: String,
    },
    /// The recipient's address at this provider is no more, and will never be again.
    Dead {
        /// For a person.
        reason: String,
    },
    /// Our account, credentials or address at this provider are at fault: another provider may do it,
    /// and this one after the operator mended the setting.
    Misconfigured {
        /// For a person.
        reason: String,
    },
}

impl Answer {
    /// Certainly not accepted, no time given.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Perhaps accepted.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// Never accepted.
    pub fn give_up(reason: impl Into<String>) -> Self {
        Self::GiveUp { reason: reason.into() }
    }

    /// The address is no more.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::Dead { reason: reason.into() }
    }

    /// Our setting's fault.
    pub fn misconfigured(reason: impl Into<String>) -> Self {
        Self::Misconfigured { reason: reason.into() }
    }

    /// As attempt rows and metrics say it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Retry { .. } => "retry",
            Self::Unknown { .. } => "unknown",
            Self::GiveUp { .. } | Self::Dead { .. } => "give_up",
            Self::Misconfigured { .. } => "misconfigured",
        }
    }

    /// Why it was not accepted.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Accepted { .. } => None,
            Self::Retry { reason, .. }
            | Self::Unknown { reason }
            | Self::GiveUp { reason }
            | Self::Dead { reason }
            | Self::Misconfigured { reason } => Some(reason),
        }
    }
}

/// Takes mail.
#[async_trait]
pub trait MailProvider: fmt::Debug + Send + Sync {
    /// As rows and settings call it.
    fn name(&self) -> &'static str;
    /// Hands one mail over, within [`PATIENCE`].
    async fn send(&self, mail: &Mail<'_>) -> Answer;
}

/// Takes text messages.
#[async_trait]
pub trait SmsProvider: fmt::Debug + Send + Sync {
    /// As rows and settings call it.
    fn name(&self) -> &'static str;
    /// Hands one message over, within [`PATIENCE`].
    async fn send(&self, sms: &Sms<'_>) -> Answer;
}

/// Takes push messages.
#[async_trait]
pub trait PushProvider: fmt::Debug + Send + Sync {
    /// As rows and settings call it.
    fn name(&self) -> &'static str;
    /// Hands one message over, within [`PATIENCE`].
    async fn send(&self, push: &Push<'_>) -> Answer;
}

/// A setting that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself, for the call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Chooses the process-wide TLS cryptography; whoever came first stays.
pub fn install_crypto() {
    // an error means that a provider is installed already, and this build holds only one
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Whether a host is this machine: the only place plain connections may go.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether an error's causes hold a refused certificate. An I/O error's own cause skips the error it
/// wraps, so that one is looked into first.
fn is_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|wrapped| is_certificate(wrapped)) || error.source().is_some_and(is_certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_connections_stay_on_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.org", "10.0.0.1", "0.0.0.0", "example.org", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_refused_certificate_is_found_however_deep() {
        let refused = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_certificate(&refused()));
        assert!(is_certificate(&std::io::Error::other(std::io::Error::other(refused()))));
        assert!(!is_certificate(&std::io::Error::other(rustls::Error::DecryptError)));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
