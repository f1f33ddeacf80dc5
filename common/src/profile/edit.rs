//! Changing a profile: by whose it is, and by staff of nobody above them. What changed is kept sealed, before
//! and after, and written to the audit log.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{LANGUAGE, Profile, State, history, must_be_birthday, read, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Fault, Result, invalid};
use crate::notify::{self, Message, Preferences, Via};
use crate::role::Permission;
use crate::session::{FORBIDDEN, Person};
use crate::user::{CHANGED, Change, Changed, NOT_FOUND, line, note_change};

/// Which messages somebody wants, by kind and way.
pub type Switches = BTreeMap<String, BTreeMap<String, bool>>;

/// What is to change.
#[derive(Clone, Default)]
pub struct Edits {
    /// In any script.
    pub full_name: Change<String>,
    /// When they were born.
    pub date_of_birth: Change<NaiveDate>,
    /// Where they live; the record's too.
    pub address: Change<String>,
    /// Whom to call.
    pub emergency_contact: Change<String>,
    /// E.164.
    pub emergency_phone: Change<String>,
    /// BCP 47; cleared: English.
    pub preferred_language: Change<String>,
    /// Which messages are wanted.
    pub notification_preferences: Switches,
    /// Whether all messages that are not named are wanted; else they stay as they are.
    pub others_on: bool,
}

impl std::fmt::Debug for Edits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edits").finish_non_exhaustive()
    }
}

/// Changes a profile, if it is still the one of `version` (where one is named).
///
/// # Errors
/// `user.not_found`, `user.changed`, `auth.forbidden`; `request.invalid` for a day on which nobody was born, and
/// for messages that there are not or that cannot be switched off.
pub async fn edit(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    version: Option<DateTime<Utc>>,
    edits: Edits,
) -> Result<Profile> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let old = lock(&mut tx, person, user_id).await?;
    if version.is_some_and(|version| version != old.updated_at) {
        return Err(CHANGED.refuse("Somebody has changed the profile meanwhile.").into());
    }
    let mut faults = Vec::new();
    if let Change::Set(Some(day)) = &edits.date_of_birth
        && let Err(fault) = must_be_birthday(*day, now)
    {
        faults.push(fault);
    }
    let off = switched(&old.state, &edits, &mut faults);
    if !faults.is_empty() {
        return Err(invalid(faults).into());
    }
    let state = State {
        full_name: edits.full_name.over(&old.state.full_name),
        date_of_birth: edits.date_of_birth.over(&old.state.date_of_birth),
        address: edits.address.over(&old.state.address),
        emergency_contact: edits.emergency_contact.over(&old.state.emergency_contact),
        emergency_phone: edits.emergency_phone.over(&old.state.emergency_phone),
        preferred_language: match edits.preferred_language {
            Change::Keep => old.state.preferred_language.clone(),
            Change::Set(new) => new.unwrap_or_else(|| LANGUAGE.to_owned()),
        },
        off,
    };
    let new = put(&mut tx, ctx, client, person, old, state, None).await?;
    tx.commit().await?;
    Ok(new)
}

/// Whether this person may change what somebody's profile says and shows; locks whose it is.
///
/// # Errors
/// `user.not_found`: also for those who may not know; `auth.forbidden` for people above one's rank.
pub(crate) async fn may_change(tx: &mut PgConnection, person: &Person, user_id: Uuid) -> Result<()> {
    let own = person.user_id() == user_id;
    let unknown = || NOT_FOUND.refuse("There is no such user.");
    // the answer to a change is the profile
    let may = [Permission::UsersRead, Permission::UsersWrite].iter().all(|right| person.has(*right));
    if !own && !may {
        return Err(unknown().into());
    }
    let standing = store::lock(tx, user_id).await?.ok_or_else(unknown)?;
    if !own && !person.reaches(standing.rank, standing.is_superuser) {
        return Err(FORBIDDEN.refuse("This person stands above you.").into());
    }
    Ok(())
}

/// A profile that this person may change, locked.
pub(super) async fn lock(tx: &mut PgConnection, person: &Person, user_id: Uuid) -> Result<Profile> {
    may_change(&mut *tx, person, user_id).await?;
    let found = read::find(tx, user_id).await?;
    Ok(found.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?)
}

/// Makes a profile say this. What it says already is no change.
pub(super) async fn put(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    old: Profile,
    state: State,
    restored: Option<Uuid>,
) -> Result<Profile> {
    if old.state == state {
        return Ok(old);
    }
    // later than its last change, whatever the clock of the process was that made it
    let (user_id, now) = (old.user_id, ctx.now().max(old.updated_at + TimeDelta::microseconds(1)));
    store::set(&mut *tx, user_id, &state, now).await?;
    if (&state.address, &state.preferred_language) != (&old.state.address, &old.state.preferred_language) {
        store::set_shared(&mut *tx, user_id, &state, now).await?;
    }
    if state.off != old.state.off {
        let mut wanted: Preferences = notify::preferences(&mut *tx, user_id).await?;
        for (message, via, _) in wanted.clone().all() {
            // all of these can be switched
            let _ = wanted.switch(message, via, !state.off.contains(&name(message.name(), via.name())));
        }
        notify::set_preferences(&mut *tx, ctx, client, person, user_id, &wanted).await?;
    }
    history::keep(&mut *tx, ctx, person, user_id, (&old.state, &state), restored, now).await?;
    let details = restored.map_or_else(|| json!({}), |change_id| json!({ "restored": change_id }));
    let line = line(client, person, user_id, "profile.changed", details, now);
    let change = Changed { old: facts(&old.state), new: facts(&state) };
    note_change(&mut *tx, ctx, line, user_id, change).await?;
    read::find(tx, user_id).await?.ok_or_else(|| Error::internal("the user is gone"))
}

/// What an audit line says of a profile; what messages are wanted has lines of its own.
fn facts(state: &State) -> Value {
    json!({
        "full_name": state.full_name, "date_of_birth": state.date_of_birth, "address": state.address,
        "emergency_contact": state.emergency_contact, "emergency_phone": state.emergency_phone,
        "preferred_language": state.preferred_language,
    })
}

fn name(kind: &str, via: &str) -> String {
    format!("{kind}.{via}")
}

/// What is off after a change; what cannot be switched goes to `faults`.
fn switched(old: &State, edits: &Edits, faults: &mut Vec<Fault>) -> std::collections::BTreeSet<String> {
    let mut off = match edits.others_on {
        true => Default::default(),
        false => old.off.clone(),
    };
    for (kind, ways) in &edits.notification_preferences {
        let pointer = format!("/notification_preferences/{}", escaped(kind));
        let Some(message) = Message::named(kind) else {
            faults.push(Fault::at(pointer, "field.unknown", "There is no such message."));
            continue;
        };
        for (way, on) in ways {
            let pointer = format!("{pointer}/{}", escaped(way));
            if Via::named(way).is_none() {
                faults.push(Fault::at(pointer, "field.unknown", "One of these: sms, email, push."));
            } else if *on {
                off.remove(&name(kind, way));
            } else if message.is_optional() {
                off.insert(name(kind, way));
            } else {
                let told = "This message is of the account's safety: it cannot be switched off.";
                faults.push(Fault::at(pointer, "preference.required", told));
            }
        }
    }
    off
}

/// As a part of a pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
