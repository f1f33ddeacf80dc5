//! Fields with a meaning beyond their JSON type: each has a `format` of its own in the schema, checked
//! with the rest of the body, and one place that says what is wrong with it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use jsonschema::ValidationOptions;
use keryu_common::auth::password::{self, Password};
use keryu_common::config::Config;
use keryu_common::ip_block;
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

/// What somebody says to be at a sign-in: an identifier or a username.
#[derive(Debug)]
pub struct NameIn(pub String);

impl NameIn {
    const FORMAT: &'static str = "name";

    /// What starts with a letter and holds no @ is a username.
    fn read(text: &str, region: Option<&str>) -> Result<password::Name, (&'static str, &'static str)> {
        let first = text.trim_start().chars().next();
        if first.is_some_and(char::is_alphabetic) && !text.contains('@') {
            Username::parse(text).map(password::Name::Username)
        } else {
            Identifier::parse(text, region).map(password::Name::Identifier)
        }
    }

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<password::Name> {
        Self::read(&self.0, config.default_region.as_deref()).ok()
    }
}

/// A password that is chosen.
#[derive(Debug)]
pub struct NewPasswordIn(pub String);

impl NewPasswordIn {
    const FORMAT: &'static str = "new-password";

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<Password> {
        Password::choose(&self.0, config.password.least).ok()
    }
}

/// An address, or a network in CIDR notation.
#[derive(Debug)]
pub struct NetworkIn(pub String);

impl NetworkIn {
    const FORMAT: &'static str = "network";

    /// The normalised form.
    pub fn parse(&self) -> Option<IpNet> {
        ip_block::parse(&self.0)
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

formatted!(NameIn, "A phone number, an e-mail address or a username.");
formatted!(
    NewPasswordIn,
    "8 (or as many as this deployment wants) to 128 characters of any kind but control characters, counted \
     after NFKC; none of the most common ones, and not one's own name."
);
formatted!(NetworkIn, "An address or a network: 203.0.113.7, 203.0.113.0/24, 2001:db8::/48.");

/// Every format a schema may name.
pub fn formats<'i>(options: ValidationOptions<'i>, config: &Config) -> ValidationOptions<'i> {
    let region = config.default_region.clone();
    let (of_name, least) = (region.clone(), config.password.least);
    options
        .with_format(NameIn::FORMAT, move |text: &str| NameIn::read(text, of_name.as_deref()).is_ok())
        .with_format(NewPasswordIn::FORMAT, move |text: &str| Password::choose(text, least).is_ok())
        .with_format(NetworkIn::FORMAT, |text: &str| ip_block::parse(text).is_some())
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
        NameIn::FORMAT => {
            let read = NameIn::read(text, config.default_region.as_deref());
            read.err().unwrap_or(("field.format", "This is not of the form wanted."))
        }
        NewPasswordIn::FORMAT => {
            let chosen = Password::choose(text, config.password.least);
            chosen.err().unwrap_or(("field.format", "This is not of the form wanted."))
        }
        NetworkIn::FORMAT => ("network.format", "This is neither an address nor a network."),
        BytesIn::FORMAT => ("field.format", "This is not base64url without padding."),
        "uuid" => ("field.format", "This is not a UUID."),
        _ => ("field.format", "This is not of the form wanted."),
    }
}
