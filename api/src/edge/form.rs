//! Forms with files (RFC 7578): read whole, within bounds of bytes, parts and time. What a file is, its slice
//! says by its content; the names and types that come with files are not looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
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
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::State;
use super::body;
use super::problem::{MALFORMED, MEDIA, Problem};
use super::signed::Signed;

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
/// Of them, those of one person: nobody keeps others waiting.
const EACH: usize = 2;

/// Room for files: whoever has a place in it may hold a request's files in memory.
#[derive(Clone, Debug)]
pub struct Room(Arc<Places>);

#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    /// Of those who have a place or wait for one.
    people: Mutex<HashMap<Uuid, Weak<Semaphore>>>,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Places { all: Arc::new(Semaphore::new(AT_ONCE)), people: Mutex::default() }))
    }
}

impl Room {
    async fn place(&self, person: Uuid) -> poem::Result<Place> {
        let own = self.own(person);
        let places =
            async { Ok((own.acquire_owned().await?, Arc::clone(&self.0.all).acquire_owned().await?)) };
        match tokio::time::timeout(QUEUE, places).await {
            Ok(Ok::<_, AcquireError>((own, all))) => Ok(Place { _all: all, _own: own }),
            _ => Err(Problem(Error::Unavailable("too many files are being sent".into())).into()),
        }
    }

    /// The places of one person.
    fn own(&self, person: Uuid) -> Arc<Semaphore> {
        let mut people = self.0.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = people.get(&person).and_then(Weak::upgrade) {
            return own;
        }
        people.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(EACH));
        people.insert(person, Arc::downgrade(&own));
        own
    }
}

/// A place in the room, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
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
/// 415 for another media type, 413 above the limit, 408 after a minute, 400 for what is no form, 401 without an
/// access token, 503 where too many files are being sent, or too many of the caller's.
pub async fn parts(
    request: &Request,
    body: &mut RequestBody,
    most: usize,
) -> poem::Result<(Vec<Part>, Place)> {
    if !is_form(request) {
        return Err(Problem::from(MEDIA.refuse("Send multipart/form-data.")).into());
    }
    let state = request.data::<State>().ok_or_else(|| Problem(Error::internal("the edge is not there")))?;
    let person = <Signed as FromRequest>::from_request(request, body).await?;
    let place = state.room.place(person.user_id()).await?;
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

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_person_leaves_places_for_others() {
        let (room, [ada, bob, eve]) = (Room::default(), [1, 2, 3].map(Uuid::from_u128));
        let now = |person| {
            let room = room.clone();
            async move { room.place(person).now_or_never().and_then(Result::ok) }
        };
        let held = [now(ada).await, now(ada).await].map(|place| place.expect("a place"));
        assert!(now(ada).await.is_none(), "a third of hers waits");
        let others = [now(bob).await, now(bob).await, now(eve).await].map(|place| place.expect("a place"));
        drop(held);
        let again = now(ada).await.expect("a place that was left");
        drop((others, again));
        now(bob).await.expect("a place");
        let known = room.0.people.lock().expect("people").len();
        assert!(known <= 1, "who left is forgotten: {known}");
    }

    #[tokio::test]
    async fn all_together_have_no_more_places_than_there_are() {
        let room = Room::default();
        let mut held = Vec::new();
        for person in 0..AT_ONCE as u128 {
            held.push(room.place(Uuid::from_u128(person)).await.expect("a place"));
        }
        assert!(room.place(Uuid::from_u128(99)).now_or_never().is_none());
        held.pop();
        assert!(room.place(Uuid::from_u128(99)).now_or_never().is_some_and(|place| place.is_ok()));
    }
}
