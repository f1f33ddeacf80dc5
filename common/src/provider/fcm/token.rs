//! Access tokens: fetched once for all who wait, used until shortly before they end.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Account;
use crate::error::Result;
use crate::provider::{Answer, Secret, http};

/// How long before its end a token is used no more; half of its life where that is shorter.
const MARGIN: i64 = 60;
/// No token is used longer, whatever the endpoint says.
const MOST: i64 = 24 * 3600;
/// How long everybody is told what the last failure was, before the endpoint is asked again.
const PAUSE: TimeDelta = TimeDelta::seconds(1);

/// The access token of this process.
#[derive(Debug)]
pub struct Tokens(Arc<Source>);

#[derive(Debug)]
struct Source {
    client: Client,
    account: Account,
    held: Mutex<Option<Held>>,
}

/// What the endpoint said last, and until when it counts.
#[derive(Debug)]
struct Held {
    said: Result<Secret, Answer>,
    until: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: i64,
}

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: String,
}

impl Tokens {
    /// Holds none yet.
    pub fn open(account: Account) -> Result<Self> {
        let client = http::client(&account.token_uri)?;
        Ok(Self(Arc::new(Source { client, account, held: Mutex::new(None) })))
    }

    /// The token to use now. Who comes while it is fetched waits for it; it goes on being fetched when nobody
    /// waits any more.
    pub async fn get(&self, now: DateTime<Utc>) -> Result<Secret, Answer> {
        if let Ok(held) = self.0.held.try_lock()
            && let Some(held) = held.as_ref().filter(|held| now < held.until)
        {
            return held.said.clone();
        }
        let source = Arc::clone(&self.0);
        let fetched = tokio::spawn(async move { source.get(now).await }).await;
        fetched.unwrap_or_else(|_| Err(Answer::retry("no access token: its fetch was cut short")))
    }

    /// Uses this token no more: it was refused.
    pub async fn forget(&self, token: &Secret) {
        let mut held = self.0.held.lock().await;
        if held.as_ref().is_some_and(|held| held.said.as_ref() == Ok(token)) {
            *held = None;
        }
    }
}

impl Source {
    async fn get(&self, now: DateTime<Utc>) -> Result<Secret, Answer> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| now < held.until) {
            return held.said.clone();
        }
        let (said, life) = match self.fetch(now).await {
            Ok((token, life)) => (Ok(token), life),
            Err(answer) => (Err(answer), PAUSE),
        };
        *held = Some(Held { said: said.clone(), until: now + life });
        said
    }

    /// A new token, and how long it is used. Whatever fails, no message was sent.
    async fn fetch(&self, now: DateTime<Utc>) -> Result<(Secret, TimeDelta), Answer> {
        let assertion = self.account.assertion(now);
        let assertion = assertion.map_err(|_| Answer::misconfigured("FCM_SERVICE_ACCOUNT does not sign"))?;
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let form = [("grant_type", grant), ("assertion", assertion.as_str())];
        let call = self.client.post(self.account.token_uri.clone()).form(&form);
        let response = call.send().await.map_err(|error| not_sent(http::lost(&error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http::body(response).await.map_err(|error| not_sent(http::lost(&error)))?;
        if status.is_success() {
            let granted: Option<Granted> = serde_json::from_slice(&body).ok();
            let granted =
                granted.filter(|granted| !granted.access_token.is_empty() && granted.expires_in > 0);
            let granted =
                granted.ok_or_else(|| Answer::retry("the token endpoint answered without a token"))?;
            let life = granted.expires_in.min(MOST);
            let used = TimeDelta::seconds((life - MARGIN).max(life / 2));
            return Ok((Secret::new(granted.access_token), used));
        }
        Err(match http::common(status, &headers) {
            Some(answer) => not_sent(answer),
            None => refused(status, &body),
        })
    }
}

/// What is unknown of a token's fetch is no unknown message.
fn not_sent(answer: Answer) -> Answer {
    let of_the_token = |reason: String| format!("no access token: {reason}");
    match answer {
        Answer::Retry { after, reason } => Answer::Retry { after, reason: of_the_token(reason) },
        Answer::Unknown { reason } => Answer::retry(of_the_token(reason)),
        Answer::Misconfigured { reason } => Answer::misconfigured(of_the_token(reason)),
        other => other,
    }
}

/// OAuth's own words (RFC 6749, section 5.2) are fixed ones.
fn refused(status: StatusCode, body: &[u8]) -> Answer {
    let Refused { error } = serde_json::from_slice(body).unwrap_or_default();
    let known = ["invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client"];
    let why = known.into_iter().find(|known| *known == error).unwrap_or("refused");
    Answer::misconfigured(format!(
        "no access token: the endpoint answered {}, {why}: FCM_SERVICE_ACCOUNT or this machine's clock is wrong",
        status.as_u16()
    ))
}
