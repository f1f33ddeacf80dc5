//! The worker's own small HTTP: health, readiness, metrics. Nothing else is ever served here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use keryu_common::{Context, telemetry};
use tokio::net::TcpListener;

use crate::worker::Health;

struct Parts {
    ctx: Context,
    health: Health,
}

/// Serves on `KERYU_WORKER_LISTEN` in the background.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(address: SocketAddr, ctx: Context, health: Health) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "health and metrics");
    let parts = Arc::new(Parts { ctx, health });
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let parts = Arc::clone(&parts);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&parts), request));
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = served.await {
                    tracing::debug!(%error, "connection ended");
                }
            });
        }
    });
    Ok(())
}

async fn answer(
    parts: Arc<Parts>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    const JSON: &str = "application/json";
    let (status, kind, body) = match request.uri().path().trim_end_matches('/') {
        "/healthz" => (StatusCode::OK, JSON, r#"{"status":"ok"}"#.to_owned()),
        "/readyz" => ready(&parts).await,
        "/metrics" => (StatusCode::OK, telemetry::MEDIA_TYPE, telemetry::scrape(&parts.ctx).await),
        _ => (StatusCode::NOT_FOUND, JSON, r#"{"status":"not found"}"#.to_owned()),
    };
    Response::builder().status(status).header(header::CONTENT_TYPE, kind).body(Full::new(Bytes::from(body)))
}

async fn ready(parts: &Parts) -> (StatusCode, &'static str, String) {
    const JSON: &str = "application/json";
    let database = keryu_common::database::answers(&parts.ctx.db).await;
    let redis = parts.health.redis_answers();
    let fetching = parts.health.is_fetching();
    let (status, word) = match (database && fetching, redis) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (true, false) => (StatusCode::OK, "degraded"),
        (true, true) => (StatusCode::OK, "ok"),
    };
    let body =
        serde_json::json!({ "status": word, "postgres": database, "redis": redis, "fetching": fetching });
    (status, JSON, body.to_string())
}
