//! The ledger's SQL: one statement a function, rows out, no decisions.
//!
//! Hot statements work on arrays: one claims a batch, one finishes it. They touch no indexed column
//! on the way from available to running (see the migration), so that a job costs what a row costs.

mod claim;
mod figures;
mod finish;
mod insert;
mod lease;
mod push;
mod schedule;

pub use claim::*;
pub use figures::*;
pub use finish::*;
pub use insert::*;
pub use lease::*;
pub use push::*;
pub use schedule::*;

type Sql<T> = Result<T, sqlx::Error>;
