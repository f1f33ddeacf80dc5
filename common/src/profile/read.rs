//! Reading profiles. One's own is read with others that are asked for at the same moment, in one query.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::store::{self, Row};
use super::{Picture, Profile, State};
use crate::audit::{self, Client};
use crate::batch::Batcher;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::notify::Preferences;
use crate::role::Permission;
use crate::session::Person;
use crate::user::completeness::Known;
use crate::user::{NOT_FOUND, line};

/// The most people that share a query.
const MOST: usize = 64;
/// Queries at once.
const LANES: usize = 2;

/// Where reads of one's own profile meet.
#[derive(Clone, Debug)]
pub struct Reads(Batcher<Uuid, Option<Arc<Profile>>>);

impl Reads {
    /// Starts its lanes.
    pub fn open(db: &PgPool) -> Self {
        let db = db.clone();
        Self(Batcher::start(LANES, MOST, move |people: Vec<Uuid>| {
            let db = db.clone();
            async move {
                let rows = store::list(&db, &people).await?.into_iter();
                let found: HashMap<Uuid, Arc<Profile>> =
                    rows.map(|row| (row.user_id, Arc::new(profile(row)))).collect();
                Ok(people.iter().map(|person| found.get(person).cloned()).collect())
            }
        }))
    }
}

/// A person's own profile.
///
/// # Errors
/// The database does not answer.
pub async fn own(ctx: &Context, user_id: Uuid) -> Result<Arc<Profile>> {
    let found = ctx.profiles.0.call(user_id).await?;
    Ok(found.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?)
}

/// A person's profile, for themselves or staff with the right; a look by staff leaves an audit line.
///
/// # Errors
/// `user.not_found`: also for those who may not know, so that ids tell nothing.
pub async fn show(ctx: &Context, client: &Client, person: &Person, user_id: Uuid) -> Result<Arc<Profile>> {
    if person.user_id() == user_id {
        return own(ctx, user_id).await;
    }
    if !person.has(Permission::UsersRead) {
        return Err(NOT_FOUND.refuse("There is no such user.").into());
    }
    let mut tx = ctx.db.begin().await?;
    let found = find(&mut tx, user_id).await?.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    audit::note(&mut tx, line(client, person, user_id, "profile.read", json!({}), ctx.now())).await?;
    tx.commit().await?;
    Ok(Arc::new(found))
}

/// One person's profile.
pub(super) async fn find(tx: &mut sqlx::PgConnection, user_id: Uuid) -> Result<Option<Profile>> {
    let mut rows = store::list(tx, &[user_id]).await.map_err(Error::from)?;
    Ok(rows.pop().map(profile))
}

fn profile(row: Row) -> Profile {
    let wanted = row.notification_preferences.as_ref().map(Preferences::read).unwrap_or_default();
    let switches: Vec<_> = wanted.all().map(|(message, via, on)| (message.name(), via.name(), on)).collect();
    let off = switches.iter().filter(|(.., on)| !on).map(|(kind, via, _)| format!("{kind}.{via}")).collect();
    let known = Known {
        name: row.full_name.is_some() || row.named,
        date_of_birth: row.date_of_birth.is_some(),
        address: row.address.is_some(),
        emergency_contact: row.emergency_contact.is_some(),
        emergency_phone: row.emergency_phone.is_some(),
        identifier: row.identifier,
    };
    Profile {
        user_id: row.user_id,
        state: State {
            full_name: row.full_name,
            date_of_birth: row.date_of_birth,
            address: row.address,
            emergency_contact: row.emergency_contact,
            emergency_phone: row.emergency_phone,
            preferred_language: row.language,
            off,
        },
        switches,
        picture: Picture {
            large: row.picture_large,
            waiting: row.picture_waiting.is_some(),
            failed: row.picture_failed_at.is_some(),
        },
        known,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
