//! The books of a bad day: codes are asked for and people sign in from new devices at two APIs, while workers
//! and APIs are killed with -9, stalled and restarted, Redis dies, stalls and forgets, Postgres restarts, the
//! provider refuses or dawdles, and two of a hundred transactions abort after their job row. What breaks when
//! follows from a printed seed. `bin/faults` runs it at full length; here it is short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::chaos::{Fleet, Luck};
use crate::support::gateway::Answer;
use crate::support::{Gateway, Own, World, command, eventually};

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
/// Everybody has a number alone, and has signed in before.
const NUMBERS: &str = "
    UPDATE users SET email = NULL, email_verified_at = NULL, last_login_at = created_at, status = 'active',
                     phone_number = '+2541' || lpad((row_number)::text, 8, '0'), phone_verified_at = created_at
    FROM (SELECT user_id AS id, row_number() OVER (ORDER BY user_id) - 1 AS row_number FROM users) n
    WHERE id = user_id";
/// Of five calls one is a sign-in.
const SIGN_IN: usize = 5;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// What callers were answered.
#[derive(Default)]
struct Answers {
    granted: BTreeSet<String>,
    unavailable: usize,
    cut_off: usize,
}

/// Asks for one code per number or signs in, evenly over the time. Fails on an answer nobody may get.
async fn ask(bases: Vec<String>, calls: usize, over: Duration) -> Answers {
    let http = Client::builder().timeout(Duration::from_secs(30)).build().expect("client");
    let began = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..calls {
        let (http, base) = (http.clone(), bases[n % bases.len()].clone());
        let at = over.mul_f64(n as f64 / calls as f64);
        let (number, path, body) = if n % SIGN_IN == 0 {
            let number = format!("+2541{:08}", n / SIGN_IN);
            let body = json!({ "identifier": number, "password": "keryu-seed-password" });
            (number, "/api/auth/login", body)
        } else {
            let number = format!("+2547{n:08}");
            let body = json!({ "identifier": number, "purpose": "register" });
            (number, "/api/auth/otp/request", body)
        };
        asked.spawn(async move {
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            (number, http.post(format!("{base}{path}")).json(&body).send().await)
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
        match status {
            200 | 202 => drop(answers.granted.insert(number)),
            503 if again => answers.unavailable += 1,
            _ => panic!("{number} was answered {status}: {:?}", answer.text().await),
        }
    }
    answers
}

/// A delivery as the ledger has it.
#[derive(sqlx::FromRow)]
struct Row {
    recipient: String,
    kind: String,
    state: String,
    /// Tries whose outcome is not known to have been a refusal.
    tries: i64,
}

const ROWS: &str = "
    SELECT recipient, kind, state::text,
           (SELECT count(*) FROM delivery_attempts a
            WHERE a.delivery_id = d.delivery_id AND a.outcome IS DISTINCT FROM 'retry') AS tries
    FROM deliveries d";

/// What became of one kind of message.
fn book(rows: &[Row], kind: &str, sent: &BTreeMap<String, usize>) -> Value {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.kind == kind).collect();
    let of = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let copies = |row: &&Row| sent.get(&row.recipient).copied().unwrap_or(0);
    json!({
        "committed": rows.len(), "accepted": of("accepted"), "expired": of("expired"), "held": of("unknown"),
        "failed": of("failed"), "at_sink": rows.iter().map(copies).sum::<usize>(),
        "duplicates": rows.iter().map(|row| copies(row).saturating_sub(1)).sum::<usize>(),
        "tried_again": rows.iter().map(|row| (row.tries - 1).max(0)).sum::<i64>(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_request_ends_accepted_or_expired_whatever_breaks() {
    let calls = setting("KERYU_FAULT_REQUESTS", 600) as usize;
    let over = Duration::from_secs(setting("KERYU_FAULT_SECONDS", 20));
    let every = Duration::from_millis(setting("KERYU_FAULT_EVERY_MS", 1500));
    let workers = setting("KERYU_FAULT_WORKERS", 3) as usize;
    let chance = u64::from_be_bytes(keryu_common::secret::random::<8>()) >> 32;
    let seed = setting("KERYU_FAULT_SEED", chance);
    eprintln!("KERYU_FAULT_SEED={seed}");
    let own = Own::start("faults");
    let world = Arc::new(World::on(own.database_url(), own.redis_url()).await);
    let people = (calls / SIGN_IN + 1).to_string();
    let settings = world.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let seeded = command::run("keryu-api", &["seed", "--users", &people], &settings);
    assert!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));
    world.execute(NUMBERS).await;
    world.execute(ABORTS).await;
    let gateway = Gateway::start().await;
    // long enough that a kill hits some in the middle
    gateway.always(Some(Answer::Slow(Duration::from_millis(150))));
    let settings = [("RATE_LIMIT_ALLOW", "127.0.0.1")];
    let mut fleet = Fleet::start(Arc::clone(&world), own, gateway.clone(), &settings, workers).await;

    let began = Instant::now();
    let asking = tokio::spawn(ask(fleet.bases(), calls, over));
    fleet.suffer(&mut Luck::new(seed), every, began + over).await;
    let answers = asking.await.expect("callers");
    let open = "SELECT count(*) FROM deliveries
                WHERE state IN ('queued', 'sending') OR (state = 'unknown' AND kind = 'otp_code')";
    eventually("every delivery has an end", Duration::from_secs(400), || async {
        world.count(open).await == 0
    })
    .await;
    fleet.end().await;

    let rows: Vec<Row> = sqlx::query_as(ROWS).fetch_all(&world.db).await.expect("deliveries");
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for one in gateway.received().into_iter().filter(|one| one.status == 200) {
        *sent.entry(one.body["to"].as_str().expect("to").to_owned()).or_default() += 1;
    }
    let (codes, notices) = (book(&rows, "otp_code", &sent), book(&rows, "new_device", &sent));
    let committed: BTreeSet<&String> = rows.iter().map(|row| &row.recipient).collect();
    let lost = answers.granted.iter().filter(|number| !committed.contains(number)).count();
    let uninvited = sent.keys().filter(|number| !committed.contains(number)).count();
    let aborted = world.count("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM aborts").await;
    let dead = world.count("SELECT count(*) FROM jobs WHERE state = 'discarded'").await;
    eprintln!(
        "{}",
        json!({
            "seed": seed, "seconds": began.elapsed().as_secs(), "requested": calls,
            "granted": answers.granted.len(), "unavailable": answers.unavailable, "cut_off": answers.cut_off,
            "aborted": aborted, "lost": lost, "sent_for_aborted": uninvited, "dead": dead, "otp_code": codes,
            "new_device": notices, "broken": fleet.broken,
        })
    );

    assert_eq!(committed.len(), rows.len(), "one delivery a call");
    assert_eq!((lost, uninvited, dead), (0, 0, 0), "what was granted is there, and nothing else was sent");
    let count = |book: &Value, name: &str| book[name].as_u64().expect("a number");
    assert_eq!(count(&codes, "accepted") + count(&codes, "expired"), count(&codes, "committed"));
    assert_eq!(count(&notices, "accepted") + count(&notices, "held"), count(&notices, "committed"));
    for row in rows.iter().filter(|row| row.state == "accepted") {
        assert!(sent.contains_key(&row.recipient), "{} was accepted by nobody", row.recipient);
    }
    for row in &rows {
        let copies = sent.get(&row.recipient).copied().unwrap_or(0) as i64;
        assert!(copies <= row.tries.max(1), "{} got {copies} in {} tries", row.recipient, row.tries);
    }
    assert_eq!(count(&notices, "duplicates"), 0, "a notice is never sent twice");
    assert!(aborted > 0, "transactions aborted");
    assert!(!fleet.broken.is_empty() && answers.granted.len() * 2 > calls, "most were granted");
}
