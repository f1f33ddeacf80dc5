//! The books of a bad day: codes are asked for while workers are killed with -9, the API once, Redis
//! restarts and forgets, Postgres restarts, and two of a hundred transactions abort after their job row.
//! `bin/faults` runs it at full length; here it is short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::gateway::Answer;
use crate::support::process::{self, Process};
use crate::support::{Gateway, Own, World, eventually};

/// Aborts two of a hundred at the commit; what they were about is kept where no rollback reaches.
const ABORTS: &str = "
    CREATE SEQUENCE aborts;
    CREATE FUNCTION abort_some() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF get_byte(uuid_send(NEW.job_id), 15) < 5 THEN
            PERFORM nextval('aborts');
            RAISE EXCEPTION 'aborted by the test' USING ERRCODE = '40001';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER abort_some AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION abort_some();";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// What callers were answered.
#[derive(Default)]
struct Answers {
    granted: BTreeMap<String, String>,
    unavailable: usize,
    cut_off: usize,
}

/// Asks for one code per number, evenly over the time. Fails on an answer nobody may get.
async fn ask(base: String, requests: usize, over: Duration) -> Answers {
    let http = Client::builder().timeout(Duration::from_secs(30)).build().expect("client");
    let began = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..requests {
        let (http, url) = (http.clone(), format!("{base}/api/auth/otp/request"));
        let at = over.mul_f64(n as f64 / requests as f64);
        asked.spawn(async move {
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            let number = format!("+2547{n:08}");
            let body = json!({ "identifier": number, "purpose": "register" });
            (number, http.post(url).json(&body).send().await)
        });
    }
    let mut answers = Answers::default();
    while let Some(done) = asked.join_next().await {
        let (number, answer) = done.expect("caller");
        let Ok(answer) = answer else {
            answers.cut_off += 1;
            continue;
        };
        let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap_or_default();
        match status {
            202 => {
                let url = body["delivery_url"].as_str().expect("delivery_url");
                answers.granted.insert(number, url.rsplit('/').next().expect("id").to_owned());
            }
            503 if again => answers.unavailable += 1,
            _ => panic!("{number} was answered {status}: {body}"),
        }
    }
    answers
}

/// Two workers, one of which is killed every so often, for as long as the flag says.
async fn kill_workers(
    world: Arc<World>,
    gateway: Gateway,
    every: Duration,
    until: Instant,
) -> (usize, Vec<Process>) {
    let start = || process::worker(&world, &["--queues", "critical,low"], &gateway.settings());
    let mut workers = vec![start(), start()];
    let mut kills = 0;
    while Instant::now() + every < until {
        tokio::time::sleep(every).await;
        workers.remove(0).kill();
        workers.push(start());
        kills += 1;
    }
    (kills, workers)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_request_ends_accepted_or_expired_whatever_breaks() {
    let requests = setting("KERYU_FAULT_REQUESTS", 600) as usize;
    let over = Duration::from_secs(setting("KERYU_FAULT_SECONDS", 20));
    let every = Duration::from_secs(setting("KERYU_FAULT_KILL_EVERY", 4));
    let mut own = Own::start("faults");
    let world = Arc::new(World::on(own.database_url(), own.redis_url()).await);
    world.execute(ABORTS).await;
    let gateway = Gateway::start().await;
    // long enough that a kill hits some in the middle
    gateway.always(Some(Answer::Slow(Duration::from_millis(150))));
    let mut settings = gateway.settings();
    settings.push(("RATE_LIMIT_ALLOW", "127.0.0.1"));
    let port = process::free_port();
    let api = process::api(&world, port, &settings).await;
    let began = Instant::now();
    let asking = tokio::spawn(ask(api.base.clone(), requests, over));
    let killing = tokio::spawn(kill_workers(Arc::clone(&world), gateway.clone(), every, began + over));
    let at = |part: f64| tokio::time::sleep(over.mul_f64(part).saturating_sub(began.elapsed()));

    at(0.2).await;
    api.process.kill();
    let api = process::api(&world, port, &settings).await;
    at(0.4).await;
    own.redis.kill().expect("kill");
    own.redis.start().expect("start");
    at(0.6).await;
    let client = redis::Client::open(world.redis_url.as_str()).expect("redis");
    let mut redis = client.get_multiplexed_async_connection().await.expect("redis");
    let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("flush");
    at(0.75).await;
    own.postgres.stop().expect("stop");
    own.postgres.start().expect("start");
    let answers = asking.await.expect("callers");
    let (kills, workers) = killing.await.expect("workers");

    let open = "SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending', 'unknown')";
    let settled = AtomicUsize::new(0);
    eventually("every delivery has an end", Duration::from_secs(330), || async {
        settled.fetch_add(1, Ordering::Relaxed);
        world.count(open).await == 0
    })
    .await;
    for worker in workers {
        worker.terminate(Duration::from_secs(25)).await;
    }
    drop(api);

    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT recipient, delivery_id::text, state::text FROM deliveries")
            .fetch_all(&world.db)
            .await
            .expect("deliveries");
    let committed: BTreeMap<&String, (&String, &String)> =
        rows.iter().map(|(to, id, state)| (to, (id, state))).collect();
    assert_eq!(committed.len(), rows.len(), "one delivery a request");
    let received: Vec<String> =
        gateway.received().iter().map(|one| one.body["to"].as_str().expect("to").to_owned()).collect();
    let reached: BTreeSet<&String> = received.iter().collect();
    let of = |wanted: &str| rows.iter().filter(|(_, _, state)| state == wanted).count();
    let aborted = world.count("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM aborts").await;
    let dead = world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await;
    let retried = "SELECT (count(*) - count(DISTINCT delivery_id))::bigint FROM delivery_attempts";
    eprintln!(
        "{}",
        json!({
            "requested": requests, "granted": answers.granted.len(), "unavailable": answers.unavailable,
            "cut_off": answers.cut_off, "aborted": aborted, "committed": rows.len(), "accepted": of("accepted"),
            "expired": of("expired"), "dead": dead, "sent": received.len(),
            "duplicates": received.len() - reached.len(), "tried_again": world.count(retried).await,
            "kills": kills, "seconds": began.elapsed().as_secs(),
        })
    );

    assert_eq!(of("accepted") + of("expired"), rows.len(), "every committed request has its end");
    for (number, id) in &answers.granted {
        let row = committed.get(number).unwrap_or_else(|| panic!("{number} was granted and is gone"));
        assert_eq!(row.0, id);
    }
    for number in &reached {
        assert!(committed.contains_key(number), "{number} was sent a code of an aborted request");
    }
    for (number, (_, state)) in &committed {
        assert!(*state != "accepted" || reached.contains(number), "{number} was accepted by nobody");
    }
    assert!(aborted > 0, "transactions aborted");
    assert!(kills > 0 && answers.granted.len() * 2 > requests, "most were granted");
    let again = world.count(retried).await;
    assert!((received.len() - reached.len()) as i64 <= again, "a second message without a second attempt");
}
