//! Versions of records: `ETag` on answers with one record, `If-Match` on changes (RFC 9110, 8.8.3, 13.1.1).

use chrono::{DateTime, Utc};
use keryu_common::user::CHANGED;
use poem::http::header;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Json;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaParamIn, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};

use super::problem::Problem;

/// A record with its version.
#[derive(Debug)]
pub struct Tagged<T>(pub T, pub DateTime<Utc>);

fn tag(version: DateTime<Utc>) -> String {
    format!("\"{:x}\"", version.timestamp_micros())
}

impl<T: ToJSON + Send> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        Json(self.0).with_header(header::ETAG, tag(self.1)).into_response()
    }
}

impl<T: ToJSON> ApiResponse for Tagged<T> {
    fn meta() -> MetaResponses {
        let content =
            vec![MetaMediaType { content_type: "application/json; charset=utf-8", schema: T::schema_ref() }];
        let headers = vec![MetaHeader {
            name: "ETag".to_owned(),
            description: Some("The record's version, for `If-Match`.".to_owned()),
            required: true,
            deprecated: false,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        }];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers };
        MetaResponses { responses: vec![response] }
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The version that a change is meant for, if one is named.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(pub Option<DateTime<Utc>>);

impl<'a> ApiExtractor<'a> for IfMatch {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = String;
    type ParamRawType = String;

    fn register(_: &mut Registry) {}

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<String>,
    ) -> poem::Result<Self> {
        let Some(given) = request.headers().get(header::IF_MATCH) else { return Ok(Self(None)) };
        let given = given.to_str().unwrap_or_default().trim();
        if given == "*" {
            return Ok(Self(None));
        }
        // a tag that is none of ours is no version of the record
        let micros = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let version = micros
            .and_then(|text| i64::from_str_radix(text, 16).ok())
            .and_then(DateTime::from_timestamp_micros);
        let refusal = || Problem::from(CHANGED.refuse("`If-Match` names no version of this record."));
        Ok(Self(Some(version.ok_or_else(refusal)?)))
    }
}
