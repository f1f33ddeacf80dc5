//! Rights as data: what a role may do is a row, which rights there are is said in `permission`. Nobody
//! gives what they do not hold, nor acts above their own rank ([`Person::reaches`] decides that, here as
//! everywhere); superusers stand above all ranks, and the last of them stays.

mod assign;
mod permission;
mod store;
mod superuser;

use chrono::{DateTime, Utc};
use serde_json::json;

pub use assign::{Assignment, Grant, assign, keep_superuser};
pub(crate) use assign::{assign_in, may_give};
pub use permission::Permission;
pub use superuser::{Superuser, create_superuser};

use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::error::{Code, Refusal, Result};
use crate::session::Person;
use crate::user;

/// No such role.
pub const NOT_FOUND: Code =
    Code { code: "role.not_found", status: 404, title: "No such role", advice: "List the roles." };
/// A rank or a person above the caller.
pub const BEYOND_RANK: Code = Code {
    code: "role.beyond_rank",
    status: 403,
    title: "This is above your own rank",
    advice: "Ask somebody whose rank is higher.",
};
/// A right that the caller does not hold.
pub const NOT_HELD: Code = Code {
    code: "role.not_held",
    status: 403,
    title: "You do not hold this right yourself",
    advice: "Ask somebody who holds every right that `detail` names.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[NOT_FOUND, BEYOND_RANK, NOT_HELD];

/// The highest rank a role may have; superusers stand above it.
pub const HIGHEST_RANK: i16 = 1000;

/// A role as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its name.
    pub role: String,
    /// How high it stands.
    pub rank: i16,
    /// Whether who has it is one of staff.
    pub is_staff: bool,
    /// What who has it may do, by name.
    pub permissions: Vec<String>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a role is to be.
#[derive(Clone, Debug)]
pub struct Rights {
    /// What who has it may do.
    pub permissions: Vec<Permission>,
    /// How high it stands; none: as high as it does.
    pub rank: Option<i16>,
    /// Whether who has it is one of staff; none: as it is.
    pub is_staff: Option<bool>,
}

/// All roles, the highest first.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context) -> Result<Vec<Role>> {
    Ok(store::list(&ctx.db).await?)
}

/// Changes what a role may do and where it stands, for everybody who has it, at once, if it is still the one of
/// `version` (where one is named).
///
/// # Errors
/// `auth.forbidden`, `auth.step_up_required`, `role.not_found`, `role.beyond_rank` (the role stands beside
/// or above the caller, or would), `role.not_held`, `user.changed`.
pub async fn change(
    ctx: &Context,
    client: &Client,
    person: &Person,
    name: &str,
    version: Option<DateTime<Utc>>,
    rights: Rights,
) -> Result<Role> {
    person.may(Permission::RolesWrite)?;
    person.require_fresh(ctx)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let old = find(store::lock(&mut tx, name).await?)?;
    if version.is_some_and(|version| version != old.updated_at) {
        return Err(user::CHANGED.refuse("Somebody has changed the role meanwhile.").into());
    }
    let mut permissions: Vec<String> = rights.permissions.iter().map(Permission::to_string).collect();
    permissions.sort_unstable();
    permissions.dedup();
    let new = Role {
        role: old.role.clone(),
        rank: rights.rank.unwrap_or(old.rank),
        is_staff: rights.is_staff.unwrap_or(old.is_staff),
        permissions,
        updated_at: now,
    };
    for rank in [old.rank, new.rank] {
        // beside oneself is too high: whoever writes a role of their own rank writes their own rights
        if !person.reaches(rank.saturating_add(1), false) {
            return Err(BEYOND_RANK.refuse("You change roles below your own rank.").into());
        }
    }
    must_hold(person, rights.permissions.iter().filter(|it| !old.permissions.contains(&it.to_string())))?;
    store::set(&mut tx, &new).await?;
    let said = |role: &Role| json!({ "rank": role.rank, "is_staff": role.is_staff, "permissions": role.permissions });
    let line = Line {
        action: "role.changed",
        entity_type: "role",
        entity_id: new.role.clone(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details: json!({}),
        client,
        at: now,
    };
    let values = Values { old: said(&old), new: said(&new), sealed: None };
    audit::note_change(&mut tx, line, values).await?;
    tx.commit().await?;
    Ok(new)
}

fn find(role: Option<Role>) -> Result<Role, Refusal> {
    role.ok_or_else(|| NOT_FOUND.refuse("There is no role of this name."))
}

/// Refuses to give rights that the giver does not hold.
fn must_hold<'a>(person: &Person, given: impl Iterator<Item = &'a Permission>) -> Result<(), Refusal> {
    let missing: Vec<&str> = given.filter(|it| !person.has(**it)).map(|it| it.name()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(NOT_HELD.refuse(format!("You do not hold {}.", missing.join(", "))))
}
