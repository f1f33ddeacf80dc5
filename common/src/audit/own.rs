//! A person's own view of the log: what happened to them and to what is theirs, and what they did. Who of staff
//! did it stays with the staff, and from where somebody else came with that somebody.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::entry::{self, Entry};
use super::store;
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Error, Result};

/// What cursors are of.
const LIST: &str = "own_audit";
/// Clocks of other processes may be a little ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// Who did something, as the person it was done to is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The person.
    You,
    /// Somebody of staff, or another person.
    Staff,
    /// A program with a key.
    Service,
    /// Nobody who was signed in: a schedule, or a try to sign in.
    Nobody,
}

/// A line in its person's own view.
#[derive(Clone, Debug, Serialize)]
pub struct Own {
    /// Which.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// What happened.
    pub action: String,
    /// Who did it.
    pub by: By,
    /// What kind of thing it happened to.
    pub entity_type: String,
    /// Which one.
    pub entity_id: String,
    /// Before, of what is the person's.
    pub old_values: Option<Value>,
    /// After, of what is the person's.
    pub new_values: Option<Value>,
    /// What is worth knowing of what the person did.
    pub details: Option<Value>,
    /// From where the person did it.
    pub ip_address: Option<String>,
    /// With which program the person did it.
    pub user_agent: Option<String>,
    /// In which of the person's sessions.
    pub session_id: Option<Uuid>,
}

impl Own {
    fn of(line: Entry, user_id: Uuid) -> Self {
        let is_theirs = line.owner == Some(user_id)
            || (line.entity_type == "user" && line.entity_id == user_id.to_string());
        let did_it = line.actor == Some(user_id);
        let by = match line.actor {
            Some(_) if did_it => By::You,
            Some(_) if line.details.get("service").is_some_and(|name| !name.is_null()) => By::Service,
            Some(_) => By::Staff,
            None => By::Nobody,
        };
        Self {
            id: line.id,
            at: line.at,
            action: line.action,
            by,
            entity_type: line.entity_type,
            entity_id: line.entity_id,
            old_values: line.old_values.filter(|_| is_theirs),
            new_values: line.new_values.filter(|_| is_theirs),
            details: Some(line.details).filter(|_| did_it),
            ip_address: line.ip_address.filter(|_| did_it),
            user_agent: line.user_agent.filter(|_| did_it),
            session_id: line.session_id.filter(|_| did_it),
        }
    }
}

/// A page of them.
#[derive(Clone, Debug)]
pub struct OwnPage {
    /// Newest first.
    pub items: Vec<Own>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Somebody's own view of the log, newest first.
///
/// # Errors
/// `request.invalid` for a cursor that is not one of this list of theirs.
pub async fn list_own(ctx: &Context, user_id: Uuid, limit: u16, cursor: Option<&str>) -> Result<OwnPage> {
    let keys = &ctx.config.keys;
    let from = match cursor {
        Some(text) => cursor::read(keys, LIST, user_id, text)?,
        None => Place { at: ctx.now() + AHEAD, id: Uuid::max() },
    };
    let (items, next) = lines(ctx, user_id, from, limit).await?;
    Ok(OwnPage { items, next_cursor: next.map(|place| cursor::write(keys, LIST, user_id, place)) })
}

/// Lines before a place, and the place of the last where there are more.
pub(crate) async fn lines(
    ctx: &Context,
    user_id: Uuid,
    from: Place,
    limit: u16,
) -> Result<(Vec<Own>, Option<Place>)> {
    let most = usize::from(limit);
    // one more tells whether there is a next page
    let ask = i64::try_from(most + 1).map_err(Error::internal)?;
    let mut rows = store::list_own(&ctx.db, user_id, from.at, from.id, ask).await?;
    let more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| more).map(|row| Place { at: row.at, id: row.audit_id });
    // of what this person did to others nothing is opened
    for row in &mut rows {
        if row.subject() != Some(user_id) {
            row.sealed = None;
        }
    }
    let items = entry::read(ctx, rows, true).await?;
    Ok((items.into_iter().map(|line| Own::of(line, user_id)).collect(), next))
}
