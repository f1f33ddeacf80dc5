//! Rate limits over HTTP: a wrapper for each bucket, named in `transform` of an operation, and the
//! header fields (draft-ietf-httpapi-ratelimit-headers).

use keryu_common::Error;
use keryu_common::limit::{Bucket, Decision, LIMITED, WINDOW};
use poem::http::{HeaderMap, HeaderValue};
use poem::{Endpoint, IntoResponse, Request, Response};

use super::State;
use super::client::Caller;
use super::problem::Problem;

/// An endpoint behind a bucket.
pub struct Limited<E> {
    inner: E,
    bucket: Bucket,
}

/// Counts in [`Bucket::Anonymous`].
pub fn anonymous<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Anonymous }
}

/// Counts in [`Bucket::Receipts`].
pub fn receipts<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Receipts }
}

/// Counts in [`Bucket::Documents`].
pub fn documents<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Documents }
}

/// Counts in [`Bucket::Health`].
pub fn health<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Health }
}

/// Counts in [`Bucket::Refresh`].
pub fn refresh<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Refresh }
}

/// Counts in [`Bucket::Jwks`].
pub fn jwks<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Jwks }
}

/// Counts in [`Bucket::Webhooks`].
pub fn webhooks<E: Endpoint>(inner: E) -> Limited<E> {
    Limited { inner, bucket: Bucket::Webhooks }
}

impl<E: Endpoint> Endpoint for Limited<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (Some(state), Some(caller)) = (request.data::<State>(), request.data::<Caller>()) else {
            return Err(Problem(Error::internal("the edge did not read the caller")).into());
        };
        if let Some(decision) = state.limiter.take(state.ctx.now(), self.bucket, caller).await {
            let _ = caller.call().limited.set((self.bucket, decision));
            if let Some(after) = decision.retry_after {
                let refusal =
                    LIMITED.refuse_for("Too many requests from this address. Try again later.", after);
                return Err(Problem::from(refusal).into());
            }
        }
        self.inner.call(request).await.map(IntoResponse::into_response)
    }
}

/// Writes what the limiter said.
pub fn write(headers: &mut HeaderMap, bucket: Bucket, decision: &Decision) {
    let name = bucket.name();
    let policy = format!("\"{name}\";q={};w={}", decision.limit, WINDOW.as_secs());
    let left = format!("\"{name}\";r={};t={}", decision.remaining, decision.reset.as_millis().div_ceil(1000));
    for (field, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(field, value);
        }
    }
}
