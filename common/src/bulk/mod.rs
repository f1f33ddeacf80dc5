//! What staff do to many people at once: asked for here, done by a job (`jobs`), each person in a transaction
//! of their own with audit line and notice, and looked at in `progress`; a file of them is written in `export`. What may be done to whom is said by
//! the verbs for one person; nothing here goes around them.

mod export;
mod jobs;
mod progress;
mod store;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub use export::{Format, ReleaseResult, Taken, download};
pub use jobs::RunAction;
pub use progress::{Failure, Progress, State, show};

use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Fault, Result, invalid};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::job::{self, Queue, Terms};
use crate::role::{self, Permission};
use crate::session::Person;
use crate::user::{self, Standing, Status};

/// The ids are nobody's, or nobody but the caller fits the filter.
pub const NOBODY: Code = Code {
    code: "bulk.nobody",
    status: 422,
    title: "There is nobody to do it to",
    advice: "Check the ids or the filter; your own account does not count.",
};
/// No such action.
pub const NOT_FOUND: Code = Code {
    code: "bulk.not_found",
    status: 404,
    title: "No such bulk action",
    advice: "Check the id; bulk actions are kept for 90 days.",
};
/// The file is still being written, or the action makes none.
pub const NO_RESULT: Code = Code {
    code: "bulk.no_result",
    status: 409,
    title: "There is no file",
    advice: "Look at the action: an export has a file once it is finished.",
};
/// The file was kept for seven days.
pub const RESULT_GONE: Code = Code {
    code: "bulk.result_gone",
    status: 410,
    title: "The file is gone",
    advice: "Files of exports are kept for 7 days; export again.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[NOBODY, NOT_FOUND, NO_RESULT, RESULT_GONE];

/// The most ids one action takes; a filter has no bound.
pub const MOST_IDS: usize = 10_000;
/// How long an action may take in all.
const LIFE: TimeDelta = TimeDelta::hours(24);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Status `active`.
    Activate,
    /// Status `inactive`.
    Deactivate,
    /// Status `suspended`.
    Suspend,
    /// Status `banned`.
    Ban,
    /// Deleted, erased after the grace time.
    Delete,
    /// A deletion taken back.
    Restore,
    /// Another role.
    AssignRole,
    /// A message of the staff's.
    SendMessage,
    /// A file of them.
    Export,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Activate,
        Self::Deactivate,
        Self::Suspend,
        Self::Ban,
        Self::Delete,
        Self::Restore,
        Self::AssignRole,
        Self::SendMessage,
        Self::Export,
    ];

    /// The name on the wire and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Suspend => "suspend",
            Self::Ban => "ban",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::AssignRole => "assign_role",
            Self::SendMessage => "send_message",
            Self::Export => "export",
        }
    }

    /// The action with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Whether it takes a fresh proof of who asks: it gives rights, takes data out or accounts away.
    pub fn is_sensitive(self) -> bool {
        matches!(self, Self::AssignRole | Self::Export | Self::Delete)
    }

    /// The right it takes.
    pub fn permission(self) -> Permission {
        match self {
            Self::Activate | Self::Deactivate | Self::Suspend | Self::Ban | Self::Restore => {
                Permission::UsersStatus
            }
            Self::Delete => Permission::UsersDelete,
            Self::AssignRole => Permission::UsersRole,
            Self::SendMessage => Permission::UsersMessage,
            Self::Export => Permission::UsersExport,
        }
    }
}

/// Whom it is done to.
#[derive(Clone, Debug)]
pub enum Who {
    /// These, up to [`MOST_IDS`].
    Ids(Vec<Uuid>),
    /// All that fit, and joined before it was asked for.
    Filter(Filter),
}

/// Of which status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Of any.
    All,
    /// Of this one.
    #[serde(untagged)]
    Only(Status),
}

/// Which people; what is left out does not count, but for the status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// None: `active`, as in the staff's list, and `deleted` for [`Action::Restore`]. In a row always said; where
    /// it is not, an older build asked, which meant all whose account is not deleted.
    pub status: Option<Which>,
    /// With this role.
    pub role: Option<String>,
    /// As in the staff's list.
    pub search: Option<String>,
    /// Whether the e-mail address is proved.
    pub email_verified: Option<bool>,
    /// Whether the phone number is proved.
    pub phone_verified: Option<bool>,
    /// The first day of joining (UTC).
    pub start_date: Option<NaiveDate>,
    /// The last day of joining (UTC).
    pub end_date: Option<NaiveDate>,
}

impl From<Filter> for user::Filter {
    fn from(filter: Filter) -> Self {
        Self {
            standing: match filter.status {
                None => Standing::Kept,
                Some(Which::Only(status)) => Standing::Only(status),
                Some(Which::All) => Standing::Any,
            },
            role: filter.role,
            search: filter.search,
            email_verified: filter.email_verified,
            phone_verified: filter.phone_verified,
            start_date: filter.start_date,
            end_date: filter.end_date,
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What.
    pub action: Action,
    /// To whom; none: neither ids nor a filter, or both.
    pub who: Option<Who>,
    /// Why; kept with each account and in the audit log.
    pub reason: String,
    /// For [`Action::AssignRole`].
    pub role: Option<String>,
    /// For [`Action::SendMessage`].
    pub message: Option<Letter>,
    /// For [`Action::Export`].
    pub format: Option<Format>,
}

/// What staff write.
#[derive(Clone, Debug)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

/// Asks for it. Answers with the action's id; a job does it.
///
/// # Errors
/// `auth.forbidden`, `auth.step_up_required` (see [`Action::is_sensitive`]), `role.not_found`, `role.beyond_rank`,
/// `role.not_held`, `bulk.nobody`, `request.invalid`, and the refusals of [`idempotency::begin`].
pub async fn order(
    ctx: &Context,
    client: &Client,
    person: &Person,
    mut ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Uuid> {
    person.may(Permission::UsersRead)?;
    person.may(ask.action.permission())?;
    let who = check(&mut ask)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return Uuid::from_slice(&outcome).map_err(Error::internal);
    }
    if ask.action.is_sensitive() {
        person.require_fresh(ctx)?;
    }
    if let Some(name) = &ask.role {
        role::may_give(&mut tx, person, name).await?;
    }
    let bulk_action_id = id::ordered(now);
    let filter = match &who {
        Who::Filter(filter) => Some(serde_json::to_value(filter).map_err(Error::internal)?),
        Who::Ids(_) => None,
    };
    let terms = Terms { expires_at: Some(now + LIFE), ..Terms::of(client) };
    let job_id = job::enqueue(&mut tx, now, &RunAction { bulk_action_id }, terms).await?;
    let new = store::NewAction {
        bulk_action_id,
        action: ask.action.name(),
        reason: &ask.reason,
        role: ask.role.as_deref(),
        subject: ask.message.as_ref().map(|letter| letter.subject.as_str()),
        message: ask.message.as_ref().map(|letter| letter.text.as_str()),
        format: ask.format.map(Format::name),
        filter: filter.as_ref(),
        created_by: person.user_id(),
        session_id: person.session_id,
        client,
        expires_at: now + LIFE,
        job_id,
    };
    store::insert(&mut tx, &new, now).await?;
    let told = choose(&mut tx, person, &who, bulk_action_id, now).await?;
    let line = Line {
        action: "bulk.ordered",
        entity_type: "bulk_action",
        entity_id: bulk_action_id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details: json!({ "action": ask.action.name(), "reason": ask.reason, "role": ask.role, "who": told,
                          "format": ask.format.map(Format::name) }),
        client,
        at: now,
    };
    audit::note(&mut tx, line).await?;
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, bulk_action_id.as_bytes()).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Bulk);
    Ok(bulk_action_id)
}

/// To whom, with the status that a filter means; everything that is wrong with a wish, at once.
fn check(ask: &mut Ask) -> Result<Who> {
    let mut who = ask.who.take();
    let mut faults = Vec::new();
    if who.is_none() {
        faults.push(Fault::at("", "bulk.who", "Give either `ids` or a `filter`."));
    }
    let wants = |wanted: bool, given: bool, pointer: &str, what: &str| {
        (wanted != given).then(|| {
            let detail = match wanted {
                true => format!("This action needs {what}."),
                false => format!("This action takes no {what}."),
            };
            Fault::at(pointer, "bulk.action", detail)
        })
    };
    faults.extend(wants(ask.action == Action::AssignRole, ask.role.is_some(), "/role", "role"));
    faults.extend(wants(ask.action == Action::SendMessage, ask.message.is_some(), "/message", "message"));
    faults.extend(wants(ask.action == Action::Export, ask.format.is_some(), "/format", "format"));
    if let Some(Who::Filter(filter)) = &mut who {
        let meant = Which::Only(if ask.action == Action::Restore { Status::Deleted } else { Status::Active });
        let status = *filter.status.get_or_insert(meant);
        if ask.action == Action::Restore && status != meant {
            let told = "What is restored was deleted: say `deleted`, or no status.";
            faults.push(Fault::at("/filter/status", "bulk.action", told));
        }
    }
    if let Some(Who::Filter(Filter { start_date: Some(start), end_date: Some(end), .. })) = &who
        && start > end
    {
        faults.push(Fault::at("/filter/end_date", "bulk.dates", "The last day is before the first."));
    }
    match who {
        Some(who) if faults.is_empty() => Ok(who),
        _ => Err(invalid(faults).into()),
    }
}

/// Sees that there is somebody; writes ids down at once, and leaves a filter to the job. Answers with what the
/// audit log says of whom.
async fn choose(
    tx: &mut PgConnection,
    person: &Person,
    who: &Who,
    bulk_action_id: Uuid,
    now: DateTime<Utc>,
) -> Result<serde_json::Value> {
    let (anybody, told) = match who {
        Who::Ids(ids) => {
            store::insert_items(&mut *tx, bulk_action_id, ids).await?;
            store::set_selected(&mut *tx, bulk_action_id, now).await?;
            (store::is_any_known(tx, ids, person.user_id()).await?, json!({ "ids": ids.len() }))
        }
        Who::Filter(filter) => {
            let me = Some(person.user_id());
            let found = user::choose(tx, &filter.clone().into(), now, me, Uuid::nil(), 1).await?;
            let mut told = serde_json::to_value(filter).map_err(Error::internal)?;
            if filter.search.is_some() {
                // it may be somebody's address
                told["search"] = json!("given");
            }
            (!found.is_empty(), json!({ "filter": told }))
        }
    };
    match anybody {
        true => Ok(told),
        false => Err(NOBODY.refuse("Nobody but you fits.").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
        }
        assert_eq!(Action::named("explode"), None);
    }

    #[test]
    fn filters_that_were_asked_for_are_read_for_good() {
        let filter: Filter = serde_json::from_str(r#"{"status":"active","search":"a"}"#).expect("filter");
        assert_eq!((filter.status, filter.search.as_deref()), (Some(Which::Only(Status::Active)), Some("a")));
        let standing = |text: &str| {
            let filter: Filter = serde_json::from_str(text).expect(text);
            user::Filter::from(filter).standing
        };
        assert_eq!(standing(r#"{"status":null}"#), Standing::Kept, "of an older build");
        assert_eq!(standing(r#"{"status":"all"}"#), Standing::Any);
        for which in [Which::All, Which::Only(Status::Deleted)] {
            let text = serde_json::to_string(&which).expect("text");
            assert_eq!(serde_json::from_str::<Which>(&text).ok(), Some(which), "{text}");
        }
    }
}
