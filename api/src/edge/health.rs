//! Health for whoever runs the process: alive, ready, and its metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keryu_common::{Error, database, telemetry};
use poem::web::{Data, Json};
use poem::{IntoResponse, Response, handler};
use serde_json::json;

use super::State;
use super::problem::{Answer, Problem};

/// How long a part may take to show that it answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a path is one of these: whoever runs the process is always answered.
pub fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// The process runs.
#[handler]
pub fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Whether requests should be sent here: not without Postgres, nor to a process that was told to stop; without
/// Redis, degraded.
#[handler]
pub async fn ready(state: Data<&State>) -> Answer<Response> {
    if state.ctx.leaving.load(Ordering::Relaxed) {
        return Err(Problem(Error::Unavailable("this process is about to stop".into())));
    }
    let (database, redis) =
        tokio::join!(answers(database::answers(&state.ctx.db)), answers(state.limiter.ping()));
    if !database {
        return Err(Problem(Error::Unavailable("Postgres does not answer".into())));
    }
    let status = if redis { "ok" } else { "degraded" };
    Ok(Json(json!({ "status": status, "postgres": database, "redis": redis })).into_response())
}

async fn answers(ping: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(PATIENCE, ping).await.unwrap_or(false)
}

/// The metrics of this process, as Prometheus reads them.
#[handler]
pub async fn metrics(state: Data<&State>) -> Response {
    let text = telemetry::scrape(&state.ctx).await;
    Response::builder().content_type(telemetry::MEDIA_TYPE).body(text)
}
