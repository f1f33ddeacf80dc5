//! Ends a process whose handlers do not yield. A timeout takes effect where a handler waits for something; one
//! that never does keeps its thread for good, and enough of them the process, while the lease goes on. A thread
//! of its own sees them: it writes down why and ends the process, whose other jobs go back by their lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keryu_common::Context;
use keryu_common::job::Lease;
use keryu_common::job::store::{self, Setback};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// In how many looks in a row a job must be over its time: a process that was stopped for a while ends what is
/// late as soon as it goes on.
const LOOKS: u32 = 10;
/// How long writing down may take.
const WORD: Duration = Duration::from_secs(3);
/// The exit code: an internal software error (sysexits.h).
const SOFTWARE: i32 = 70;

/// An attempt under way.
#[derive(Clone, Debug)]
struct Running {
    job_id: Uuid,
    attempt: i16,
    kind: &'static str,
    timeout: Duration,
    until: Instant,
    late: u32,
}

/// The attempts of this process that have a time to keep.
#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<Mutex<HashMap<Uuid, Running>>>);

/// An attempt that is watched until this is dropped.
pub struct Watched {
    dog: Watchdog,
    job_id: Uuid,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dog.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.job_id);
    }
}

impl Watchdog {
    /// Watches an attempt that is to end by itself within its timeout.
    pub fn watch(&self, lease: &Lease, kind: &'static str, timeout: Duration) -> Watched {
        let running = Running {
            job_id: lease.job_id,
            attempt: lease.attempt,
            kind,
            timeout,
            until: Instant::now() + timeout,
            late: 0,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.job_id, running);
        Watched { dog: self.clone(), job_id: lease.job_id }
    }

    /// A look at this moment: those over their time in the last looks, all of them.
    fn look(&self, now: Instant) -> Vec<Running> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for running in all.values_mut() {
            running.late = if now > running.until { running.late + 1 } else { 0 };
        }
        all.values().filter(|running| running.late >= LOOKS).cloned().collect()
    }

    /// Looks for ever, on a thread of its own; ends the process when somebody is late.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(&self, ctx: Context, lease_id: Uuid) -> std::io::Result<()> {
        let dog = self.clone();
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(LOOK);
                let late = dog.look(Instant::now());
                if !late.is_empty() {
                    end(&ctx, lease_id, &late);
                }
            }
        })?;
        Ok(())
    }
}

/// Why a job ends that does not yield.
fn reason(late: &Running) -> String {
    format!("timed out after {:?} and does not yield: its worker was ended", late.timeout)
}

fn end(ctx: &Context, lease_id: Uuid, late: &[Running]) {
    for one in late {
        let (job_id, kind, attempt) = (one.job_id, one.kind, one.attempt);
        tracing::error!(%job_id, kind, attempt, "a handler does not yield: this process ends");
    }
    let told = tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| {
        runtime.block_on(async { tokio::time::timeout(WORD, set_back(ctx, lease_id, late)).await })
    });
    if !matches!(told, Ok(Ok(Ok(())))) {
        tracing::error!("not written down: the reaper finds them lost");
    }
    std::process::exit(SOFTWARE);
}

/// Each gets its verdict, over a connection that belongs to no blocked runtime.
async fn set_back(ctx: &Context, lease_id: Uuid, late: &[Running]) -> Result<(), sqlx::Error> {
    let mut session = PgConnection::connect(&ctx.config.database_url).await?;
    let now = ctx.now();
    for one in late {
        let again = now + Duration::from_secs(60);
        let back = Setback {
            job_id: one.job_id,
            attempt: one.attempt,
            run_at: Some(again),
            counts: true,
            reason: reason(one),
        };
        store::set_back(&mut session, lease_id, now, &back).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(until: Instant) -> Running {
        let (job_id, timeout) = (Uuid::from_u128(7), Duration::from_secs(60));
        Running { job_id, attempt: 1, kind: "job.noop", timeout, until, late: 0 }
    }

    #[test]
    fn who_is_late_in_ten_looks_is_late_and_who_ends_meanwhile_is_not() {
        let (dog, began) = (Watchdog::default(), Instant::now());
        dog.0.lock().expect("table").insert(Uuid::from_u128(7), running(began));
        let at = |second| began + Duration::from_secs(second);
        assert!((1..10).all(|second| dog.look(at(second)).is_empty()), "not before the tenth look");
        assert_eq!(dog.look(at(10)).len(), 1);
        let watched = Watched { dog: dog.clone(), job_id: Uuid::from_u128(7) };
        drop(watched);
        assert!(dog.look(at(11)).is_empty(), "it is not watched any more");
    }

    #[test]
    fn a_process_that_was_stopped_is_not_ended_for_it() {
        let (dog, began) = (Watchdog::default(), Instant::now());
        dog.0.lock().expect("table").insert(Uuid::from_u128(7), running(began));
        let hour = began + Duration::from_secs(3600);
        assert!(dog.look(hour).is_empty(), "one look says nothing");
    }
}
