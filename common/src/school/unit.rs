//! What departments, programmes and class groups have in common: a name of their own kind, a version, and what
//! staff do with them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::fold;
use super::store::{Rows, Wanted};
use crate::api_key::{Reader, Scope};
use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::cursor;
use crate::error::{Code, Error, Fault, Result, all_or};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::role::Permission;
use crate::session::Person;
use crate::user::{CHANGED, literal};

/// From so many characters a search finds names that hold its text; below, names that begin so.
const SUBSTRING_FROM: usize = 3;

/// What one kind is called in audit lines and refusals.
#[derive(Clone, Copy, Debug)]
pub struct Noun {
    /// In audit lines, and of what its cursors are.
    pub entity: &'static str,
    /// The action of a line.
    pub created: &'static str,
    /// The action of a line.
    pub changed: &'static str,
    /// The action of a line.
    pub deleted: &'static str,
    /// There is none with this id.
    pub not_found: Code,
    /// Another one has the name.
    pub name_taken: Code,
    /// Something belongs to it.
    pub in_use: Code,
}

/// A department, a programme or a class group.
pub trait Unit: Rows + Serialize + DeserializeOwned {
    /// What it is to be.
    type Ask: Send;
    /// What it is called.
    const NOUN: Noun;

    /// With these values.
    fn of(id: Uuid, ask: Self::Ask, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self;
    /// Which.
    fn id(&self) -> Uuid;
    /// Unique among its kind, without regard to case.
    fn name(&self) -> &str;
    /// Since when it is there.
    fn created_at(&self) -> DateTime<Utc>;
    /// Its version.
    fn updated_at(&self) -> DateTime<Utc>;
    /// What an audit line says of it.
    fn facts(&self) -> Value;
    /// What does not hold of its new values beside what it belongs to. `old`: what it is, locked; none: it is new.
    ///
    /// # Errors
    /// A refusal, or the database does not answer.
    fn faults(
        &self,
        tx: &mut PgConnection,
        old: Option<&Self>,
    ) -> impl Future<Output = Result<Vec<Fault>>> + Send;
}

/// Which ones of a kind.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of a name, without regard to case; below three characters its beginning.
    pub search: Option<String>,
    /// Of this department, or programme.
    pub within: Option<Uuid>,
    /// Behind this place of the list.
    pub cursor: Option<String>,
}

/// A page of a list by name.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// By name.
    pub items: Vec<T>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Those of a kind, by name.
///
/// # Errors
/// `auth.forbidden`, `request.invalid` for a cursor of another list.
pub async fn list<U: Unit>(
    ctx: &Context,
    reader: Reader<'_>,
    filter: &Filter,
    limit: u16,
) -> Result<Page<U>> {
    reader.may(Permission::SchoolRead, Scope::RolesRead)?;
    let (keys, owner, entity) = (&ctx.config.keys, reader.actor(), U::NOUN.entity);
    let after = match &filter.cursor {
        Some(text) => cursor::read_name(keys, entity, owner, text)?,
        None => String::new(),
    };
    let text = filter.search.as_deref().map(fold).unwrap_or_default();
    let begins = text.chars().count() < SUBSTRING_FROM;
    let limit = usize::from(limit);
    let wanted = Wanted {
        from: if begins { text.clone() } else { String::new() },
        // no text that begins so is behind it in the order of bytes
        below: begins.then(|| format!("{text}{}", char::MAX)),
        pattern: if begins { "%".to_owned() } else { format!("%{}%", literal(&text)) },
        after,
        within: filter.within,
        // one more tells whether there is a next page
        limit: i64::try_from(limit + 1).map_err(Error::internal)?,
    };
    let mut items = U::list(&ctx.db, &wanted).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next_cursor = last.map(|last| cursor::write_name(keys, entity, owner, &fold(last.name())));
    Ok(Page { items, next_cursor })
}

/// One of a kind.
///
/// # Errors
/// `auth.forbidden`, the kind's `not_found`.
pub async fn show<U: Unit>(ctx: &Context, reader: Reader<'_>, id: Uuid) -> Result<U> {
    reader.may(Permission::SchoolRead, Scope::RolesRead)?;
    find::<U>(&ctx.db, id).await
}

async fn find<U: Unit>(db: &PgPool, id: Uuid) -> Result<U> {
    U::find(db, id).await?.ok_or_else(no_such::<U>)
}

fn no_such<U: Unit>() -> Error {
    U::NOUN.not_found.refuse("There is nothing of this kind with this id.").into()
}

/// Makes one. With an idempotency key the same answer is given again.
///
/// # Errors
/// `auth.forbidden`, `request.invalid`, the kind's `name_taken`, the refusals of [`idempotency::begin`].
pub async fn create<U: Unit>(
    ctx: &Context,
    client: &Client,
    person: &Person,
    ask: U::Ask,
    key: Option<&idempotency::Key>,
) -> Result<U> {
    person.may(Permission::SchoolWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let new = U::of(id::ordered(now), ask, now, now);
    all_or(Some(()), new.faults(&mut tx, None).await?)?;
    new.insert(&mut tx, &fold(new.name())).await.map_err(told::<U>)?;
    let values = Values { new: new.facts(), ..Values::default() };
    note::<U>(&mut tx, client, person, U::NOUN.created, new.id(), values, now).await?;
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, &serde_json::to_vec(&new).map_err(Error::internal)?).await?;
    }
    tx.commit().await?;
    Ok(new)
}

/// Gives one new values, if it is still the one of `version` (where one is named).
///
/// # Errors
/// `auth.forbidden`, `request.invalid`, `user.changed`, the kind's `not_found`, `name_taken` and `in_use`.
pub async fn replace<U: Unit>(
    ctx: &Context,
    client: &Client,
    person: &Person,
    id: Uuid,
    version: Option<DateTime<Utc>>,
    ask: U::Ask,
) -> Result<U> {
    person.may(Permission::SchoolWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let old = U::lock(&mut tx, id).await?.ok_or_else(no_such::<U>)?;
    if version.is_some_and(|version| version != old.updated_at()) {
        return Err(CHANGED.refuse("Somebody has changed the record meanwhile.").into());
    }
    let new = U::of(id, ask, old.created_at(), now);
    all_or(Some(()), new.faults(&mut tx, Some(&old)).await?)?;
    new.set(&mut tx, &fold(new.name())).await.map_err(told::<U>)?;
    let values = Values { old: old.facts(), new: new.facts(), sealed: None };
    note::<U>(&mut tx, client, person, U::NOUN.changed, id, values, now).await?;
    tx.commit().await?;
    Ok(new)
}

/// Deletes one that nothing belongs to.
///
/// # Errors
/// `auth.forbidden`, the kind's `not_found` and `in_use`.
pub async fn delete<U: Unit>(ctx: &Context, client: &Client, person: &Person, id: Uuid) -> Result<()> {
    person.may(Permission::SchoolWrite)?;
    let mut tx = ctx.db.begin().await?;
    let old = U::delete(&mut tx, id).await.map_err(told::<U>)?.ok_or_else(no_such::<U>)?;
    let values = Values { old: old.facts(), ..Values::default() };
    note::<U>(&mut tx, client, person, U::NOUN.deleted, id, values, ctx.now()).await?;
    tx.commit().await?;
    Ok(())
}

async fn note<U: Unit>(
    tx: &mut PgConnection,
    client: &Client,
    person: &Person,
    action: &'static str,
    id: Uuid,
    values: Values,
    at: DateTime<Utc>,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: U::NOUN.entity,
        entity_id: id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details: json!({}),
        client,
        at,
    };
    Ok(audit::note_change(tx, line, values).await?)
}

/// What an index or a reference refused.
fn told<U: Unit>(error: sqlx::Error) -> Error {
    let Some(database) = error.as_database_error() else { return error.into() };
    if database.is_unique_violation() {
        U::NOUN.name_taken.refuse("Another one has this name.").into()
    } else if database.is_foreign_key_violation() {
        U::NOUN.in_use.refuse("Something belongs to it.").into()
    } else {
        error.into()
    }
}
