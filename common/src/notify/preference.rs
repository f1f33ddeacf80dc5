//! What people want to be told, by kind and channel. Everything is on until they switch it off; what is of
//! their account's safety cannot be. Kept in `profiles.notification_preferences`, where it is part of what a
//! profile shows.

use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Message, Via, store};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::Result;
use crate::session::Person;

/// A person's switches. What a later build may have put there stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preferences(Map<String, Value>);

impl Preferences {
    /// As a row holds them; what does not read is on.
    pub(crate) fn read(row: &Value) -> Self {
        Self(row.as_object().cloned().unwrap_or_default())
    }

    /// Whether this may go by this way. What cannot be switched off always may.
    pub fn allows(&self, message: Message, via: Via) -> bool {
        !message.is_optional()
            || self.0.get(message.name()).and_then(|of| of.get(via.name())) != Some(&json!(false))
    }

    /// Switches one on or off. False: it cannot be switched off, and nothing was changed.
    #[must_use]
    pub fn switch(&mut self, message: Message, via: Via, on: bool) -> bool {
        if !message.is_optional() {
            return on;
        }
        let of = self.0.entry(message.name()).or_insert_with(|| json!({}));
        if !of.is_object() {
            *of = json!({});
        }
        of[via.name()] = json!(on);
        true
    }

    /// Every switch there is, and how it stands.
    pub fn all(&self) -> impl Iterator<Item = (Message, Via, bool)> {
        let optional = Message::ALL.into_iter().filter(|message| message.is_optional());
        optional.flat_map(|message| Via::ALL.map(|via| (message, via, self.allows(message, via))))
    }
}

/// What somebody wants to be told.
///
/// # Errors
/// The database does not answer.
pub async fn preferences(db: impl PgExecutor<'_>, user_id: Uuid) -> Result<Preferences> {
    let row = store::find_preferences(db, user_id).await?;
    Ok(row.as_ref().map(Preferences::read).unwrap_or_default())
}

/// Keeps what somebody wants to be told, with the caller's transaction, and a line of it.
///
/// # Errors
/// The database does not answer.
pub async fn set_preferences(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    wanted: &Preferences,
) -> Result<()> {
    let at = ctx.now();
    let off = wanted.all().filter(|(.., on)| !on);
    let off: Vec<String> =
        off.map(|(message, via, _)| format!("{}.{}", message.name(), via.name())).collect();
    store::set_preferences(&mut *tx, user_id, &Value::Object(wanted.0.clone()), at).await?;
    let line = Line {
        action: "profile.notifications_changed",
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details: json!({ "off": off }),
        client,
        at,
    };
    Ok(audit::note(tx, line).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_on_until_it_is_switched_off() {
        let mut wanted = Preferences::default();
        assert!(wanted.all().all(|(.., on)| on));
        assert!(wanted.switch(Message::Welcome, Via::Sms, false));
        assert!(!wanted.allows(Message::Welcome, Via::Sms));
        assert!(wanted.allows(Message::Welcome, Via::Email) && wanted.allows(Message::ReportReady, Via::Sms));
        assert!(wanted.switch(Message::Welcome, Via::Sms, true));
        assert!(wanted.all().all(|(.., on)| on));
    }

    #[test]
    fn what_is_of_safety_is_on_whatever_a_row_says() {
        let row = json!({ "password_changed": { "email": false }, "welcome": { "push": false, "pigeon": false }, "later": 1 });
        let mut wanted = Preferences::read(&row);
        assert!(!wanted.switch(Message::PasswordChanged, Via::Email, false));
        assert!(wanted.allows(Message::PasswordChanged, Via::Email));
        assert!(!wanted.allows(Message::Welcome, Via::Push));
        assert!(wanted.switch(Message::StaffMessage, Via::Sms, false));
        assert_eq!(wanted.0["later"], 1, "what a later build put there stays");
        for broken in [json!(null), json!([]), json!({ "welcome": 7 }), json!({ "welcome": { "sms": "no" } })]
        {
            assert!(Preferences::read(&broken).all().all(|(.., on)| on), "{broken}");
        }
    }
}
