//! A person's own messages: which, by which way, when, and how far. No text and no address is kept for it.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{State, store};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Error, Result};

/// How far back the list goes: as long as deliveries are kept.
const SINCE: TimeDelta = TimeDelta::days(90);
/// What its cursors are of.
const LIST: &str = "notifications";

/// A message in its recipient's own list.
#[derive(Clone, Debug)]
pub struct Item {
    /// Which.
    pub delivery_id: Uuid,
    /// `otp_code`, ...
    pub kind: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// How far, at this moment.
    pub state: State,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// A page of them.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Item>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Somebody's messages of 90 days, newest first.
///
/// # Errors
/// `request.invalid` for a cursor that is not one of this list of theirs.
pub async fn feed(ctx: &Context, user_id: Uuid, limit: u16, cursor: Option<&str>) -> Result<Page> {
    let now = ctx.now();
    let keys = &ctx.config.keys;
    let before = match cursor {
        Some(text) => cursor::read(keys, LIST, user_id, text)?,
        None => Place { at: now, id: Uuid::max() },
    };
    let limit = usize::from(limit);
    // one more tells whether there is a next page
    let most = i64::try_from(limit + 1).map_err(Error::internal)?;
    let mut rows = store::list_own(&ctx.db, user_id, now - SINCE, before.at, before.id, most).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| Place { at: row.created_at, id: row.delivery_id });
    let items = rows.into_iter().map(|row| {
        let state: State = row.state.parse().map_err(Error::internal)?;
        let state = state.at(now, row.expires_at);
        let store::Own { delivery_id, kind, channel, created_at, .. } = row;
        Ok(Item { delivery_id, kind, channel, state, created_at })
    });
    Ok(Page {
        items: items.collect::<Result<_>>()?,
        next_cursor: last.map(|place| cursor::write(keys, LIST, user_id, place)),
    })
}
