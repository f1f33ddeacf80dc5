//! The one reader of query parameters before their handlers: it checks all of them against the operation's own
//! list in the OpenAPI document and tells every fault at once, unknown ones among them. Guards ask it once they know
//! who calls.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use keryu_common::Error;
use keryu_common::config::Config;
use keryu_common::error::invalid;
use poem::Request;
use poem::http::Method;
use poem_openapi::__private::UrlQuery;
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaApi, MetaOperation, MetaParamIn, MetaSchemaRef, Registry};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{State, fault, field};
use crate::document;

/// What may stand in the query of one operation.
#[derive(Debug)]
pub struct Asked {
    /// Schemas by name.
    properties: Map<String, Value>,
    /// Compiled at the first call.
    schema: OnceLock<Validator>,
}

/// What may be asked of each operation, by path and method.
pub type Queries = HashMap<(String, Method), Arc<Asked>>;

/// Of all operations of the API objects, by the document's form of their paths.
pub fn all<T: OpenApi>() -> Queries {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let schemas = serde_json::to_value(registry.schemas.into_iter().collect::<HashMap<_, _>>());
    let schemas = schemas.unwrap_or_default();
    let one = |path: &str, operation: MetaOperation| {
        let method = operation.method.clone();
        ((path.to_owned(), method), Arc::new(Asked::of(operation, &schemas)))
    };
    let paths = T::meta().into_iter().flat_map(|api: MetaApi| api.paths);
    paths
        .flat_map(|path| {
            path.operations.into_iter().map(|operation| one(&path.path, operation)).collect::<Vec<_>>()
        })
        .collect()
}

impl Asked {
    fn of(operation: MetaOperation, schemas: &Value) -> Self {
        let params = operation.params.into_iter().filter(|param| param.in_type == MetaParamIn::Query);
        let properties = params.map(|param| {
            let mut schema = match &param.schema {
                MetaSchemaRef::Reference(name) => schemas.get(name).cloned().unwrap_or_default(),
                inline @ MetaSchemaRef::Inline(_) => serde_json::to_value(inline).unwrap_or_default(),
            };
            document::nulls_as_types(&mut schema);
            (param.name, schema)
        });
        Self { properties: properties.collect(), schema: OnceLock::new() }
    }

    /// The query as the object that the schema describes.
    fn read(&self, pairs: &[(String, String)]) -> Value {
        let mut object = Map::new();
        for (name, text) in pairs {
            let kind = self.properties.get(name).and_then(|schema| schema.get("type"));
            let of = |wanted: &str| match kind {
                Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
                kind => kind.is_some_and(|kind| kind == wanted),
            };
            let value = match text.as_str() {
                "true" | "false" if of("boolean") => Value::Bool(text == "true"),
                _ if of("integer") => text.parse::<i64>().map_or_else(|_| text.as_str().into(), Value::from),
                _ => text.as_str().into(),
            };
            object.entry(name.as_str()).or_insert(value);
        }
        Value::Object(object)
    }

    fn compile(&self, config: &Config) -> Result<Validator, Error> {
        let root = json!({ "type": "object", "properties": self.properties, "additionalProperties": false });
        let options =
            jsonschema::options().with_draft(jsonschema::Draft::Draft4).should_validate_formats(true);
        field::formats(options, config).build(&root).map_err(|error| Error::internal(error.to_string()))
    }

    fn schema(&self, config: &Config) -> Result<&Validator, Error> {
        if let Some(known) = self.schema.get() {
            return Ok(known);
        }
        let compiled = self.compile(config)?;
        Ok(self.schema.get_or_init(|| compiled))
    }
}

/// Refuses a query that is not as the document says.
///
/// # Errors
/// `request.invalid` with every fault.
pub fn check(request: &Request, state: &State) -> Result<(), Problem> {
    let (Some(asked), Some(UrlQuery(pairs))) =
        (request.data::<Arc<Asked>>(), request.extensions().get::<UrlQuery>())
    else {
        return Ok(());
    };
    if pairs.is_empty() {
        return Ok(());
    }
    let config = &state.ctx.config;
    let schema = asked.schema(config).map_err(Problem)?;
    let query = asked.read(pairs);
    match schema.is_valid(&query) {
        true => Ok(()),
        false => Err(invalid(fault::of(schema, &query, config)).into()),
    }
}
