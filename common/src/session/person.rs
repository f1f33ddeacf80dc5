//! Who calls: from an access token to the person as they are now. Session, user and rights are read live,
//! so that what was revoked is refused at once everywhere; calls that come together share one query.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::access::Found;
use super::{ENDED, FORBIDDEN, INVALID_TOKEN, STEP_UP, after, key, store};
use crate::batch::Batcher;
use crate::context::Context;
use crate::error::Result;
use crate::role::Permission;
use crate::user::{Account, Status};

/// The most callers that share a query.
const MOST: usize = 64;
/// Queries at once.
const LANES: usize = 2;

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// The session they call in.
    pub session_id: Uuid,
    /// Their account, as it is now.
    pub account: Account,
    /// When they last proved who they are.
    pub authenticated_at: DateTime<Utc>,
    /// How high their role stands; superusers stand above all.
    pub rank: i16,
    /// Whether their role is one of staff.
    pub is_staff: bool,
    /// What their role may do, by name.
    pub permissions: Vec<String>,
    pub(super) ended: bool,
    pub(super) last_used_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

impl Person {
    /// Their user id.
    pub fn user_id(&self) -> Uuid {
        self.account.user_id
    }

    /// Whether their role gives them this right.
    pub fn has(&self, permission: Permission) -> bool {
        self.account.is_superuser || self.permissions.iter().any(|held| held == permission.name())
    }

    /// Refuses without the right.
    ///
    /// # Errors
    /// `auth.forbidden`.
    pub fn may(&self, permission: Permission) -> Result<()> {
        if self.has(permission) {
            return Ok(());
        }
        Err(FORBIDDEN.refuse(format!("This needs the right {permission}.")).into())
    }

    /// Refuses those who did not prove who they are within `AUTH_FRESH` (ASVS 5.0, 7.5.1).
    ///
    /// # Errors
    /// `auth.step_up_required`.
    pub fn require_fresh(&self, ctx: &Context) -> Result<()> {
        if ctx.now() < after(self.authenticated_at, ctx.config.session.fresh) {
            return Ok(());
        }
        Err(STEP_UP.refuse("It is too long since you proved who you are.").into())
    }

    /// Whether they stand above or beside this rank; nobody but a superuser acts on superusers.
    pub fn reaches(&self, rank: i16, is_superuser: bool) -> bool {
        self.account.is_superuser || (!is_superuser && self.rank >= rank)
    }
}

/// Where calls meet that may share a query.
#[derive(Clone, Debug)]
pub struct Present(Batcher<Uuid, Option<Arc<Person>>>);

impl Present {
    /// Starts its lanes.
    pub fn open(db: &PgPool) -> Self {
        let db = db.clone();
        Self(Batcher::start(LANES, MOST, move |ids: Vec<Uuid>| {
            let db = db.clone();
            async move {
                let found: HashMap<Uuid, Arc<Person>> = store::list_persons(&db, &ids)
                    .await?
                    .into_iter()
                    .map(|person| (person.session_id, Arc::new(person)))
                    .collect();
                Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
            }
        }))
    }
}

/// Who holds this access token, as they are now.
///
/// # Errors
/// `auth.invalid_token`, `auth.session_ended`, or the database does not answer.
pub async fn authenticate(ctx: &Context, token: &str) -> Result<Arc<Person>> {
    let now = ctx.now();
    let check = || {
        let keys = ctx.keys.all();
        ctx.keys.remembered.check(&ctx.config, &keys, token, now)
    };
    let verified = match check()? {
        Found::Good(verified) => verified,
        Found::UnknownKey => {
            key::look(ctx).await?;
            match check()? {
                Found::Good(verified) => verified,
                Found::UnknownKey => {
                    return Err(INVALID_TOKEN.refuse("No key of ours signed this token.").into());
                }
            }
        }
    };
    let person = ctx.present.0.call(verified.session_id).await?;
    let person = person.filter(|person| person.user_id() == verified.user_id);
    let Some(person) = person else { return Err(ENDED.refuse("There is no such session any more.").into()) };
    let idle = after(person.last_used_at, ctx.config.session.idle);
    if person.ended || now >= person.expires_at || now >= idle {
        return Err(ENDED.refuse("The session is over.").into());
    }
    if person.account.status != Status::Active {
        return Err(ENDED.refuse("The account is not active.").into());
    }
    Ok(person)
}

/// Who asked for something in a session, with the rights they have now, also after it ended or is no longer kept:
/// for work asked for at a moment in it. None: nobody who may sign in any more.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn recall(
    ctx: &Context,
    user_id: Uuid,
    session_id: Uuid,
    asked_at: DateTime<Utc>,
) -> Result<Option<Person>> {
    let found = store::find_person(&ctx.db, user_id, session_id, asked_at).await?;
    Ok(found.filter(|person| person.account.status == Status::Active))
}

/// The person of this session has proved anew who they are, with the caller's transaction.
///
/// # Errors
/// The database does not answer.
pub async fn set_fresh(tx: &mut sqlx::PgConnection, session_id: Uuid, now: DateTime<Utc>) -> Result<()> {
    Ok(store::set_authenticated(tx, session_id, now).await?)
}
