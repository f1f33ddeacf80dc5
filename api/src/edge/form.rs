//! Forms with files (RFC 7578): read whole, within bounds of bytes, parts and time. What a file is, its slice
//! says by its content; the names and types that come with files are not looked at.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use keryu_common::error::invalid;
use keryu_common::{Error, Fault};
use poem::error::ParseMultipartError;
use poem::http::header;
use poem::web::Multipart;
use poem::{Body, FromRequest, Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::State;
use super::body;
use super::problem::{MALFORMED, MEDIA, Problem};

/// How long a form may take to arrive: 5 MiB over a slow line.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes besides the files: boundaries, names, short fields.
const ROOM: usize = 16 * 1024;
/// More parts no form of ours has.
const MOST_PARTS: usize = 16;

/// How long a request waits for others to be done.
const QUEUE: Duration = Duration::from_secs(10);
/// Forms that one process reads at once.
const AT_ONCE: usize = 8;

/// Room for files: whoever has a place in it may hold a request's files in memory.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Room {
    async fn place(&self) -> poem::Result<Place> {
        match tokio::time::timeout(QUEUE, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Place { _permit: place }),
            _ => Err(Problem(Error::Unavailable("too many files are being sent".into())).into()),
        }
    }
}

/// A place in the room, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The media type of forms with files.
pub const FORM: &str = "multipart/form-data";

/// A part of a form.
#[derive(Debug)]
pub struct Part {
    /// Of the field.
    pub name: String,
    /// What it holds.
    pub bytes: Bytes,
    /// Whether it came as a file.
    pub is_file: bool,
}

/// Whether a request says that it is a form with files.
pub fn is_form(request: &Request) -> bool {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(FORM)
}

/// The parts of a form whose files have no more than `most` bytes together, and their place in the room.
///
/// # Errors
/// 415 for another media type, 413 above the limit, 408 after a minute, 400 for what is no form, 503 where too
/// many others send files.
pub async fn parts(
    request: &Request,
    body: &mut RequestBody,
    most: usize,
) -> poem::Result<(Vec<Part>, Place)> {
    if !is_form(request) {
        return Err(Problem::from(MEDIA.refuse("Send multipart/form-data.")).into());
    }
    let state = request.data::<State>().ok_or_else(|| Problem(Error::internal("the edge is not there")))?;
    let place = state.room.place().await?;
    let raw = body::read_within(request.headers(), body, most + ROOM, PATIENCE).await?;
    let mut body = RequestBody::new(Body::from(raw));
    let malformed = |_: ParseMultipartError| Problem::from(MALFORMED.refuse("The form cannot be read."));
    let read = <Multipart as FromRequest>::from_request(request, &mut body).await;
    let mut form = read.map_err(|_| Problem::from(MALFORMED.refuse("The form cannot be read.")))?;
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        if parts.len() == MOST_PARTS {
            return Err(Problem::from(MALFORMED.refuse("The form has too many parts.")).into());
        }
        let name = field.name().unwrap_or_default().to_owned();
        let is_file = field.file_name().is_some() || field.content_type().is_some();
        parts.push(Part { name, is_file, bytes: field.bytes().await.map_err(malformed)?.into() });
    }
    Ok((parts, place))
}

/// A form of one file, in the part `file`. `MOST` is how many bytes it may have.
#[derive(Debug)]
pub struct OneFile<const MOST: usize>(pub Bytes, pub Place);

impl<'a, const MOST: usize> ApiExtractor<'a> for OneFile<MOST> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(_: &mut Registry) {}

    fn request_meta() -> Option<MetaRequest> {
        let file = MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")));
        let schema = MetaSchema {
            properties: vec![("file", file)],
            required: vec!["file"],
            example: Some(json!({ "file": "(the bytes of the file)" })),
            ..MetaSchema::new("object")
        };
        let schema = MetaSchemaRef::Inline(Box::new(schema));
        let content = vec![MetaMediaType { content_type: FORM, schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let mut file = None;
        let mut faults = Vec::new();
        let (parts, place) = parts(request, body, MOST).await?;
        for part in parts {
            let pointer = format!("/{}", part.name.replace('~', "~0").replace('/', "~1"));
            match part.name.as_str() {
                "file" if file.is_none() => file = Some(part.bytes),
                "file" => faults.push(Fault::at(pointer, "field.invalid", "Send one file at a time.")),
                _ => faults.push(Fault::at(pointer, "field.unknown", "There is no such field.")),
            }
        }
        if file.is_none() {
            faults.push(Fault::at("/file", "field.required", "This field is needed."));
        }
        match file.filter(|_| faults.is_empty()) {
            Some(file) => Ok(Self(file, place)),
            None => Err(Problem::from(invalid(faults)).into()),
        }
    }
}
