//! The sync with a CRM by the real worker: one is killed in the middle of a call, another tells of everybody.

use std::time::Duration;

use super::crm::OPEN;
use super::support::{Crm, World, eventually, process};

const PEOPLE: &str = "
    INSERT INTO users (user_id, username, username_skeleton, email, email_verified_at, last_name, created_at, updated_at)
    SELECT md5(n::text)::uuid, 'p' || n, 'p' || n, 'p' || n || '@example.org', now(), 'First', now(), now()
    FROM generate_series(1, 300) n";
/// A system that was switched on just now is told of nobody for a minute: let it be over.
const SETTLED: &str = "UPDATE jobs SET run_at = now() WHERE kind = 'crm.sync_users' AND state = 'scheduled'";
const MARRIED: &str = "UPDATE users SET last_name = 'Last', updated_at = now() + interval '1 second'";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_a_call_leaves_nobody_untold_and_the_last_state_wins() {
    let (hubspot, world) = (Crm::start().await, World::new().await);
    let worker = process::worker(&world, &[], &hubspot.hubspot());
    eventually("the system is known", Duration::from_secs(60), || async {
        world.count("SELECT count(*) FROM crm_targets WHERE target = 'hubspot'").await == 1
    })
    .await;
    let (there, on) = hubspot.halt();
    world.execute(PEOPLE).await;
    assert_eq!(world.execute(SETTLED).await, 1);
    tokio::time::timeout(Duration::from_secs(60), there.notified()).await.expect("a first call");
    world.execute(MARRIED).await;
    worker.kill();
    on.notify_one();
    let another = process::worker(&world, &[], &hubspot.hubspot());
    eventually("everybody is told of", Duration::from_secs(120), || async {
        let last = |tape: &super::support::crm::Tape| {
            tape.people.values().filter(|one| one["lastname"] == "Last").count() == 300
        };
        last(&hubspot.tape()) && world.count(OPEN).await == 0
    })
    .await;
    assert_eq!(hubspot.tape().wrong, [""; 0]);
    another.terminate(Duration::from_secs(40)).await;
}
