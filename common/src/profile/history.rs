//! The changes of a profile: by whom, when, and what it said before and after, sealed under the person's own
//! key. Staff can take back a change and all that came after it; what those did not touch stays as it is, for the
//! record it is shared with has changes of its own.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CHANGE_NOT_FOUND, Profile, State, edit, store};
use crate::audit::{self, Client};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Error, Result};
use crate::role::Permission;
use crate::session::Person;
use crate::user::{NOT_FOUND, line, user_key};
use crate::{id, seal};

/// The most changes of a person that are kept.
const MOST: i64 = 200;
/// What its cursors are of.
const LIST: &str = "profile_history";
/// Clocks of a deployment differ by less.
const AHEAD: TimeDelta = TimeDelta::days(1);
/// What the sealed texts are for.
const SEALED_FOR: &[u8] = b"profile_change";

#[derive(Serialize, Deserialize)]
struct Sealed {
    before: State,
    after: State,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Which.
    pub change_id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Who made it.
    pub actor: Uuid,
    /// Which change it took back, with all after that.
    pub restored: Option<Uuid>,
    /// What changed: field, before, after.
    pub fields: Vec<(String, Value, Value)>,
}

/// A page of changes.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Changed>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Keeps a change, with the caller's transaction.
pub(super) async fn keep(
    tx: &mut PgConnection,
    ctx: &Context,
    person: &Person,
    user_id: Uuid,
    (before, after): (&State, &State),
    restored: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<()> {
    let key = user_key(&mut *tx, ctx, user_id).await?;
    let text = Sealed { before: before.clone(), after: after.clone() };
    let text = serde_json::to_vec(&text).map_err(Error::internal)?;
    let change = store::Change {
        change_id: id::ordered(now),
        at: now,
        actor: person.user_id(),
        restored,
        sealed: seal::seal_with(&key, SEALED_FOR, &text)?,
    };
    store::insert_change(&mut *tx, user_id, &change).await?;
    Ok(store::delete_older_changes(tx, user_id, MOST).await?)
}

/// The changes of a profile, newest first: for whose it is, and for staff, whose look leaves an audit line.
///
/// # Errors
/// `user.not_found`; `request.invalid` for a cursor that is not one of this list.
pub async fn list(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    limit: u16,
    cursor: Option<&str>,
) -> Result<Page> {
    let own = person.user_id() == user_id;
    if !own && !person.has(Permission::UsersRead) {
        return Err(NOT_FOUND.refuse("There is no such user.").into());
    }
    let keys = &ctx.config.keys;
    let before = match cursor {
        Some(text) => cursor::read(keys, LIST, user_id, text)?,
        None => Place { at: ctx.now() + AHEAD, id: Uuid::max() },
    };
    let limit = usize::from(limit);
    // one more tells whether there is a next page
    let most = i64::try_from(limit + 1).map_err(Error::internal)?;
    let mut tx = ctx.db.begin().await?;
    if !own && store::list(&mut *tx, &[user_id]).await?.is_empty() {
        return Err(NOT_FOUND.refuse("There is no such user.").into());
    }
    let mut rows = store::list_changes(&mut *tx, user_id, (before.at, before.id), most).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| Place { at: row.at, id: row.change_id });
    let items = match rows.is_empty() {
        true => Vec::new(),
        false => {
            let key = user_key(&mut tx, ctx, user_id).await?;
            rows.into_iter().map(|row| opened(&key, row)).collect::<Result<_>>()?
        }
    };
    if !own {
        let line = line(client, person, user_id, "profile.history_read", json!({}), ctx.now());
        audit::note(&mut tx, line).await?;
    }
    tx.commit().await?;
    Ok(Page { items, next_cursor: last.map(|place| cursor::write(keys, LIST, user_id, place)) })
}

fn open(key: &[u8; 32], sealed: &[u8]) -> Result<Sealed> {
    let text = seal::open_with(key, SEALED_FOR, sealed);
    let text = text.ok_or_else(|| Error::internal("a change of a profile does not open"))?;
    serde_json::from_slice(&text).map_err(Error::internal)
}

fn opened(key: &[u8; 32], row: store::Change) -> Result<Changed> {
    Ok(Changed {
        change_id: row.change_id,
        at: row.at,
        actor: row.actor,
        restored: row.restored,
        fields: differences(&open(key, &row.sealed)?)?,
    })
}

/// A state by the names of its fields.
fn fields(state: &State) -> Result<Map<String, Value>> {
    match serde_json::to_value(state).map_err(Error::internal)? {
        Value::Object(fields) => Ok(fields),
        other => Err(Error::internal(format!("a state is no object: {other}"))),
    }
}

/// What changed: field, before, after.
fn differences(Sealed { before, after }: &Sealed) -> Result<Vec<(String, Value, Value)>> {
    let (before, after) = (shown(before)?, shown(after)?);
    let fields = after.iter().filter_map(|(name, new)| {
        let old = before.get(name).unwrap_or(&Value::Null);
        (old != new).then(|| (name.clone(), old.clone(), new.clone()))
    });
    Ok(fields.collect())
}

/// What a change sealed, as the person takes it away: by field what it said before and after. None: the key does
/// not open it.
pub(crate) fn taken_out(key: &[u8; 32], sealed: &[u8]) -> Option<Value> {
    let fields = differences(&open(key, sealed).ok()?).ok()?;
    let fields = fields.into_iter().map(|(name, old, new)| (name, json!({ "old": old, "new": new })));
    Some(Value::Object(fields.collect()))
}

/// A state by the names that fields have on the wire.
fn shown(state: &State) -> Result<Map<String, Value>> {
    let mut fields = fields(state)?;
    if let Some(off) = fields.remove("off") {
        fields.insert("switched_off".to_owned(), off);
    }
    Ok(fields)
}

/// Takes back a change of a profile and all that came after it: each field that they touched says again what it said
/// before the first of them that did. For staff; what it says by then is kept as one more change.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `profile.change_not_found`.
pub async fn restore(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    change_id: Uuid,
) -> Result<Profile> {
    person.may(Permission::UsersWrite)?;
    let mut tx = ctx.db.begin().await?;
    let old = edit::lock(&mut tx, person, user_id).await?;
    let changes = store::list_changes_since(&mut *tx, user_id, change_id).await?;
    if changes.is_empty() {
        return Err(CHANGE_NOT_FOUND.refuse("This profile had no such change.").into());
    }
    let key = user_key(&mut tx, ctx, user_id).await?;
    let changes = changes.iter().map(|sealed| open(&key, sealed)).collect::<Result<Vec<_>>>()?;
    let before = taken_back(&old.state, &changes)?;
    let new = edit::put(&mut tx, ctx, client, person, old, before, Some(change_id)).await?;
    tx.commit().await?;
    Ok(new)
}

/// A state without these changes, oldest first.
fn taken_back(state: &State, changes: &[Sealed]) -> Result<State> {
    let (mut said, mut touched) = (fields(state)?, BTreeSet::new());
    for change in changes {
        let after = fields(&change.after)?;
        for (name, before) in fields(&change.before)? {
            if after.get(&name) != Some(&before) && touched.insert(name.clone()) {
                said.insert(name, before);
            }
        }
    }
    serde_json::from_value(Value::Object(said)).map_err(Error::internal)
}
