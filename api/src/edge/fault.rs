//! Faults of a body: what the schema says, in stable codes and words for a person. No value of the body
//! is repeated: it may be a secret.

use jsonschema::Validator;
use jsonschema::error::{ValidationError, ValidationErrorKind as Kind};
use keryu_common::Fault;
use keryu_common::config::Config;
use serde_json::Value;

use super::field;

/// More than these help nobody.
const MOST: usize = 50;

/// Every fault, by field.
pub fn of(schema: &Validator, body: &Value, config: &Config) -> Vec<Fault> {
    let mut faults: Vec<Fault> =
        schema.iter_errors(body).flat_map(|error| told(&error, config)).take(MOST).collect();
    faults.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    faults
}

fn told(error: &ValidationError<'_>, config: &Config) -> Vec<Fault> {
    let at = error.instance_path().to_string();
    let one = |code, detail: &str| vec![Fault::at(at.as_str(), code, detail)];
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Fault::at(child(&at, name), "field.required", "This field is needed.")]
        }
        Kind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| Fault::at(child(&at, name), "field.unknown", "There is no such field."))
            .collect(),
        Kind::Type { .. } => one("field.type", &format!("This is not of the type wanted{}.", wanted(error))),
        Kind::Enum { options } => one("field.choice", &format!("One of these: {}.", list(options))),
        Kind::Format { format } => {
            let text = error.instance().as_str().unwrap_or_default().to_owned();
            let (code, detail) = field::explain(format, &text, config);
            one(code, detail)
        }
        Kind::Pattern { .. } => one("field.format", "This is not of the form wanted."),
        Kind::MinLength { limit } => one("field.length", &format!("At least {limit} characters.")),
        Kind::MaxLength { limit } => one("field.length", &format!("At most {limit} characters.")),
        Kind::MinItems { limit } => one("field.length", &format!("At least {limit} items.")),
        Kind::MaxItems { limit } => one("field.length", &format!("At most {limit} items.")),
        Kind::Minimum { limit } => one("field.range", &format!("At least {limit}.")),
        Kind::Maximum { limit } => one("field.range", &format!("At most {limit}.")),
        other => one("field.invalid", &format!("This does not hold: {}.", other.keyword())),
    }
}

fn wanted(error: &ValidationError<'_>) -> String {
    match error.kind() {
        Kind::Type { kind: jsonschema::error::TypeKind::Single(kind) } => format!(": {kind}"),
        _ => String::new(),
    }
}

fn list(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    options.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// RFC 6901.
fn child(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}
