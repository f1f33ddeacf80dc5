//! Which words many people have. Searches walk these in the order of the list; a word that nobody has counted
//! yet is found all the same, only slower.

use serde::{Deserialize, Serialize};

use super::list::{Filter, Standing};
use super::store;
use crate::context::Context;
use crate::error::Result;
use crate::job::{Job, Lease, Queue, Verdict};

/// A word of so many people is common, and of no fewer than one in [`SHARE`].
const FEWEST: i64 = 200;
/// See [`FEWEST`].
const SHARE: i64 = 2_000;

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

/// Finds the words that many people have by now, and counts those known. A word a transaction: a count that is
/// stopped goes on where it was.
///
/// # Errors
/// The database does not answer.
pub async fn count(ctx: &Context) -> Result<()> {
    let everybody = Filter { standing: Standing::Any, ..Filter::default() };
    let people = store::estimate(&mut *ctx.db.acquire().await?, &everybody).await?;
    let mut words = store::list_common_words(&ctx.db).await?;
    words.extend(store::list_new_common(&ctx.db, FEWEST.max(people / SHARE)).await?);
    for word in words {
        let mut tx = ctx.db.begin().await?;
        // first the word, then whom it marks: whoever is marked is found by it
        store::set_people(&mut tx, &word).await?;
        store::set_common(&mut tx, &word).await?;
        tx.commit().await?;
    }
    Ok(())
}
