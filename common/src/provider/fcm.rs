//! Push messages over FCM HTTP v1: <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>.
//! Who we are is a service account (`account`), what calls carry an access token of it (`token`).

pub mod account;
mod token;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use url::Url;

pub use account::Account;

use super::{Answer, PATIENCE, Push, PushProvider, Secret, http};
use crate::error::{Error, Result};
use token::Tokens;

/// As rows call it.
pub const NAME: &str = "fcm";

/// `FCM_…`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `FCM_BASE_URL`.
    pub base_url: Url,
    /// `FCM_SERVICE_ACCOUNT`.
    pub account: Account,
}

/// The provider.
#[derive(Debug)]
pub struct Fcm {
    client: Client,
    messages: Url,
    tokens: Tokens,
}

impl Fcm {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(settings: Settings) -> Result<Self> {
        let base = settings.base_url.as_str().trim_end_matches('/');
        let path = format!("{base}/v1/projects/{}/messages:send", settings.account.project_id);
        let messages: Url = path.parse().map_err(Error::internal)?;
        Ok(Self { client: http::client(&messages)?, messages, tokens: Tokens::open(settings.account)? })
    }

    /// One call. An answer that is none is what the error means.
    async fn post(&self, push: &Push<'_>, token: &Secret, wait: Duration) -> Result<Reply, Answer> {
        let call = self.client.post(self.messages.clone()).bearer_auth(token.reveal()).timeout(wait);
        let response = call.json(&body(push)).send().await.map_err(|error| http::lost(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        match http::body(response).await {
            Ok(body) => Ok(Reply { status, headers, body }),
            // a refusal needs no body to be one
            Err(_) if !status.is_success() => Ok(Reply { status, headers, body: Vec::new() }),
            Err(error) => Err(http::lost(&error)),
        }
    }
}

#[async_trait]
impl PushProvider for Fcm {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, push: &Push<'_>) -> Answer {
        let until = Instant::now() + PATIENCE;
        // an access token may have been taken back before its time: then one more is fetched
        for last in [false, true] {
            let token = match timeout(PATIENCE / 3, self.tokens.get(push.at)).await {
                Ok(Ok(token)) => token,
                Ok(Err(answer)) => return answer,
                Err(_) => return Answer::retry("no access token in time"),
            };
            let wait = until.saturating_duration_since(Instant::now());
            match self.post(push, &token, wait).await {
                Ok(reply) if reply.is_token_refused() && !last => self.tokens.forget(&token).await,
                Ok(reply) => return reply.judge(),
                Err(answer) => return answer,
            }
        }
        Answer::misconfigured("FCM refuses the access token")
    }
}

/// What is sent: a note with two texts, and its kind for the app. No id, no code, no link.
fn body(push: &Push<'_>) -> Value {
    let life = (push.expires_at - push.at).num_seconds().max(0);
    json!({ "message": {
        "token": push.token,
        "notification": { "title": push.title, "body": push.text },
        "data": { "kind": push.kind },
        "android": { "ttl": format!("{life}s") },
        "apns": { "headers": { "apns-expiration": push.expires_at.timestamp().to_string() } },
        "webpush": { "headers": { "TTL": life.to_string() } },
    } })
}

/// An answer of FCM's.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Accepted {
    name: String,
}

#[derive(Deserialize)]
struct Refused {
    error: Fault,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Fault {
    message: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    error_code: Option<String>,
    field_violations: Vec<Violation>,
}

#[derive(Deserialize)]
struct Violation {
    #[serde(default)]
    field: String,
}

impl Fault {
    /// FCM's own code.
    fn code(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| detail.error_code.as_deref())
    }

    /// Whether what is wrong with the request is the device's address.
    fn is_of_the_token(&self) -> bool {
        let mut violations = self.details.iter().flat_map(|detail| &detail.field_violations);
        violations.any(|violation| violation.field == "message.token")
            || self.message.contains("registration token")
    }
}

impl Reply {
    fn fault(&self) -> Fault {
        serde_json::from_slice(&self.body).map_or_else(|_| Fault::default(), |refused: Refused| refused.error)
    }

    /// Whether another access token could help.
    fn is_token_refused(&self) -> bool {
        self.status == 401 && self.fault().code() != Some("THIRD_PARTY_AUTH_ERROR")
    }

    /// What it means. FCM's code says more than the status; its words are not repeated.
    fn judge(&self) -> Answer {
        let status = self.status.as_u16();
        if self.status.is_success() {
            return match serde_json::from_slice::<Accepted>(&self.body) {
                Ok(Accepted { name }) if name.starts_with("projects/") => {
                    Answer::Accepted { provider_id: Some(name) }
                }
                _ => Answer::unknown(format!("FCM answered {status} without a message")),
            };
        }
        let fault = self.fault();
        let code = fault.code().unwrap_or_default();
        let said = |what: &str| {
            format!("FCM answered {status}{}{code}: {what}", if code.is_empty() { "" } else { " " })
        };
        match (code, status) {
            ("UNREGISTERED", _) => Answer::dead(said("the app is gone from the device, or its token is old")),
            // the service account may be the wrong one: the device is none the worse for it
            ("SENDER_ID_MISMATCH", _) => {
                let reason = said("the token is of another project");
                tracing::warn!(reason, "a device and FCM_SERVICE_ACCOUNT are of two projects");
                Answer::give_up(reason)
            }
            ("INVALID_ARGUMENT", _) | (_, 400) if fault.is_of_the_token() => {
                Answer::dead(said("not a token"))
            }
            ("THIRD_PARTY_AUTH_ERROR", _) => {
                Answer::misconfigured(said("the project's key for APNs or web push is missing or wrong"))
            }
            ("QUOTA_EXCEEDED", _) | (_, 429 | 503) => {
                Answer::Retry { after: http::retry_after(&self.headers), reason: said("try again") }
            }
            (_, 500..) => Answer::unknown(said("it may have taken the message")),
            (_, 401 | 403) => Answer::misconfigured(said("the service account may not send")),
            (_, 404) => Answer::misconfigured(said("there is no such project")),
            _ => http::common(self.status, &self.headers)
                .unwrap_or_else(|| Answer::give_up(said("the message was refused"))),
        }
    }
}

#[cfg(test)]
mod tests;
