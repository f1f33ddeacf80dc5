//! SMS over any HTTP gateway that takes a POST: its body is a template, its headers are settings.
//!
//! The body template knows `to`, `text`, `id` and `callback`. Values are escaped for what the body is
//! (JSON, a form, XML), so that `"{{ text }}"` inside quotes is as safe as `{{ text|tojson }}`.

use async_trait::async_trait;
use minijinja::value::Value;
use minijinja::{Environment, context};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request};
use serde::Deserialize;
use url::Url;

use super::{Answer, Secret, Sms, SmsProvider, http};
use crate::error::{Error, Result};

/// As rows, routes and `SMS_PROVIDERS` call it.
pub const NAME: &str = "http";

/// The body where `SMS_HTTP_BODY` gives none.
pub const BODY: &str = r#"{"to": {{ to|tojson }}, "text": {{ text|tojson }}, "id": {{ id|tojson }}, "callback": {{ callback|tojson }}}"#;

const TEMPLATE: &str = "SMS_HTTP_BODY";

/// `SMS_HTTP_…`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SMS_HTTP_URL`.
    pub url: Secret,
    /// `SMS_HTTP_BODY`, compiled.
    pub body: Body,
    /// `SMS_HTTP_HEADERS` and the content type; marked so that they are never shown.
    pub headers: HeaderMap,
}

impl Settings {
    /// Reads and checks the three settings.
    ///
    /// # Errors
    /// What is wrong and in which, one line each.
    pub fn parse(url: &str, body: &str, headers: &str) -> std::result::Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        if let Err(fault) = http::address(url) {
            faults.push(format!("SMS_HTTP_URL: {fault}"));
        }
        let mut headers = headers_of(headers).unwrap_or_else(|fault| {
            faults.push(format!("SMS_HTTP_HEADERS: {fault}"));
            HeaderMap::new()
        });
        let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form = Form::of(given, body);
        match Body::compile(body, form) {
            Ok(body) if faults.is_empty() => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(form.content_type()));
                Ok(Self { url: Secret::new(url), body, headers })
            }
            Ok(_) => Err(faults),
            Err(fault) => {
                faults.push(format!("SMS_HTTP_BODY: {fault}"));
                Err(faults)
            }
        }
    }
}

/// What the body is, which decides how values are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Urlencoded,
    Xml,
    Plain,
}

impl Form {
    /// By the content type given, else by how the template begins.
    fn of(content_type: Option<&str>, body: &str) -> Self {
        match content_type {
            Some(kind) if kind.contains("json") => Self::Json,
            Some(kind) if kind.contains("urlencoded") => Self::Urlencoded,
            Some(kind) if kind.contains("xml") => Self::Xml,
            Some(_) => Self::Plain,
            None => match body.trim_start().bytes().next() {
                Some(b'{') if body.trim_start().starts_with("{{") => Self::Plain,
                Some(b'{' | b'[') => Self::Json,
                Some(b'<') => Self::Xml,
                _ if body.contains('=') => Self::Urlencoded,
                _ => Self::Plain,
            },
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Urlencoded => "application/x-www-form-urlencoded",
            Self::Xml => "application/xml",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }

    fn escape(self, text: &str) -> String {
        match self {
            Self::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
            }
            Self::Urlencoded => url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
            Self::Xml => {
                text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
            }
            Self::Plain => text.to_owned(),
        }
    }
}

/// A compiled body.
#[derive(Clone, Debug)]
pub struct Body(Environment<'static>);

impl Body {
    fn compile(template: &str, form: Form) -> std::result::Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("tojson", |text: &str| {
            Value::from_safe_string(serde_json::Value::from(text).to_string())
        });
        environment.add_filter("urlencode", |text: &str| {
            Value::from_safe_string(url::form_urlencoded::byte_serialize(text.as_bytes()).collect())
        });
        environment.set_formatter(move |out, state, value| match value.as_str() {
            Some(text) if !value.is_safe() => out.write_str(&form.escape(text)).map_err(Into::into),
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment
            .add_template_owned(TEMPLATE, template.to_owned())
            .map_err(|error| format!("line {}: {error}", error.line().unwrap_or(1)))?;
        let body = Self(environment);
        let sample = body
            .render("+10000000000", "\"A\"\nB\\ & <C>", "id", "https://example.org/?a=b&c=d")
            .map_err(|error| format!("line {}: {error}", error.line().unwrap_or(1)))?;
        if form == Form::Json
            && let Err(error) = serde_json::from_str::<serde_json::Value>(&sample)
        {
            return Err(format!("does not make JSON: {error}"));
        }
        Ok(body)
    }

    fn render(
        &self,
        to: &str,
        text: &str,
        id: &str,
        callback: &str,
    ) -> std::result::Result<String, minijinja::Error> {
        self.0.get_template(TEMPLATE)?.render(context! { to, text, id, callback })
    }
}

/// `Name: value`, separated by line breaks or semicolons; a semicolon inside a value stays where what
/// follows it does not begin with a name and a colon.
fn headers_of(text: &str) -> std::result::Result<HeaderMap, String> {
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut first = true;
        for part in line.split(';') {
            let named =
                part.split_once(':').is_some_and(|(name, _)| HeaderName::try_from(name.trim()).is_ok());
            match parts.last_mut() {
                Some(last) if !first && !named => {
                    last.push(';');
                    last.push_str(part);
                }
                _ => parts.push(part.to_owned()),
            }
            first = false;
        }
    }
    let mut headers = HeaderMap::new();
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| !part.trim().is_empty()) {
        // the text itself is a credential more often than not: only its place is told
        let fault = || format!("header {} is not of the form Name: value", number + 1);
        let (name, value) = part.split_once(':').ok_or_else(fault)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| fault())?;
        let mut value = HeaderValue::try_from(value.trim().trim_end_matches(';')).map_err(|_| fault())?;
        value.set_sensitive(name != CONTENT_TYPE);
        headers.append(name, value);
    }
    Ok(headers)
}

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
