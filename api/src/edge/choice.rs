//! Fields that hold one of a list of names that `common` keeps: rights, scopes.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use keryu_common::api_key::Scope;
use keryu_common::role::Permission;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;

/// A list of names.
pub trait Choice: FromStr<Err: Display> + Display + Copy + Send + Sync + 'static {
    /// What one of them is called in the document.
    const NAME: &'static str;
    /// All of them.
    fn all() -> &'static [Self];
}

impl Choice for Permission {
    const NAME: &'static str = "permission";
    fn all() -> &'static [Self] {
        &Self::ALL
    }
}

impl Choice for Scope {
    const NAME: &'static str = "scope";
    fn all() -> &'static [Self] {
        &Self::ALL
    }
}

/// One of the names.
#[derive(Clone, Copy, Debug)]
pub struct OneOf<T>(pub T);

impl<T: Choice> Type for OneOf<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }
    fn schema_ref() -> MetaSchemaRef {
        let enum_items = T::all().iter().map(|one| Value::String(one.to_string())).collect();
        MetaSchemaRef::Inline(Box::new(MetaSchema { enum_items, ..MetaSchema::new("string") }))
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl<T: Choice> ParseFromJSON for OneOf<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let name = String::parse_from_json(value).map_err(ParseError::propagate)?;
        name.parse().map(Self).map_err(ParseError::custom)
    }
}

impl<T: Choice> ToJSON for OneOf<T> {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.to_string()))
    }
}
