//! Passwords that leaked elsewhere, by the k-anonymity range protocol (Have I Been Pwned, Pwned Passwords
//! API v3): the first five hexadecimal digits of the SHA-1 go out, every ending known comes back. The
//! service learns neither the password nor the person.

use std::time::Duration;

use aws_lc_rs::digest;
use reqwest::Client;
use url::Url;

use super::http;
use crate::error::Result;

/// How long the list may take; without an answer the password is taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer holds about a thousand lines of 45 characters.
const MOST_READ: usize = 256 * 1024;

/// What the list said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It leaked.
    Breached,
    /// The list does not know it.
    Unknown,
    /// The list gave no answer in time, or none that can be read.
    NoAnswer,
}

impl Found {
    /// As metrics say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Breached => "breached",
            Self::Unknown => "unknown",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// A list of leaked passwords.
#[derive(Clone, Debug)]
pub struct BreachList {
    client: Client,
    url: Url,
}

impl BreachList {
    /// `url` is what the five digits are appended to: `https://api.pwnedpasswords.com/range`.
    ///
    /// # Errors
    /// The system's root certificates cannot be read.
    pub fn open(url: &Url) -> Result<Self> {
        Ok(Self { client: http::client(url)?, url: url.clone() })
    }

    /// Looks a password up, within a second.
    pub async fn find(&self, password: &str) -> Found {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let hex = crate::secret::hex(hash.as_ref()).to_ascii_uppercase();
        let (prefix, suffix) = hex.split_at(5);
        match tokio::time::timeout(PATIENCE, self.range(prefix)).await {
            Ok(Some(text)) => judge(&text, suffix),
            _ => Found::NoAnswer,
        }
    }

    async fn range(&self, prefix: &str) -> Option<String> {
        let url = format!("{}/{prefix}", self.url.as_str().trim_end_matches('/'));
        let mut answer = self.client.get(url).header("add-padding", "true").send().await.ok()?;
        if answer.status() != 200 {
            return None;
        }
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.ok()? {
            text.extend_from_slice(&chunk);
            if text.len() > MOST_READ {
                return None;
            }
        }
        String::from_utf8(text).ok()
    }
}

/// Lines `SUFFIX:COUNT`; padding has the count 0 and means nothing.
fn judge(text: &str, suffix: &str) -> Found {
    let mut found = Found::Unknown;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((ending, count)) = line.split_once(':') else { return Found::NoAnswer };
        let Ok(count) = count.parse::<u64>() else { return Found::NoAnswer };
        if ending.eq_ignore_ascii_case(suffix) && count > 0 {
            found = Found::Breached;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::provider::fake_http::{Reply, Server};

    /// SHA-1 of `password`: 5BAA6 1E4C9B93F3F0682250B6CF8331B7EE68FD8.
    const LINES: &str = "0018A45C4D1DEF81644B54AB7F969B88D65:21\r\n\
                         1E4C9B93F3F0682250B6CF8331B7EE68FD8:9545824\r\n\
                         011053FD0102E94D6AE2F8B83D76FAF94F6:0\r\n";

    async fn list(reply: Reply) -> (Server, BreachList) {
        let server = Server::start(move |_| reply.clone()).await;
        let url = format!("{}/range/", server.url).parse().expect("url");
        (server, BreachList::open(&url).expect("list"))
    }

    #[tokio::test]
    async fn five_digits_go_out_and_the_ending_is_looked_for_here() {
        let (server, list) = list(Reply::Status(200, vec![], LINES.to_owned())).await;
        assert_eq!(list.find("password").await, Found::Breached);
        assert_eq!(list.find("another password").await, Found::Unknown);
        let asked = server.asked();
        assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("GET", "/range/5BAA6"));
        assert_eq!(asked[0].header("add-padding"), "true");
        assert_eq!(asked[0].body, "");
    }

    #[test]
    fn padding_is_no_leak() {
        assert_eq!(
            judge("1E4C9B93F3F0682250B6CF8331B7EE68FD8:0", "1E4C9B93F3F0682250B6CF8331B7EE68FD8"),
            Found::Unknown
        );
        assert_eq!(judge("", "1E4C9B93F3F0682250B6CF8331B7EE68FD8"), Found::Unknown);
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_read_is_no_answer_within_a_second() {
        for reply in [
            Reply::Status(503, vec![], String::new()),
            Reply::Status(200, vec![], "<html>".to_owned()),
            Reply::Status(200, vec![], "x".repeat(MOST_READ + 1)),
            Reply::Hangup,
            Reply::Silence,
        ] {
            let (_server, list) = list(reply.clone()).await;
            let started = Instant::now();
            assert_eq!(list.find("password").await, Found::NoAnswer, "{reply:?}");
            assert!(started.elapsed() < PATIENCE * 3);
        }
    }
}
