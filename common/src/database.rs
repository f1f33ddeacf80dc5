//! The pool, the migrations and the clock that follows Postgres.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};

/// The schema's steps, compiled in. Forward only.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How a connection of this product is opened. `statement_timeout` bounds every query of a request.
///
/// The planner is told what it cannot see. Hot statements walk indexes from a handful of ids; on tables
/// that are new, or in a month's fresh partition, there are no statistics that say so, and a plan kept
/// from then reads the whole table later (measured: 620 µs a row in place of 20). Compiling (JIT) costs
/// a hundred times what such a statement takes. A verb that wants a hash join sets it in its transaction.
///
/// A prepared statement keeps its plan only where Postgres does not think that one for these very values is
/// cheaper. For a short array or a `LIMIT` it always does, and plans anew each time: 0.2 to 1.2 ms for what
/// runs in 0.05. A hot statement therefore hides such values behind a subquery, `= ANY((SELECT $1::uuid[])::uuid[])`
/// or `LIMIT (SELECT $2::bigint)`: then no value makes a plan look better, and the first is kept.
///
/// # Errors
/// `DATABASE_URL` is malformed.
pub fn options(config: &Config) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(&config.database_url)?
        .application_name("keryu")
        .statement_cache_capacity(256)
        .options([
            ("statement_timeout", "15s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("random_page_cost", "1.1"),
            ("jit", "off"),
        ]);
    Ok(options)
}

/// A lazily connecting pool.
///
/// # Errors
/// `DATABASE_URL` is malformed.
pub fn pool(config: &Config) -> Result<PgPool> {
    Ok(PgPoolOptions::new()
        .max_connections(config.pool)
        .acquire_timeout(Duration::from_secs(3))
        .test_before_acquire(false)
        .connect_lazy_with(options(config)?))
}

/// Applies what is missing of the schema, over a connection of its own: a step may take as long as it takes, and
/// plans as Postgres does by itself. It waits for a lock some seconds only, for all who come after it wait behind
/// it; then the step is tried again, for some minutes.
///
/// # Errors
/// The database does not answer, holds a step this build does not know, or a table is in use all the time.
pub async fn migrate(config: &Config) -> Result<()> {
    const TRIES: u32 = 60;
    let options = options(config)?.options([
        ("statement_timeout", "0"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "0"),
        ("enable_seqscan", "on"),
        ("enable_hashjoin", "on"),
        ("enable_mergejoin", "on"),
    ]);
    let mut tries = 0;
    loop {
        tries += 1;
        let mut connection = options.connect().await?;
        match MIGRATIONS.run(&mut connection).await {
            Ok(()) => {
                connection.close().await?;
                return Ok(());
            }
            Err(error) if tries < TRIES && is_in_use(&error) => {
                tracing::warn!(%error, "a table is in use: the step is tried again");
                connection.close_hard().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(Error::internal(error)),
        }
    }
}

/// Whether a lock was not to be had in time (55P03), or not at all (40P01).
fn is_in_use(error: &MigrateError) -> bool {
    let (MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) = error else {
        return false;
    };
    let database = source.as_database_error();
    database.and_then(|error| error.code()).is_some_and(|code| code == "55P03" || code == "40P01")
}

/// Reads Postgres' clock every second and leads `clock` by it, for as long as the process lives.
pub async fn follow_clock(db: PgPool, clock: Clock) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let asked = tokio::time::Instant::now();
        let read = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&db).await;
        // somewhere between question and answer it was that time; a slow answer tells it badly
        let half = asked.elapsed() / 2;
        if let Ok(now) = read
            && (half < Duration::from_millis(50) || !clock.is_led())
        {
            clock.follow(now + half, half);
        }
    }
}

/// Waits until the clock tells the database's time.
pub async fn clock_led(clock: &Clock) {
    while !clock.is_led() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether Postgres answers within a second.
pub async fn answers(db: &PgPool) -> bool {
    let ping = sqlx::query_scalar!(r#"SELECT 1 AS "one!""#).fetch_one(db);
    matches!(tokio::time::timeout(Duration::from_secs(1), ping).await, Ok(Ok(_)))
}

/// For the rest of a transaction each plan is made for what is asked for: which index serves a list depends on
/// which of its filters are there.
///
/// # Errors
/// The database does not answer.
pub async fn plan_anew(tx: &mut PgConnection) -> std::result::Result<(), sqlx::Error> {
    sqlx::query!("SELECT set_config('plan_cache_mode', 'force_custom_plan', true) AS anew")
        .fetch_one(tx)
        .await?;
    Ok(())
}
