//! The fences of the ledger: what commits exists, what is claimed is claimed once, what is late counts
//! for nothing.

use std::time::Duration;

use keryu_common::job::{Holds, Lease, Noop, Queue, Terms, store};
use serde_json::Value;

use crate::support::{Engine, Gateway, Product};

/// Aborts every third transaction at its commit, after all its rows were written.
const ABORTS: &str = "
    CREATE SEQUENCE aborts;
    CREATE FUNCTION abort_some() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('aborts') % 3 = 0 THEN RAISE EXCEPTION 'aborted by the test' USING ERRCODE = '40001'; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER abort_some AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION abort_some();";

#[tokio::test]
async fn a_transaction_that_aborts_leaves_no_job_no_run_and_no_delivery() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    let product = Product::with(&settings).await;
    product.world.execute(ABORTS).await;
    let mut granted = Vec::new();
    for n in 0..9 {
        let number = format!("+2547123456{n:02}");
        let (status, body) = product.ask(&number, "register").await;
        match status {
            202 => granted.push(number),
            _ => assert_eq!(status, 503, "{body}"),
        }
    }
    assert_eq!(granted.len(), 6, "two of three commit");
    assert_eq!(product.world.count("SELECT count(*) FROM jobs").await, 6);
    assert_eq!(product.world.count("SELECT count(*) FROM deliveries").await, 6);
    assert_eq!(product.world.count("SELECT count(*) FROM challenges").await, 6);
    assert_eq!(product.drain().await, 6);
    let mut reached: Vec<_> =
        gateway.received().iter().map(|one| one.body["to"].as_str().unwrap().to_owned()).collect();
    reached.sort();
    assert_eq!(reached, granted);
    product.assert_nothing_left().await;
}

#[tokio::test]
async fn a_job_asked_for_in_a_transaction_is_seen_by_nobody_before_its_commit() {
    let engine = Engine::new().await;
    let mut tx = engine.ctx.db.begin().await.unwrap();
    keryu_common::job::enqueue(&mut tx, engine.ctx.now(), &Noop {}, Terms::default()).await.unwrap();
    assert!(engine.push().await.is_empty());
    assert_eq!(engine.drain().await, 0);
    tx.commit().await.unwrap();
    assert_eq!(engine.drain().await, 1);
}

#[tokio::test]
async fn a_message_with_an_older_push_number_claims_nothing() {
    let engine = Engine::new().await;
    let id = engine.noop().await;
    let first = engine.push().await;
    assert_eq!(first, [(id, 1)]);
    // nobody claimed it in time: it is handed back and pushed anew
    assert_eq!(store::unpush(&engine.ctx.db, &[id], &[1]).await.unwrap(), 1);
    assert!(engine.claim(engine.lease().await, &first).await.is_empty(), "handed back, so not claimable");
    let second = engine.push().await;
    assert_eq!(second, [(id, 2)]);
    let lease = engine.lease().await;
    assert!(engine.claim(lease, &first).await.is_empty(), "the older message comes late");
    assert_eq!(engine.look(id).await, Some(("available".to_owned(), 0)));
    assert_eq!(engine.claim(lease, &second).await.len(), 1);
    assert!(engine.claim(lease, &second).await.is_empty(), "the same message comes twice");
    assert_eq!(engine.look(id).await, Some(("running".to_owned(), 1)));
}

#[tokio::test]
async fn a_message_of_an_attempt_before_claims_nothing_of_the_next() {
    let engine = Engine::new().await;
    let id = engine.noop().await;
    let first = engine.push().await;
    let lease = engine.lease().await;
    assert_eq!(engine.claim(lease, &first).await.len(), 1);
    assert!(engine.set_back(lease, id, 1, Duration::ZERO).await);
    let mut session = engine.ctx.db.acquire().await.unwrap();
    store::promote_due(&mut session, engine.ctx.now(), 10).await.unwrap();
    assert!(engine.claim(lease, &first).await.is_empty());
    let second = engine.push().await;
    assert!(engine.claim(lease, &first).await.is_empty());
    assert_eq!(engine.claim(lease, &second).await.len(), 1);
    assert_eq!(engine.look(id).await, Some(("running".to_owned(), 2)));
}

#[tokio::test]
async fn of_sixty_four_claims_of_one_pair_one_gets_it() {
    let engine = Engine::new().await;
    engine.noop().await;
    let pairs = engine.push().await;
    let claims = (0..64).map(|_| async {
        let lease = keryu_common::id::unguessable();
        engine.claim(lease, &pairs).await.len()
    });
    let claimed: usize = futures::future::join_all(claims).await.into_iter().sum();
    assert_eq!(claimed, 1);
    assert_eq!(engine.world.count("SELECT sum(attempt) FROM jobs").await, 1);
}

#[tokio::test]
async fn a_claim_on_a_paused_queue_hands_the_row_back() {
    let engine = Engine::new().await;
    let id = engine.noop().await;
    let pairs = engine.push().await;
    engine.world.execute("UPDATE queues SET paused_at = now() WHERE queue = 'default'").await;
    let runner = engine.runner(Queue::Default, 4);
    runner.take(pairs, false).await;
    runner.settle().await;
    assert_eq!(engine.look(id).await, Some(("available".to_owned(), 0)));
    assert_eq!(engine.world.count("SELECT count(*) FROM jobs WHERE pushed").await, 0, "handed back");
    assert!(engine.push().await.is_empty(), "a paused queue is not pushed");
    assert_eq!(engine.drain().await, 0, "nor drained");
    engine.world.execute("UPDATE queues SET paused_at = NULL").await;
    assert_eq!(engine.drain().await, 1);
}

#[tokio::test]
async fn a_late_finish_changes_nothing() {
    let engine = Engine::new().await;
    let lost = engine.ask(&Noop {}, Terms { serial_key: Some("k".to_owned()), ..Terms::default() }).await;
    let (dead, alive) = (engine.lease().await, keryu_common::id::unguessable());
    assert_eq!(engine.claim(dead, &engine.push().await).await.len(), 1);
    // the first worker cannot renew, the job is reaped and runs with another
    engine.advance(Queue::Default.lease() + Duration::from_secs(1));
    store::renew_lease(&engine.ctx.db, alive, "there", 2, &[], engine.ctx.now()).await.unwrap();
    let mut session = engine.ctx.db.acquire().await.unwrap();
    let before = engine.ctx.now() - Queue::Default.lease();
    assert_eq!(store::reap(&mut session, Queue::Default, engine.ctx.now(), before).await.unwrap(), 1);
    assert_eq!(engine.claim(alive, &engine.push().await).await.len(), 1);
    assert_eq!(engine.look(lost).await, Some(("running".to_owned(), 2)));

    let row =
        "SELECT to_jsonb(jobs) || jsonb_build_object('locks', (SELECT count(*) FROM serial_locks)) FROM jobs";
    let unchanged: Value = sqlx::query_scalar(row).fetch_one(&engine.world.db).await.unwrap();
    assert_eq!(unchanged["locks"], 1);
    assert!(!engine.finish(dead, lost, 1).await, "a success under the lost lease");
    assert!(!engine.finish(dead, lost, 2).await, "of the new attempt");
    assert!(!engine.finish(alive, lost, 1).await, "of the old attempt under the new lease");
    assert!(!engine.set_back(dead, lost, 1, Duration::ZERO).await, "a failure under the lost lease");
    assert!(!engine.set_back(alive, lost, 1, Duration::ZERO).await, "a failure of the old attempt");
    let now: Value = sqlx::query_scalar(row).fetch_one(&engine.world.db).await.unwrap();
    assert_eq!(now, unchanged, "the serial key is held, the row as it was");
    assert!(engine.finish(alive, lost, 2).await);
    assert!(!engine.finish(alive, lost, 2).await, "once");
    assert_eq!(engine.world.count("SELECT count(*) FROM serial_locks").await, 0);
}

#[tokio::test]
async fn the_last_attempt_of_a_lost_worker_is_a_dead_letter() {
    let engine = Engine::new().await;
    let id = engine.noop().await;
    engine.world.execute("UPDATE jobs SET max_attempts = 1").await;
    let lease = engine.lease().await;
    engine.claim(lease, &engine.push().await).await;
    store::delete_lease(&engine.ctx.db, lease).await.unwrap();
    let mut session = engine.ctx.db.acquire().await.unwrap();
    let before = engine.ctx.now() - Queue::Default.lease();
    store::reap(&mut session, Queue::Default, engine.ctx.now(), before).await.unwrap();
    assert_eq!(engine.look(id).await, Some(("discarded".to_owned(), 1)));
    assert_eq!(engine.error(id).await, "the worker that ran attempt 1 was lost");
}

#[tokio::test]
async fn a_job_that_kills_its_workers_waits_longer_each_time_and_is_given_up() {
    let engine = Engine::new().await;
    let id = engine.noop().await;
    for (loss, wait) in [(1, 0), (2, 8), (3, 32), (4, 128)] {
        let lease = engine.lease().await;
        engine.claim(lease, &due(&engine).await).await;
        assert_eq!(engine.look(id).await, Some(("running".to_owned(), loss)));
        lose(&engine, lease).await;
        let waits = engine.state(id).await == "retryable";
        assert_eq!(waits, wait > 0, "after loss {loss}");
        if waits {
            engine.advance(Duration::from_secs(wait - 1));
            assert!(due(&engine).await.is_empty(), "not before {wait} s are over");
            engine.advance(Duration::from_secs(1));
        }
    }
    let lease = engine.lease().await;
    engine.claim(lease, &due(&engine).await).await;
    lose(&engine, lease).await;
    assert_eq!(engine.look(id).await, Some(("discarded".to_owned(), 5)));
    assert_eq!(engine.error(id).await, "the worker that ran attempt 5 was lost, the fifth in a row");
}

/// What came due is pushed.
async fn due(engine: &Engine) -> Vec<keryu_worker::runner::Pair> {
    let mut session = engine.ctx.db.acquire().await.unwrap();
    store::promote_due(&mut session, engine.ctx.now(), 100).await.unwrap();
    drop(session);
    engine.push().await
}

/// The worker of this lease is gone, and the reaper sees it.
async fn lose(engine: &Engine, lease: uuid::Uuid) {
    store::delete_lease(&engine.ctx.db, lease).await.unwrap();
    let mut session = engine.ctx.db.acquire().await.unwrap();
    let before = engine.ctx.now() - Queue::Default.lease();
    store::reap(&mut session, Queue::Default, engine.ctx.now(), before).await.unwrap();
}

#[tokio::test]
async fn a_lease_not_renewed_for_two_thirds_of_its_time_is_lost_for_good() {
    let engine = Engine::new().await;
    engine.noop().await;
    let claimed = engine.claim(engine.lease().await, &engine.push().await).await.remove(0);
    for (queue, safe) in [(Queue::Critical, 6), (Queue::Default, 20)] {
        let ago = |seconds| std::time::Instant::now() - Duration::from_secs(seconds);
        let holds = Holds::since(ago(60));
        assert!(!Lease::new(&claimed, queue, holds.clone(), 0).holds(), "never taken up");
        holds.renewed(ago(safe - 1));
        let lease = Lease::new(&claimed, queue, holds.clone(), holds.now());
        assert!(lease.holds());
        holds.renewed(ago(0));
        assert!(lease.holds(), "renewed in time");

        let holds = Holds::since(ago(60));
        holds.renewed(ago(safe + 1));
        let lease = Lease::new(&claimed, queue, holds.clone(), 0);
        assert!(!lease.holds(), "two thirds went by");
        holds.renewed(ago(0));
        assert!(!lease.holds(), "somebody else may have it: a later renewal does not bring it back");
        assert!(
            Lease::new(&claimed, queue, holds.clone(), holds.now()).holds(),
            "what is claimed after it holds"
        );
    }
}

#[tokio::test]
async fn a_worker_that_could_not_renew_makes_no_outside_call() {
    let gateway = Gateway::start().await;
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    let product = Product::with(&settings).await;
    product.ask("+254712345678", "register").await;
    let engine = Engine { world: product.world, ctx: product.ctx };
    let mut shared = engine.shared();
    shared.holds = Holds::since(std::time::Instant::now() - Duration::from_secs(60));
    shared.holds.renewed(std::time::Instant::now() - Queue::Critical.lease() * 2 / 3);
    let runner = keryu_worker::runner::Runner::new(Queue::Critical, 4, shared);
    let mut session = engine.ctx.db.acquire().await.unwrap();
    let pushed = store::push_due(&mut session, Queue::Critical, engine.ctx.now(), 10, 10).await.unwrap();
    runner.take(pushed.iter().map(|row| (row.job_id, row.push)).collect(), false).await;
    runner.settle().await;
    assert!(gateway.received().is_empty(), "the lease was not held");
    let (state, attempt) = engine.look(pushed[0].job_id).await.unwrap();
    assert_eq!((state.as_str(), attempt), ("retryable", 0), "not the job's fault");
    engine.advance(Duration::from_secs(2));
    engine.drain().await;
    assert_eq!(gateway.received().len(), 1);
}
