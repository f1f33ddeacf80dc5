//! The OpenAPI document: what poem-openapi derives from the operations, completed with what it leaves
//! out (security, every status, examples, closed bodies), and its page.

use bytes::Bytes;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::limit::LIMITED;
use keryu_common::secret::{hex, sha256};
use keryu_common::{Error, Result};
use poem::http::{StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApiService, Tags};
use serde_json::{Map, Value, json};

use crate::edge::problem::{INTERNAL, MALFORMED, MEDIA, MEDIA_TYPE, METHOD, TOO_LARGE, UNAVAILABLE, kind};

/// Groups of operations.
#[derive(Clone, Copy, Debug, Tags)]
pub enum Tag {
    /// Proving who someone is.
    Auth,
    /// What became of messages.
    Deliveries,
    /// Calls of message providers.
    Webhooks,
}

/// What an operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing.
    Anonymous,
    /// The signature of Twilio over URL and form.
    TwilioSignature,
    /// A secret in the path.
    SecretPath,
}

/// What the types of an operation do not say.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// Its `operation_id`.
    pub operation: &'static str,
    /// What it asks of its caller.
    pub security: Security,
    /// What it may refuse with, beyond what every operation may.
    pub refusals: &'static [Code],
}

/// A 202 with a body: something follows.
#[derive(Debug)]
pub struct Accepted<T>(pub T);

impl<T: ToJSON> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        poem::web::Json(self.0.to_json()).with_status(StatusCode::ACCEPTED).into_response()
    }
}

impl<T: ToJSON> ApiResponse for Accepted<T> {
    fn meta() -> MetaResponses {
        let content =
            vec![MetaMediaType { content_type: "application/json; charset=utf-8", schema: T::schema_ref() }];
        let response =
            MetaResponse { description: "", status: Some(202), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The finished document.
///
/// # Errors
/// A defect: an operation without a note.
pub fn build() -> Result<Value> {
    let service = OpenApiService::new(crate::operations(), "Keryu", env!("CARGO_PKG_VERSION"))
        .description("User management: identity, verification, sign-in, profiles.");
    let mut document: Value = serde_json::from_str(&service.spec()).map_err(Error::internal)?;
    if let Some(schemas) = document.pointer_mut("/components/schemas") {
        close_inputs(schemas);
        if let Value::Object(schemas) = schemas {
            schemas.insert("Problem".to_owned(), problem_schema());
        }
    }
    document["components"]["securitySchemes"] = security_schemes();
    let schemas = document["components"]["schemas"].clone();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            complete(operation, &schemas)?;
        }
    }
    Ok(document)
}

fn complete(operation: &mut Value, schemas: &Value) -> Result<()> {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let note = crate::notes().find(|note| note.operation == id);
    let note = note.ok_or_else(|| Error::internal(format!("operation {id} has no note")))?;
    operation["security"] = match note.security {
        Security::Anonymous => json!([]),
        Security::TwilioSignature => json!([{ "twilio_signature": [] }]),
        Security::SecretPath => json!([{ "secret_path": [] }]),
    };
    let mut codes = vec![METHOD, LIMITED, INTERNAL, UNAVAILABLE];
    if operation.get("requestBody").is_some() {
        codes.extend([MALFORMED, TOO_LARGE, MEDIA, VALIDATION]);
        example(&mut operation["requestBody"], schemas);
    }
    codes.extend_from_slice(note.refusals);
    for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = json!("Done.");
        }
        example(response, schemas);
    }
    codes.sort_by_key(|code| (code.status, code.code));
    for of_status in codes.chunk_by(|a, b| a.status == b.status) {
        let status = of_status.first().map_or(500, |code| code.status);
        operation["responses"][status.to_string()] = problem_response(of_status);
    }
    Ok(())
}

/// Copies the schema's example beside it.
fn example(holder: &mut Value, schemas: &Value) {
    for media in holder["content"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        let name =
            media["schema"]["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if let Some(example) = schemas[name].get("example") {
            media["example"] = example.clone();
        }
    }
}

fn problem_response(codes: &[Code]) -> Value {
    let named: Vec<String> = codes.iter().map(|code| format!("`{}`: {}.", code.code, code.title)).collect();
    let examples: Map<String, Value> =
        codes.iter().map(|code| (code.code.to_owned(), json!({ "value": problem_example(code) }))).collect();
    let mut response = json!({
        "description": named.join(" "),
        "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" }, "examples": examples } },
    });
    if codes.iter().any(|code| matches!(code.status, 429 | 503)) {
        response["headers"] = json!({
            "Retry-After": { "description": "Seconds to wait.", "required": true, "schema": { "type": "integer" } }
        });
    }
    response
}

fn problem_example(code: &Code) -> Value {
    let mut example = json!({
        "type": kind(code.code), "title": code.title, "status": code.status, "detail": code.advice,
        "instance": "urn:keryu:request:01990a5c-8e1f-7c52-b8a4-3a6f5d2e9c10", "code": code.code,
    });
    if code.code == VALIDATION.code {
        example["errors"] =
            json!([{ "pointer": "/name", "code": "field.unknown", "detail": "There is no such field." }]);
    }
    example
}

fn problem_schema() -> Value {
    json!({
        "type": "object", "description": "An error (RFC 9457). `docs/errors.md` lists the codes.",
        "required": ["type", "title", "status", "detail", "instance", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "instance": { "type": "string", "format": "uri" },
            "code": { "type": "string", "description": "Stable; what programs go by." },
            "help": { "type": "string", "format": "uri" },
            "errors": { "type": "array", "items": {
                "type": "object", "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": { "type": "string", "description": "RFC 6901." },
                    "code": { "type": "string" }, "detail": { "type": "string" },
                },
            } },
            "debug": { "type": "string", "description": "In development only." },
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "twilio_signature": {
            "type": "apiKey", "in": "header", "name": "X-Twilio-Signature",
            "description": "HMAC-SHA1 over the public URL and the form, as Twilio documents it.",
        },
        "secret_path": {
            "type": "apiKey", "in": "query", "name": "secret",
            "description": "Not a query field: the last part of the path is the secret given to the gateway.",
        },
    })
}

/// Bodies have no fields but those named, and a field that may be absent may be null.
pub fn close_inputs(schemas: &mut Value) {
    let inputs = schemas.as_object_mut().into_iter().flatten().filter(|(name, _)| name.ends_with("In"));
    for (_, schema) in inputs.filter(|(_, schema)| schema["type"] == "object") {
        schema["additionalProperties"] = json!(false);
        let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object_mut().into_iter().flatten() {
            if !required.iter().any(|known| known == name) && field.get("$ref").is_none() {
                field["nullable"] = json!(true);
            }
        }
    }
}

/// OpenAPI's `nullable` in the words of JSON Schema.
pub fn nulls_as_types(schemas: &mut Value) {
    match schemas {
        Value::Object(schema) => {
            if schema.get("nullable") == Some(&Value::Bool(true))
                && let Some(kind) = schema.get("type").cloned()
            {
                schema.insert("type".to_owned(), json!([kind, "null"]));
            }
            schema.values_mut().for_each(nulls_as_types);
        }
        Value::Array(items) => items.iter_mut().for_each(nulls_as_types),
        _ => {}
    }
}

/// The document as it is committed.
///
/// # Errors
/// As [`build`].
pub fn text() -> Result<String> {
    let mut text = serde_json::to_string_pretty(&build()?).map_err(Error::internal)?;
    text.push('\n');
    Ok(text)
}

/// Serves the document.
///
/// # Errors
/// As [`build`].
pub fn json() -> Result<impl Endpoint<Output = Response>> {
    let text = serde_json::to_string(&build()?).map_err(Error::internal)?;
    Ok(fixed("application/json", text, None))
}

/// What the page of the document may load: itself.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; font-src data:; connect-src 'self'; frame-ancestors 'none'";

/// Serves the page: Swagger UI with the document inside, loading nothing.
///
/// # Errors
/// As [`build`].
pub fn page() -> Result<impl Endpoint<Output = Response>> {
    let service = OpenApiService::new(crate::operations(), "Keryu", env!("CARGO_PKG_VERSION"));
    // `<` would end the script it stands in
    let finished = serde_json::to_string(&build()?).map_err(Error::internal)?.replace('<', "\\u003c");
    let html = service.swagger_ui_html().replacen(&service.spec(), &finished, 1);
    let html = html.replacen("\n<html charset=\"UTF-8\">", "<!doctype html>\n<html lang=\"en\">", 1);
    Ok(fixed(
        "text/html; charset=utf-8",
        html.replacen("<title>Swagger UI</title>", "<title>Keryu API</title>", 1),
        Some(POLICY),
    ))
}

/// An answer that never changes while the process lives, with a validator (RFC 9110, 8.8.3).
fn fixed(kind: &'static str, text: String, policy: Option<&'static str>) -> impl Endpoint<Output = Response> {
    let tag = format!("\"{}\"", &hex(&sha256(text.as_bytes()))[..32]);
    let text = Bytes::from(text);
    poem::endpoint::make_sync(move |request: Request| {
        let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let fresh = known
            .is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
        let response = Response::builder()
            .header(header::ETAG, &tag)
            .header(header::CACHE_CONTROL, "public, max-age=300");
        let response =
            policy.into_iter().fold(response, |r, policy| r.header(header::CONTENT_SECURITY_POLICY, policy));
        if fresh {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.content_type(kind).body(text.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_up_to_date() {
        let kept =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap_or_default();
        assert!(
            kept == text().expect("document"),
            "out of date: cargo run -p keryu-api -- openapi > api/openapi.json"
        );
    }

    #[test]
    fn every_operation_says_all_there_is_to_know() {
        let document = build().expect("document");
        let mut ids = std::collections::HashSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("item") {
                let at = format!("{method} {path}");
                for member in ["summary", "operationId", "security", "tags"] {
                    assert!(operation.get(member).is_some_and(|it| it != ""), "{at}: {member}");
                }
                assert!(ids.insert(operation["operationId"].clone()), "{at}: the operation id is taken");
                for status in ["405", "429", "500", "503"] {
                    assert!(operation["responses"].get(status).is_some(), "{at}: {status}");
                }
                for holder in operation["responses"]
                    .as_object()
                    .expect("responses")
                    .values()
                    .chain(operation.get("requestBody"))
                {
                    for media in holder["content"].as_object().into_iter().flat_map(Map::values) {
                        assert!(media.get("example").or(media.get("examples")).is_some(), "{at}: an example");
                    }
                }
            }
        }
    }

    #[test]
    fn notes_are_of_operations() {
        let document = build().expect("document").to_string();
        for note in crate::notes() {
            assert!(
                document.contains(&format!("\"operationId\":\"{}\"", note.operation)),
                "{}",
                note.operation
            );
        }
    }
}
