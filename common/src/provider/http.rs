//! What the HTTP providers share: the client, and how a lost call is judged.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use url::Url;

use super::{Answer, PATIENCE, install_crypto, is_certificate, is_loopback};
use crate::error::{Error, Result};

/// The longest a provider may ask us to wait: a wrong number there must not bury a message.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What is read of an answer's body; the rest is not for us.
const MOST_READ: usize = 64 * 1024;

/// A client for one provider: HTTP/1.1, connections kept, no redirects (they would carry credentials
/// elsewhere). A loopback address is called without a proxy, and a plain one without loading roots.
///
/// # Errors
/// The system's root certificates cannot be read.
pub fn client(url: &Url) -> Result<Client> {
    install_crypto();
    let mut client = Client::builder()
        .http1_only()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(1024)
        .pool_idle_timeout(Duration::from_secs(30))
        .connect_timeout(PATIENCE / 2)
        .timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("keryu/", env!("CARGO_PKG_VERSION")));
    if url.host_str().is_some_and(is_loopback) {
        client = client.no_proxy();
    }
    if url.scheme() == "http" {
        client = client.tls_certs_only([]);
    }
    client.build().map_err(Error::internal)
}

/// A provider's address: `https`, or `http`.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn address(text: &str) -> std::result::Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err("not an http or https URL".to_owned()),
    }
}

/// A call that gave no answer: before the request was out it was certainly not accepted, after that
/// nobody knows.
pub fn lost(error: &reqwest::Error) -> Answer {
    if is_certificate(error) {
        Answer::misconfigured("the provider's certificate is not valid for its address, or not trusted here")
    } else if error.is_builder() {
        Answer::misconfigured("the request could not be built from the settings")
    } else if error.is_connect() {
        Answer::retry(if error.is_timeout() { "no connection in time" } else { "the connection was refused" })
    } else if error.is_timeout() {
        Answer::unknown("no answer in time")
    } else {
        Answer::unknown("the connection was lost before the answer")
    }
}

/// How long the provider wants us to wait: seconds, or a date (RFC 9110, 10.2.3) measured against the
/// answer's own `Date`, so that no clock of ours matters.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(text).ok()?;
            let at = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
            (until - at).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// The statuses that every HTTP provider means alike; the rest is told apart by each.
pub fn common(status: StatusCode, headers: &HeaderMap) -> Option<Answer> {
    let reason = || format!("the provider answered {}", status.as_u16());
    match status.as_u16() {
        408 | 425 | 429 | 503 => Some(Answer::Retry { after: retry_after(headers), reason: reason() }),
        401 | 403 | 407 => {
            Some(Answer::misconfigured(format!("{}: the credentials were not accepted", reason())))
        }
        300..=399 => Some(Answer::misconfigured(format!("{}: a redirect is not followed", reason()))),
        500.. => Some(Answer::unknown(reason())),
        _ => None,
    }
}

/// The beginning of an answer's body.
///
/// # Errors
/// The connection was lost.
pub async fn body(mut response: Response) -> std::result::Result<Vec<u8>, reqwest::Error> {
    let mut read = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MOST_READ - read.len();
        read.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if read.len() >= MOST_READ {
            break;
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect()
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_has_an_end() {
        assert_eq!(retry_after(&headers(&[])), None);
        assert_eq!(retry_after(&headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers(&[("retry-after", "999999999")])), Some(LONGEST_WAIT));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
        let dated =
            [("date", "Fri, 31 Dec 1999 23:59:00 GMT"), ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")];
        assert_eq!(retry_after(&headers(&dated)), Some(Duration::from_secs(59)));
        let past =
            [("date", "Fri, 31 Dec 1999 23:59:00 GMT"), ("retry-after", "Fri, 31 Dec 1999 23:58:00 GMT")];
        assert_eq!(retry_after(&headers(&past)), Some(Duration::ZERO));
    }

    #[test]
    fn statuses_are_told_apart() {
        let name = |status: u16| {
            common(StatusCode::from_u16(status).expect("status"), &HeaderMap::new())
                .map(|answer| answer.name())
        };
        assert_eq!(name(429), Some("retry"));
        assert_eq!(name(503), Some("retry"));
        assert_eq!(name(401), Some("misconfigured"));
        assert_eq!(name(302), Some("misconfigured"));
        assert_eq!(name(500), Some("unknown"));
        assert_eq!(name(400), None);
        assert_eq!(name(202), None);
    }
}
