//! Role profiles: what the role of a trainee, a trainer, a head of department or a deputy principal for academics
//! adds to a person, one to one. `admin` and `member` have none. Staff write them, the person reads their own. One
//! stays when the role changes, but is shown, and holds a place in a class group or a department, with the role
//! alone.

mod dp_academics;
mod hod;
mod trainee;
mod trainer;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

pub use dp_academics::{DpAcademics, DpAcademicsAsk};
pub use hod::{Hod, HodAsk};
pub use trainee::{Trainee, TraineeAsk, TraineeStatus};
pub use trainer::{Trainer, TrainerAsk};

use super::store::ProfileRows;
use crate::api_key::{Reader, Scope};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Code, Error, Fault, Result, all_or};
use crate::role::Permission;
use crate::session::Person;
use crate::user::{self, CHANGED, Changed};

/// The person has no such profile, or not with their present role.
pub const NOT_FOUND: Code = Code {
    code: "role_profile.not_found",
    status: 404,
    title: "No such role profile",
    advice: "Staff make it with PUT, for people with its role.",
};
/// The person has another role.
pub const OTHER_ROLE: Code = Code {
    code: "role_profile.other_role",
    status: 409,
    title: "The person has another role",
    advice: "Give them the role first, or write the profile of the role they have.",
};
/// Somebody else has the admission or staff number.
pub const NUMBER_TAKEN: Code = Code {
    code: "role_profile.number_taken",
    status: 409,
    title: "Somebody else has this number",
    advice: "Check the number; case and spaces do not make another one.",
};
/// The department has a head.
pub const DEPARTMENT_TAKEN: Code = Code {
    code: "role_profile.department_taken",
    status: 409,
    title: "The department has another head",
    advice: "Give the other head another department or another role first.",
};

/// What a role adds to a person.
pub trait RoleProfile: ProfileRows {
    /// What it is to be.
    type Ask: Send;
    /// Whose it is.
    const ROLE: &'static str;
    /// What it is called in audit lines.
    const KIND: &'static str;
    /// The action of the line of a change.
    const CHANGED: &'static str;

    /// With these values.
    fn of(user_id: Uuid, ask: Self::Ask, created_at: DateTime<Utc>, updated_at: DateTime<Utc>) -> Self;
    /// Since when it is there.
    fn created_at(&self) -> DateTime<Utc>;
    /// Its version.
    fn updated_at(&self) -> DateTime<Utc>;
    /// What an audit line says of it.
    fn facts(&self) -> Value;
    /// What does not hold of its new values. `old`: what it is; none: it is new.
    ///
    /// # Errors
    /// A refusal, or the database does not answer.
    fn faults(
        &self,
        tx: &mut PgConnection,
        old: Option<&Self>,
        by: By<'_>,
    ) -> impl Future<Output = Result<Vec<Fault>>> + Send;
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    ctx: &'a Context,
    client: &'a Client,
    person: &'a Person,
}

/// Somebody's profile of this role: their own; for staff with `school.read` and services with `roles:read`
/// anybody's, with an audit line.
///
/// # Errors
/// `user.not_found`, `auth.forbidden`, `role_profile.not_found`.
pub async fn show<P: RoleProfile>(
    ctx: &Context,
    client: &Client,
    reader: Reader<'_>,
    user_id: Uuid,
) -> Result<P> {
    let rights = (Permission::SchoolRead, Scope::RolesRead);
    let look = ("role_profile.read", json!({ "profile": P::KIND }));
    let record = user::look(ctx, client, reader, user_id, rights, look).await?;
    let profile = match record.role == P::ROLE {
        true => P::find(&mut *ctx.db.acquire().await?, user_id).await?,
        false => None,
    };
    profile.ok_or_else(|| NOT_FOUND.refuse("This person has no such profile.").into())
}

/// Writes somebody's profile of this role, the first one or another, if the one there is is of `version` (where
/// one is named).
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.deleted`, `user.changed`, `role_profile.other_role`,
/// `role_profile.number_taken`, `role_profile.department_taken`, `class_group.full`, `request.invalid`.
pub async fn put<P: RoleProfile>(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    version: Option<DateTime<Utc>>,
    ask: P::Ask,
) -> Result<P> {
    person.may(Permission::SchoolWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let record = user::lock_present(&mut tx, person, user_id).await?;
    if record.role != P::ROLE {
        return Err(OTHER_ROLE.refuse(format!("This needs the role {}.", P::ROLE)).into());
    }
    let old = P::find(&mut tx, user_id).await?;
    if version.is_some() && version != old.as_ref().map(P::updated_at) {
        return Err(CHANGED.refuse("Somebody has changed the profile meanwhile.").into());
    }
    let new = P::of(user_id, ask, old.as_ref().map_or(now, P::created_at), now);
    all_or(Some(()), new.faults(&mut tx, old.as_ref(), By { ctx, client, person }).await?)?;
    new.put(&mut tx).await.map_err(taken)?;
    let line = user::line(client, person, user_id, P::CHANGED, json!({}), now);
    let change = Changed { old: old.as_ref().map_or(Value::Null, P::facts), new: new.facts() };
    user::note_change(&mut tx, ctx, line, user_id, change).await?;
    tx.commit().await?;
    Ok(new)
}

/// A number or a department that somebody else has, told by the index that says so.
fn taken(error: sqlx::Error) -> Error {
    let constraint = error.as_database_error().and_then(|error| error.constraint()).unwrap_or_default();
    match constraint {
        "trainee_profiles_number_key" | "trainer_profiles_number_key" => {
            NUMBER_TAKEN.refuse("Somebody else has this number.").into()
        }
        _ => error.into(),
    }
}

/// The fault of a day that is not over anywhere on earth.
fn future(since: NaiveDate, now: DateTime<Utc>) -> Option<Fault> {
    let latest = (now + TimeDelta::hours(14)).date_naive();
    (since > latest).then(|| Fault::at("/since", "field.range", "This day is in the future."))
}
