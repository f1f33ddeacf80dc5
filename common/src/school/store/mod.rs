//! The SQL of the school's order: one statement a function (a list by its parent another one, so that each has a
//! plan of its own), rows out, no decisions.

mod assignment;
mod class_group;
mod department;
mod profile;
mod programme;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use assignment::*;
pub use profile::*;

type Sql<T> = Result<T, sqlx::Error>;

/// Which rows of a list by name: those from `from` on and below `below`, behind `after`, like `pattern`.
pub struct Wanted {
    pub from: String,
    pub below: Option<String>,
    pub after: String,
    pub pattern: String,
    pub within: Option<Uuid>,
    pub limit: i64,
}

/// The rows of one kind.
pub trait Rows: Sized + Send + Sync {
    /// A row.
    fn find(db: &PgPool, id: Uuid) -> impl Future<Output = Sql<Option<Self>>> + Send;
    /// A row, locked against changes.
    fn lock(tx: &mut PgConnection, id: Uuid) -> impl Future<Output = Sql<Option<Self>>> + Send;
    /// Whether a row is there, and stays until the transaction ends.
    fn keep(tx: &mut PgConnection, id: Uuid) -> impl Future<Output = Sql<bool>> + Send;
    /// Rows by name.
    fn list(db: &PgPool, wanted: &Wanted) -> impl Future<Output = Sql<Vec<Self>>> + Send;
    /// Inserts it.
    fn insert(&self, tx: &mut PgConnection, name_key: &str) -> impl Future<Output = Sql<()>> + Send;
    /// Gives its row these values.
    fn set(&self, tx: &mut PgConnection, name_key: &str) -> impl Future<Output = Sql<()>> + Send;
    /// Deletes a row. Answers with what it was.
    fn delete(tx: &mut PgConnection, id: Uuid) -> impl Future<Output = Sql<Option<Self>>> + Send;
}
