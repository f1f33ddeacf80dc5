//! The operators' commands by the real binary: what they say, what they refuse, what they leave behind.

use std::time::Duration;

use keryu_common::job::{Noop, Terms};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::kinds::{Fail, Note};
use crate::support::process::{self, Process};
use crate::support::{Engine, Gateway, Product, World, eventually, operate};

/// Makes every waiting job a dead letter.
const DIE: &str = "UPDATE jobs SET state = 'discarded', ready = false, pushed = false, run_at = 'infinity',
                       discarded_at = now(), waiting_key = NULL, attempt = 3, max_attempts = 3,
                       error = kind || ': the other side answered 503'";

fn text(id: Uuid) -> String {
    id.to_string()
}

/// Audit lines of an operator with this action.
async fn noted(world: &World, action: &str) -> i64 {
    let lines =
        "SELECT count(*) FROM audit WHERE action = $1 AND actor IS NULL AND details->>'by' = 'operator'";
    sqlx::query_scalar(lines).bind(action).fetch_one(&world.db).await.expect("audit")
}

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    let world = World::new().await;
    for args in [
        &["enqueue"][..],
        &["jobs", "list"],
        &["jobs", "show"],
        &["jobs", "retry"],
        &["jobs", "cancel"],
        &["queues", "list"],
        &["queues", "pause"],
        &["queues", "resume"],
        &["schedules", "list"],
        &["schedules", "run"],
        &["schedules", "enable"],
        &["schedules", "disable"],
        &["schedules", "change"],
        &["deliveries", "list"],
        &["deliveries", "show"],
        &["deliveries", "resend"],
        &["rates", "list"],
        &["rates", "set"],
        &["rates", "clear"],
    ] {
        let done = operate(&world, &[args, &["--help"]].concat()).await;
        assert_eq!(done.code, 0, "{args:?}");
        let example = format!("  keryu-worker {}", args.join(" "));
        assert!(done.said.contains("Usage:") && done.said.contains(&example), "{args:?}: {}", done.said);
    }
}

#[tokio::test]
async fn what_is_not_understood_ends_with_two_and_what_is_not_there_with_one() {
    let engine = Engine::new().await;
    let nobody = "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172";
    for args in [
        &["jobs"][..],
        &["jobs", "show", "7"],
        &["jobs", "list", "--state", "asleep"],
        &["jobs", "list", "--limit", "0"],
        &["jobs", "retry"],
        &["jobs", "retry", nobody, "--dead"],
        &["jobs", "retry", nobody, "--kind", "x"],
        &["queues", "pause", "slow"],
        &["schedules", "change", "retain_jobs"],
        &["deliveries", "list", "--state", "lost"],
        &["rates", "set", "twilio", "0"],
        &["rates", "set", "twilio", "NaN"],
        &["rates", "set", "twillio", "10"],
    ] {
        let done = operate(&engine.world, args).await;
        assert_eq!(done.code, 2, "{args:?}: {} {}", done.said, done.wrong);
    }
    for (args, code) in [
        (&["jobs", "show", nobody][..], "job.not_found"),
        (&["jobs", "retry", nobody], "job.not_found"),
        (&["jobs", "cancel", nobody], "job.not_found"),
        (&["schedules", "run", "nothing"], "schedule.not_found"),
        (&["schedules", "enable", "nothing"], "schedule.not_found"),
        (&["deliveries", "show", nobody], "delivery.not_found"),
        (&["deliveries", "resend", nobody], "delivery.not_found"),
    ] {
        operate(&engine.world, args).await.refused(code);
    }
    let odd = operate(&engine.world, &["deliveries", "list", "--to", "nobody at all"]).await;
    assert!(odd.code == 1 && odd.wrong.contains("--to"), "{}", odd.wrong);
}

#[tokio::test]
async fn commands_on_a_job_that_runs_waits_or_is_finished_end_in_clear_codes() {
    let engine = Engine::new().await;
    let id = text(engine.noop().await);
    operate(&engine.world, &["jobs", "retry", &id]).await.refused("job.waiting");
    let lease = engine.lease().await;
    let pairs = engine.push().await;
    assert_eq!(engine.claim(lease, &pairs).await.len(), 1);
    operate(&engine.world, &["jobs", "cancel", &id]).await.refused("job.running");
    operate(&engine.world, &["jobs", "retry", &id]).await.refused("job.running");
    let shown = operate(&engine.world, &["jobs", "show", &id, "--json"]).await.json();
    assert!(shown["next_step"].as_str().unwrap().starts_with("Worker 1 on here"), "{shown}");
    assert!(engine.finish(lease, id.parse().unwrap(), 1).await, "nothing of that touched the run");
    for command in ["retry", "cancel"] {
        operate(&engine.world, &["jobs", command, &id]).await.refused("job.finished");
    }
    let over = engine.ask(&Noop {}, Terms::default()).await;
    engine.world.execute(DIE).await;
    engine.world.execute("UPDATE jobs SET expires_at = now() - interval '1 hour'").await;
    operate(&engine.world, &["jobs", "retry", &text(over)]).await.refused("job.expired");
    assert_eq!(noted(&engine.world, "job.retried").await + noted(&engine.world, "job.cancelled").await, 0);
}

#[tokio::test]
async fn jobs_are_found_by_state_kind_queue_error_age_and_the_beginning_of_their_id() {
    let engine = Engine::new().await;
    let dead = engine.ask(&Fail {}, Terms::default()).await;
    engine.world.execute(DIE).await;
    let later = Terms { run_at: Some(engine.ctx.now() + Duration::from_secs(3600)), ..Terms::default() };
    let scheduled = engine.ask(&Noop {}, later).await;
    let done = engine.noop().await;
    let lease = engine.lease().await;
    let pairs = engine.push().await;
    engine.claim(lease, &pairs).await;
    engine.finish(lease, done, 1).await;
    let waiting = engine.noop().await;
    let found = async |args: &[&str]| -> Vec<Uuid> {
        let all = [&["jobs", "list", "--json"], args].concat();
        let page = operate(&engine.world, &all).await.json();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|job| job["id"].as_str().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(found(&[]).await, [waiting, done, scheduled, dead], "newest first, live and finished");
    assert_eq!(found(&["--state", "discarded"]).await, [dead]);
    assert_eq!(found(&["--state", "scheduled"]).await, [scheduled]);
    assert_eq!(found(&["--state", "available"]).await, [waiting]);
    assert_eq!(found(&["--state", "completed"]).await, [done]);
    assert_eq!(found(&["--state", "running"]).await, Vec::<Uuid>::new());
    assert_eq!(found(&["--kind", "test.fail"]).await, [dead]);
    assert_eq!(found(&["--error", "ANSWERED 503"]).await, [dead]);
    assert_eq!(found(&["--queue", "bulk"]).await, Vec::<Uuid>::new());
    assert!(found(&["--id", &text(done)[..20]]).await.contains(&done));
    assert_eq!(found(&["--id", &text(done)]).await, [done]);
    assert_eq!(found(&["--kind", "job.noop", "--state", "completed"]).await, [done]);
    assert_eq!(found(&["--since=-9999-01-01T00:00:00Z"]).await.len(), 4);
    let now = engine.ctx.now() + Duration::from_secs(60);
    assert_eq!(found(&["--since", &now.to_rfc3339()]).await, Vec::<Uuid>::new());
    assert_eq!(found(&["--before", &now.to_rfc3339()]).await.len(), 4);
    let mut seen = Vec::new();
    let mut args = vec!["--limit".to_owned(), "1".to_owned()];
    loop {
        let all: Vec<&str> =
            ["jobs", "list", "--json"].into_iter().chain(args.iter().map(String::as_str)).collect();
        let page = operate(&engine.world, &all).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|job| job["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        args.truncate(2);
        args.extend(["--cursor".to_owned(), cursor.to_owned()]);
    }
    assert_eq!(seen, [waiting, done, scheduled, dead].map(|id| json!(id)), "piece by piece");
    let table = operate(&engine.world, &["jobs", "list"]).await;
    assert!(table.said.starts_with("ID ") && table.said.lines().count() == 5, "{}", table.said);
}

#[tokio::test]
async fn a_dead_letter_is_tried_again_and_one_that_waits_is_cancelled() {
    let engine = Engine::new().await;
    let note = Note { tag: "again".to_owned(), millis: 0 };
    let id = engine.ask(&note, Terms::default()).await;
    engine.world.execute(DIE).await;
    let shown = operate(&engine.world, &["jobs", "retry", &text(id), "--json"]).await.json();
    assert_eq!(
        (&shown["state"], &shown["attempts"], &shown["max_attempts"]),
        (&json!("available"), &json!(3), &json!(6))
    );
    // the command's clock is the database's
    engine.advance(Duration::from_secs(60));
    engine.drain().await;
    assert_eq!(engine.state(id).await, "completed");
    let id = engine.noop().await;
    let shown = operate(&engine.world, &["jobs", "cancel", &text(id), "--json"]).await.json();
    assert_eq!((&shown["state"], &shown["error"]), (&json!("cancelled"), &json!("cancelled by an operator")));
    engine.drain().await;
    assert_eq!(engine.state(id).await, "cancelled");
    assert_eq!(
        (noted(&engine.world, "job.retried").await, noted(&engine.world, "job.cancelled").await),
        (1, 1)
    );
}

#[tokio::test]
async fn dead_letters_are_tried_again_by_filter_in_batches() {
    let engine = Engine::new().await;
    engine.noops(1_200).await;
    let old = engine.ask(&Fail {}, Terms::default()).await;
    let keyed = || Terms { unique_key: Some("one".to_owned()), ..Terms::default() };
    let earlier = engine.ask(&Note::default(), keyed()).await;
    engine.world.execute(DIE).await;
    let later = engine.ask(&Note::default(), keyed()).await;
    engine
        .world
        .execute(
            "UPDATE jobs SET state = 'discarded', ready = false, run_at = 'infinity', waiting_key = NULL,
                              discarded_at = now(), error = 'answered 503' WHERE state = 'available'",
        )
        .await;
    let retry = async |args: &[&str]| -> Value {
        operate(&engine.world, &[&["jobs", "retry", "--dead", "--json"], args].concat()).await.json()["retried"].clone()
    };
    assert_eq!(retry(&["--error", "answered 504"]).await, 0);
    assert_eq!(retry(&["--queue", "bulk"]).await, 0);
    assert_eq!(retry(&["--since", "2999-01-01T00:00:00Z"]).await, 0);
    assert_eq!(retry(&["--kind", "job.noop"]).await, 1_200);
    assert_eq!(engine.state(old).await, "discarded");
    assert_eq!(retry(&["--kind", "test.note"]).await, 1, "of two with one key the newer does the work");
    assert_eq!(
        (engine.state(earlier).await, engine.state(later).await),
        ("discarded".into(), "available".into())
    );
    operate(&engine.world, &["jobs", "retry", &text(earlier)]).await.refused("job.superseded");
    assert_eq!(noted(&engine.world, "job.retried_many").await, 4, "a line for each batch");
}

#[tokio::test]
async fn a_job_is_asked_for_by_hand_and_a_wrong_one_is_refused_in_words() {
    let engine = Engine::new().await;
    for (args, word) in [
        (&["enqueue", "no.such_kind", "{}"][..], "retention.cleanup_expired"),
        (&["enqueue", "user.erase_account", "{}"], "user_id"),
        (&["enqueue", "user.erase_account", "{\"user_id\": 7}"], "user.erase_account"),
        (&["enqueue", "job.noop", "{"], "not JSON"),
        (&["enqueue", "crm.sync_users", "{\"target\": \"hubspot\"}"], "crm retry"),
    ] {
        let done = operate(&engine.world, args).await;
        assert!(done.code == 1 && done.wrong.contains(word), "{args:?}: {}", done.wrong);
    }
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs").await, 0);
    let asked = operate(&engine.world, &["enqueue", "job.noop", "{}", "--json"]).await.json();
    engine.advance(Duration::from_secs(60));
    engine.drain().await;
    assert_eq!(engine.state(asked["id"].as_str().unwrap().parse().unwrap()).await, "completed");
    assert_eq!(noted(&engine.world, "job.enqueued").await, 1);
}

fn worker(world: &World) -> Process {
    process::worker(world, &["--queues", "default"], &[])
}

async fn up(world: &World, workers: i64) {
    eventually("the workers are up", Duration::from_secs(30), || async {
        world.count("SELECT count(*) FROM worker_leases WHERE queues = '{default}'").await == workers
    })
    .await;
}

#[tokio::test]
async fn a_pause_is_seen_by_all_workers_within_two_seconds_and_outlives_a_restart() {
    let engine = Engine::live().await;
    let (one, two) = (worker(&engine.world), worker(&engine.world));
    up(&engine.world, 2).await;
    engine.noops(50).await;
    engine.until_completed(50, Duration::from_secs(30)).await;
    let state = operate(&engine.world, &["queues", "pause", "default", "--json"]).await.json();
    assert!(state["paused_at"].is_string() && state["workers"] == 2, "{state}");
    let paused = std::time::Instant::now();
    // what comes two seconds after is begun by nobody, for as long as it takes both to look several times
    engine.noops(20).await;
    let looked = "SELECT count(*) FROM worker_leases WHERE renewed_at > started_at + interval '4 seconds'";
    eventually("both have looked again", Duration::from_secs(30), || async {
        paused.elapsed() > Duration::from_secs(2) && engine.world.count(looked).await == 2
    })
    .await;
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs WHERE state = 'available'").await, 20);
    one.kill();
    two.terminate(Duration::from_secs(30)).await;
    let three = worker(&engine.world);
    let began = "SELECT count(*) FROM worker_leases WHERE renewed_at > started_at + interval '3 seconds'
                     AND renewed_at > now() - interval '3 seconds'";
    eventually("a new worker has looked", Duration::from_secs(30), || async {
        engine.world.count(began).await >= 1
    })
    .await;
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs WHERE state = 'available'").await, 20);
    let shown = operate(&engine.world, &["queues", "list"]).await;
    assert!(
        shown.said.lines().any(|line| line.starts_with("default ") && line.contains(" 20 ")),
        "{}",
        shown.said
    );
    operate(&engine.world, &["queues", "resume", "default"]).await;
    engine.until_completed(70, Duration::from_secs(30)).await;
    assert_eq!(
        (noted(&engine.world, "queue.paused").await, noted(&engine.world, "queue.resumed").await),
        (1, 1)
    );
    drop(three);
}

#[tokio::test]
async fn schedules_are_run_switched_and_changed_and_an_expression_that_never_fires_is_refused() {
    let engine = Engine::new().await;
    let registry = keryu_worker::registry::registry();
    let name = "cleanup_expired";
    keryu_common::job::schedule::register(&engine.ctx, registry.plans()).await.unwrap();
    let all = operate(&engine.world, &["schedules", "list", "--json"]).await.json();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    for known in [
        "blank_old_addresses",
        "cleanup_audit_logs",
        "cleanup_expired",
        "cleanup_push_tokens",
        "erase_due",
        "retain_jobs",
    ] {
        assert!(names.contains(&known), "{known} in {names:?}");
    }
    for bad in ["0 0 0 30 2 *", "never", "", "0 0 0 1 1 * 2020", "61 * * * * *"] {
        let change = ["schedules", "change", name, "--expression", bad];
        operate(&engine.world, &change).await.refused("schedule.expression");
    }
    let change = ["schedules", "change", name, "--expression", "* * * * * *", "--catch-up", "all", "--json"];
    let changed = operate(&engine.world, &change).await.json();
    assert_eq!((&changed["expression"], &changed["catch_up"]), (&json!("* * * * * *"), &json!("all")));
    // a worker that starts anew leaves what the operator changed
    keryu_common::job::schedule::register(&engine.ctx, registry.plans()).await.unwrap();
    let back = operate(&engine.world, &["schedules", "change", name, "--reset", "--json"]).await.json();
    assert_eq!(back["expression"], back["default_expression"]);
    let off = operate(&engine.world, &["schedules", "disable", name, "--json"]).await.json();
    assert_eq!((&off["enabled"], &off["next_at"]), (&json!(false), &Value::Null));
    let ran = operate(&engine.world, &["schedules", "run", name, "--json"]).await.json();
    engine.advance(Duration::from_secs(60));
    engine.drain().await;
    assert_eq!(
        engine.state(ran["job_id"].as_str().unwrap().parse().unwrap()).await,
        "completed",
        "also one that is off"
    );
    let on = operate(&engine.world, &["schedules", "enable", name, "--json"]).await.json();
    assert_eq!(on["enabled"], true);
    assert_eq!(
        (noted(&engine.world, "schedule.changed").await, noted(&engine.world, "schedule.run").await),
        (4, 1)
    );
}

#[tokio::test]
async fn an_operator_finds_out_why_a_message_did_not_arrive_and_sends_it_again() {
    let gateway = Gateway::start().await;
    let product = Product::with(&gateway.settings()).await;
    let (_, issued) = product.ask("+254712345678", "register").await;
    let listed = operate(&product.world, &["deliveries", "list", "--to", "0712 345 678", "--json"]).await;
    let line = listed.json()["items"][0].clone();
    assert!(!listed.said.contains("254712345678"), "masked: {}", listed.said);
    let id = line["id"].as_str().unwrap().to_owned();
    assert!(issued["delivery_url"].as_str().unwrap().ends_with(&id));
    operate(&product.world, &["queues", "pause", "critical"]).await;
    let shown = operate(&product.world, &["deliveries", "show", &id]).await;
    assert!(shown.said.contains("the queue critical is paused since"), "{}", shown.said);
    assert!(shown.said.contains("`queues resume critical` lets it go on."), "{}", shown.said);
    assert!(!shown.said.contains("254712345678"), "masked: {}", shown.said);
    operate(&product.world, &["queues", "resume", "critical"]).await;
    product.drain().await;
    let shown = operate(&product.world, &["deliveries", "show", &id, "--json"]).await.json();
    assert_eq!((&shown["state"], shown["attempts"].as_array().unwrap().len()), (&json!("accepted"), 1));
    assert_eq!(shown["jobs"][0]["state"], "completed");
    let resent = operate(&product.world, &["deliveries", "resend", &id, "--json"]).await.json();
    let shown = operate(&product.world, &["deliveries", "show", &id, "--json"]).await.json();
    assert_eq!(shown["jobs"][0]["id"], resent["job_id"], "the job by hand is known: {shown}");
    product.advance(Duration::from_secs(60));
    product.drain().await;
    assert_eq!(gateway.received().len(), 2);
    assert_eq!(noted(&product.world, "delivery.resent").await, 1);
}

#[tokio::test]
async fn a_rate_holds_over_all_workers_and_neither_loses_nor_fails_a_message() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    let world = World::new().await;
    let product = Product::beside(&world, &settings).await;
    operate(&world, &["rates", "set", "http", "4"]).await;
    let rates = operate(&world, &["rates", "list", "--json"]).await.json();
    assert_eq!((&rates[0]["provider"], &rates[0]["per_second"]), (&json!("http"), &json!(4.0)));
    for n in 0..24 {
        let (status, body) = product.ask(&format!("+2547123456{n:02}"), "register").await;
        assert_eq!(status, 202, "{body}");
    }
    let start = || process::worker(&world, &["--queues", "critical"], &settings);
    let _workers = [start(), start(), start()];
    eventually("every code is accepted", Duration::from_secs(60), || async {
        world.count("SELECT count(*) FROM deliveries WHERE state = 'accepted'").await == 24
    })
    .await;
    assert_eq!(gateway.received().len(), 24);
    let span = "SELECT (extract(epoch FROM max(started_at) - min(started_at)) * 1000)::bigint FROM delivery_attempts";
    assert!(world.count(span).await >= 5_500, "24 calls, 4 a second: {} ms", world.count(span).await);
    assert_eq!(
        world.count("SELECT max(attempts)::bigint FROM deliveries").await,
        1,
        "being sent away is no try"
    );
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 0);
    assert_eq!(world.count("SELECT max(attempt)::bigint FROM finished_jobs").await, 1);
    operate(&world, &["rates", "clear", "http"]).await;
    assert_eq!(operate(&world, &["rates", "list", "--json"]).await.json(), json!([]));
}
