//! Systems that keep a copy of people's data: what they are told, and what their answers mean. Nothing here
//! knows a table or a job, and no reason holds a value of a person's.

pub mod hubspot;
pub mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{Answer, http, is_loopback};

/// The most people one call tells of (HubSpot's limit).
pub const BATCH: usize = 100;

/// The wait after "too many requests" without a `Retry-After`: HubSpot counts by ten seconds.
const TOO_MANY: Duration = Duration::from_secs(10);

/// What is read of an answer's body: a hundred contacts are sent back whole.
const MOST_READ: usize = 4 * 1024 * 1024;

/// What is told of a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// Which; `keryu_id` there.
    pub user_id: Uuid,
    /// The number of the last change: larger is later.
    pub change: i64,
    /// As chosen.
    pub username: String,
    /// Normalised.
    pub email: Option<String>,
    /// Whether it is proved.
    pub email_verified: bool,
    /// E.164.
    pub phone_number: Option<String>,
    /// Whether it is proved.
    pub phone_verified: bool,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// `active`, ...
    pub status: &'static str,
    /// `both_verified`, ...
    pub verification: &'static str,
    /// `member`, ...
    pub role: String,
    /// Of messages.
    pub language: String,
    /// When they joined.
    pub created_at: DateTime<Utc>,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contact").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// What becomes of one person who was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A later try may do.
    Later(String),
    /// No try would do, before the person changes.
    Refused(String),
}

/// What became of a call that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Everybody was taken but these.
    Taken(Vec<(Uuid, Fate)>),
    /// Nobody was taken, because of somebody the answer does not name. Of one alone it is their fate.
    Refused {
        /// Of whoever it is.
        fate: Fate,
        /// Whether it is about a value of that person's; else the call itself may be at fault.
        certain: bool,
    },
}

/// Why nobody was taken, and it lies with nobody in the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The system asks us to wait.
    Wait {
        /// How long.
        after: Duration,
        /// For a person.
        reason: String,
    },
    /// It does not work at present.
    Fail {
        /// For a person.
        reason: String,
    },
    /// The credentials are not accepted: nothing is done with them.
    Denied {
        /// For a person.
        reason: String,
    },
    /// It will not work before somebody mends a setting here or there.
    Misconfigured {
        /// For a person.
        reason: String,
    },
}

impl Setback {
    fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into() }
    }

    fn misconfigured(reason: impl Into<String>) -> Self {
        Self::Misconfigured { reason: reason.into() }
    }

    /// For a person.
    pub fn reason(&self) -> &str {
        match self {
            Self::Wait { reason, .. }
            | Self::Fail { reason }
            | Self::Denied { reason }
            | Self::Misconfigured { reason } => reason,
        }
    }

    /// As metrics say it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wait { .. } | Self::Fail { .. } => "retry",
            Self::Denied { .. } | Self::Misconfigured { .. } => "misconfigured",
        }
    }
}

/// Keeps a copy of people's data. Telling it the same twice changes nothing.
#[async_trait]
pub trait CrmProvider: std::fmt::Debug + Send + Sync {
    /// As rows and settings call it.
    fn name(&self) -> &'static str;
    /// Tells of these people, at most [`BATCH`], nobody twice.
    async fn tell(&self, people: &[Contact], at: DateTime<Utc>) -> Result<Taking, Setback>;
    /// Has somebody erased, by the number of that change. Nobody there is as good.
    async fn erase(&self, user_id: Uuid, change: i64, at: DateTime<Utc>) -> Result<Taking, Setback>;
}

/// An address that credentials may be sent to: `https`, or plain on this machine.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str) -> Result<Url, String> {
    let url = http::address(text)?;
    if url.scheme() == "http" && !url.host_str().is_some_and(is_loopback) {
        return Err("plain http goes to this machine only: use https".to_owned());
    }
    Ok(url)
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    /// Makes a call and reads its answer.
    async fn to(request: RequestBuilder) -> Result<Self, Setback> {
        let lost = |error: reqwest::Error| match http::lost(&error) {
            Answer::Misconfigured { reason } => Setback::Misconfigured { reason },
            other => Setback::fail(other.reason().unwrap_or("no answer")),
        };
        let response = request.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        match read(response).await {
            Ok(body) => Ok(Self { status, headers, body }),
            // a refusal needs no body to be one
            Err(_) if !status.is_success() => Ok(Self { status, headers, body: Vec::new() }),
            Err(error) => Err(lost(error)),
        }
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// `text/html`, ...: what it says it is, without parameters.
    fn kind(&self) -> &str {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().unwrap_or_default().trim() {
            "" => "no content type",
            kind => kind,
        }
    }

    /// The statuses that every system means alike.
    fn setback(&self, who: &str) -> Setback {
        let code = self.status.as_u16();
        let said = |what: &str| format!("{who} answered {code}: {what}");
        let after = http::retry_after(&self.headers);
        match (code, after) {
            (429, after) => {
                Setback::Wait { after: after.unwrap_or(TOO_MANY), reason: said("too many requests") }
            }
            (408 | 425 | 503, Some(after)) => Setback::Wait { after, reason: said("not now") },
            (401 | 407, _) => Setback::Denied { reason: said("the credentials were not accepted") },
            (403, _) => Setback::misconfigured(said("the credentials were not accepted")),
            (300..=399, _) => Setback::misconfigured(said("a redirect is not followed")),
            (408 | 425 | 500.., _) => Setback::fail(format!("{who} answered {code} ({})", self.kind())),
            _ => Setback::misconfigured(said("the address does not take this")),
        }
    }
}

async fn read(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        read.extend_from_slice(&chunk);
        if read.len() > MOST_READ {
            // cut short it is no JSON, and judged so
            read.truncate(MOST_READ);
            break;
        }
    }
    Ok(read)
}
