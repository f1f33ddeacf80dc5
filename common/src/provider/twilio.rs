//! SMS over a Twilio-compatible API: the Messages resource, its error codes, and the signature of its
//! status webhooks.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use url::Url;

use super::{Answer, Secret, Sms, SmsProvider, http};
use crate::error::Result;

/// As rows and `SMS_PROVIDERS` call it.
pub const NAME: &str = "twilio";

/// `TWILIO_…`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `TWILIO_BASE_URL`.
    pub base_url: Url,
    /// `TWILIO_ACCOUNT_SID`.
    pub account_sid: String,
    /// `TWILIO_AUTH_TOKEN`.
    pub auth_token: Secret,
    /// `TWILIO_FROM`: a number, a sender name, or a messaging service (`MG…`).
    pub from: String,
}

/// The provider.
#[derive(Debug)]
pub struct Twilio {
    client: Client,
    messages: Url,
    settings: Settings,
    callback: String,
}

/// What is read of an answer: a message, or an error.
#[derive(Debug, Deserialize)]
struct Reply {
    sid: Option<String>,
    code: Option<i64>,
    error_code: Option<i64>,
}

impl Twilio {
    /// `callback` is the webhook's address without the reference that ends it.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(settings: Settings, callback: String) -> Result<Self> {
        let base = settings.base_url.as_str().trim_end_matches('/');
        let path = format!("{base}/2010-04-01/Accounts/{}/Messages.json", settings.account_sid);
        let messages: Url = path.parse().map_err(crate::Error::internal)?;
        Ok(Self { client: http::client(&messages)?, messages, settings, callback })
    }
}

#[async_trait]
impl SmsProvider for Twilio {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, sms: &Sms<'_>) -> Answer {
        let sender = if self.settings.from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        let callback = format!("{}{}", self.callback, sms.reference);
        let key = sms.idempotency_key.to_string();
        let sent = self
            .client
            .post(self.messages.clone())
            .basic_auth(&self.settings.account_sid, Some(self.settings.auth_token.reveal()))
            .header("I-Twilio-Idempotency-Token", key)
            .form(&[
                ("To", sms.to),
                (sender, self.settings.from.as_str()),
                ("Body", sms.text),
                ("StatusCallback", callback.as_str()),
            ])
            .send()
            .await;
        match sent {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                match http::body(response).await {
                    Ok(body) => judge(status, &headers, &body),
                    // a refusal needs no body to be one
                    Err(_) if !status.is_success() => judge(status, &headers, b""),
                    Err(error) => http::lost(&error),
                }
            }
            Err(error) => http::lost(&error),
        }
    }
}

/// What an answer means. Twilio's own code says more than the status.
fn judge(status: StatusCode, headers: &reqwest::header::HeaderMap, body: &[u8]) -> Answer {
    let reply: Option<Reply> = serde_json::from_slice(body).ok();
    if status.is_success() {
        return match reply {
            Some(Reply { error_code: Some(code), sid: Some(_), .. }) => refused(status, code),
            Some(Reply { sid: Some(sid), .. }) => Answer::Accepted { provider_id: Some(sid) },
            _ => Answer::unknown(format!("Twilio answered {} without a message", status.as_u16())),
        };
    }
    match reply.and_then(|reply| reply.code) {
        // too many requests, queue full
        Some(code @ (20429 | 14107 | 30001 | 30022 | 63038)) => Answer::Retry {
            after: http::retry_after(headers),
            reason: format!("Twilio answered {}, error {code}: too many messages", status.as_u16()),
        },
        Some(code) if !status.is_server_error() && status.as_u16() != 429 => refused(status, code),
        _ => http::common(status, headers)
            .unwrap_or_else(|| Answer::give_up(format!("Twilio answered {}", status.as_u16()))),
    }
}

/// A refusal with a code of Twilio's (https://www.twilio.com/docs/api/errors).
fn refused(status: StatusCode, code: i64) -> Answer {
    let said = |what: &str| format!("Twilio answered {}, error {code}: {what}", status.as_u16());
    match code {
        20003 | 20005 | 20006 | 20404 | 20008 => {
            Answer::misconfigured(said("account or credentials not accepted"))
        }
        21603 | 21606 | 21659 | 21212 | 21701..=21713 => {
            Answer::misconfigured(said("TWILIO_FROM cannot send this"))
        }
        21609 => Answer::misconfigured(said("KERYU_PUBLIC_URL cannot be reached for status reports")),
        21211 | 21217 | 21421 => Answer::give_up(said("not a phone number")),
        21214 | 21614 | 30006 => Answer::give_up(said("the number cannot get text messages")),
        21610 => Answer::give_up(said("the recipient has unsubscribed")),
        21408 => Answer::give_up(said("sending to this region is not enabled")),
        30003 | 30005 => Answer::give_up(said("the handset is unknown or cannot be reached")),
        30004 | 30007 => Answer::give_up(said("the message was blocked")),
        _ if matches!(status.as_u16(), 401 | 403) => {
            Answer::misconfigured(said("account or credentials not accepted"))
        }
        _ => Answer::give_up(said("refused")),
    }
}

/// What a status report says about a message.
pub fn reported(status: &str) -> super::gateway::Report {
    use super::gateway::Report;
    match status {
        "delivered" | "read" => Report::Delivered,
        "undelivered" | "failed" | "canceled" => Report::Failed,
        _ => Report::UnderWay,
    }
}

/// Checks `X-Twilio-Signature`: base64 of HMAC-SHA1 by the auth token over the full URL and the form's
/// fields, sorted by name, each name directly followed by its value. In constant time.
pub fn is_signed(auth_token: &Secret, url: &str, form: &[(String, String)], signature: &str) -> bool {
    let Ok(given) = STANDARD.decode(signature.trim()) else { return false };
    let mut fields: Vec<&(String, String)> = form.iter().collect();
    fields.sort();
    fields.dedup();
    let mut text = url.to_owned();
    for (name, value) in fields {
        text.push_str(name);
        text.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.reveal().as_bytes());
    hmac::verify(&key, text.as_bytes(), &given).is_ok()
}

#[cfg(test)]
mod tests;
