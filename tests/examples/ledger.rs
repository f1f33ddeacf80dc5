//! What a ledger of ten thousand and of a million rows costs: a round of the relay, a claim and a finish of 200
//! jobs, and the operators' lists, each a median (of ten rounds, of fifty lists). Half of the rows are live. Wants `DATABASE_URL` (empty,
//! migrated), `REDIS_URL`, `KERYU_ENV=development` and `KERYU_SECRET_KEY`; prints a line of JSON for each size.

#![expect(
    clippy::disallowed_methods,
    reason = "rows are made by the million, not by the product's statements"
)]
#![expect(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use keryu_common::audit::Client;
use keryu_common::config::{Config, Source};
use keryu_common::desk::{Hand, job as desk};
use keryu_common::job::{Queue, store};
use keryu_common::{Context, id};
use serde_json::{Map, Value, json};

type Fault = Box<dyn Error + Send + Sync>;

/// Times each list is asked for.
const ROUNDS: usize = 50;
/// Jobs of a round.
const BATCH: i64 = 200;

/// Half live: seven of ten available, two scheduled, one a dead letter; the other half finished today.
const FILL: &str = "
INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload, run_at, created_at,
                  discarded_at, error)
SELECT (lpad(to_hex(1760000000000 + n), 12, '0') || '70008000' || substr(md5(n::text), 1, 12))::uuid,
       CASE WHEN n % 1000 = 0 THEN 'bench.rare' ELSE 'job.noop' END, 1,
       CASE WHEN n % 3 = 0 THEN 'bulk' ELSE 'default' END, 5, state::job_state, state = 'available', 20, '{}',
       CASE state WHEN 'discarded' THEN 'infinity'::timestamptz WHEN 'available' THEN now()
            ELSE now() + interval '1 day' + n * interval '1 second' END,
       now(), CASE state WHEN 'discarded' THEN now() END, CASE state WHEN 'discarded' THEN 'it fell over' END
FROM generate_series($1::bigint, $1 + $2 / 2 - 1) n
CROSS JOIN LATERAL (SELECT CASE WHEN n % 10 < 7 THEN 'available' WHEN n % 10 < 9 THEN 'scheduled'
                                ELSE 'discarded' END AS state) x";
const FINISHED: &str = "
INSERT INTO finished_jobs (job_id, kind, version, queue, priority, state, attempt, payload, created_at, started_at,
                           finished_at)
SELECT (lpad(to_hex(1750000000000 + n), 12, '0') || '70008000' || substr(md5(n::text), 1, 12))::uuid, 'job.noop', 1,
       'default', 5, 'completed', 1, '{}', now(), now(), now()
FROM generate_series($1::bigint, $1 + $2 / 2 - 1) n";

fn median(mut spans: Vec<Duration>) -> Value {
    spans.sort_unstable();
    json!((spans[spans.len() / 2].as_secs_f64() * 1e5).round() / 100.0)
}

/// One round of a relay, and what it pushed claimed and finished: three times.
async fn round(ctx: &Context, lease: uuid::Uuid) -> Result<[Duration; 3], Fault> {
    let now = ctx.now();
    let mut relay = ctx.db.acquire().await?;
    sqlx::query("SET enable_sort = off").execute(&mut *relay).await?;
    sqlx::query("SET jit = off").execute(&mut *relay).await?;
    let began = Instant::now();
    let pushed = store::push_due(&mut relay, Queue::Default, now, 2_000, BATCH).await?;
    let push = began.elapsed();
    assert_eq!(pushed.len(), 200, "the relay pushes a batch");
    let (ids, pushes): (Vec<_>, Vec<_>) = pushed.iter().map(|one| (one.job_id, one.push)).unzip();
    let began = Instant::now();
    let claimed = store::claim(&ctx.db, Queue::Default, lease, now, &ids, &pushes).await?;
    let claim = began.elapsed();
    assert_eq!(claimed.len(), 200, "all of it is claimed");
    let (attempts, started) = (vec![1i16; ids.len()], vec![now; ids.len()]);
    let began = Instant::now();
    assert_eq!(store::complete(&ctx.db, lease, now, &ids, &attempts, &started).await?, 200);
    Ok([push, claim, began.elapsed()])
}

async fn list(ctx: &Context, client: &Client, filter: &desk::Filter) -> Result<Duration, Fault> {
    let began = Instant::now();
    desk::list(ctx, Hand { client, person: None }, filter, 50).await?;
    Ok(began.elapsed())
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let config = Config::read(&mut Source::open()).map_err(|faults| faults.to_string())?;
    let ctx = Context::build(config)?;
    let lease = id::ordered(ctx.now());
    store::renew_lease(&ctx.db, lease, "bench", 1, &["default".to_owned()], ctx.now()).await?;
    let client = Client {
        ip: Ipv4Addr::LOCALHOST.into(),
        user_agent: None,
        request_id: String::new(),
        traceparent: None,
        language: "en".to_owned(),
    };
    let filter = desk::Filter::default;
    let state = |name: &str| desk::Filter { state: Some(name.to_owned()), ..filter() };
    let lists = [
        ("all", filter()),
        ("available", state("available")),
        ("running", state("running")),
        ("scheduled", state("scheduled")),
        ("discarded", state("discarded")),
        ("completed", state("completed")),
        ("rare_kind", desk::Filter { kind: Some("bench.rare".to_owned()), ..filter() }),
        ("bulk_dead", desk::Filter { queue: Some(Queue::Bulk), ..state("discarded") }),
        ("error", desk::Filter { error: Some("fell".to_owned()), ..state("discarded") }),
    ];
    let mut filled = 0i64;
    for rows in [10_000i64, 1_000_000] {
        while filled < rows {
            let step = (rows - filled).min(100_000);
            for fill in [FILL, FINISHED] {
                sqlx::query(fill).bind(filled).bind(step).execute(&ctx.db).await?;
            }
            filled += step;
        }
        sqlx::query("VACUUM ANALYZE jobs").execute(&ctx.db).await?;
        sqlx::query("VACUUM ANALYZE finished_jobs").execute(&ctx.db).await?;
        let mut line = Map::from_iter([("rows".to_owned(), json!(rows))]);
        let mut spans: [Vec<Duration>; 3] = Default::default();
        // ten thousand rows hold some 2,300 of the queue
        for _ in 0..10 {
            for (all, one) in spans.iter_mut().zip(round(&ctx, lease).await?) {
                all.push(one);
            }
        }
        for (name, all) in ["relay_ms", "claim_ms", "finish_ms"].into_iter().zip(spans) {
            line.insert(name.to_owned(), median(all));
        }
        for (name, filter) in &lists {
            let mut all = Vec::new();
            for _ in 0..ROUNDS {
                all.push(list(&ctx, &client, filter).await?);
            }
            line.insert(format!("list_{name}_ms"), median(all));
        }
        println!("{}", Value::Object(line));
    }
    Ok(())
}
