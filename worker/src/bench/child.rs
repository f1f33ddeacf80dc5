//! The worker process under measurement: the same binary, `run` on one queue.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use keryu_common::Context;
use tokio::process::{Child, Command};

use super::{Ask, load::Sink};

/// A worker process.
pub struct Worker {
    child: Child,
    pid: u32,
}

impl Worker {
    /// Starts it and waits until it holds its lease.
    pub async fn start(ctx: &Context, ask: &Ask, sink: &Sink) -> anyhow::Result<Self> {
        let queue = ask.kind.queue();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["run", "--queues", queue.name(), "--concurrency", &format!("{queue}={}", ask.concurrency)])
            .env_remove("KERYU_WORKER_LISTEN")
            .env("KERYU_SECRET_KEY", &ask.secret_key)
            .env("SMS_PROVIDERS", "http")
            .env("SMS_HTTP_URL", sink.url())
            .env("KERYU_LOG", std::env::var("KERYU_LOG").unwrap_or_else(|_| "error".to_owned()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn().context("the worker does not start")?;
        let pid = child.id().context("the worker is gone")?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !keryu_common::job::store::has_lease(&ctx.db, i32::try_from(pid)?).await? {
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "the worker took no lease within 20 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { child, pid })
    }

    /// The most memory it ever held, in MB; 0 where the system does not say.
    pub fn peak_rss_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kb.map_or(0.0, |kb| kb / 1024.0)
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        anyhow::ensure!(told.success(), "the worker was gone before its end");
        tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .context("the worker does not stop")??;
        Ok(())
    }
}
