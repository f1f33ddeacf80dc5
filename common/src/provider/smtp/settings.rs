//! `SMTP_URL` and `MAIL_FROM`, read and checked.

use lettre::message::Mailbox;
use url::Url;

use super::super::{Secret, is_loopback};

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte (RFC 8314): `smtps://`.
    Implicit,
    /// Upgraded, or no mail goes (RFC 3207): `smtp://`.
    StartTls,
    /// Not at all: `smtp://` on loopback.
    Plain,
}

/// `SMTP_URL` and `MAIL_FROM`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    pub(super) credentials: Option<(Secret, Secret)>,
    pub(super) from: Mailbox,
}

impl Settings {
    /// Reads `smtps://user:pass@host:465`, `smtp://user:pass@host:587` or `smtp://localhost:1025`;
    /// user and password percent-encoded.
    ///
    /// # Errors
    /// What is wrong, with the setting's name; never the password.
    pub fn parse(url: &str, from: &str) -> Result<Self, String> {
        let from: Mailbox =
            from.parse().map_err(|_| "MAIL_FROM: not an address such as Keryu <no-reply@example.org>")?;
        let url: Url = url.parse().map_err(|error| format!("SMTP_URL: not a URL: {error}"))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("SMTP_URL: names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (tls, port) = match url.scheme() {
            "smtps" => (Tls::Implicit, 465),
            "smtp" if is_loopback(&host) => (Tls::Plain, 25),
            "smtp" => (Tls::StartTls, 587),
            other => return Err(format!("SMTP_URL: {other} is neither smtp nor smtps")),
        };
        if let Some((name, value)) = url.query_pairs().next() {
            return Err(match (name.as_ref(), value.as_ref()) {
                ("tls", "none") => {
                    "SMTP_URL: mail goes without TLS to this machine only (localhost)".to_owned()
                }
                _ => format!("SMTP_URL: {name} is not known here"),
            });
        }
        if !matches!(url.path(), "" | "/") {
            return Err("SMTP_URL: nothing may follow the host and port".to_owned());
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) if !user.is_empty() => Some((decode(user)?, decode(password)?)),
            _ => return Err("SMTP_URL: user and password come together".to_owned()),
        };
        Ok(Self { host, port: url.port().unwrap_or(port), tls, credentials, from })
    }
}

/// Percent-decoding (RFC 3986, 2.1).
fn decode(text: &str) -> Result<Secret, String> {
    const NOT: &str = "SMTP_URL: user or password is not percent-encoded UTF-8";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit =
            || rest.next().and_then(|c| char::from(c).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        bytes.push(match byte {
            b'%' => digit().ok_or(NOT)? << 4 | digit().ok_or(NOT)?,
            other => other,
        });
    }
    String::from_utf8(bytes).map(Secret::new).map_err(|_| NOT.to_owned())
}
