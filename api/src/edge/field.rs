//! Fields with a meaning beyond their JSON type: each has a `format` of its own in the schema, checked
//! with the rest of the body, and one place that says what is wrong with it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonschema::ValidationOptions;
use keryu_common::config::Config;
use keryu_common::user::{Identifier, Username};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;
use uuid::Uuid;

/// A phone number or an e-mail address as typed.
#[derive(Debug)]
pub struct IdentifierIn(pub String);

impl IdentifierIn {
    const FORMAT: &'static str = "identifier";

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<Identifier> {
        Identifier::parse(&self.0, config.default_region.as_deref()).ok()
    }
}

/// A username as typed.
#[derive(Debug)]
pub struct UsernameIn(pub String);

impl UsernameIn {
    const FORMAT: &'static str = "username";

    /// The name, and what stands for all that look like it.
    pub fn parse(&self) -> Option<Username> {
        Username::parse(&self.0).ok()
    }
}

/// Bytes in base64url without padding (RFC 4648, section 5), as WebAuthn's JSON has them.
#[derive(Debug)]
pub struct BytesIn(pub String);

impl BytesIn {
    const FORMAT: &'static str = "base64url";

    /// The bytes.
    pub fn parse(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(&self.0).ok()
    }
}

/// A text with a format of its own.
macro_rules! formatted {
    ($name:ident, $description:literal) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                Self::FORMAT.into()
            }
            fn schema_ref() -> MetaSchemaRef {
                let schema = MetaSchema {
                    description: Some($description),
                    ..MetaSchema::new_with_format("string", Self::FORMAT)
                };
                MetaSchemaRef::Inline(Box::new(schema))
            }
            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }
            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                Ok(Self(String::parse_from_json(value).map_err(poem_openapi::types::ParseError::propagate)?))
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                self.0.to_json()
            }
        }
    };
}

formatted!(
    IdentifierIn,
    "A phone number (E.164, or national where a default region is set) or an e-mail address."
);
formatted!(BytesIn, "Bytes in base64url without padding (RFC 4648, section 5).");
formatted!(
    UsernameIn,
    "3 to 30 letters, digits, dots, underscores and dashes, a letter first; letters of one script."
);

/// Every format a schema may name.
pub fn formats<'i>(options: ValidationOptions<'i>, config: &Config) -> ValidationOptions<'i> {
    let region = config.default_region.clone();
    options
        .with_format("uuid", |text: &str| Uuid::try_parse(text).is_ok())
        .with_format(BytesIn::FORMAT, |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok())
        .with_format(UsernameIn::FORMAT, |text: &str| Username::parse(text).is_ok())
        .with_format(IdentifierIn::FORMAT, move |text: &str| {
            Identifier::parse(text, region.as_deref()).is_ok()
        })
}

/// What is wrong with a text that is not of this format.
pub fn explain(format: &str, text: &str, config: &Config) -> (&'static str, &'static str) {
    match format {
        IdentifierIn::FORMAT => Identifier::parse(text, config.default_region.as_deref())
            .err()
            .unwrap_or(("field.format", "This is not of the form wanted.")),
        UsernameIn::FORMAT => {
            Username::parse(text).err().unwrap_or(("field.format", "This is not of the form wanted."))
        }
        BytesIn::FORMAT => ("field.format", "This is not base64url without padding."),
        "uuid" => ("field.format", "This is not a UUID."),
        _ => ("field.format", "This is not of the form wanted."),
    }
}
