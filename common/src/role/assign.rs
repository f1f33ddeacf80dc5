//! Giving somebody a role, or the place above all roles.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{BEYOND_RANK, Permission, find, must_hold, store};
use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::error::Result;
use crate::job::Queue;
use crate::notify::{self, Facts, Message, Told};
use crate::session::{FORBIDDEN, Person};
use crate::user::{self, Status};

/// What somebody is to be.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The role.
    pub role: String,
    /// Above all roles or not; none: as it is. Superusers alone say this.
    pub is_superuser: Option<bool>,
    /// Only if their record is still of this version.
    pub version: Option<DateTime<Utc>>,
}

/// Somebody's place, as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// Who.
    pub user_id: Uuid,
    /// Their role.
    pub role: String,
    /// Its rank.
    pub rank: i16,
    /// Whether they stand above all ranks.
    pub is_superuser: bool,
    /// The version of their record.
    pub updated_at: DateTime<Utc>,
}

/// Gives somebody a role. They are told, if anything changed.
///
/// # Errors
/// `auth.forbidden`, `auth.step_up_required`, `user.self`, `user.not_found`, `role.not_found`,
/// `role.beyond_rank`, `role.not_held`, `user.changed`, `user.last_superuser`.
pub async fn assign(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    grant: Grant,
) -> Result<Assignment> {
    person.may(Permission::UsersRole)?;
    person.require_fresh(ctx)?;
    let mut tx = ctx.db.begin().await?;
    let new = assign_in(&mut tx, ctx, client, person, user_id, grant, "").await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(new)
}

/// [`assign`] with the caller's transaction, by somebody whose proof of who they are was looked at before.
///
/// # Errors
/// As [`assign`].
pub(crate) async fn assign_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    grant: Grant,
    reason: &str,
) -> Result<Assignment> {
    person.may(Permission::UsersRole)?;
    if person.user_id() == user_id {
        return Err(user::SELF.refuse("Somebody else has to do this.").into());
    }
    if grant.is_superuser.is_some() && !person.account.is_superuser {
        return Err(FORBIDDEN.refuse("Superusers alone make and unmake superusers.").into());
    }
    let now = ctx.now();
    let role = find(store::lock(tx, &grant.role).await?)?;
    let old = store::lock_assignment(tx, user_id).await?;
    let old = old.ok_or_else(|| user::NOT_FOUND.refuse("There is no such user."))?;
    if !person.reaches(old.rank, old.is_superuser) || !person.reaches(role.rank, false) {
        return Err(BEYOND_RANK.refuse("You give roles up to your own rank, to people up to it.").into());
    }
    if grant.version.is_some_and(|version| version != old.updated_at) {
        return Err(user::CHANGED.refuse("Somebody has changed the record meanwhile.").into());
    }
    let given: Vec<Permission> = role.permissions.iter().filter_map(|name| name.parse().ok()).collect();
    must_hold(person, given.iter())?;
    let mut new = Assignment {
        user_id,
        role: role.role,
        rank: role.rank,
        is_superuser: grant.is_superuser.unwrap_or(old.is_superuser),
        updated_at: old.updated_at,
    };
    if old.is_superuser && !new.is_superuser {
        keep_superuser(tx, user_id).await?;
    }
    if new != old {
        new.updated_at = now;
        store::set_assignment(tx, &new).await?;
        let said = |it: &Assignment| json!({ "role": it.role, "is_superuser": it.is_superuser });
        let line = Line {
            action: "user.role_changed",
            entity_type: "user",
            entity_id: user_id.to_string(),
            actor: Some(person.user_id()),
            session_id: Some(person.session_id),
            details: if reason.is_empty() { json!({}) } else { json!({ "reason": reason }) },
            client,
            at: now,
        };
        let values = Values { old: said(&old), new: said(&new), sealed: None };
        audit::note_change(tx, line, values).await?;
        let facts = Facts { role: Some(new.role.clone()), ..Facts::at(now) };
        notify::tell(tx, ctx, client, &Told { user_id, message: Message::RoleChanged, facts }).await?;
    }
    Ok(new)
}

/// Refuses where the caller gives this role to nobody: it is not there, stands above them, or may do what they
/// may not.
///
/// # Errors
/// `role.not_found`, `role.beyond_rank`, `role.not_held`.
pub(crate) async fn may_give(tx: &mut PgConnection, person: &Person, name: &str) -> Result<()> {
    let role = find(store::lock(tx, name).await?)?;
    if !person.reaches(role.rank, false) {
        return Err(BEYOND_RANK.refuse("You give roles up to your own rank.").into());
    }
    let given: Vec<Permission> = role.permissions.iter().filter_map(|name| name.parse().ok()).collect();
    Ok(must_hold(person, given.iter())?)
}

/// Refuses if this is the last superuser who may sign in. Whoever takes one away (the flag, the status,
/// the account) asks this first, in the same transaction: those who ask wait for each other.
///
/// # Errors
/// `user.last_superuser`.
pub async fn keep_superuser(tx: &mut PgConnection, user_id: Uuid) -> Result<()> {
    store::lock_superusers(&mut *tx).await?;
    let others = store::count_other_superusers(tx, user_id, Status::Active).await?;
    if others == 0 {
        return Err(user::LAST_SUPERUSER.refuse("There is no other superuser who may sign in.").into());
    }
    Ok(())
}
