//! What every verb is given: built once per process, passed by reference.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sqlx::PgPool;

use crate::auth::{otp, password};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::limit::lockout;
use crate::provider::storage::Storage;
use crate::telemetry::Metrics;
use crate::{activity, api_key, audit, crm, database, desk, ip_block, job, notify, profile, session, user};

/// The parts a verb stands on.
#[derive(Clone, Debug)]
pub struct Context(Arc<Parts>);

/// The contents of a [`Context`].
#[derive(Debug)]
pub struct Parts {
    /// The connection pool.
    pub db: PgPool,
    /// All settings.
    pub config: Config,
    /// The source of time.
    pub clock: Clock,
    /// What is measured in this process.
    pub metrics: Metrics,
    /// Whether this process was told to stop: nobody should send it more.
    pub leaving: AtomicBool,
    /// Tells workers that rows wait; best effort.
    pub wake: job::Wake,
    /// Where requests for codes share a transaction.
    pub desk: otp::Desk,
    /// Addresses nobody is served from.
    pub shield: ip_block::Shield,
    /// Counts failed sign-ins.
    pub lockout: lockout::Lockout,
    /// The list of leaked passwords.
    pub breaches: password::Breaches,
    /// Hashes passwords.
    pub hasher: password::Hasher,
    /// The keys of access tokens.
    pub keys: session::Keys,
    /// Where calls of people who are signed in share a query.
    pub present: session::Present,
    /// Where calls of services share a query.
    pub services: api_key::Lookups,
    /// Where reads of one's own profile share a query.
    pub profiles: profile::Reads,
    /// Where audit lines of reads share a statement.
    pub reads: audit::Reads,
    /// How many people there are, where nobody counts them.
    pub estimates: user::Estimates,
    /// Where refreshes share a statement.
    pub renewals: session::Renewals,
    /// Who called since it was last written down.
    pub activity: activity::Activity,
    /// Channels, templates and the batched delivery record.
    pub notify: notify::Courier,
    /// Whose turn it is to call a provider that has a rate.
    pub turns: desk::rate::Turns,
    /// Systems that keep a copy of people's data.
    pub crm: crm::Links,
    /// Where files are.
    pub storage: Storage,
}

impl std::ops::Deref for Context {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Context {
    /// Connects lazily: a database that is down at start is waited for by those who need it.
    ///
    /// # Errors
    /// A setting that cannot be used (a malformed URL, a template that does not compile).
    pub fn build(config: Config) -> Result<Self> {
        let db = database::pool(&config)?;
        Self::with(config, db, Clock::system())
    }

    /// With a pool and a clock of the caller's: tests use a database each and set the time.
    ///
    /// # Errors
    /// As [`Context::build`].
    pub fn with(config: Config, db: PgPool, clock: Clock) -> Result<Self> {
        let wake = job::Wake::open(&config.redis_url, &config.job.prefix)?;
        let desk = otp::Desk::open(&config, &db);
        let metrics = Metrics::default();
        let hasher = password::Hasher::open(&config.password, &metrics);
        let breaches = password::Breaches::open(&config.password, &metrics)?;
        let lockout =
            lockout::Lockout::open(&config.lockout, &config.redis_url, &config.job.prefix, &metrics)?;
        let shield = ip_block::Shield::default();
        let notify = notify::Courier::open(&config, db.clone())?;
        let (present, renewals) = (session::Present::open(&db), session::Renewals::open(&config, &db));
        let services = api_key::Lookups::open(&db);
        let (profiles, reads) = (profile::Reads::open(&db), audit::Reads::open(&db));
        let keys = session::Keys::default();
        let turns = desk::rate::Turns::open(config.job.rates.clone(), &db);
        let crm = crm::Links::open(&config.crm)?;
        let storage = Storage::open(&config.upload.storage)?;
        Ok(Self(Arc::new(Parts {
            db,
            config,
            clock,
            metrics,
            leaving: AtomicBool::new(false),
            wake,
            desk,
            shield,
            lockout,
            breaches,
            hasher,
            keys,
            present,
            services,
            profiles,
            reads,
            estimates: user::Estimates::default(),
            renewals,
            activity: activity::Activity::default(),
            notify,
            turns,
            crm,
            storage,
        })))
    }

    /// The present moment, by the context's clock.
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.clock.now()
    }
}
