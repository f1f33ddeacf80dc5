//! Header fields every answer carries for the safety of browsers, and the allow-list of web origins.

use keryu_common::config::Config;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Request, Response};

/// What a script of an allowed origin may send and see.
const SENT: &str = "authorization, content-type, idempotency-key, if-match, traceparent, x-request-id";
const SEEN: &str = "etag, location, ratelimit, ratelimit-policy, retry-after, x-request-id";

/// The rules of this deployment.
#[derive(Debug)]
pub struct Rules {
    origins: Vec<HeaderValue>,
    https: bool,
}

impl Rules {
    /// From the settings.
    pub fn of(config: &Config) -> Self {
        let origins = config.http.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        Self { origins: origins.collect(), https: config.public_url.starts_with("https://") }
    }

    /// The origin of a request, if scripts of it may read the answer.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(header::ORIGIN).filter(|origin| self.origins.contains(origin)).cloned()
    }

    /// The answer to a browser that asks before it sends. None: it is no such question.
    pub fn preflight(&self, request: &Request, origin: Option<&HeaderValue>) -> Option<Response> {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        (asks && origin.is_some()).then(|| {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let fields = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
                (header::ACCESS_CONTROL_MAX_AGE, "600"),
            ];
            for (name, value) in fields {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        })
    }

    /// Completes an answer. What a handler set itself stays.
    pub fn write(&self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        let mut set = |name: HeaderName, value: &'static str| {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        };
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::X_FRAME_OPTIONS, "DENY");
        set(header::REFERRER_POLICY, "no-referrer");
        set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
        set(header::CACHE_CONTROL, "no-store");
        if self.https {
            set(header::STRICT_TRANSPORT_SECURITY, "max-age=63072000");
        }
        if !self.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SEEN));
        }
    }
}
