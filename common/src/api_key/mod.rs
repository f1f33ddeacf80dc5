//! Services: programs that call with a key of their own (`X-API-Key`) and may do what its scopes say.
//! A key's text is shown once and kept as a hash; it is looked up at every call, so one that was revoked
//! is refused at once everywhere; calls that come together share one query.

mod scope;
mod store;

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use scope::Scope;

use crate::audit::{self, Client, Line};
use crate::batch::Batcher;
use crate::context::Context;
use crate::error::{Code, Error, Fault, Result, all_or};
use crate::idempotency::{self, Begun};
use crate::role::Permission;
use crate::session::{FORBIDDEN, Person};
use crate::{id, secret};

/// No key of ours, or one that was revoked or ran out.
pub const INVALID: Code = Code {
    code: "api_key.invalid",
    status: 401,
    title: "The API key is not valid",
    advice: "Send a key that was neither revoked nor ran out as `X-API-Key`, and no `Authorization`.",
};
/// No such key.
pub const NOT_FOUND: Code = Code {
    code: "api_key.not_found",
    status: 404,
    title: "No such API key",
    advice: "List the keys and use the id of one that is not revoked.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[INVALID, NOT_FOUND];

/// Leads the text of every key, so that secret scanners know one.
pub const PREFIX: &str = "kry_";
/// Bytes of randomness in a key.
const BYTES: usize = 32;
/// How often a use is noted.
const NOTED_EVERY: TimeDelta = TimeDelta::seconds(60);
/// The most calls that share a query.
const MOST: usize = 64;
/// Queries at once.
const LANES: usize = 2;

/// A service's key, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiKey {
    /// Which.
    pub api_key_id: Uuid,
    /// What people call the service.
    pub name: String,
    /// What it may do, by name.
    pub scopes: Vec<String>,
    /// Who made it; none: an operator at the command line.
    pub created_by: Option<Uuid>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends; none: when it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A key just made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Made {
    /// What the list will show.
    pub key: ApiKey,
    /// `kry_` and 256 random bits in base64url: shown this once.
    pub text: String,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A key wanted.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What people call the service: 1 to 100 characters.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends; none: when it is revoked.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A program that calls with a key.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its key.
    pub api_key_id: Uuid,
    /// What people call it.
    pub name: String,
    scopes: Vec<String>,
}

impl Service {
    /// Refuses without the scope.
    ///
    /// # Errors
    /// `auth.forbidden`.
    pub fn may(&self, scope: Scope) -> Result<()> {
        if self.scopes.iter().any(|held| held == scope.name()) {
            return Ok(());
        }
        Err(FORBIDDEN.refuse(format!("This needs a key with the scope {scope}.")).into())
    }
}

/// Who reads what both people and services may read. For verbs, and for what their audit lines say.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    /// Somebody who is signed in.
    Person(&'a Person),
    /// A program.
    Service(&'a Service),
}

impl Reader<'_> {
    /// Refuses a person without the right, a service without the scope.
    ///
    /// # Errors
    /// `auth.forbidden`.
    pub fn may(&self, permission: Permission, scope: Scope) -> Result<()> {
        match self {
            Self::Person(person) => person.may(permission),
            Self::Service(service) => service.may(scope),
        }
    }

    /// `actor` of an audit line: the user, or the key of the service.
    pub fn actor(&self) -> Uuid {
        match self {
            Self::Person(person) => person.user_id(),
            Self::Service(service) => service.api_key_id,
        }
    }

    /// `session_id` of an audit line.
    pub fn session_id(&self) -> Option<Uuid> {
        match self {
            Self::Person(person) => Some(person.session_id),
            Self::Service(_) => None,
        }
    }

    /// The service's name, for the details of an audit line.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Person(_) => None,
            Self::Service(service) => Some(&service.name),
        }
    }
}

/// Where calls of services share a query.
#[derive(Clone, Debug)]
pub struct Lookups(Batcher<Vec<u8>, Option<Arc<store::Found>>>);

impl Lookups {
    /// Starts its lanes.
    pub fn open(db: &PgPool) -> Self {
        let db = db.clone();
        Self(Batcher::start(LANES, MOST, move |hashes: Vec<Vec<u8>>| {
            let db = db.clone();
            async move {
                let found: HashMap<Vec<u8>, Arc<store::Found>> = store::list_by_hash(&db, &hashes)
                    .await?
                    .into_iter()
                    .map(|key| (key.secret_hash.clone(), Arc::new(key)))
                    .collect();
                Ok(hashes.iter().map(|hash| found.get(hash).cloned()).collect())
            }
        }))
    }
}

/// Which service holds this key. A use is noted once a minute.
///
/// # Errors
/// `api_key.invalid`, or the database does not answer.
pub async fn authenticate(ctx: &Context, text: &str) -> Result<Service> {
    let now = ctx.now();
    let sound = text.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == BYTES.div_ceil(3) * 4 - 1);
    let key = match sound {
        true => ctx.services.0.call(secret::sha256(text.as_bytes()).to_vec()).await?,
        false => None,
    };
    let key = key.filter(|key| key.expires_at.is_none_or(|at| at > now));
    let key = key.ok_or_else(|| INVALID.refuse("This is no API key that works here."))?;
    let since = now - NOTED_EVERY;
    if key.last_used_at.is_none_or(|at| at <= since) {
        store::set_used(&ctx.db, key.api_key_id, now, since).await?;
    }
    Ok(Service { api_key_id: key.api_key_id, name: key.name.clone(), scopes: key.scopes.clone() })
}

/// Makes a key, for somebody who may. With an idempotency key the same answer is given again.
///
/// # Errors
/// `auth.forbidden` (also for a scope whose right the caller does not hold), `request.invalid`,
/// `auth.step_up_required`, and the refusals of [`idempotency::begin`].
pub async fn create(
    ctx: &Context,
    client: &Client,
    person: &Person,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Made> {
    person.may(Permission::ApiKeysWrite)?;
    person.require_fresh(ctx)?;
    for scope in &ask.scopes {
        match scope.right() {
            Some(right) => person.may(right)?,
            None if person.account.is_superuser => {}
            None => return Err(FORBIDDEN.refuse(format!("Only superusers give the scope {scope}.")).into()),
        }
    }
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, ctx.now(), key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let made = insert(&mut tx, ctx, client, Some(person), ask).await?;
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, &serde_json::to_vec(&made).map_err(Error::internal)?).await?;
    }
    tx.commit().await?;
    Ok(made)
}

/// Makes a key for an operator, who has the database in hand anyway.
///
/// # Errors
/// `request.invalid`, or the database does not answer.
pub async fn create_by_operator(ctx: &Context, client: &Client, ask: Ask) -> Result<Made> {
    let mut tx = ctx.db.begin().await?;
    let made = insert(&mut tx, ctx, client, None, ask).await?;
    tx.commit().await?;
    Ok(made)
}

async fn insert(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: Option<&Person>,
    mut ask: Ask,
) -> Result<Made> {
    let now = ctx.now();
    ask.scopes.sort_unstable();
    ask.scopes.dedup();
    all_or(Some(()), faults(&ask, now))?;
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret::random::<BYTES>()));
    let key = ApiKey {
        api_key_id: id::ordered(now),
        name: ask.name.trim().to_owned(),
        scopes: ask.scopes.iter().map(Scope::to_string).collect(),
        created_by: person.map(Person::user_id),
        created_at: now,
        expires_at: ask.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    store::insert(tx, &key, &secret::sha256(text.as_bytes())).await?;
    let details = json!({ "name": key.name, "scopes": key.scopes, "expires_at": key.expires_at });
    note(tx, client, person, "api_key.created", key.api_key_id, details, now).await?;
    Ok(Made { key, text })
}

fn faults(ask: &Ask, now: DateTime<Utc>) -> Vec<Fault> {
    let length = ask.name.trim().chars().count();
    let name = if !(1..=100).contains(&length) {
        Some(Fault::at("/name", "field.length", "A name has 1 to 100 characters."))
    } else {
        let shown = !ask.name.chars().any(char::is_control);
        (!shown).then(|| Fault::at("/name", "field.format", "A name holds no control characters."))
    };
    let scopes = ask
        .scopes
        .is_empty()
        .then(|| Fault::at("/scopes", "field.length", "A key without a scope is of no use."));
    let past = ask.expires_at.is_some_and(|at| at <= now);
    let expiry = past.then(|| Fault::at("/expires_at", "field.range", "This time has passed."));
    name.into_iter().chain(scopes).chain(expiry).collect()
}

/// All keys, newest first, at most a thousand.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context) -> Result<Vec<ApiKey>> {
    Ok(store::list(&ctx.db).await?)
}

/// Revokes a key: from now on it is refused everywhere. `person`: none, for an operator.
///
/// # Errors
/// `auth.forbidden`, `api_key.not_found` (also for one that is revoked).
pub async fn revoke(ctx: &Context, client: &Client, person: Option<&Person>, api_key_id: Uuid) -> Result<()> {
    person.map_or(Ok(()), |person| person.may(Permission::ApiKeysWrite))?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let name = store::set_revoked(&mut tx, api_key_id, now).await?;
    let name = name.ok_or_else(|| NOT_FOUND.refuse("There is no key with this id that works."))?;
    note(&mut tx, client, person, "api_key.revoked", api_key_id, json!({ "name": name }), now).await?;
    tx.commit().await?;
    Ok(())
}

async fn note(
    tx: &mut PgConnection,
    client: &Client,
    person: Option<&Person>,
    action: &'static str,
    api_key_id: Uuid,
    details: serde_json::Value,
    at: DateTime<Utc>,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "api_key",
        entity_id: api_key_id.to_string(),
        actor: person.map(Person::user_id),
        session_id: person.map(|person| person.session_id),
        details,
        client,
        at,
    };
    Ok(audit::note(tx, line).await?)
}
