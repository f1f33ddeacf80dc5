//! Which words many people have. Searches walk these in the order of the list; a word that nobody has counted
//! yet is found all the same, only slower.

use serde::{Deserialize, Serialize};

use super::list::{Filter, Standing};
use super::store::{self, Place};
use crate::context::Context;
use crate::error::Result;
use crate::job::{Job, Lease, Queue, Verdict};

/// A word of so many people is common, and of no fewer than one in [`SHARE`].
const FEWEST: i64 = 200;
/// See [`FEWEST`].
const SHARE: i64 = 2_000;
/// People marked in one transaction.
const MARKED: i64 = 5_000;

/// Counts them, daily.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct CountWords {}

impl Job for CountWords {
    const KIND: &'static str = "user.count_words";
    const QUEUE: Queue = Queue::Low;
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1800);
    const MAX_ATTEMPTS: i16 = 3;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match count(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// Finds the words that many people have by now, and counts those known. What stops at one word goes on with the
/// next; a count that is stopped goes on where it was.
///
/// # Errors
/// The database does not answer.
pub async fn count(ctx: &Context) -> Result<()> {
    let everybody = Filter { standing: Standing::Any, ..Filter::default() };
    let mut tx = ctx.db.begin().await?;
    store::set_patient(&mut tx).await?;
    let people = store::estimate(&mut tx, &everybody).await?;
    let mut words = store::list_common_words(&mut *tx).await?;
    words.extend(store::list_new_common(&mut *tx, FEWEST.max(people / SHARE)).await?);
    tx.commit().await?;
    let mut outcome = Ok(());
    for word in words {
        outcome = outcome.and(mark(ctx, &word).await);
    }
    outcome
}

/// First the word, then whom it marks, some at a time: whoever is marked is found by it, and who is not yet, by
/// themselves.
async fn mark(ctx: &Context, word: &str) -> Result<()> {
    store::set_people(&ctx.db, word).await?;
    let mut next = Some(Place::FIRST);
    while let Some(after) = next {
        next = store::set_common(&ctx.db, word, after, MARKED).await?;
    }
    Ok(())
}
