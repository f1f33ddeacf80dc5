//! The SQL of the desk: one statement a function, rows out, no decisions.

mod job;
mod queue;
mod rate;
mod schedule;

pub use job::*;
pub use queue::*;
pub use rate::*;
pub use schedule::*;

type Sql<T> = Result<T, sqlx::Error>;
