//! Files that are sent (`multipart/form-data`, RFC 7578): read into bounded memory, in bounded time. What a file
//! is called and says to be counts for nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use keryu_common::error::invalid;
use keryu_common::{Error, Fault, Refusal};
use poem::error::ParseMultipartError;
use poem::http::header;
use poem::web::Multipart;
use poem::{Body, FromRequest, Request, RequestBody};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::State;
use super::problem::{MALFORMED, MEDIA, Problem, TIMEOUT, TOO_LARGE};

/// How long all files of a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a request waits for others to be done.
const QUEUE: Duration = Duration::from_secs(10);
/// Requests with files that one process reads at once.
const AT_ONCE: usize = 8;
/// Bytes that a form takes beside its files.
const FRAME: usize = 16 * 1024;

/// Room for files: whoever has a place in it may hold a request's files in memory.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// The files of a request, by the names of their fields, and their place in the room.
#[derive(Debug)]
pub struct Files {
    files: BTreeMap<&'static str, Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Files {
    /// The file of a field; none where it was left out.
    pub fn take(&mut self, name: &str) -> Option<Bytes> {
        self.files.remove(name)
    }
}

/// Reads the files of a request: those of these fields, each no larger than `most`.
///
/// # Errors
/// 413 above a limit, 415 for another media type, 408 after a minute, 422 for other fields or one field twice,
/// 503 where too many others send files.
pub async fn read(
    request: &Request,
    body: &mut RequestBody,
    fields: &[&'static str],
    most: usize,
) -> poem::Result<Files> {
    let state = request.data::<State>().ok_or_else(|| Problem(Error::internal("the edge is not there")))?;
    let headers = request.headers();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Problem::from(MEDIA.refuse("Send the body without a content coding.")).into());
    }
    let whole = fields.len() * (most + FRAME);
    if super::body::announced(headers).is_some_and(|length| length > whole) {
        return Err(Problem::from(too_large(most)).into());
    }
    let place = tokio::time::timeout(QUEUE, Arc::clone(&state.room.0).acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        return Err(Problem(Error::Unavailable("too many files are being sent".into())).into());
    };
    let read = async {
        let mut form = Multipart::from_request(request, &mut RequestBody::new(bounded(body.take()?, whole)))
            .await
            .map_err(|error| told(error, most))?;
        collect(&mut form, fields, most).await
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(files) => Ok(Files { files: files?, _place: place }),
        Err(_) => Err(Problem::from(TIMEOUT.refuse("The files did not arrive in a minute.")).into()),
    }
}

fn too_large(most: usize) -> Refusal {
    TOO_LARGE.refuse(format!("A file is larger than {most} bytes."))
}

/// What is sent beyond all that a form may have.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than all its files may be")]
struct TooMuch;

/// The body, ended with an error after so many bytes.
fn bounded(body: Body, most: usize) -> Body {
    let mut left = Some(most);
    Body::from_bytes_stream(body.into_bytes_stream().map(move |piece| {
        let piece = piece?;
        left = left.and_then(|left| left.checked_sub(piece.len()));
        match left {
            Some(_) => Ok(piece),
            None => Err(std::io::Error::other(TooMuch)),
        }
    }))
}

async fn collect(
    form: &mut Multipart,
    fields: &[&'static str],
    most: usize,
) -> poem::Result<BTreeMap<&'static str, Bytes>> {
    let mut files = BTreeMap::new();
    while let Some(field) = form.next_field().await.map_err(|error| told(error.into(), most))? {
        let given = field.name().unwrap_or_default().to_owned();
        let Some(name) = fields.iter().find(|name| **name == given).copied() else {
            return Err(fault(
                "",
                "field.unknown",
                format!("The fields of this form: {}.", fields.join(", ")),
            ));
        };
        let mut bytes = Vec::new();
        let mut reader = Box::pin(field.into_async_read().take(most as u64 + 1));
        reader.read_to_end(&mut bytes).await.map_err(|error| read_told(&error, most))?;
        if bytes.len() > most {
            return Err(Problem::from(too_large(most)).into());
        }
        if files.insert(name, Bytes::from(bytes)).is_some() {
            return Err(fault(&format!("/{name}"), "field.invalid", "This field is there twice.".to_owned()));
        }
    }
    Ok(files)
}

/// A fault of a form, as of a JSON body.
fn fault(pointer: &str, code: &'static str, detail: String) -> poem::Error {
    Problem::from(invalid(vec![Fault::at(pointer, code, detail)])).into()
}

/// A field that is needed and was left out.
pub fn missing(name: &str) -> Problem {
    Problem::from(invalid(vec![Fault::at(format!("/{name}"), "field.required", "This file is needed.")]))
}

fn told(error: poem::Error, most: usize) -> poem::Error {
    match error.downcast_ref::<ParseMultipartError>() {
        Some(ParseMultipartError::ContentTypeRequired | ParseMultipartError::InvalidContentType(_)) => {
            Problem::from(MEDIA.refuse("Send multipart/form-data.")).into()
        }
        Some(other) => read_told(other, most),
        None => error,
    }
}

/// Too much, or a form that ends early or is none. The reader keeps only the text of what stopped the body.
fn read_told(error: &(dyn std::error::Error + 'static), most: usize) -> poem::Error {
    let too_much = TooMuch.to_string();
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    if causes.any(|cause| cause.to_string().contains(&too_much)) {
        return Problem::from(too_large(most)).into();
    }
    Problem::from(MALFORMED.refuse("The form cannot be read: it ended early, or has no boundary.")).into()
}
