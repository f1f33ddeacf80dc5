//! Kinds of jobs that only tests have: they leave a trace, panic, hang, spin, fail or wait.

use std::time::{Duration, Instant};

use keryu_common::Context;
use keryu_common::job::{Backoff, Job, Lease, Queue, Verdict};
use keryu_worker::registry::{Registry, registry};
use serde::{Deserialize, Serialize};

/// The shipped kinds and these.
pub fn kinds() -> Registry {
    let mut all = registry();
    all.job::<Note>();
    all.job::<Panic>();
    all.job::<Hang>();
    all.job::<Spin>();
    all.job::<Fail>();
    all
}

/// Takes a while and leaves a row in `ran`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Note {
    /// What to write.
    pub tag: String,
    /// How long it takes, in milliseconds.
    pub millis: u64,
}

/// The table that [`Note`] writes to.
pub const RAN: &str =
    "CREATE TABLE ran (seq bigserial PRIMARY KEY, tag text NOT NULL, attempt smallint NOT NULL,
    began timestamptz NOT NULL, ended timestamptz)";

impl Job for Note {
    const KIND: &'static str = "test.note";
    const QUEUE: Queue = Queue::Default;

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO ran (tag, attempt, began) VALUES ($1, $2, clock_timestamp()) RETURNING seq",
        )
        .bind(&self.tag)
        .bind(lease.attempt)
        .fetch_one(&ctx.db)
        .await
        .expect("began");
        tokio::time::sleep(Duration::from_millis(self.millis)).await;
        sqlx::query("UPDATE ran SET ended = clock_timestamp() WHERE seq = $1")
            .bind(seq)
            .execute(&ctx.db)
            .await
            .expect("ended");
        Verdict::Done
    }
}

/// Panics.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Panic {}

impl Job for Panic {
    const KIND: &'static str = "test.panic";
    const QUEUE: Queue = Queue::Default;
    const MAX_ATTEMPTS: i16 = 2;

    async fn run(&self, _: &Context, _: &Lease) -> Verdict {
        panic!("the handler fell over")
    }
}

/// Never ends by itself.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Hang {}

impl Job for Hang {
    const KIND: &'static str = "test.hang";
    const QUEUE: Queue = Queue::Default;
    const TIMEOUT: Duration = Duration::from_millis(100);

    async fn run(&self, _: &Context, _: &Lease) -> Verdict {
        std::future::pending().await
    }
}

/// Keeps a processor busy and never yields.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Spin {
    /// For how long, in milliseconds.
    pub millis: u64,
}

impl Job for Spin {
    const KIND: &'static str = "test.spin";
    const QUEUE: Queue = Queue::Bulk;

    async fn run(&self, _: &Context, _: &Lease) -> Verdict {
        let end = Instant::now() + Duration::from_millis(self.millis);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        Verdict::Done
    }
}

/// Asks for another try, always.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Fail {}

impl Job for Fail {
    const KIND: &'static str = "test.fail";
    const QUEUE: Queue = Queue::Default;
    const MAX_ATTEMPTS: i16 = 3;
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(10), most: Duration::from_secs(30) };

    async fn run(&self, _: &Context, _: &Lease) -> Verdict {
        Verdict::Retry { after: None, reason: "not today".to_owned() }
    }
}
