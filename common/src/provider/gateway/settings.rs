//! `SMS_HTTP_…`, read and checked: the address, the headers and the body's template.

use minijinja::value::Value;
use minijinja::{Environment, context};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::super::{Secret, http};

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
    pub fn parse(url: &str, body: &str, headers: &str) -> Result<Self, Vec<String>> {
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
    fn compile(template: &str, form: Form) -> Result<Self, String> {
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

    /// The body of one message.
    ///
    /// # Errors
    /// The template fails with these values.
    pub(super) fn render(
        &self,
        to: &str,
        text: &str,
        id: &str,
        callback: &str,
    ) -> Result<String, minijinja::Error> {
        self.0.get_template(TEMPLATE)?.render(context! { to, text, id, callback })
    }
}

/// `Name: value`, separated by line breaks or semicolons; a semicolon inside a value stays where what
/// follows it does not begin with a name and a colon.
pub(super) fn headers_of(text: &str) -> Result<HeaderMap, String> {
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
