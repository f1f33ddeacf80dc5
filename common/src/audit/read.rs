//! Lines of reads that change nothing. Those of the same moment share a statement; each is there before its reader
//! has the answer.

use sqlx::PgPool;

use super::{Line, store};
use crate::batch::Batcher;
use crate::context::Context;
use crate::error::Result;

/// The most lines that share a statement.
const MOST: usize = 64;
/// Statements at once.
const LANES: usize = 2;

/// Where lines of reads meet.
#[derive(Clone, Debug)]
pub struct Reads(Batcher<store::New, ()>);

impl Reads {
    /// Starts its lanes.
    pub fn open(db: &PgPool) -> Self {
        let db = db.clone();
        Self(Batcher::start(LANES, MOST, move |lines: Vec<store::New>| {
            let db = db.clone();
            async move {
                let count = lines.len();
                store::insert_all(&db, lines).await?;
                Ok(vec![(); count])
            }
        }))
    }
}

/// Writes a line of a read. It is there when this returns.
///
/// # Errors
/// The database does not answer: then nothing may be shown.
pub async fn note_read(ctx: &Context, line: Line<'_>) -> Result<()> {
    ctx.reads.0.call(store::New::of(line)).await
}
