//! What is fed in, and where deliveries go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt, TryStreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keryu_common::auth::otp;
use keryu_common::job::store::NewJob;
use keryu_common::job::{self, Noop, Terms, store};
use keryu_common::{Context, id};
use uuid::Uuid;

use super::{Ask, Kind};

/// Rows per inserting statement.
const BATCH: usize = 2_000;

/// The jobs of one batch: for deliveries, with their rows.
async fn batch(ctx: &Context, kind: Kind, count: usize) -> anyhow::Result<Vec<NewJob>> {
    let now = ctx.now();
    Ok(match kind {
        Kind::Noop => {
            (0..count).map(|_| job::row(now, &Noop {}, Terms::default())).collect::<Result<_, _>>()?
        }
        Kind::Deliver => {
            let mut jobs = Vec::with_capacity(count);
            for job in otp::sample::deliveries(ctx, count).await? {
                jobs.push(job::row(now, &job, Terms::default())?);
            }
            jobs
        }
    })
}

async fn insert(ctx: &Context, jobs: &[NewJob]) -> anyhow::Result<()> {
    let Some(like) = jobs.first() else { return Ok(()) };
    let ids: Vec<_> = jobs.iter().map(|job| job.job_id).collect();
    let payloads: Vec<_> = jobs.iter().map(|job| job.payload.clone()).collect();
    store::insert_many(&ctx.db, like, &ids, &payloads).await?;
    Ok(())
}

/// Everything before the worker starts: in batches, or one by one over `--connections`. Jobs a second.
pub async fn at_once(ctx: &Context, ask: &Ask) -> anyhow::Result<f64> {
    let sizes = (0..ask.jobs).step_by(BATCH).map(|from| BATCH.min(ask.jobs - from));
    let mut batches = Vec::new();
    for size in sizes {
        batches.push(batch(ctx, ask.kind, size).await?);
    }
    let began = Instant::now();
    match ask.connections {
        None => {
            let inserts = batches.iter().map(|jobs| insert(ctx, jobs));
            stream::iter(inserts).buffer_unordered(2).try_collect::<()>().await?;
        }
        Some(connections) => {
            let inserts = batches.iter().flatten().map(|job| one(ctx, job));
            stream::iter(inserts).buffer_unordered(connections).try_collect::<()>().await?;
        }
    }
    let took = began.elapsed();
    ctx.wake.queue(ask.kind.queue());
    Ok(ask.jobs as f64 / took.as_secs_f64())
}

async fn one(ctx: &Context, job: &NewJob) -> anyhow::Result<()> {
    let mut connection = ctx.db.acquire().await?;
    store::insert(&mut connection, job).await?;
    Ok(())
}

/// When each job's transaction had committed, as the enqueuer saw it.
pub type Commits = HashMap<Uuid, DateTime<Utc>>;

/// One by one, evenly spaced, while the worker runs. Answers with the rate reached.
pub async fn paced(ctx: &Context, ask: &Ask, rate: f64) -> anyhow::Result<(f64, Commits)> {
    let mut prepared = Vec::new();
    while prepared.len() < ask.jobs {
        prepared.extend(batch(ctx, ask.kind, BATCH.min(ask.jobs - prepared.len())).await?);
    }
    // the first ones open connections and fill caches; they are measured all the same
    let mut every = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut job in prepared {
        every.tick().await;
        let ctx = ctx.clone();
        let queue = ask.kind.queue();
        running.spawn(async move {
            let now = ctx.now();
            (job.job_id, job.created_at, job.run_at) = (id::ordered(now), now, now);
            one(&ctx, &job).await?;
            ctx.wake.queue(queue);
            anyhow::Ok((job.job_id, ctx.now()))
        });
    }
    let mut commits = Commits::new();
    while let Some(done) = running.join_next().await {
        commits.extend([done??]);
    }
    Ok((ask.jobs as f64 / began.elapsed().as_secs_f64(), commits))
}

/// Where deliveries go: counts what it accepts.
pub struct Sink {
    url: String,
    count: Option<Arc<AtomicU64>>,
}

impl Sink {
    /// The URL given, or a server of its own on loopback.
    pub async fn start(url: Option<String>) -> anyhow::Result<Self> {
        if let Some(url) = url {
            return Ok(Self { url, count: None });
        }
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}/sms", listener.local_addr()?);
        let count = Arc::new(AtomicU64::new(0));
        tokio::spawn(accept(listener, Arc::clone(&count)));
        Ok(Self { url, count: Some(count) })
    }

    /// Where to POST.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it accepted; none if it is somebody else's.
    pub fn count(&self) -> Option<u64> {
        self.count.as_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

async fn accept(listener: tokio::net::TcpListener, count: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let count = Arc::clone(&count);
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    if !body.is_empty() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"{}"))))
                }
            });
            // the client closes when it is done
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
