//! The OpenAPI document: what poem-openapi derives from the operations, completed with what it leaves
//! out (security, every status, examples, closed bodies), and its page.

use keryu_common::error::{Code, VALIDATION};
use keryu_common::ip_block::BLOCKED;
use keryu_common::limit::LIMITED;
use keryu_common::{Error, Result, api_key, session};
use poem::{Endpoint, Response};
use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use crate::edge::fixed::fixed;
use crate::edge::problem::{
    INTERNAL, MALFORMED, MEDIA, MEDIA_TYPE, METHOD, TIMEOUT, TOO_LARGE, UNAVAILABLE, kind,
};
use crate::operation::Security;

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
        null_outputs(schemas);
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
    // the same in every build: whether maps keep their order depends on what else is built
    document.sort_all_objects();
    Ok(document)
}

/// Fields of every answer.
const HEADERS: [(&str, &str); 3] = [
    ("X-Request-Id", "The id given, or one made; `instance` of a problem names it."),
    ("RateLimit-Policy", "The bucket, its calls (`q`) and its window in seconds (`w`)."),
    ("RateLimit", "What is left (`r`) and the seconds until the window ends (`t`)."),
];

/// What everything that wants an access token may refuse with.
const SIGNED: [Code; 3] = [session::REQUIRED, session::INVALID_TOKEN, session::ENDED];

fn complete(operation: &mut Value, schemas: &Value) -> Result<()> {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let note = crate::notes().find(|note| note.operation == id);
    let note = note.ok_or_else(|| Error::internal(format!("operation {id} has no note")))?;
    operation["security"] = match note.security {
        Security::Anonymous | Security::SecretPath => json!([]),
        Security::Bearer | Security::Staff(_) => json!([{ "bearer": [] }]),
        Security::MaybeBearer => json!([{}, { "bearer": [] }]),
        Security::BearerOrKey(_) => json!([{ "bearer": [] }, { "api_key": [] }]),
        Security::Key(_) => json!([{ "api_key": [] }]),
        Security::TwilioSignature => json!([{ "twilio_signature": [] }]),
    };
    let mut codes = vec![BLOCKED, METHOD, LIMITED, INTERNAL, UNAVAILABLE];
    if operation.get("requestBody").is_some() {
        codes.extend([MALFORMED, TIMEOUT, TOO_LARGE, MEDIA, VALIDATION]);
        example(&mut operation["requestBody"], schemas);
    }
    let mut asked = operation["parameters"].as_array().into_iter().flatten();
    if asked.any(|parameter| parameter["in"] != "path") {
        codes.push(VALIDATION);
    }
    match note.security {
        Security::Anonymous | Security::TwilioSignature | Security::SecretPath => {}
        Security::Bearer | Security::MaybeBearer => codes.extend(SIGNED),
        Security::Staff(_) => codes.extend(SIGNED.into_iter().chain([session::FORBIDDEN])),
        Security::BearerOrKey(_) | Security::Key(_) => {
            codes.extend(SIGNED.into_iter().chain([api_key::INVALID, session::FORBIDDEN]));
        }
    }
    codes.extend_from_slice(note.refusals);
    for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = json!("Done.");
        }
        example(response, schemas);
    }
    let content = operation.pointer("/responses/200/content").and_then(Value::as_object);
    let page = content.into_iter().flatten().find(|(kind, _)| kind.starts_with("text/html"));
    let page = page.map(|(kind, page)| (kind.clone(), page.clone()));
    codes.sort_by_key(|code| (code.status, code.code));
    codes.dedup_by_key(|code| code.code);
    for of_status in codes.chunk_by(|a, b| a.status == b.status) {
        let status = of_status.first().map_or(500, |code| code.status);
        let mut response = problem_response(of_status);
        // what is a page for people is one too when it refuses for a reason of its own
        if let Some((kind, page)) = &page
            && of_status.iter().any(|code| note.refusals.iter().any(|own| own.code == code.code))
        {
            response["content"][kind] = page.clone();
        }
        operation["responses"][status.to_string()] = response;
    }
    for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for (name, description) in HEADERS {
            response["headers"][name] = json!({ "description": description, "schema": { "type": "string" } });
        }
    }
    Ok(())
}

/// Copies the schema's example beside it.
fn example(holder: &mut Value, schemas: &Value) {
    for media in
        holder.get_mut("content").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        let named = media["schema"]["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let schema = named.map_or(&media["schema"], |name| &schemas[name]);
        // of one of several shapes the first one's
        let first = schema["anyOf"][0]["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let schema = first.map_or(schema, |name| &schemas[name]);
        if let Some(example) = schema.get("example").cloned() {
            media["example"] = example;
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
            "mfa_token": { "type": "string", "description": "Of `mfa.required`: hand it in with a second factor." },
            "methods": { "type": "array", "items": { "type": "string" }, "description": "Of `mfa.required`: second factors that will do." },
            "expires_in": { "type": "integer", "description": "Of `mfa.required`: seconds that `mfa_token` works." },
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "An access token (RFC 9068), from signing in or refreshing.",
        },
        "api_key": {
            "type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "The key of a service: `kry_` and 43 characters. It may do what its scopes say.",
        },
        "twilio_signature": {
            "type": "apiKey", "in": "header", "name": "X-Twilio-Signature",
            "description": "HMAC-SHA1 over the public URL and the form, as Twilio documents it.",
        },
    })
}

/// The properties of a schema, if it has any of its own.
fn properties(schema: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    // by `get_mut`: an index would put a null where there are none
    schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
}

/// Bodies (`…In`) have no fields but those named; documents of others within them (`…Json`) may. In both a
/// field that may be absent may be null.
pub fn close_inputs(schemas: &mut Value) {
    for (name, schema) in schemas.as_object_mut().into_iter().flatten() {
        let is_body = name.ends_with("In");
        if schema["type"] != "object" || !(is_body || name.ends_with("Json")) {
            continue;
        }
        if is_body {
            schema["additionalProperties"] = json!(false);
        }
        let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in properties(schema) {
            if !required.iter().any(|known| known == name) && field.get("$ref").is_none() {
                field["nullable"] = json!(true);
            }
        }
    }
}

/// In answers (`…Out`) a field without a value is null, if it is there at all.
fn null_outputs(schemas: &mut Value) {
    for (name, schema) in schemas.as_object_mut().into_iter().flatten() {
        if schema["type"] != "object" || !name.ends_with("Out") {
            continue;
        }
        let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in properties(schema) {
            if required.iter().any(|known| known == name) {
                continue;
            }
            if let Some(named) = field.get("$ref").cloned() {
                *field = json!({ "allOf": [{ "$ref": named }] });
            }
            field["nullable"] = json!(true);
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

/// The document as it is committed: to build it takes tens of megabytes, which no process gives back.
const COMMITTED: &str = include_str!("../openapi.json");

/// Without the spaces that lead its lines, and in one.
fn compact() -> String {
    COMMITTED.lines().map(str::trim_start).collect()
}

/// Serves the document.
pub fn json() -> impl Endpoint<Output = Response> {
    fixed("application/json", compact, None)
}

/// What the page of the document may load: itself.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; font-src data:; connect-src 'self'; frame-ancestors 'none'";

/// Serves the page: Swagger UI with the document inside, loading nothing.
pub fn page() -> impl Endpoint<Output = Response> {
    fixed("text/html; charset=utf-8", html, Some(POLICY))
}

fn html() -> String {
    let service = OpenApiService::new((), "Keryu", env!("CARGO_PKG_VERSION"));
    // `<` would end the script it stands in
    let finished = compact().replace('<', "\\u003c");
    let html = service.swagger_ui_html().replacen(&service.spec(), &finished, 1);
    [
        ("\n<html charset=\"UTF-8\">", "<!doctype html>\n<html lang=\"en\">"),
        ("<title>Swagger UI</title>", "<title>Keryu API</title>"),
        // the badge of an outside validator, off
        ("https://validator.swagger.io/validator", "none"),
    ]
    .into_iter()
    .fold(html, |html, (from, to)| html.replace(from, to))
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

    #[tokio::test]
    async fn the_page_holds_the_finished_document_and_loads_nothing() {
        let answer = page().call(poem::Request::default()).await.expect("answer");
        assert_eq!(answer.header("content-security-policy"), Some(POLICY));
        let html = answer.into_body().into_string().await.expect("text");
        assert!(html.contains("urn:keryu:problem:request.invalid"), "the finished document");
        for loads in ["src=\"http", "href=\"http", "@import", "url(http", "validator.swagger.io"] {
            assert!(!html.contains(loads), "{loads}");
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
