//! Compression of answers: JSON, HTML and text from a kilobyte up, in br or gzip. Small answers are not
//! worth the time.

use poem::http::{HeaderMap, HeaderValue, header};
use poem::web::{Compress, CompressionAlgo};
use poem::{Body, IntoResponse, Response};

/// Smaller bodies go as they are.
const LEAST: usize = 1024;

/// Beside an answer that is sent while it is written: it goes as it is, for a coding would gather it in memory.
#[derive(Clone, Copy, Debug)]
pub struct Streamed;

/// The coding the client likes best of ours.
pub fn wanted(headers: &HeaderMap) -> Option<CompressionAlgo> {
    let mut best = None;
    for range in headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        let (name, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight: f32 = weight.trim().strip_prefix("q=").and_then(|q| q.parse().ok()).unwrap_or(0.0);
        let (coding, rank) = match name.trim() {
            "br" => (CompressionAlgo::BR, 1),
            "gzip" | "x-gzip" | "*" => (CompressionAlgo::GZIP, 0),
            _ => continue,
        };
        if weight > 0.0 && best.is_none_or(|(_, best)| (weight, rank) > best) {
            best = Some((coding, (weight, rank)));
        }
    }
    best.map(|(coding, _)| coding)
}

/// Compresses an answer if that helps.
pub async fn apply(mut response: Response, coding: Option<CompressionAlgo>) -> Response {
    let text = response.content_type().is_some_and(|kind| {
        kind.contains("json") || kind.starts_with("text/") || kind.starts_with("application/openmetrics")
    });
    let as_it_is = response.data::<Streamed>().is_some();
    if !text || as_it_is || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    // whole in memory: what handlers stream says so
    let Ok(bytes) = response.take_body().into_bytes().await else { return response };
    let worth = bytes.len() >= LEAST;
    response.set_body(Body::from_bytes(bytes));
    if worth {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    match coding.filter(|_| worth) {
        Some(coding) => Compress::new(response, coding).into_response(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_coding_wins() {
        for (given, want) in [
            ("", None),
            ("identity", None),
            ("gzip", Some("gzip")),
            ("gzip, br", Some("br")),
            ("gzip;q=1.0, br;q=0.5", Some("gzip")),
            ("br;q=0", None),
            ("deflate, *", Some("gzip")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, given.parse().expect("field"));
            assert_eq!(wanted(&headers).map(|coding| coding.to_string()).as_deref(), want, "{given}");
        }
    }
}
