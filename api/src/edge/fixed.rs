//! Answers that are the same for all who ask: the documents, the public keys.

use std::sync::LazyLock;

use bytes::Bytes;
use keryu_common::secret::{hex, sha256};
use poem::http::{StatusCode, header};
use poem::{Endpoint, Request, Response};

/// An answer that never changes while the process lives, made for who asks first.
pub fn fixed(
    kind: &'static str,
    text: fn() -> String,
    policy: Option<&'static str>,
) -> impl Endpoint<Output = Response> {
    let made = LazyLock::new(move || {
        let text = text();
        (tag(&text), Bytes::from(text))
    });
    poem::endpoint::make_sync(move |request: Request| {
        let (tag, text) = &*made;
        answer(&request, kind, tag, text.clone(), policy)
    })
}

/// A validator of a text (RFC 9110, 8.8.3).
pub fn tag(text: &str) -> String {
    format!("\"{}\"", &hex(&sha256(text.as_bytes()))[..32])
}

/// Whether who asks has what this tag is of (`If-None-Match`, RFC 9110, 13.1.2).
pub fn knows(request: &Request, tag: &str) -> bool {
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag))
}

/// A text that caches may keep for five minutes, or 304 to who has it already.
pub fn answer(
    request: &Request,
    kind: &'static str,
    tag: &str,
    text: Bytes,
    policy: Option<&'static str>,
) -> Response {
    let fresh = knows(request, tag);
    let response =
        Response::builder().header(header::ETAG, tag).header(header::CACHE_CONTROL, "public, max-age=300");
    let response =
        policy.into_iter().fold(response, |r, policy| r.header(header::CONTENT_SECURITY_POLICY, policy));
    if fresh {
        return response.status(StatusCode::NOT_MODIFIED).finish();
    }
    response.content_type(kind).body(text)
}
