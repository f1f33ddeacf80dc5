//! Sealing anew, after a new first key in `KERYU_SECRET_KEY`: when it is done, the old key is needed for
//! nothing at rest. In batches that stand alone: stopped halfway, it goes on where it was.

use serde::Serialize;

use super::column::{Anew, Column};
use super::{open, seal, stamp};
use crate::context::Context;
use crate::error::Result;

/// Values in one statement.
const BATCH: i64 = 1_000;

/// What became of a column.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rewrapped {
    /// Table and column.
    pub column: &'static str,
    /// Values sealed anew.
    pub rewrapped: u64,
    /// Values that another process changed meanwhile; the next run looks at them again.
    pub changed: u64,
    /// Values that no key of `KERYU_SECRET_KEY` opens.
    pub lost: u64,
}

/// Seals every value of a column under the newest key that is not.
///
/// # Errors
/// The database does not answer.
pub async fn rewrap(ctx: &Context, column: Column) -> Result<Rewrapped> {
    let (db, keys, purpose) = (&ctx.db, &ctx.config.keys, column.purpose());
    let newest = stamp(keys)?;
    let mut done = Rewrapped { column: column.name(), rewrapped: 0, changed: 0, lost: 0 };
    let mut after = None;
    loop {
        let rows = column.list(db, &newest, after.as_ref(), BATCH).await?;
        let Some((last, _)) = rows.last() else { return Ok(done) };
        after = Some(last.clone());
        let mut anew = Vec::with_capacity(rows.len());
        for (key, old) in rows {
            match open(keys, purpose, key.owner(), &old) {
                Some(opened) => {
                    let new = seal(keys, purpose, key.owner(), &opened)?;
                    anew.push(Anew { key, old, new, opened });
                }
                None => done.lost += 1,
            }
        }
        let asked = anew.len() as u64;
        let set = column.set(db, keys, anew).await?;
        done.rewrapped += set;
        done.changed += asked - set;
    }
}
