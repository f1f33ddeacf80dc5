//! Problems (RFC 9457): how an error becomes an answer. Every error of the product, of poem and of a
//! panicking handler passes through here, and nothing else writes an error body.

use std::time::Duration;

use keryu_common::config::{Config, Stage};
use keryu_common::error::{Code, VALIDATION};
use keryu_common::{Error, Fault, Refusal};
use poem::Response;
use poem::error::ResponseError;
use poem::http::{HeaderValue, StatusCode, header};
use poem_openapi::error::{ParseParamError, ParsePathError};
use poem_openapi::registry::{MetaResponses, Registry};
use serde::Serialize;

/// What a handler returns.
pub type Answer<T> = Result<T, Problem>;

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// When to come back if nothing better is known.
const PATIENCE: Duration = Duration::from_secs(2);

/// The body is not JSON.
pub const MALFORMED: Code = Code {
    code: "request.malformed",
    status: 400,
    title: "The request cannot be read",
    advice: "Send a well-formed JSON document in UTF-8.",
};
/// No such route or record.
pub const NOT_FOUND: Code = Code {
    code: "request.not_found",
    status: 404,
    title: "Not found",
    advice: "Check the path and the id in it.",
};
/// The route has other methods.
pub const METHOD: Code = Code {
    code: "request.method",
    status: 405,
    title: "The method is not allowed here",
    advice: "Use one of the methods that `Allow` names.",
};
/// The body came too slowly.
pub const TIMEOUT: Code = Code {
    code: "request.timeout",
    status: 408,
    title: "The body took too long",
    advice: "Send the request again, faster.",
};
/// The body is too large.
pub const TOO_LARGE: Code = Code {
    code: "request.too_large",
    status: 413,
    title: "The body is too large",
    advice: "Send less; `detail` names the limit.",
};
/// The body is of another media type.
pub const MEDIA: Code = Code {
    code: "request.media_type",
    status: 415,
    title: "The media type is not supported",
    advice: "Send the media type that `detail` names, without a content coding.",
};
/// A part we stand on does not answer.
pub const UNAVAILABLE: Code = Code {
    code: "server.unavailable",
    status: 503,
    title: "Not available just now",
    advice: "Send the request again after `Retry-After`, with the same `Idempotency-Key` if it had one.",
};
/// A defect.
pub const INTERNAL: Code = Code {
    code: "server.internal",
    status: 500,
    title: "Something went wrong on our side",
    advice: "Tell support the request id in `instance`.",
};

/// Every code of the edges.
pub const CODES: &[Code] =
    &[MALFORMED, NOT_FOUND, METHOD, TIMEOUT, TOO_LARGE, MEDIA, VALIDATION, INTERNAL, UNAVAILABLE];

/// The methods of a route, beside a 405.
#[derive(Clone, Debug)]
pub struct Allow(pub HeaderValue);

/// An error on its way out.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Problem(#[from] pub Error);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into())
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        let status = match &self.0 {
            Error::Refusal(refusal) => refusal.status,
            Error::Unavailable(_) | Error::Aborted(_) => UNAVAILABLE.status,
            Error::Internal(_) => INTERNAL.status,
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The statuses of errors are written into the document from the operations' own lists.
impl poem_openapi::ApiResponse for Problem {
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }
    fn register(_: &mut Registry) {}
}

/// What an error of poem's means.
pub fn read(error: poem::Error) -> Error {
    let error = match error.downcast::<Problem>() {
        Ok(problem) => return problem.0,
        Err(error) => error,
    };
    if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() {
        // an id in the path that is none names nothing
        return NOT_FOUND.refuse("There is nothing with this id.").into();
    }
    if let Some(param) = error.downcast_ref::<ParseParamError>() {
        let fault = Fault::at("", "field.format", format!("The parameter {} is not valid.", param.name));
        return Refusal { faults: vec![fault], ..VALIDATION.refuse("A parameter is not valid.") }.into();
    }
    match error.status().as_u16() {
        404 => NOT_FOUND.refuse("There is nothing here.").into(),
        405 => METHOD.refuse("The route has other methods.").into(),
        413 => TOO_LARGE.refuse("The body is too large.").into(),
        415 => MEDIA.refuse("The media type is not supported.").into(),
        422 => VALIDATION.refuse("The request is not valid.").into(),
        503 => Error::Unavailable(error.to_string().into()),
        400..500 => MALFORMED.refuse("The request cannot be read.").into(),
        _ => Error::internal(error.to_string()),
    }
}

/// The body on the wire.
#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<String>,
    #[serde(flatten)]
    more: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

/// The `type` of a code.
pub fn kind(code: &str) -> String {
    format!("urn:keryu:problem:{code}")
}

/// Writes the answer. Faults of ours are logged here, once.
pub fn render(error: &Error, allow: Option<Allow>, request_id: &str, config: &Config) -> Response {
    let (told, debug);
    let refusal = match error {
        Error::Refusal(refusal) => {
            debug = None;
            refusal
        }
        Error::Unavailable(source) | Error::Aborted(source) => {
            tracing::warn!(request_id, error = %source, "unavailable");
            debug = Some(source.to_string());
            told =
                UNAVAILABLE.refuse_for("A part of the service does not answer. Try again shortly.", PATIENCE);
            &told
        }
        Error::Internal(source) => {
            tracing::error!(request_id, error = %source, "internal error");
            debug = Some(source.to_string());
            told = INTERNAL.refuse("The request could not be carried out.");
            &told
        }
    };
    let wire = Wire {
        r#type: kind(refusal.code),
        title: refusal.title,
        status: refusal.status,
        detail: &refusal.detail,
        instance: format!("urn:keryu:request:{request_id}"),
        code: refusal.code,
        help: config.support_url.as_deref(),
        errors: &refusal.faults,
        debug: debug.filter(|_| config.stage == Stage::Development),
        more: refusal.more.as_deref(),
    };
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder()
        .status(status)
        .content_type(MEDIA_TYPE)
        .body(serde_json::to_vec(&wire).unwrap_or_default());
    let headers = response.headers_mut();
    let after = refusal.retry_after.or((refusal.status == 503).then_some(PATIENCE));
    if let Some(after) = after {
        headers
            .insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
    }
    if refusal.status == 401 {
        let challenge = match refusal.code {
            "auth.required" | "api_key.invalid" => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(Allow(methods)) = allow {
        headers.insert(header::ALLOW, methods);
    }
    response
}

#[cfg(test)]
mod tests {
    use keryu_common::config::Source;
    use poem::error::NotFoundError;
    use serde_json::Value;

    use super::*;

    fn config(stage: &str) -> Config {
        let pairs = [
            ("KERYU_ENV", stage),
            ("DATABASE_URL", "postgres:///x"),
            ("REDIS_URL", "redis://x"),
            ("STORAGE_URL", "file:///var/lib/keryu"),
            ("KERYU_SUPPORT_URL", "https://help.example.org"),
            ("KERYU_SECRET_KEY", "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
        ];
        Config::read(&mut Source::of(pairs)).expect("settings")
    }

    async fn body(response: Response) -> Value {
        serde_json::from_slice(&response.into_body().into_vec().await.expect("body")).expect("json")
    }

    #[tokio::test]
    async fn a_problem_has_every_member() {
        let error = read(NotFoundError.into());
        let response = render(&error, None, "r-1", &config("development"));
        assert_eq!(response.status(), 404);
        assert_eq!(response.content_type(), Some(MEDIA_TYPE));
        let body = body(response).await;
        assert_eq!(body["type"], "urn:keryu:problem:request.not_found");
        assert_eq!(body["instance"], "urn:keryu:request:r-1");
        assert_eq!(body["help"], "https://help.example.org");
        assert_eq!(body["status"], 404);
        assert!(body.get("errors").is_none());
    }

    #[tokio::test]
    async fn a_refusal_may_carry_members_of_its_own() {
        let refusal = NOT_FOUND.refuse("Gone.").with("mfa_token", "t").with("expires_in", 300);
        let told = body(render(&refusal.into(), None, "r", &config("production"))).await;
        assert_eq!((&told["mfa_token"], &told["expires_in"]), (&"t".into(), &300.into()));
        assert_eq!(told["code"], "request.not_found");
    }

    #[tokio::test]
    async fn internals_are_told_in_development_alone() {
        let error = Error::internal("table users is missing");
        let told = body(render(&error, None, "r", &config("development"))).await;
        assert_eq!(told["debug"], "table users is missing");
        let error = Error::Unavailable("connection refused".into());
        let response = render(&error, None, "r", &config("development"));
        assert_eq!(response.header("Retry-After"), Some("2"));
    }
}
