//! SMS over any HTTP gateway that takes a POST: its body is a template, its headers are settings.
//!
//! The body template knows `to`, `text`, `id` and `callback`. Values are escaped for what the body is
//! (JSON, a form, XML), so that `"{{ text }}"` inside quotes is as safe as `{{ text|tojson }}`.

mod settings;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request};
use serde::Deserialize;
use url::Url;

pub use settings::{Body, Settings};

use super::{Answer, Secret, Sms, SmsProvider, http};
use crate::error::{Error, Result};

/// As rows, routes and `SMS_PROVIDERS` call it.
pub const NAME: &str = "http";

/// The body where `SMS_HTTP_BODY` gives none.
pub const BODY: &str = r#"{"to": {{ to|tojson }}, "text": {{ text|tojson }}, "id": {{ id|tojson }}, "callback": {{ callback|tojson }}}"#;

/// The provider.
#[derive(Debug)]
pub struct Gateway {
    client: Client,
    url: Url,
    body: Body,
    headers: HeaderMap,
    callback: Secret,
}

impl Gateway {
    /// `callback` is the webhook's address up to the reference that ends it; empty where there is none.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(settings: Settings, callback: String) -> Result<Self> {
        let url: Url = settings.url.reveal().parse().map_err(Error::internal)?;
        Ok(Self {
            client: http::client(&url)?,
            url,
            body: settings.body,
            headers: settings.headers,
            callback: Secret::new(callback),
        })
    }

    fn request(&self, sms: &Sms<'_>) -> std::result::Result<Request, Answer> {
        let id = sms.reference.to_string();
        let callback = match self.callback.reveal() {
            "" => String::new(),
            address => format!("{address}{id}"),
        };
        let body = self
            .body
            .render(sms.to, sms.text, &id, &callback)
            .map_err(|_| Answer::misconfigured("SMS_HTTP_BODY does not render"))?;
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = self.headers.clone();
        if let Ok(key) = HeaderValue::try_from(sms.idempotency_key.to_string()) {
            request.headers_mut().insert("idempotency-key", key);
        }
        *request.body_mut() = Some(body.into());
        Ok(request)
    }
}

#[async_trait]
impl SmsProvider for Gateway {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, sms: &Sms<'_>) -> Answer {
        let request = match self.request(sms) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        match self.client.execute(request).await {
            Ok(response) if response.status().is_success() => {
                // accepted by its status; a body that cannot be read takes nothing from that
                let provider_id = http::body(response).await.ok().and_then(|body| id_of(&body));
                Answer::Accepted { provider_id }
            }
            Ok(response) => http::common(response.status(), response.headers()).unwrap_or_else(|| {
                Answer::give_up(format!("the gateway answered {}", response.status().as_u16()))
            }),
            Err(error) => http::lost(&error),
        }
    }
}

/// The gateway's name for the message, where its answer is JSON and holds one.
fn id_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(alias = "message_id", alias = "messageId")]
        id: Option<serde_json::Value>,
    }
    if body.first() != Some(&b'{') {
        return None;
    }
    match serde_json::from_slice::<Reply>(body).ok()?.id? {
        serde_json::Value::String(id) if !id.is_empty() && id.len() <= 128 => Some(id),
        serde_json::Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// What a status webhook says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The handset has it.
    Delivered,
    /// It will not get there.
    Failed,
    /// Nothing final yet.
    UnderWay,
}

/// The words gateways use, SMPP's (5.2.28) among them.
pub fn reported(status: &str) -> Report {
    match status.trim().to_ascii_lowercase().as_str() {
        "delivered" | "delivrd" | "success" | "read" => Report::Delivered,
        "failed" | "failure" | "undelivered" | "undeliverable" | "undeliv" | "rejected" | "rejectd"
        | "expired" | "deleted" | "error" => Report::Failed,
        _ => Report::UnderWay,
    }
}

#[cfg(test)]
mod tests;
