//! A bad day by chance: what breaks, and when, follows from one number, so that a day can be lived again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gateway::Answer;
use super::process::{self, Api, Process};
use super::{Gateway, Own, World};

/// SplitMix64 (Steele, Lea, Flood 2014): all chance of a day.
pub struct Luck(u64);

impl Luck {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    /// A span between these two.
    pub fn span(&mut self, from: Duration, to: Duration) -> Duration {
        from + (to - from).mul_f64(self.below(1000) as f64 / 1000.0)
    }
}

/// What can break.
#[derive(Clone, Copy, Debug)]
enum Break {
    WorkerKilled,
    WorkerStalled,
    WorkerRestarted,
    ApiKilled,
    ApiStalled,
    RedisKilled,
    RedisStalled,
    RedisFlushed,
    PostgresRestarted,
    ProviderFails,
}

/// One of each, the commoner ones more often.
const BREAKS: [Break; 15] = [
    Break::WorkerKilled,
    Break::WorkerKilled,
    Break::WorkerKilled,
    Break::WorkerStalled,
    Break::WorkerStalled,
    Break::WorkerRestarted,
    Break::ApiKilled,
    Break::ApiKilled,
    Break::ApiStalled,
    Break::RedisKilled,
    Break::RedisStalled,
    Break::RedisFlushed,
    Break::ProviderFails,
    Break::ProviderFails,
    Break::PostgresRestarted,
];

/// Two APIs and some workers over servers of their own.
pub struct Fleet {
    world: Arc<World>,
    own: Own,
    gateway: Gateway,
    settings: Vec<(&'static str, String)>,
    ports: [u16; 2],
    apis: Vec<Api>,
    workers: Vec<Process>,
    /// How often each thing broke.
    pub broken: BTreeMap<String, usize>,
}

impl Fleet {
    /// Starts all of it.
    pub async fn start(
        world: Arc<World>,
        own: Own,
        gateway: Gateway,
        settings: &[(&'static str, &str)],
        workers: usize,
    ) -> Self {
        let given = gateway.settings().into_iter().chain(settings.iter().copied());
        let settings: Vec<_> = given.map(|(name, value)| (name, value.to_owned())).collect();
        let ports = [process::free_port(), process::free_port()];
        let mut fleet = Self {
            world,
            own,
            gateway,
            settings,
            ports,
            apis: Vec::new(),
            workers: Vec::new(),
            broken: BTreeMap::new(),
        };
        for at in 0..2 {
            let api = fleet.api(at).await;
            fleet.apis.push(api);
        }
        for _ in 0..workers {
            let worker = fleet.worker();
            fleet.workers.push(worker);
        }
        fleet
    }

    /// Where the APIs are.
    pub fn bases(&self) -> Vec<String> {
        self.apis.iter().map(|api| api.base.clone()).collect()
    }

    fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn api(&self, at: usize) -> Api {
        process::api(&self.world, self.ports[at], &self.settings()).await
    }

    fn worker(&self) -> Process {
        process::worker(&self.world, &["--queues", "critical,default,low"], &self.settings())
    }

    /// Breaks one thing after the other until then, `every` so long on average.
    pub async fn suffer(&mut self, luck: &mut Luck, every: Duration, until: Instant) {
        loop {
            let wait = luck.span(every / 2, every * 3 / 2);
            if Instant::now() + wait >= until {
                return;
            }
            tokio::time::sleep(wait).await;
            let what = BREAKS[luck.below(BREAKS.len() as u64) as usize];
            *self.broken.entry(format!("{what:?}")).or_default() += 1;
            self.suffer_one(what, luck).await;
        }
    }

    async fn suffer_one(&mut self, what: Break, luck: &mut Luck) {
        let short = luck.span(Duration::from_millis(200), Duration::from_secs(3));
        // longer than a lease of codes lasts, at times
        let long = luck.span(Duration::from_secs(1), Duration::from_secs(12));
        match what {
            Break::WorkerKilled => {
                self.workers.remove(0).kill();
                self.workers.push(self.worker());
            }
            Break::WorkerStalled => {
                let at = luck.below(self.workers.len() as u64) as usize;
                self.workers[at].pause();
                tokio::time::sleep(long).await;
                self.workers[at].resume();
            }
            Break::WorkerRestarted => {
                self.workers.push(self.worker());
                self.workers.remove(0).terminate(Duration::from_secs(40)).await;
            }
            Break::ApiKilled => {
                let at = luck.below(2) as usize;
                self.apis.remove(at).process.kill();
                let api = self.api(at).await;
                self.apis.insert(at, api);
            }
            Break::ApiStalled => {
                let at = luck.below(2) as usize;
                self.apis[at].process.pause();
                tokio::time::sleep(short).await;
                self.apis[at].process.resume();
            }
            Break::RedisKilled => {
                self.own.redis.kill().expect("kill");
                tokio::time::sleep(short).await;
                self.own.redis.start().expect("start");
            }
            Break::RedisStalled => {
                self.own.redis.pause().expect("pause");
                tokio::time::sleep(short).await;
                self.own.redis.resume().expect("resume");
            }
            Break::RedisFlushed => {
                let client = redis::Client::open(self.world.redis_url.as_str()).expect("redis");
                let mut redis = client.get_multiplexed_async_connection().await.expect("redis");
                let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("flush");
            }
            Break::PostgresRestarted => {
                self.own.postgres.stop().expect("stop");
                self.own.postgres.start().expect("start");
            }
            Break::ProviderFails => {
                let bad = [Answer::Status(503), Answer::Status(429), Answer::Slow(Duration::from_secs(3))];
                self.gateway.answers((0..20).map(|_| bad[luck.below(3) as usize].clone()));
            }
        }
    }

    /// Ends workers and APIs in good order; the servers stay until this is dropped.
    pub async fn end(&mut self) {
        for worker in self.workers.drain(..) {
            worker.terminate(Duration::from_secs(40)).await;
        }
        self.apis.clear();
    }
}
