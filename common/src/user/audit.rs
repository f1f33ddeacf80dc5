//! Audit lines about people: what identifies a person is sealed under that person's own key, so that
//! erasing the key erases it from the lines too.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::seal;
use crate::session::Person;

/// Fields that identify a person.
const IDENTIFYING: [&str; 17] = [
    "username",
    "email",
    "phone_number",
    "first_name",
    "last_name",
    "national_id",
    "address",
    "gender",
    "admission_number",
    "staff_number",
    "qualifications",
    "specialisation",
    "office",
    "full_name",
    "date_of_birth",
    "emergency_contact",
    "emergency_phone",
];

/// A record before and after.
#[derive(Debug)]
pub(crate) struct Changed {
    pub old: Value,
    pub new: Value,
}

/// A line about what somebody signed in does to an account.
pub(crate) fn line<'a>(
    client: &'a Client,
    person: &Person,
    user_id: Uuid,
    action: &'static str,
    details: Value,
    at: DateTime<Utc>,
) -> Line<'a> {
    Line {
        action,
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details,
        client,
        at,
    }
}

/// Writes a line with what changed: only the fields that did, what identifies the person sealed.
pub(crate) async fn note_change(
    tx: &mut PgConnection,
    ctx: &Context,
    line: Line<'_>,
    user_id: Uuid,
    change: Changed,
) -> Result<()> {
    let (mut old, mut new, mut sealed) = (Map::new(), Map::new(), Map::new());
    for (name, value) in change.new.as_object().into_iter().flatten() {
        let before = change.old.get(name).cloned().unwrap_or(Value::Null);
        if before == *value {
            continue;
        }
        if IDENTIFYING.contains(&name.as_str()) {
            sealed.insert(name.clone(), serde_json::json!({ "old": before, "new": value }));
        } else {
            old.insert(name.clone(), before);
            new.insert(name.clone(), value.clone());
        }
    }
    let sealed = match sealed.is_empty() {
        true => None,
        false => Some(seal(&key(tx, ctx, user_id).await?, &sealed.into())?),
    };
    Ok(audit::note_of(tx, line, Values { old: old.into(), new: new.into(), sealed }, user_id).await?)
}

/// Writes a line with something of the person's that is sealed under their own key.
pub(crate) async fn note_sealed(
    tx: &mut PgConnection,
    ctx: &Context,
    line: Line<'_>,
    user_id: Uuid,
    text: &Value,
) -> Result<()> {
    let sealed = Some(seal(&key(tx, ctx, user_id).await?, text)?);
    Ok(audit::note_of(tx, line, Values { sealed, ..Values::default() }, user_id).await?)
}

/// Something of a person's for a line, sealed under their own key.
pub(crate) fn seal(key: &[u8; 32], text: &Value) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(text).map_err(Error::internal)?;
    seal::seal_with(key, b"audit", &text)
}

/// What a line has sealed, opened; none when the key is gone.
pub(crate) fn open(key: &[u8; 32], sealed: &[u8]) -> Option<Value> {
    serde_json::from_slice(&seal::open_with(key, b"audit", sealed)?).ok()
}

/// The keys of those of these people who are not erased.
pub(crate) async fn keys(ctx: &Context, people: &[Uuid]) -> Result<HashMap<Uuid, [u8; 32]>> {
    if people.is_empty() {
        return Ok(HashMap::new());
    }
    let found = store::list_keys(&ctx.db, people).await?;
    Ok(found
        .into_iter()
        .filter_map(|row| Some((row.user_id, opened(ctx, row.user_id, &row.sealed)?)))
        .collect())
}

fn opened(ctx: &Context, user_id: Uuid, sealed: &[u8]) -> Option<[u8; 32]> {
    seal::open(&ctx.config.keys, "user_key", user_id.as_bytes(), sealed)?.try_into().ok()
}

/// The person's own key.
pub(crate) async fn key(tx: &mut PgConnection, ctx: &Context, user_id: Uuid) -> Result<[u8; 32]> {
    let sealed = store::find_key(tx, user_id).await?;
    opened(ctx, user_id, &sealed)
        .ok_or_else(|| Error::internal("KERYU_SECRET_KEY no longer holds what seals this person's key"))
}
