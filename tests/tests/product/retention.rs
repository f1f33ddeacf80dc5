//! What is kept how long: by the clock the test moves, through the shipped schedules' jobs.

use std::time::Duration;

use keryu_common::job::Terms;
use keryu_common::retention::{CleanupAuditLogs, CleanupExpired, RetainJobs};

use crate::support::{Engine, Product};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn what_ran_out_is_gone_within_a_minute_of_its_time_and_what_did_not_stays() {
    let product = Product::new().await;
    let (_, old) = product.ask("+254712345678", "register").await;
    product.drain().await;
    product.advance(Duration::from_secs(23 * 3600));
    product.ask("+254712345679", "register").await;
    product.drain().await;
    product.advance(Duration::from_secs(3600 + 301));
    let engine = Engine { world: product.world, ctx: product.ctx };
    engine.ask(&CleanupExpired::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count("SELECT count(*) FROM challenges").await, 1, "a day after they ran out");
    assert_eq!(engine.world.count("SELECT count(*) FROM deliveries").await, 2, "deliveries are history");
    assert!(old["challenge_id"].is_string());
    engine.advance(DAY * 3);
    engine.ask(&CleanupExpired::default(), Terms::default()).await;
    engine.drain().await;
    for table in [
        "SELECT count(*) FROM challenges",
        "SELECT count(*) FROM identifier_budgets",
        "SELECT count(*) FROM wrong_tries",
        "SELECT count(*) FROM idempotency_keys",
    ] {
        assert_eq!(engine.world.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_delivery_nobody_made_in_time_is_marked_so() {
    let product = Product::new().await;
    product.ask("+254712345678", "register").await;
    product.world.execute("UPDATE queues SET paused_at = now() WHERE queue = 'critical'").await;
    product.drain().await;
    product.advance(Duration::from_secs(301));
    let engine = Engine { world: product.world, ctx: product.ctx };
    engine.ask(&CleanupExpired::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count("SELECT count(*) FROM deliveries WHERE state = 'expired'").await, 1);
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await, 1);
}

#[tokio::test]
async fn a_clean_up_of_many_rows_goes_by_batches_and_leaves_what_somebody_holds() {
    let engine = Engine::new().await;
    let fill =
        "INSERT INTO worker_leases SELECT gen_random_uuid(), 'gone', n, now(), now() - interval '2 days'
                FROM generate_series(1, 12000) n";
    engine.world.execute(fill).await;
    let statements = "
        CREATE TABLE batches (deleted bigint NOT NULL);
        CREATE FUNCTION note_batch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO batches SELECT count(*) FROM gone; RETURN NULL; END $$;
        CREATE TRIGGER note_batch AFTER DELETE ON worker_leases REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION note_batch();";
    engine.world.execute(statements).await;
    let mut held = engine.world.db.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM worker_leases WHERE pid = 7 FOR UPDATE").execute(&mut *held).await.unwrap();
    engine.ask(&CleanupExpired::default(), Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.world.count("SELECT max(deleted) FROM batches").await, 5_000);
    assert_eq!(engine.world.count("SELECT sum(deleted)::bigint FROM batches").await, 11_999);
    assert_eq!(engine.world.count("SELECT count(*) FROM worker_leases").await, 1, "the one that is held");
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn finished_jobs_go_by_whole_days_and_dead_letters_after_thirty() {
    let engine = Engine::new().await;
    engine.noop().await;
    let dead = engine.noop().await;
    sqlx::query("UPDATE jobs SET kind = 'nobody.knows' WHERE job_id = $1")
        .bind(dead)
        .execute(&engine.world.db)
        .await
        .unwrap();
    engine.drain().await;
    let parts = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'finished_jobs'::regclass";
    let retain = || async {
        engine.ask(&RetainJobs::default(), Terms::default()).await;
        engine.drain().await;
    };
    retain().await;
    let before = engine.world.count(parts).await;
    let noops = "SELECT count(*) FROM finished_jobs WHERE kind = 'job.noop'";
    assert_eq!(engine.world.count(noops).await, 1, "kept for a day");
    engine.advance(DAY * 3);
    retain().await;
    assert_eq!(engine.world.count(noops).await, 0);
    let first_gone = engine.world.count(parts).await;
    assert!(
        first_gone < before + 3,
        "{before} partitions became {first_gone}: three were made, and old ones went"
    );
    // the days ahead are there before anybody needs them
    let ahead = "SELECT count(*) FROM finished_jobs_default";
    engine.noop().await;
    engine.drain().await;
    assert_eq!(engine.world.count(ahead).await, 0, "no row in the default partition");
    assert_eq!(engine.look(dead).await, Some(("discarded".to_owned(), 1)));
    // it died on the third day, for a build that knows its kind was waited for
    engine.advance(DAY * 31);
    retain().await;
    assert_eq!(engine.look(dead).await, None);
}

#[tokio::test]
async fn a_table_in_use_is_waited_for_a_moment_and_then_later() {
    let engine = Engine::new().await;
    engine.advance(DAY * 3);
    let mut reader = engine.world.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE finished_jobs IN ACCESS SHARE MODE").execute(&mut *reader).await.unwrap();
    let id = engine.ask(&RetainJobs::default(), Terms::default()).await;
    engine.drain().await;
    let (state, attempts) = engine.look(id).await.expect("job");
    assert_ne!((state.as_str(), attempts), ("completed", 1));
    assert_eq!(attempts, 0, "no failed attempt: {state}");
    reader.rollback().await.unwrap();
    engine.advance(Duration::from_secs(60));
    engine.drain().await;
    assert_eq!(engine.state(id).await, "completed");
}

#[tokio::test]
async fn deliveries_are_kept_ninety_days_and_audit_lines_a_year() {
    let product = Product::new().await;
    product.ask("+254712345678", "register").await;
    product.drain().await;
    let engine = Engine { world: product.world, ctx: product.ctx };
    let counts = || async {
        [
            engine.world.count("SELECT count(*) FROM deliveries").await,
            engine.world.count("SELECT count(*) FROM delivery_attempts").await,
            engine.world.count("SELECT count(*) FROM audit").await,
        ]
    };
    let lines = counts().await[2];
    assert!(lines > 0);
    for (days, wanted) in [(80, [1, 1, lines]), (45, [0, 0, lines]), (300, [0, 0, 0])] {
        engine.advance(DAY * days);
        engine.ask(&RetainJobs::default(), Terms::default()).await;
        engine.ask(&CleanupAuditLogs::default(), Terms::default()).await;
        engine.drain().await;
        assert_eq!(counts().await, wanted, "another {days} days later");
    }
}
