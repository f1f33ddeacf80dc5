//! Bodies whose form others decide: status reports of message providers, as a form or as JSON.

use keryu_common::Error;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value, json};

use super::State;
use super::body::read;
use super::problem::{MALFORMED, MEDIA, Problem};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// The fields of a form, in order, and the address the caller used: a signature covers both.
#[derive(Debug)]
pub struct Form {
    /// `KERYU_PUBLIC_URL` with the path and query as they came.
    pub url: String,
    /// A header field of the request, empty without it.
    pub signature: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// A form or a JSON object, as an object.
#[derive(Debug)]
pub struct Report(pub Value);

impl<'a> ApiExtractor<'a> for Form {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let example =
            json!({ "MessageSid": "SM1f0e8ae6ade43cb3c0ce4525424e404f", "MessageStatus": "delivered" });
        Some(meta(&[FORM], example))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let Some(state) = request.data::<State>() else {
            return Err(Problem(Error::internal("the edge is not there")).into());
        };
        if kind(request) != FORM {
            return Err(Problem::from(MEDIA.refuse("Send application/x-www-form-urlencoded.")).into());
        }
        let config = &state.ctx.config;
        let raw = read(request.headers(), body, config.http.body_limit).await?;
        let path = request.original_uri().path_and_query().map_or("/", |path| path.as_str());
        let signature = request.header("x-twilio-signature").unwrap_or_default().to_owned();
        Ok(Self { url: format!("{}{path}", config.public_url), signature, fields: fields(&raw) })
    }
}

impl<'a> ApiExtractor<'a> for Report {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        Some(meta(
            &[FORM, JSON],
            json!({ "id": "0b9f7c1e-63a5-4d28-8f10-7c2e9d4b6a53", "status": "delivered" }),
        ))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let Some(state) = request.data::<State>() else {
            return Err(Problem(Error::internal("the edge is not there")).into());
        };
        let raw = read(request.headers(), body, state.ctx.config.http.body_limit).await?;
        match kind(request) {
            FORM => {
                let object: Map<String, Value> =
                    fields(&raw).into_iter().map(|(name, value)| (name, Value::String(value))).collect();
                Ok(Self(Value::Object(object)))
            }
            JSON => match super::json::parse(&raw) {
                Ok(object @ Value::Object(_)) => Ok(Self(object)),
                Ok(_) => Err(Problem::from(MALFORMED.refuse("The body is not a JSON object.")).into()),
                Err(fault) => Err(Problem::from(MALFORMED.refuse(fault)).into()),
            },
            _ => Err(Problem::from(
                MEDIA.refuse("Send application/json or application/x-www-form-urlencoded."),
            )
            .into()),
        }
    }
}

/// The media type without its parameters.
fn kind(request: &Request) -> &str {
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

fn fields(raw: &[u8]) -> Vec<(String, String)> {
    // Postgres stores no NUL
    let sound = |text: std::borrow::Cow<'_, str>| text.replace('\0', "");
    url::form_urlencoded::parse(raw).map(|(name, value)| (sound(name), sound(value))).collect()
}

fn meta(kinds: &[&'static str], example: Value) -> MetaRequest {
    let schema = MetaSchema { example: Some(example), ..MetaSchema::new("object") };
    let media = |kind: &&'static str| MetaMediaType {
        content_type: kind,
        schema: MetaSchemaRef::Inline(Box::new(schema.clone())),
    };
    MetaRequest { description: None, content: kinds.iter().map(media).collect(), required: true }
}
