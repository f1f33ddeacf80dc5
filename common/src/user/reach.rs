//! Whose data a caller reads or changes: one's own; staff with the right, of nobody above their own rank;
//! services by scope, of nobody deleted. For the slices that keep something of a person.

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::record::Record;
use super::{NOT_FOUND, Status, status, store};
use crate::api_key::{Reader, Scope};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::role::Permission;
use crate::session::{FORBIDDEN, Person};

/// Nobody, or nobody for this caller to know of.
fn no_such() -> Refusal {
    NOT_FOUND.refuse("There is no such user.")
}

/// Whose data is read, for a caller who may. A look by staff or a service leaves an audit line with this action
/// and these details.
///
/// # Errors
/// `user.not_found`: also for people without the right, so that ids tell nothing; `auth.forbidden`.
pub(crate) async fn look(
    ctx: &Context,
    client: &Client,
    reader: Reader<'_>,
    user_id: Uuid,
    (permission, scope): (Permission, Scope),
    (action, mut details): (&'static str, Value),
) -> Result<Record> {
    let own = match reader {
        Reader::Person(person) => person.user_id() == user_id,
        Reader::Service(service) => service.may(scope).map(|()| false)?,
    };
    if let Reader::Person(person) = reader
        && !own
        && !person.has(permission)
    {
        return Err(no_such().into());
    }
    let record = store::find(&ctx.db, user_id).await?.ok_or_else(no_such)?;
    match reader {
        Reader::Person(_) if own => return Ok(record),
        Reader::Person(person) if !person.reaches(record.rank, record.is_superuser) => {
            return Err(FORBIDDEN.refuse("This person stands above you.").into());
        }
        Reader::Person(_) => {}
        Reader::Service(service) => {
            if record.status == Status::Deleted {
                return Err(no_such().into());
            }
            if let Value::Object(details) = &mut details {
                details.insert("service".to_owned(), json!(service.name));
            }
        }
    }
    let line = Line {
        action,
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(reader.actor()),
        session_id: reader.session_id(),
        details,
        client,
        at: ctx.now(),
    };
    let mut tx = ctx.db.begin().await?;
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Ok(record)
}

/// Locks somebody's account for staff who act on it, until the transaction ends.
///
/// # Errors
/// `user.not_found`, `auth.forbidden` for who stands above.
pub(super) async fn lock(tx: &mut PgConnection, person: &Person, user_id: Uuid) -> Result<Record> {
    let old = store::lock(tx, user_id).await?.ok_or_else(no_such)?;
    if !person.reaches(old.rank, old.is_superuser) {
        return Err(FORBIDDEN.refuse("This person stands above you.").into());
    }
    Ok(old)
}

/// As [`lock`], of an account that is not deleted.
///
/// # Errors
/// `user.deleted` besides.
pub(crate) async fn lock_present(tx: &mut PgConnection, person: &Person, user_id: Uuid) -> Result<Record> {
    let old = lock(tx, person, user_id).await?;
    status::not_deleted(&old)?;
    Ok(old)
}
