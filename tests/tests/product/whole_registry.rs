//! Everything in the registry, by the real worker: each schedule run by hand, each kind asked for by hand. What a
//! job does is tested where its part is; here that the shipped binary runs it to its end.

use std::time::Duration;

use keryu_worker::registry;
use serde::Deserialize;
use serde_json::Value;

use crate::support::{World, eventually, operate, process};

#[derive(Deserialize)]
struct Shipped {
    kind: String,
    payload: Value,
}

/// Asked for by its own command alone, for its order needs a key.
const BY_COMMAND: &str = "crm.sync_users";

#[tokio::test(flavor = "multi_thread")]
async fn the_real_worker_runs_every_schedule_and_every_kind() {
    let world = World::new().await;
    let worker = process::worker(&world, &[], &[]);
    let registry = registry::registry();
    eventually("the schedules are known", Duration::from_secs(60), || async {
        world.count("SELECT count(*) FROM schedules").await == registry.plans().len() as i64
    })
    .await;
    for plan in registry.plans() {
        let done = operate(&world, &["schedules", "run", plan.name]).await;
        assert_eq!(done.code, 0, "{}: {}", plan.name, done.wrong);
    }
    let shipped: Vec<Shipped> =
        serde_json::from_str(include_str!("../fixtures/payloads.json")).expect("fixtures");
    for one in shipped.iter().filter(|one| one.kind != BY_COMMAND) {
        let done = operate(&world, &["enqueue", &one.kind, &one.payload.to_string()]).await;
        assert_eq!(done.code, 0, "{}: {}", one.kind, done.wrong);
    }
    // jobs that a schedule asks for with a spread come due within five minutes; by hand they are due at once
    for kind in registry.names().into_iter().filter(|kind| *kind != BY_COMMAND) {
        eventually(kind, Duration::from_secs(60), || async {
            let done = "SELECT count(*) FROM finished_jobs WHERE kind = $1 AND state = 'completed'";
            let count: i64 = sqlx::query_scalar(done).bind(kind).fetch_one(&world.db).await.expect("a count");
            count > 0
        })
        .await;
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await, 0);
    worker.terminate(Duration::from_secs(40)).await;
}
