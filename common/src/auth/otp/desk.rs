//! Where calls about codes share a transaction. Calls that come while others are being written share the
//! next one: one statement locks their identifiers, one writes their rows, one commit makes them durable.
//! A lone call goes at once. If a shared transaction fails, each of its calls is tried alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sqlx::PgPool;

use super::proof::{Handed, Proofs};
use super::request::{Asked, Requests};
use super::{Issued, Verified};
use crate::batch::Batcher;
use crate::config::Config;
use crate::error::{Error, Refusal, Result};

/// The most calls that share a transaction.
const MOST: usize = 64;
/// Transactions at once: one gathers and computes while the other commits.
const LANES: usize = 2;

/// What calls of one kind do together.
pub(super) trait Work: Clone + Send + Sync + 'static {
    /// One call.
    type Call: Send + Sync + 'static;
    /// Its answer.
    type Out: Send + 'static;

    /// The rows it may lock: two calls with one of them in common do not share a transaction.
    fn locks(call: &Self::Call) -> impl Iterator<Item = [u8; 32]>;

    /// When it came.
    fn since(call: &Self::Call) -> Instant;

    /// Decides and writes calls without a lock in common, in one transaction. Answers in their order.
    fn in_one(
        &self,
        calls: &[&Self::Call],
    ) -> impl Future<Output = Result<Vec<Result<Self::Out, Refusal>>>> + Send;
}

/// The two desks.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) requests: Batcher<Asked, Result<Issued>>,
    pub(super) proofs: Batcher<Handed, Result<Verified>>,
}

impl Desk {
    /// Starts its lanes.
    pub fn open(config: &Config, db: &PgPool) -> Self {
        let requests = start(Requests { config: config.clone(), db: db.clone() });
        Self { requests, proofs: start(Proofs { config: config.clone(), db: db.clone() }) }
    }
}

fn start<W: Work>(work: W) -> Batcher<W::Call, Result<W::Out>> {
    let away = Away::default();
    Batcher::start(LANES, MOST, move |calls: Vec<W::Call>| {
        let (work, away) = (work.clone(), away.clone());
        async move {
            if calls.iter().all(|call| away.since(W::since(call))) {
                let away = |_: &W::Call| Err(Error::Unavailable("Postgres is away".into()));
                return Ok(calls.iter().map(away).collect());
            }
            let answers = together(&work, &calls).await;
            if answers.iter().any(|answer| matches!(answer, Err(Error::Unavailable(_)))) {
                away.note();
            }
            Ok(answers)
        }
    })
}

/// Answers in the order of the calls.
async fn together<W: Work>(work: &W, calls: &[W::Call]) -> Vec<Result<W::Out>> {
    // two taps count as two: the second of an identifier waits for the first
    let mut seen = HashSet::new();
    let first: Vec<bool> = calls
        .iter()
        .map(|call| {
            let locks: Vec<_> = W::locks(call).collect();
            let free = locks.iter().all(|lock| !seen.contains(lock));
            seen.extend(locks);
            free
        })
        .collect();
    let shared: Vec<&W::Call> =
        calls.iter().zip(&first).filter(|(_, first)| **first).map(|(call, _)| call).collect();
    let mut done = match work.in_one(&shared).await {
        Ok(answers) => answers.into_iter().map(|answer| Some(answer.map_err(Error::from))).collect(),
        Err(error) if shared.len() == 1 => vec![Some(Err(error))],
        // one of them made it fail: the others shall not suffer
        Err(Error::Aborted(_) | Error::Internal(_)) => shared.iter().map(|_| None).collect(),
        // nobody answers: asking again for each would take long
        Err(error) => shared.iter().map(|_| Some(Err(error.copy()))).collect::<Vec<_>>(),
    }
    .into_iter();
    let mut answers = Vec::with_capacity(calls.len());
    for (call, first) in calls.iter().zip(first) {
        answers.push(match if first { done.next().flatten() } else { None } {
            Some(answer) => answer,
            None => alone(work, call).await,
        });
    }
    answers
}

/// A transaction of its own.
async fn alone<W: Work>(work: &W, call: &W::Call) -> Result<W::Out> {
    let answer = work.in_one(&[call]).await?.pop();
    Ok(answer.ok_or_else(|| Error::internal("a call without an answer"))??)
}

/// When the database was last found away: who had queued up behind that is told at once, and does not
/// wait for a time-out each.
#[derive(Clone, Debug, Default)]
struct Away(Arc<Mutex<Option<Instant>>>);

impl Away {
    /// Whether it was found away after this moment.
    fn since(&self, moment: Instant) -> bool {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.is_some_and(|noted| noted >= moment)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
