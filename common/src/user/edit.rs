//! Changing a person's record: by its owner, with the fields that are theirs, and by staff.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::{Changed, line, note_change};
use super::record::Record;
use super::status::{self, taken};
use super::store::{self, Edit};
use super::verification::{self, By, Proving};
use super::{CHANGED, IDENTIFIER_NEEDED, Identifier, NOT_FOUND, Username};
use crate::audit::Client;
use crate::auth::otp::Purpose;
use crate::auth::token;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::notify::{self, Message, Told};
use crate::role::Permission;
use crate::seal;
use crate::session::{FORBIDDEN, Person};
use crate::wallet;

/// A field that may be left, set or cleared.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change<T> {
    /// As it is.
    #[default]
    Keep,
    /// To this; none: cleared.
    Set(Option<T>),
}

impl<T: Clone> Change<T> {
    /// The value after the change.
    pub(crate) fn over(&self, old: &Option<T>) -> Option<T> {
        match self {
            Self::Keep => old.clone(),
            Self::Set(new) => new.clone(),
        }
    }
}

/// What is to change.
#[derive(Clone, Default)]
pub struct Edits {
    /// To another name.
    pub username: Option<Username>,
    /// Given name.
    pub first_name: Change<String>,
    /// Family name.
    pub last_name: Change<String>,
    /// As the person says.
    pub gender: Change<String>,
    /// Of the person.
    pub address: Change<String>,
    /// Sealed at rest.
    pub national_id: Change<String>,
    /// The owner proves a new one; one that staff set is not proved.
    pub email: Change<Identifier>,
    /// As `email`.
    pub phone_number: Change<Identifier>,
    /// With the purpose `change_identifier`, for owners.
    pub verification_token: Option<String>,
}

impl std::fmt::Debug for Edits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edits").finish_non_exhaustive()
    }
}

/// Changes a record, if it is still the one of `version` (where one is named).
///
/// # Errors
/// `user.not_found`, `user.deleted`, `user.changed`, `user.username_taken`, `user.identifier_taken`,
/// `user.identifier_needed`, `auth.forbidden`, `verification.*`; `auth.step_up_required` for identifiers.
pub async fn edit(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    version: Option<DateTime<Utc>>,
    edits: Edits,
) -> Result<Record> {
    let own = person.user_id() == user_id;
    // the answer is the record
    let may = [Permission::UsersRead, Permission::UsersWrite].iter().all(|right| person.has(*right));
    if !own && !may {
        return Err(NOT_FOUND.refuse("There is no such user.").into());
    }
    let mut tx = ctx.db.begin().await?;
    let old = store::lock(&mut tx, user_id).await?;
    let old = old.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    // a version later than the last one, whatever the clock of the process was that made it
    let now = ctx.now().max(old.updated_at + TimeDelta::microseconds(1));
    if !own && !person.reaches(old.rank, old.is_superuser) {
        return Err(FORBIDDEN.refuse("This person stands above you.").into());
    }
    status::not_deleted(&old)?;
    if version.is_some_and(|version| version != old.updated_at) {
        return Err(CHANGED.refuse("Somebody has changed the record meanwhile.").into());
    }
    let (email, email_verified_at) = identifier(&edits.email, &old.email, old.email_verified_at);
    let (phone, phone_verified_at) =
        identifier(&edits.phone_number, &old.phone_number, old.phone_verified_at);
    let changed: Vec<&Identifier> = [(&edits.email, &old.email), (&edits.phone_number, &old.phone_number)]
        .into_iter()
        .filter_map(|(change, old)| match change {
            Change::Set(Some(new)) if Some(new.as_str()) != old.as_deref() => Some(new),
            _ => None,
        })
        .collect();
    if email.is_none() && phone.is_none() {
        return Err(IDENTIFIER_NEEDED.refuse("An account keeps a phone number or an e-mail address.").into());
    }
    if email != old.email || phone != old.phone_number {
        may_change_identifiers(ctx, person, &old)?;
    }
    let cleared = (email.is_none() && old.email_verified_at.is_some())
        || (phone.is_none() && old.phone_verified_at.is_some());
    let mut proved = (email_verified_at, phone_verified_at);
    if own {
        prove(&mut tx, ctx, client, person, &edits, &changed, &mut proved).await?;
    }
    if cleared && proved == (None, None) {
        return Err(IDENTIFIER_NEEDED.refuse("The other one is not proved.").into());
    }
    let name = edits.username.as_ref();
    let edit = Edit {
        username: name.map(|name| name.as_str().to_owned()),
        skeleton: name.map(|name| name.skeleton().to_owned()),
        first_name: edits.first_name.over(&old.first_name),
        last_name: edits.last_name.over(&old.last_name),
        gender: edits.gender.over(&old.gender),
        address: edits.address.over(&old.address),
        national_id: national_id(ctx, user_id, &edits.national_id, &old)?,
        email,
        phone_number: phone,
        email_verified_at: proved.0,
        phone_verified_at: proved.1,
    };
    store::set(&mut tx, user_id, &edit, now).await.map_err(taken)?;
    if old.referred_by.is_some()
        && (old.email_verified_at, old.phone_verified_at) == (None, None)
        && proved != (None, None)
    {
        // the first proof, as far as the record says: a reward is given once
        wallet::ask_reward(&mut tx, now, user_id).await?;
    }
    let new = store::find(&mut *tx, user_id).await?.ok_or_else(|| Error::internal("the user is gone"))?;
    let numbered = edits.national_id != Change::Keep;
    let change = Changed { old: facts(&old, false), new: facts(&new, numbered) };
    let line = line(client, person, user_id, "user.changed", json!({}), now);
    note_change(&mut tx, ctx, line, user_id, change).await?;
    tell(&mut tx, ctx, client, person, &old, &new).await?;
    tx.commit().await?;
    ctx.wake.queue(crate::job::Queue::Default);
    Ok(new)
}

/// Whoever has an identifier comes into the account by it: it takes a fresh proof of who asks, and staff
/// who have all rights that the account has.
fn may_change_identifiers(ctx: &Context, person: &Person, old: &Record) -> Result<()> {
    let held = |name: &String| person.account.is_superuser || person.permissions.contains(name);
    if person.user_id() != old.user_id && !old.permissions.iter().all(held) {
        return Err(FORBIDDEN.refuse("This person has rights that you do not have.").into());
    }
    person.require_fresh(ctx)
}

/// The new value and since when it is proved: another value is not.
fn identifier(
    change: &Change<Identifier>,
    old: &Option<String>,
    verified_at: Option<DateTime<Utc>>,
) -> (Option<String>, Option<DateTime<Utc>>) {
    match change {
        Change::Keep => (old.clone(), verified_at),
        Change::Set(new) => {
            let new = new.as_ref().map(|identifier| identifier.as_str().to_owned());
            let verified_at = verified_at.filter(|_| new == *old);
            (new, verified_at)
        }
    }
}

/// Owners change an identifier to one they have proved in this session, one at a time.
async fn prove(
    tx: &mut sqlx::PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    edits: &Edits,
    changed: &[&Identifier],
    proved: &mut (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
) -> Result<()> {
    let now = ctx.now();
    for identifier in changed.iter().copied() {
        let token = edits.verification_token.as_deref();
        let token = token.ok_or_else(|| {
            token::INVALID.refuse("A new identifier is proved first: purpose `change_identifier`.")
        })?;
        let session = Some(person.session_id);
        token::consume(tx, now, token, &[Purpose::ChangeIdentifier], identifier, session).await?;
        match identifier {
            Identifier::Email(_) => proved.0 = Some(now),
            Identifier::Phone(_) => proved.1 = Some(now),
        }
        let proving = Proving {
            user_id: person.user_id(),
            identifier,
            by: By::Change,
            actor: person.user_id(),
            session_id: session,
            reason: None,
            keeps: true,
        };
        verification::note_change(tx, ctx, client, &proving).await?;
    }
    Ok(())
}

fn national_id(
    ctx: &Context,
    user_id: Uuid,
    change: &Change<String>,
    old: &Record,
) -> Result<Option<store::NationalId>> {
    match change {
        Change::Keep => Ok(old.national_id_sealed.as_ref().map(|_| store::NationalId::Kept)),
        Change::Set(None) => Ok(None),
        Change::Set(Some(text)) => Ok(Some(store::NationalId::New {
            sealed: seal::seal(&ctx.config.keys, "national_id", user_id.as_bytes(), text.as_bytes())?,
            hash: ctx.config.keys.derive("national_id").mac(&[text.as_bytes()]),
        })),
    }
}

/// What an audit line says of a record.
fn facts(record: &Record, national_id: bool) -> Value {
    json!({
        "username": record.username, "email": record.email, "phone_number": record.phone_number,
        "first_name": record.first_name, "last_name": record.last_name, "gender": record.gender,
        "address": record.address, "national_id": if national_id { "changed" } else { "kept" },
        "email_verified": record.email_verified_at.is_some(),
        "phone_verified": record.phone_verified_at.is_some(),
    })
}

/// Both the old and the new address hear of a change of identifier.
async fn tell(
    tx: &mut sqlx::PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    old: &Record,
    new: &Record,
) -> Result<()> {
    for (what, before, after) in [
        (notify::Change::Email, &old.email, &new.email),
        (notify::Change::Phone, &old.phone_number, &new.phone_number),
    ] {
        if before == after {
            continue;
        }
        let facts = notify::Facts {
            what: Some(what),
            new: after.as_deref().map(crate::mask::identifier),
            ..status::facts(client, person, new.user_id, ctx.now())
        };
        let told = Told { user_id: new.user_id, message: Message::IdentifierChanged, facts };
        let to: Vec<Identifier> =
            before.iter().chain(after).filter_map(|text| Identifier::parse(text, None).ok()).collect();
        notify::tell_at(tx, ctx, client, &told, &to).await?;
    }
    Ok(())
}
