//! The one reader of JSON bodies: it checks a body against its type's own schema from the OpenAPI
//! document and tells every fault at once. What a field means is said in `field`.

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonschema::Validator;
use keryu_common::config::Config;
use keryu_common::error::all_or;
use keryu_common::{Error, Refusal};
use poem::error::ReadBodyError;
use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Value, json};

use super::problem::{MALFORMED, MEDIA, Problem, TIMEOUT, TOO_LARGE};
use super::{State, fault, field};
use crate::document;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// A wire type and what a verb wants instead.
pub trait Input: ParseFromJSON + Send + 'static {
    /// What the verb is given.
    type Ask: Send;

    /// Bytes a body may have, where that is more than `HTTP_BODY_LIMIT`.
    const ROOM: usize = 0;

    /// Reads a body that is as it should be without its schema, for those with very many parts. None: it is read
    /// and checked the usual way, which may find that it is right or tell what is wrong. Whatever this takes,
    /// that takes too, as the same.
    fn quick(_raw: &[u8]) -> Option<Self::Ask> {
        None
    }

    /// Turns a body that fits its schema into what the verb wants. None: a field's format does not hold
    /// (the schema says the same, so its faults are told).
    fn ask(self, config: &Config) -> Option<Self::Ask>;
}

/// A body, read whole.
pub struct Body<T: Input> {
    /// What the verb is given.
    pub ask: T::Ask,
    /// The bytes as they came.
    pub raw: Vec<u8>,
}

impl<'a, T: Input> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let Some(state) = request.data::<State>() else {
            return Err(Problem(Error::internal("the edge is not there")).into());
        };
        let config = &state.ctx.config;
        json_type(request.headers()).map_err(Problem::from)?;
        let raw = read(request.headers(), body, config.http.body_limit.max(T::ROOM)).await?;
        let ask = parse::<T>(&raw, state).map_err(Problem::from)?;
        Ok(Self { ask, raw })
    }
}

/// A body that may be left out: None, where it is empty.
pub struct MaybeBody<T: Input>(pub Option<T::Ask>);

impl<'a, T: Input> ApiExtractor<'a> for MaybeBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Body::<T>::request_meta().map(|meta| MetaRequest { required: false, ..meta })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let Some(state) = request.data::<State>() else {
            return Err(Problem(Error::internal("the edge is not there")).into());
        };
        let raw = read(request.headers(), body, state.ctx.config.http.body_limit.max(T::ROOM)).await?;
        if raw.is_empty() {
            return Ok(Self(None));
        }
        json_type(request.headers()).map_err(Problem::from)?;
        Ok(Self(Some(parse::<T>(&raw, state).map_err(Problem::from)?)))
    }
}

/// Whether a body announces more than `most` bytes, or does not say how many.
pub fn is_endless(headers: &HeaderMap, most: usize) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING) || announced(headers).is_some_and(|length| length > most)
}

/// Bytes that a body says to have.
pub fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

/// Bytes of a body, no more than `most`.
///
/// # Errors
/// 413 above the limit, 415 for a content coding, 408 after ten seconds.
pub async fn read(headers: &HeaderMap, body: &mut RequestBody, most: usize) -> poem::Result<Vec<u8>> {
    read_within(headers, body, most, PATIENCE).await
}

/// As [`read`], with another patience.
///
/// # Errors
/// As [`read`].
pub async fn read_within(
    headers: &HeaderMap,
    body: &mut RequestBody,
    most: usize,
    patience: Duration,
) -> poem::Result<Vec<u8>> {
    let too_large = || Problem::from(TOO_LARGE.refuse(format!("The body is larger than {most} bytes.")));
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Problem::from(MEDIA.refuse("Send the body without a content coding.")).into());
    }
    if announced(headers).is_some_and(|length| length > most) {
        return Err(too_large().into());
    }
    match tokio::time::timeout(patience, body.take()?.into_bytes_limit(most)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(ReadBodyError::PayloadTooLarge)) => Err(too_large().into()),
        Err(_) => {
            let told = format!("The body did not arrive in {} seconds.", patience.as_secs());
            Err(Problem::from(TIMEOUT.refuse(told)).into())
        }
        Ok(Err(_)) => Err(Problem::from(MALFORMED.refuse("The body ended early.")).into()),
    }
}

fn json_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    let utf8 = parts.all(|part| {
        let charset = part.to_ascii_lowercase();
        charset.strip_prefix("charset=").is_none_or(|name| name.trim_matches('"') == "utf-8")
    });
    if json && utf8 { Ok(()) } else { Err(MEDIA.refuse("Send application/json in UTF-8.")) }
}

/// What the verb wants, from the text of a document.
///
/// # Errors
/// 400 where it is none, 422 with every fault where it does not fit its schema.
pub fn parse<T: Input>(raw: &[u8], state: &State) -> Result<T::Ask, Error> {
    if let Some(ask) = T::quick(raw) {
        return Ok(ask);
    }
    let value = super::json::parse(raw).map_err(|fault| MALFORMED.refuse(fault))?;
    let schema = state.schemas.of::<T>(&state.ctx.config)?;
    if schema.is_valid(&value) {
        let read = T::parse_from_json(Some(value)).ok().and_then(|body| body.ask(&state.ctx.config));
        return read.ok_or_else(|| Error::internal("a body fits its schema but not its type"));
    }
    let faults = fault::of(&schema, &value, &state.ctx.config);
    Ok(all_or(None, faults)?)
}

/// The schemas of bodies, compiled once for each type.
#[derive(Debug, Default)]
pub struct Schemas(RwLock<HashMap<TypeId, Arc<Validator>>>);

impl Schemas {
    fn of<T: Input>(&self, config: &Config) -> Result<Arc<Validator>, Error> {
        let id = TypeId::of::<T>();
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(known));
        }
        let compiled = Arc::new(compile::<T>(config)?);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&compiled));
        Ok(compiled)
    }
}

fn compile<T: Type>(config: &Config) -> Result<Validator, Error> {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let schemas: BTreeMap<_, _> = registry.schemas.into_iter().collect();
    let mut root = match T::schema_ref() {
        MetaSchemaRef::Reference(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        inline => serde_json::to_value(inline).map_err(Error::internal)?,
    };
    let mut components = serde_json::to_value(schemas).map_err(Error::internal)?;
    document::close_inputs(&mut components);
    document::nulls_as_types(&mut components);
    if let Value::Object(root) = &mut root {
        root.insert("components".to_owned(), json!({ "schemas": components }));
    }
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft4).should_validate_formats(true);
    field::formats(options, config).build(&root).map_err(|error| Error::internal(error.to_string()))
}
