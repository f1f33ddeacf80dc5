//! Who did what: one line per change or decision, in its transaction. Never a secret, and before
//! sign-in never an identifier (a keyed hash stands for it).
//!
//! Lines are written here; `search` finds them for staff, `export` takes them out as a file, `own` shows a
//! person theirs. What all three share of a line is in `entry`.

mod entry;
mod export;
mod own;
mod read;
mod search;
mod store;

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

pub use entry::Entry;
pub use export::{Export, Format, export};
pub(crate) use own::lines;
pub use own::{By, Own, OwnPage, list_own};
pub use read::{Reads, note_read};
pub use search::{Filter, Page, STEP, search};

/// Who calls, as the edge saw it.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address of the caller, behind trusted proxies.
    pub ip: IpAddr,
    /// `User-Agent`, cut at 256 characters.
    pub user_agent: Option<String>,
    /// `X-Request-Id`.
    pub request_id: String,
    /// W3C `traceparent`.
    pub traceparent: Option<String>,
    /// The language wanted (`Accept-Language`), one we have.
    pub language: String,
}

impl Client {
    /// What limits count: the address, or the /64 of an IPv6 one.
    pub fn key(&self) -> String {
        match self.ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => ip.to_string(),
                None => {
                    let [a, b, c, d, ..] = ip.segments();
                    format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
                }
            },
        }
    }
}

/// One line.
#[derive(Debug)]
pub struct Line<'a> {
    /// What happened: `otp.requested`.
    pub action: &'static str,
    /// What kind of thing it happened to.
    pub entity_type: &'static str,
    /// Which one.
    pub entity_id: String,
    /// Who did it, if signed in.
    pub actor: Option<Uuid>,
    /// In which session, if signed in.
    pub session_id: Option<Uuid>,
    /// What is worth knowing; no secret, no identifier.
    pub details: Value,
    /// From where.
    pub client: &'a Client,
    /// When.
    pub at: DateTime<Utc>,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Values {
    /// Before; nothing that identifies a person.
    pub old: Value,
    /// After.
    pub new: Value,
    /// What identifies a person, before and after, sealed under that person's key.
    pub sealed: Option<Vec<u8>>,
}

/// Writes a line with the caller's transaction.
///
/// # Errors
/// The database does not answer.
pub async fn note(tx: &mut sqlx::PgConnection, line: Line<'_>) -> Result<(), sqlx::Error> {
    note_change(tx, line, Values::default()).await
}

/// Writes a line and what changed with the caller's transaction.
///
/// # Errors
/// The database does not answer.
pub async fn note_change(
    tx: &mut sqlx::PgConnection,
    line: Line<'_>,
    values: Values,
) -> Result<(), sqlx::Error> {
    store::insert(tx, line, values, None).await
}

/// Writes a line about something of `owner`'s, whose key seals what is sealed in it.
///
/// # Errors
/// The database does not answer.
pub async fn note_of(
    tx: &mut sqlx::PgConnection,
    line: Line<'_>,
    values: Values,
    owner: Uuid,
) -> Result<(), sqlx::Error> {
    // a line about the person names them already
    let other = line.entity_type != "user" || line.entity_id != owner.to_string();
    store::insert(tx, line, values, Some(owner).filter(|_| other)).await
}

/// Writes the same line about each of these people, with the caller's transaction: who it is about is all that
/// differs, and the line's own `entity_id` does not count.
///
/// # Errors
/// The database does not answer.
pub async fn note_each(
    tx: &mut sqlx::PgConnection,
    line: Line<'_>,
    people: &[Uuid],
) -> Result<(), sqlx::Error> {
    let lines: Vec<Uuid> = people.iter().map(|_| crate::id::ordered(line.at)).collect();
    store::insert_each(tx, line, &lines, people).await
}

/// Writes a line of what the product did by itself, with the caller's transaction.
///
/// # Errors
/// The database does not answer.
pub async fn note_own(
    tx: &mut sqlx::PgConnection,
    action: &str,
    entity_type: &str,
    entity_id: Uuid,
    details: Value,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details)
         VALUES ($1, $2, $3, $4, $5, $6)",
        crate::id::ordered(at),
        at,
        action,
        entity_type,
        entity_id.to_string(),
        details,
    )
    .execute(tx)
    .await?;
    Ok(())
}
