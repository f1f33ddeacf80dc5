//! A line as it is read: what is sealed in it is opened with the key of whom it is about, for those who may, and
//! put where it belongs. Once the person is erased their key is gone, and what it sealed with it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::store::Row;
use crate::context::Context;
use crate::error::Result;
use crate::user::audit as keys;

/// A line.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Which.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// What happened: `user.changed`.
    pub action: String,
    /// What kind of thing it happened to.
    pub entity_type: String,
    /// Which one.
    pub entity_id: String,
    /// Whose it is, where that is not the thing itself.
    pub owner: Option<Uuid>,
    /// Who did it: a person, or the key of a service.
    pub actor: Option<Uuid>,
    /// In which session.
    pub session_id: Option<Uuid>,
    /// What is worth knowing.
    pub details: Value,
    /// Before.
    pub old_values: Option<Value>,
    /// After.
    pub new_values: Option<Value>,
    /// Whether something of it stays sealed: the reader may not see it, or the person is erased.
    pub sealed: bool,
    /// From where.
    pub ip_address: Option<String>,
    /// With which program.
    pub user_agent: Option<String>,
    /// Of the request.
    pub request_id: Option<String>,
}

impl Row {
    /// Whom the line is about.
    pub(super) fn subject(&self) -> Option<Uuid> {
        self.owner.or_else(|| {
            let is_user = self.entity_type == "user";
            is_user.then(|| self.entity_id.parse().ok()).flatten()
        })
    }

    /// The line, with what these keys open.
    fn read(self, people: &HashMap<Uuid, [u8; 32]>) -> Entry {
        let key = self.subject().and_then(|user_id| people.get(&user_id));
        let opened = match (&self.sealed, key) {
            (Some(sealed), Some(key)) => keys::open(key, sealed),
            _ => None,
        };
        let sealed = self.sealed.is_some() && opened.is_none();
        let (old_values, new_values) = reveal(self.old_values, self.new_values, opened);
        Entry {
            id: self.audit_id,
            at: self.at,
            action: self.action,
            entity_type: self.entity_type,
            entity_id: self.entity_id,
            owner: self.owner,
            actor: self.actor,
            session_id: self.session_id,
            details: self.details,
            old_values,
            new_values,
            sealed,
            ip_address: self.ip_address,
            user_agent: self.user_agent,
            request_id: self.request_id,
        }
    }
}

/// Puts what was sealed beside what was not: a pair of old and new on its sides, all else after the change.
fn reveal(old: Option<Value>, new: Option<Value>, opened: Option<Value>) -> (Option<Value>, Option<Value>) {
    let Some(Value::Object(opened)) = opened else { return (old, new) };
    let fields = |value: Option<Value>| match value {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (mut before, mut after) = (fields(old), fields(new));
    for (name, value) in opened {
        match value {
            Value::Object(mut pair)
                if pair.len() == 2 && pair.contains_key("old") && pair.contains_key("new") =>
            {
                before.insert(name.clone(), pair.remove("old").unwrap_or_default());
                after.insert(name, pair.remove("new").unwrap_or_default());
            }
            value => {
                after.insert(name, value);
            }
        }
    }
    let some =
        |fields: Map<String, Value>| if fields.is_empty() { None } else { Some(Value::Object(fields)) };
    (some(before), some(after))
}

/// The lines, opened where `opens`.
pub(super) async fn read(ctx: &Context, rows: Vec<Row>, opens: bool) -> Result<Vec<Entry>> {
    let mut people: Vec<Uuid> = match opens {
        true => rows.iter().filter(|row| row.sealed.is_some()).filter_map(Row::subject).collect(),
        false => Vec::new(),
    };
    people.sort_unstable();
    people.dedup();
    let people = keys::keys(ctx, &people).await?;
    Ok(rows.into_iter().map(|row| row.read(&people)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::reveal;

    #[test]
    fn what_was_sealed_stands_beside_what_was_not() {
        let opened = json!({ "email": { "old": "a@example.org", "new": null }, "address": "b***" });
        let (old, new) =
            reveal(Some(json!({ "status": "active" })), Some(json!({ "status": "banned" })), Some(opened));
        assert_eq!(old, Some(json!({ "status": "active", "email": "a@example.org" })));
        assert_eq!(new, Some(json!({ "status": "banned", "email": null, "address": "b***" })));
        assert_eq!(reveal(None, None, None), (None, None));
        assert_eq!(reveal(None, None, Some(json!({ "x": 1 }))), (None, Some(json!({ "x": 1 }))));
    }
}
