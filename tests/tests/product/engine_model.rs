//! The ledger against a model of it: random sequences of everything that can happen to jobs, and after
//! each step both must agree. A failure prints the seed; `KERYU_SEED=n` runs that one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use keryu_common::job::{Noop, Terms, store};
use keryu_worker::runner::Pair;
use uuid::Uuid;

use crate::support::Engine;

/// A small generator (splitmix64): the same seed gives the same sequence everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.roll(from.len())].clone()) }
    }
}

/// What the model knows of a job.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    state: &'static str,
    attempt: i16,
    /// The lease it runs under.
    lease: Option<Uuid>,
    unique: Option<String>,
    /// Whether it holds its unique key.
    binds: bool,
    serial: Option<String>,
    /// Attempts in a row that lost their worker.
    losses: u32,
    /// When a retry comes due.
    due: DateTime<Utc>,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<Uuid, Known>,
    /// Every message ever pushed: it may come at any time, and more than once.
    messages: Vec<Pair>,
    /// The push that counts, per pushed and unclaimed row.
    pushed: BTreeMap<Uuid, i32>,
    leases: Vec<Uuid>,
    paused: bool,
}

impl Model {
    fn running(&self) -> Vec<(Uuid, Known)> {
        let all = self.jobs.iter().filter(|(_, job)| job.state == "running");
        all.map(|(id, job)| (*id, job.clone())).collect()
    }

    fn holder(&self, key: &str) -> Option<Uuid> {
        self.jobs.iter().find(|(_, job)| job.binds && job.unique.as_deref() == Some(key)).map(|(id, _)| *id)
    }

    fn serial_is_taken(&self, key: Option<&String>) -> bool {
        key.is_some() && self.running().iter().any(|(_, job)| job.serial.as_ref() == key)
    }
}

struct Run {
    engine: Engine,
    model: Model,
    dice: Dice,
}

impl Run {
    async fn step(&mut self) -> String {
        match self.dice.roll(12) {
            0..=2 => self.enqueue().await,
            3 | 4 => self.push().await,
            5..=7 => self.deliver().await,
            8 => self.finish().await,
            9 => self.fail().await,
            10 => self.lose_worker().await,
            _ => self.pause_or_wait().await,
        }
    }

    async fn enqueue(&mut self) -> String {
        let unique = [None, None, Some("u1"), Some("u2")][self.dice.roll(4)].map(str::to_owned);
        let serial = [None, Some("s1"), Some("s2")][self.dice.roll(3)].map(str::to_owned);
        let terms = Terms { unique_key: unique.clone(), serial_key: serial.clone(), ..Terms::default() };
        let id = self.engine.ask(&Noop {}, terms).await;
        match unique.as_ref().and_then(|key| self.model.holder(key)) {
            Some(holder) => assert_eq!(id, holder, "the waiting job takes the request over"),
            None => {
                assert!(!self.model.jobs.contains_key(&id));
                let binds = unique.is_some();
                let due = DateTime::UNIX_EPOCH;
                let job = Known {
                    state: "available",
                    attempt: 0,
                    lease: None,
                    unique,
                    binds,
                    serial,
                    losses: 0,
                    due,
                };
                self.model.jobs.insert(id, job);
            }
        }
        format!("enqueue {id}")
    }

    async fn push(&mut self) -> String {
        let pairs = self.engine.push().await;
        assert!(!self.model.paused || pairs.is_empty(), "a paused queue is not pushed");
        let mut keys = BTreeSet::new();
        for (id, push) in &pairs {
            let job = &self.model.jobs[id];
            assert_eq!(job.state, "available");
            assert!(!self.model.pushed.contains_key(id), "pushed once");
            assert!(!self.model.messages.contains(&(*id, *push)), "a number of its own");
            assert!(!self.model.serial_is_taken(job.serial.as_ref()));
            assert!(job.serial.is_none() || keys.insert(job.serial.clone()), "one per serial key");
        }
        self.model.pushed.extend(pairs.iter().copied());
        self.model.messages.extend(&pairs);
        format!("push {}", pairs.len())
    }

    /// Some messages come, new and old, to some worker.
    async fn deliver(&mut self) -> String {
        let Some(lease) = self.dice.pick(&self.model.leases) else { return self.new_worker().await };
        let some: Vec<Pair> =
            (0..=self.dice.roll(4)).filter_map(|_| self.dice.pick(&self.model.messages)).collect();
        let some: Vec<Pair> = some.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let claimed = self.engine.claim(lease, &some).await;
        let mut taken = BTreeSet::new();
        for job in &claimed {
            assert!(!self.model.paused, "claimed from a paused queue");
            let pair =
                some.iter().find(|(id, push)| self.model.pushed.get(id) == Some(push) && *id == job.job_id);
            assert!(pair.is_some(), "claimed by a number that no longer counts");
            let known = self.model.jobs.get_mut(&job.job_id).expect("a known job");
            assert_eq!(known.state, "available");
            (known.state, known.attempt, known.lease, known.binds) =
                ("running", known.attempt + 1, Some(lease), false);
            assert_eq!(job.attempt, known.attempt);
            self.model.pushed.remove(&job.job_id);
            taken.insert(job.job_id);
        }
        for (id, push) in some {
            let job = &self.model.jobs[&id];
            let due = self.model.pushed.get(&id) == Some(&push) && !taken.contains(&id);
            let may = !self.model.paused && !self.model.serial_is_taken(job.serial.as_ref());
            assert!(!(due && may), "{id} could have been claimed");
            if due {
                // as a runner does with what it could not claim
                assert_eq!(
                    store::unpush(&self.engine.ctx.db, &[id], &[push]).await.expect("the ledger answers"),
                    1
                );
                self.model.pushed.remove(&id);
            }
        }
        format!("deliver {}", claimed.len())
    }

    async fn new_worker(&mut self) -> String {
        self.model.leases.push(self.engine.lease().await);
        "a worker joins".to_owned()
    }

    /// The lease and attempt a worker would name: mostly right, sometimes those of a past life.
    fn claim_to(&mut self, known: &Known) -> (Uuid, i16, bool) {
        let stale = self.dice.roll(4) == 0;
        let attempt = known.attempt - i16::from(stale);
        (known.lease.expect("it runs"), attempt, !stale)
    }

    async fn finish(&mut self) -> String {
        let Some((id, known)) = self.dice.pick(&self.model.running()) else { return self.new_worker().await };
        let (lease, attempt, counts) = self.claim_to(&known);
        assert_eq!(self.engine.finish(lease, id, attempt).await, counts);
        if counts {
            let job = self.model.jobs.get_mut(&id).expect("a known job");
            (job.state, job.lease) = ("completed", None);
        }
        format!("finish {id} {counts}")
    }

    async fn fail(&mut self) -> String {
        let Some((id, known)) = self.dice.pick(&self.model.running()) else { return self.new_worker().await };
        let ((lease, attempt, counts), now) = (self.claim_to(&known), self.engine.ctx.now());
        assert_eq!(self.engine.set_back(lease, id, attempt, Duration::from_secs(5)).await, counts);
        if counts {
            let free = known.unique.as_ref().is_some_and(|key| self.model.holder(key).is_none());
            let job = self.model.jobs.get_mut(&id).expect("a known job");
            (job.state, job.lease, job.binds) = ("retryable", None, free);
            (job.losses, job.due) = (0, now + Duration::from_secs(5));
        }
        format!("fail {id} {counts}")
    }

    /// kill -9: its lease lapses and the reaper comes.
    async fn lose_worker(&mut self) -> String {
        let Some(lease) = self.dice.pick(&self.model.leases) else { return self.new_worker().await };
        self.model.leases.retain(|one| *one != lease);
        store::delete_lease(&self.engine.ctx.db, lease).await.expect("the ledger answers");
        let mut session = self.engine.ctx.db.acquire().await.expect("the ledger answers");
        let (now, queue) = (self.engine.ctx.now(), keryu_common::job::Queue::Default);
        store::reap(&mut session, queue, now, now - Duration::from_secs(86_400))
            .await
            .expect("the ledger answers");
        for job in self.model.jobs.values_mut().filter(|job| job.lease == Some(lease)) {
            // the second in a row and those after it wait, longer each time; the fifth is the last
            job.state = match job.losses {
                0 => "available",
                1..4 => "retryable",
                _ => "discarded",
            };
            job.due = now + Duration::from_secs(2 * 4u64.pow(job.losses));
            (job.lease, job.losses) = (None, job.losses + 1);
        }
        "a worker is lost".to_owned()
    }

    async fn pause_or_wait(&mut self) -> String {
        if self.dice.roll(3) == 0 {
            self.model.paused = !self.model.paused;
            let sql = if self.model.paused {
                "UPDATE queues SET paused_at = now() WHERE queue = 'default'"
            } else {
                "UPDATE queues SET paused_at = NULL"
            };
            self.engine.world.execute(sql).await;
            return format!("paused: {}", self.model.paused);
        }
        // what failed comes due; a key that somebody younger holds ends it
        self.engine.advance(Duration::from_secs(6));
        let mut session = self.engine.ctx.db.acquire().await.expect("the ledger answers");
        store::supersede(&mut session, self.engine.ctx.now()).await.expect("the ledger answers");
        store::promote_due(&mut session, self.engine.ctx.now(), 100).await.expect("the ledger answers");
        let now = self.engine.ctx.now();
        let held: Vec<_> = self.model.jobs.values().filter(|job| job.binds).cloned().collect();
        for job in self.model.jobs.values_mut().filter(|job| job.state == "retryable" && job.due <= now) {
            let superseded =
                job.unique.is_some() && !job.binds && held.iter().any(|one| one.unique == job.unique);
            job.state = if superseded { "cancelled" } else { "available" };
        }
        "time goes by".to_owned()
    }

    /// The ledger and the model agree, and what must never be is not.
    async fn check(&self) {
        let rows: Vec<(Uuid, String, i16, Option<Uuid>)> = sqlx::query_as(
            "SELECT job_id, state::text, attempt, lease_id FROM jobs
             UNION ALL SELECT job_id, state::text, attempt, NULL FROM finished_jobs",
        )
        .fetch_all(&self.engine.world.db)
        .await
        .expect("rows");
        assert_eq!(rows.len(), self.model.jobs.len());
        for (id, state, attempt, lease) in rows {
            let known = &self.model.jobs[&id];
            assert_eq!((state.as_str(), attempt, lease), (known.state, known.attempt, known.lease), "{id}");
        }
        let twice = "SELECT count(*) FROM (SELECT serial_key FROM jobs WHERE state = 'running' AND serial_key IS NOT NULL
                                          GROUP BY serial_key HAVING count(*) > 1) t";
        assert_eq!(self.engine.world.count(twice).await, 0, "two run with one serial key");
    }
}

#[tokio::test]
async fn whatever_happens_the_ledger_does_what_its_model_says() {
    let seeds = match std::env::var("KERYU_SEED") {
        Ok(seed) => vec![seed.parse().expect("KERYU_SEED is a number")],
        Err(_) => vec![u64::from_be_bytes(keryu_common::secret::random()), 1, 2],
    };
    for seed in seeds {
        let mut run = Run { engine: Engine::new().await, model: Model::default(), dice: Dice(seed) };
        run.new_worker().await;
        for step in 0..150 {
            let what = run.step().await;
            // the last of these lines, and the seed, tell what failed
            eprintln!("seed {seed}, step {step}: {what}");
            run.check().await;
        }
    }
}
