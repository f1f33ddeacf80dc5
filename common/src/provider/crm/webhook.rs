//! Any system that takes signed webhooks after Standard Webhooks (<https://www.standardwebhooks.com>):
//! `users.changed` with up to a hundred people, `user.erased` with one id.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{Contact, CrmProvider, Fate, Reply, Setback, Taking};
use crate::error::{Error, Result};
use crate::provider::{Secret, http};
use crate::secret::{hex, sha256};

/// As rows call it.
pub const NAME: &str = "webhook";

/// `CRM_WEBHOOK_…`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `CRM_WEBHOOK_URL`; it may hold a credential.
    pub url: Secret,
    /// `CRM_WEBHOOK_SECRET`.
    pub key: Key,
}

/// What deliveries are signed with.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Key {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// What is wrong with it, without it.
    pub fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let bytes = text.strip_prefix("whsec_").ok_or("does not begin with whsec_")?;
        let bytes = STANDARD.decode(bytes).map_err(|_| "is not base64 after whsec_")?;
        if !(24..=64).contains(&bytes.len()) {
            return Err("is not of 24 to 64 bytes (echo whsec_$(openssl rand -base64 32))");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The signature of a delivery: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

/// The provider.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    key: Key,
    patience: Duration,
}

impl Webhook {
    /// A call ends within `patience`.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(settings: &Settings, patience: Duration) -> Result<Self> {
        let url: Url = settings.url.reveal().parse().map_err(Error::internal)?;
        Ok(Self { client: http::client(&url)?, url, key: settings.key.clone(), patience })
    }

    /// `changes` are what the event is about: the same ones give the same id, at every try.
    async fn send(
        &self,
        event: &str,
        changes: impl Iterator<Item = (Uuid, i64)>,
        data: Value,
        at: DateTime<Utc>,
    ) -> Result<Taking, Setback> {
        let mut about = event.as_bytes().to_vec();
        for (user_id, change) in changes {
            about.extend_from_slice(user_id.as_bytes());
            about.extend_from_slice(&change.to_be_bytes());
        }
        let digest = sha256(&about);
        let id = format!("msg_{}", hex(digest.get(..16).unwrap_or(&digest)));
        let when = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = json!({ "type": event, "timestamp": when, "data": data }).to_string();
        let request = self
            .client
            .post(self.url.clone())
            .timeout(self.patience)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", at.timestamp().to_string())
            .header("webhook-signature", self.key.sign(&id, at.timestamp(), &body))
            .body(body);
        judge(&Reply::to(request).await?)
    }
}

#[async_trait]
impl CrmProvider for Webhook {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tell(&self, people: &[Contact], at: DateTime<Utc>) -> Result<Taking, Setback> {
        let data = json!({ "users": people.iter().map(user).collect::<Vec<_>>() });
        self.send("users.changed", people.iter().map(|one| (one.user_id, one.change)), data, at).await
    }

    async fn erase(&self, user_id: Uuid, change: i64, at: DateTime<Utc>) -> Result<Taking, Setback> {
        let data = json!({ "keryu_id": user_id, "change": change });
        self.send("user.erased", std::iter::once((user_id, change)), data, at).await
    }
}

fn user(person: &Contact) -> Value {
    json!({
        "keryu_id": person.user_id,
        "change": person.change,
        "username": person.username,
        "email": person.email,
        "email_verified": person.email_verified,
        "phone_number": person.phone_number,
        "phone_verified": person.phone_verified,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "status": person.status,
        "verification_status": person.verification,
        "role": person.role,
        "language": person.language,
        "created_at": person.created_at.to_rfc3339_opts(SecondsFormat::Secs, true),
    })
}

/// Any 2xx takes it, but for a page (something else answered) and an error inside.
fn judge(reply: &Reply) -> Result<Taking, Setback> {
    let code = reply.status.as_u16();
    match code {
        200..=299 if reply.kind() == "text/html" => {
            Err(Setback::fail(format!("the webhook answered {code} with a page (text/html)")))
        }
        200..=299 if reply.json().is_some_and(|said| is_error(&said)) => {
            Err(Setback::fail(format!("the webhook answered {code} with an error inside")))
        }
        200..=299 => Ok(Taking::Taken(Vec::new())),
        400 | 413 | 422 if reply.kind() != "text/html" => Ok(Taking::Refused {
            fate: Fate::Refused(format!("the webhook answered {code}")),
            certain: false,
        }),
        409 => {
            Ok(Taking::Refused { fate: Fate::Later("the webhook answered 409".to_owned()), certain: false })
        }
        410 => Err(Setback::misconfigured("the webhook answered 410: it wants no more of them")),
        _ => Err(reply.setback("the webhook")),
    }
}

fn is_error(said: &Value) -> bool {
    let told = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(all) => !all.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Object(all) => !all.is_empty(),
        _ => true,
    };
    said["status"] == "error" || told(&said["error"]) || told(&said["errors"])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's libraries.
    #[test]
    fn a_delivery_is_signed_as_the_specification_says() {
        let key = Key::parse(SECRET).expect("a key");
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_none_is_shown() {
        for text in ["", "secret", "whsec_", "whsec_!", "whsec_c2hvcnQ=", &SECRET[6..]] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
        assert_eq!(format!("{:?}", Key::parse(SECRET).expect("a key")), "***");
    }

    #[test]
    fn an_error_inside_is_one() {
        for text in [
            r#"{"status": "error"}"#,
            r#"{"error": "no"}"#,
            r#"{"errors": [1]}"#,
            r#"{"error": {"code": 1}}"#,
        ] {
            assert!(is_error(&serde_json::from_str(text).expect("json")), "{text}");
        }
        for text in ["{}", "[]", "1", r#"{"status": "ok", "error": null, "errors": []}"#] {
            assert!(!is_error(&serde_json::from_str(text).expect("json")), "{text}");
        }
    }
}
