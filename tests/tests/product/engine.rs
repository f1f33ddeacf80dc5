//! What becomes of a job: verdicts, retries, order, keys. Under a clock that the test moves.

use std::time::Duration;

use keryu_common::job::{Noop, Queue, Terms, store};

use crate::support::Engine;
use crate::support::kinds::{Fail, Hang, Note, Panic};

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_harms_nobody_else() {
    let engine = Engine::new().await;
    let falls = engine.ask(&Panic {}, Terms::default()).await;
    let works = engine.ask(&Note { tag: "works".into(), millis: 20 }, Terms::default()).await;
    engine.drain().await;
    assert_eq!(engine.look(falls).await, Some(("retryable".to_owned(), 1)));
    assert_eq!(engine.error(falls).await, "panicked: the handler fell over");
    assert_eq!(engine.state(works).await, "completed");
    engine.advance(Duration::from_secs(60));
    engine.drain().await;
    assert_eq!(engine.look(falls).await, Some(("discarded".to_owned(), 2)));
    assert_eq!(engine.error(falls).await, "panicked: the handler fell over; no attempts left");
}

#[tokio::test]
async fn a_handler_that_hangs_is_ended_by_its_timeout_and_tried_again() {
    let engine = Engine::new().await;
    let id = engine.ask(&Hang {}, Terms::default()).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), engine.drain()).await;
    assert_eq!(ended, Ok(1), "the handler was not ended");
    assert_eq!(engine.look(id).await, Some(("retryable".to_owned(), 1)));
    assert_eq!(engine.error(id).await, "timed out after 100ms");
}

#[tokio::test]
async fn a_job_of_a_newer_build_waits_for_it_and_is_a_dead_letter_after_an_hour() {
    let engine = Engine::new().await;
    let [kind, newer] = [engine.noop().await, engine.noop().await];
    for (id, change) in [
        (kind, "UPDATE jobs SET kind = 'future.kind' WHERE job_id = $1"),
        (newer, "UPDATE jobs SET version = 2 WHERE job_id = $1"),
    ] {
        sqlx::query(change).bind(id).execute(&engine.world.db).await.unwrap();
    }
    let reasons = [
        (kind, "no handler for the kind future.kind"),
        (newer, "payload version 2 is newer than this build's 1"),
    ];
    for (after, state) in [(0, "retryable"), (60, "retryable"), (3600, "discarded")] {
        engine.advance(Duration::from_secs(after));
        engine.drain().await;
        for (id, reason) in reasons {
            let attempts = i16::from(state == "discarded");
            assert_eq!(engine.look(id).await, Some((state.to_owned(), attempts)), "{reason} after {after} s");
            assert_eq!(engine.error(id).await, reason);
        }
    }
}

#[tokio::test]
async fn a_payload_that_does_not_decode_is_a_dead_letter_with_its_reason() {
    let engine = Engine::new().await;
    let garbled = engine.noop().await;
    let garbled_note = engine.ask(&Note::default(), Terms::default()).await;
    for (id, change) in [
        (garbled, r#"UPDATE jobs SET payload = '"\\"' WHERE job_id = $1"#),
        (garbled_note, r#"UPDATE jobs SET payload = '{"tag": 7}' WHERE job_id = $1"#),
    ] {
        sqlx::query(change).bind(id).execute(&engine.world.db).await.unwrap();
    }
    engine.drain().await;
    for id in [garbled, garbled_note] {
        assert_eq!(engine.look(id).await, Some(("discarded".to_owned(), 1)));
        let reason = engine.error(id).await;
        assert!(reason.starts_with("the payload does not decode"), "{reason}");
    }
}

#[tokio::test]
async fn a_failing_job_waits_longer_each_time_until_its_attempts_are_over() {
    let engine = Engine::new().await;
    let id = engine.ask(&Fail {}, Terms::default()).await;
    // 10 s, then 20 s, give or take a quarter
    for (attempt, least, most) in [(1, 7, 13), (2, 15, 25)] {
        assert_eq!(engine.drain().await, 1);
        assert_eq!(engine.look(id).await, Some(("retryable".to_owned(), attempt)));
        engine.advance(Duration::from_secs(least));
        assert_eq!(engine.drain().await, 0, "not yet after {least} s");
        engine.advance(Duration::from_secs(most - least));
    }
    assert_eq!(engine.drain().await, 1);
    assert_eq!(engine.look(id).await, Some(("discarded".to_owned(), 3)));
    engine.advance(Duration::from_secs(3600));
    assert_eq!(engine.drain().await, 0, "a dead letter stays dead");
}

#[tokio::test]
async fn a_job_waits_for_its_time_and_dies_after_its_expiry() {
    let engine = Engine::new().await;
    let at = |seconds| Some(engine.ctx.now() + Duration::from_secs(seconds));
    let later = engine.ask(&Noop {}, Terms { run_at: at(60), ..Terms::default() }).await;
    let brief = engine.ask(&Noop {}, Terms { expires_at: at(30), ..Terms::default() }).await;
    let pushed = engine.ask(&Noop {}, Terms { expires_at: at(30), ..Terms::default() }).await;
    assert_eq!(engine.state(later).await, "scheduled");
    let pairs: Vec<_> = engine.push().await.into_iter().filter(|(id, _)| *id == pushed).collect();
    store::unpush(&engine.ctx.db, &[brief], &[1]).await.unwrap();
    engine.advance(Duration::from_secs(31));
    // a message that names it is on its way all the while
    let runner = engine.runner(Queue::Default, 4);
    runner.take(pairs, false).await;
    runner.settle().await;
    assert_eq!(engine.drain().await, 0);
    for id in [brief, pushed] {
        assert_eq!(engine.state(id).await, "discarded");
        assert_eq!(engine.error(id).await, "expired before it could run");
    }
    engine.advance(Duration::from_secs(30));
    assert_eq!(engine.drain().await, 1);
    assert_eq!(engine.state(later).await, "completed");
}

#[tokio::test]
async fn the_urgent_go_first_and_equals_in_the_order_they_were_asked_for() {
    let engine = Engine::new().await;
    for (tag, priority) in [("d", 9), ("b", 5), ("c", 5), ("a", 0)] {
        let terms = Terms { priority: Some(priority), ..Terms::default() };
        engine.ask(&Note { tag: tag.to_owned(), millis: 0 }, terms).await;
    }
    let pushed = engine.push().await;
    let runner = engine.runner(Queue::Default, 1);
    runner.take(pushed, false).await;
    runner.settle().await;
    assert_eq!(engine.ran().await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn requests_under_one_unique_key_are_one_job_while_it_waits() {
    let engine = Engine::new().await;
    let terms = || Terms { unique_key: Some("user 7".to_owned()), ..Terms::default() };
    let note = |tag: &str| Note { tag: tag.to_owned(), millis: 0 };
    let first = engine.ask(&note("first"), terms()).await;
    assert_eq!(engine.ask(&note("last"), terms()).await, first);
    let lease = engine.lease().await;
    assert_eq!(engine.claim(lease, &engine.push().await).await.len(), 1);
    // it runs: what changes now needs a run of its own
    let second = engine.ask(&note("during"), terms()).await;
    assert_ne!(second, first);
    assert_eq!(engine.ask(&note("during, again"), terms()).await, second);
    // it fails while the other waits: that one will do the work
    assert!(engine.set_back(lease, first, 1, Duration::ZERO).await);
    let mut session = engine.ctx.db.acquire().await.unwrap();
    assert_eq!(store::supersede(&mut session, engine.ctx.now()).await.unwrap(), 1);
    assert_eq!(engine.state(first).await, "cancelled");
    engine.drain().await;
    assert_eq!(engine.ran().await, ["during, again"]);
}

#[tokio::test]
async fn a_request_for_at_once_does_not_wait_for_the_later_one_under_its_key() {
    let engine = Engine::new().await;
    let at = |seconds: i64| Terms {
        unique_key: Some("user 7".to_owned()),
        run_at: Some(engine.ctx.now() + chrono::TimeDelta::seconds(seconds)),
        ..Terms::default()
    };
    let note = |tag: &str| Note { tag: tag.to_owned(), millis: 0 };
    let first = engine.ask(&note("later"), at(3600)).await;
    assert_eq!(engine.ask(&note("at once"), at(0)).await, first);
    assert_eq!(engine.ask(&note("later again"), at(3600)).await, first);
    engine.drain().await;
    assert_eq!(engine.ran().await, ["later again"]);
}

#[tokio::test]
async fn a_coalescing_request_that_has_not_committed_blocks_the_claim() {
    let engine = Engine::new().await;
    let terms = || Terms { unique_key: Some("user 7".to_owned()), ..Terms::default() };
    let note = |tag: &str| Note { tag: tag.to_owned(), millis: 0 };
    engine.ask(&note("old"), terms()).await;
    let pairs = engine.push().await;
    let mut tx = engine.ctx.db.begin().await.unwrap();
    keryu_common::job::enqueue(&mut tx, engine.ctx.now(), &note("new"), terms()).await.unwrap();
    let lease = engine.lease().await;
    let claim = engine.claim(lease, &pairs);
    tokio::pin!(claim);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut claim).await;
    assert!(early.is_err(), "claimed with the payload of before");
    tx.commit().await.unwrap();
    let claimed = claim.await;
    assert_eq!(claimed[0].payload["tag"], "new");
}

#[tokio::test]
async fn two_jobs_with_one_serial_key_never_run_at_once_and_keep_their_order() {
    let engine = Engine::new().await;
    for tag in ["1", "2", "3"] {
        let terms = Terms { serial_key: Some("user 7".to_owned()), ..Terms::default() };
        engine.ask(&Note { tag: tag.to_owned(), millis: 5 }, terms).await;
    }
    let lease = engine.lease().await;
    let first = engine.push().await;
    assert_eq!(first.len(), 1, "the others wait for it");
    assert_eq!(engine.claim(lease, &first).await.len(), 1);
    assert!(engine.push().await.is_empty(), "it runs");
    // pairs that were pushed all the same claim nothing
    engine.world.execute("UPDATE jobs SET pushed = true, push = 7 WHERE state = 'available'").await;
    let rest: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT job_id FROM jobs WHERE state = 'available' ORDER BY job_id")
            .fetch_all(&engine.world.db)
            .await
            .unwrap();
    let forced: Vec<_> = rest.iter().map(|id| (*id, 7)).collect();
    assert!(engine.claim(lease, &forced).await.is_empty());
    assert!(engine.finish(lease, first[0].0, 1).await);
    assert_eq!(engine.claim(lease, &forced).await.len(), 1, "one of them, and not both");
    assert!(engine.set_back(lease, rest[0], 1, Duration::ZERO).await);
    engine.world.execute("UPDATE jobs SET pushed = false WHERE state = 'available'").await;
    engine.drain().await;
    assert_eq!(engine.ran().await, ["2", "3"]);
    let overlaps = "SELECT count(*) FROM ran a JOIN ran b ON a.seq < b.seq AND b.began < a.ended";
    assert_eq!(engine.world.count(overlaps).await, 0);
    assert_eq!(engine.world.count("SELECT count(*) FROM serial_locks").await, 0);
}

#[tokio::test]
async fn a_message_that_comes_twice_leaves_the_running_job_its_place() {
    let engine = Engine::new().await;
    let id = engine.ask(&Note { tag: "long".into(), millis: 400 }, Terms::default()).await;
    let pairs = engine.push().await;
    let runner = engine.runner(Queue::Default, 4);
    runner.take(pairs.clone(), false).await;
    runner.take(pairs, false).await;
    assert_eq!(runner.held(), [id], "it runs here, and is not a claim whose answer was lost");
    runner.settle().await;
    assert!(runner.held().is_empty());
    assert_eq!(engine.ran().await, ["long"]);
    assert_eq!(engine.state(id).await, "completed");
}
