//! Assignments: who teaches or looks after a department, a programme or a class group, from when until when. Those
//! that ended stay as history.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::store::{self, Rows};
use super::{ClassGroup, Department, Programme, fold, unknown};
use crate::api_key::{Reader, Scope};
use crate::audit::{self, Client, Values};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Code, Error, Fault, Result, all_or};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::role::Permission;
use crate::session::Person;
use crate::user;

/// The person has no such assignment.
pub const NOT_FOUND: Code = Code {
    code: "assignment.not_found",
    status: 404,
    title: "No such assignment",
    advice: "List the person's assignments.",
};
/// The person has a role that is not assigned to anything.
pub const OTHER_ROLE: Code = Code {
    code: "assignment.other_role",
    status: 409,
    title: "People of this role are not assigned",
    advice: "Give them the role `trainer`, `hod` or `dp_academics` first.",
};
/// The person has the same assignment on some of these days.
pub const OVERLAPS: Code = Code {
    code: "assignment.overlaps",
    status: 409,
    title: "The person has this assignment on some of these days",
    advice: "End the other one first, or choose other days.",
};
/// The assignment is over.
pub const ENDED: Code = Code {
    code: "assignment.ended",
    status: 409,
    title: "The assignment is over",
    advice: "There is nothing to end; it stays as history.",
};

/// Whoever may be assigned.
const ROLES: [&str; 3] = ["trainer", "hod", "dp_academics"];
/// Clocks of other processes may be a little ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(1);
/// What the cursors are of.
const LIST: &str = "assignments";

/// An assignment: of one department, programme or class group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Which.
    pub assignment_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// To this.
    pub department_id: Option<Uuid>,
    /// Or to this.
    pub programme_id: Option<Uuid>,
    /// Or to this.
    pub class_group_id: Option<Uuid>,
    /// The subject, or what they are there.
    pub title: String,
    /// The first day.
    pub from_day: NaiveDate,
    /// The last day; none: until it is ended.
    pub until_day: Option<NaiveDate>,
    /// When it was ended by hand: that day is none of it.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it was written down.
    pub created_at: DateTime<Utc>,
}

/// How an assignment stands, by days in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its first day is to come.
    Planned,
    /// Begun, and not over.
    Active,
    /// Over.
    Ended,
}

impl Assignment {
    /// How it stands.
    pub fn state(&self, now: DateTime<Utc>) -> State {
        let today = now.date_naive();
        if self.ended_at.is_some() || self.until_day.is_some_and(|day| day < today) {
            State::Ended
        } else if self.from_day > today {
            State::Planned
        } else {
            State::Active
        }
    }

    fn facts(&self) -> Value {
        json!({ "department_id": self.department_id, "programme_id": self.programme_id,
                "class_group_id": self.class_group_id, "title": self.title, "from": self.from_day,
                "until": self.until_day, "ended_at": self.ended_at })
    }
}

/// An assignment to be.
#[derive(Clone, Debug)]
pub struct Ask {
    /// To this.
    pub department_id: Option<Uuid>,
    /// Or to this.
    pub programme_id: Option<Uuid>,
    /// Or to this.
    pub class_group_id: Option<Uuid>,
    /// The subject, or what they are there.
    pub title: String,
    /// The first day.
    pub from_day: NaiveDate,
    /// The last day; none: until it is ended.
    pub until_day: Option<NaiveDate>,
}

/// A page of somebody's assignments.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last written down first.
    pub items: Vec<Assignment>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Somebody's assignments, past ones too, the last written down first: their own; for staff with `school.read` and
/// services with `roles:read` anybody's, with an audit line.
///
/// # Errors
/// `user.not_found`, `auth.forbidden`, `request.invalid` for a cursor of another list.
pub async fn list(
    ctx: &Context,
    client: &Client,
    reader: Reader<'_>,
    user_id: Uuid,
    limit: u16,
    cursor: Option<&str>,
) -> Result<Page> {
    let rights = (Permission::SchoolRead, Scope::RolesRead);
    user::look(ctx, client, reader, user_id, rights, ("assignment.listed", json!({}))).await?;
    let (keys, list) = (&ctx.config.keys, format!("{LIST}:{user_id}"));
    let before = match cursor {
        Some(text) => cursor::read(keys, &list, reader.actor(), text)?,
        None => Place { at: ctx.now() + AHEAD, id: Uuid::max() },
    };
    let limit = usize::from(limit);
    // one more tells whether there is a next page
    let most = i64::try_from(limit + 1).map_err(Error::internal)?;
    let mut items = store::list_assignments(&ctx.db, user_id, before.at, before.id, most).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more).map(|it| Place { at: it.created_at, id: it.assignment_id });
    Ok(Page { items, next_cursor: last.map(|place| cursor::write(keys, &list, reader.actor(), place)) })
}

/// Assigns somebody. With an idempotency key the same answer is given again.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.deleted`, `assignment.other_role`, `assignment.overlaps`,
/// `request.invalid`, the refusals of [`idempotency::begin`].
pub async fn create(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<Assignment> {
    person.may(Permission::SchoolWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    // locked, so that of two that overlap the second sees the first
    let record = user::lock_present(&mut tx, person, user_id).await?;
    if !ROLES.contains(&record.role.as_str()) {
        return Err(OTHER_ROLE.refuse(format!("This needs one of the roles {}.", ROLES.join(", "))).into());
    }
    all_or(Some(()), faults(&mut tx, &ask).await?)?;
    let Ask { department_id, programme_id, class_group_id, title, from_day, until_day } = ask;
    let new = Assignment {
        assignment_id: id::ordered(now),
        user_id,
        department_id,
        programme_id,
        class_group_id,
        title,
        from_day,
        until_day,
        ended_at: None,
        created_at: now,
    };
    let title_key = fold(&new.title);
    if store::overlaps(&mut tx, &new, &title_key).await? {
        return Err(OVERLAPS.refuse("The same person has the same assignment on some of these days.").into());
    }
    store::insert_assignment(&mut tx, &new, &title_key).await?;
    let line = user::line(client, person, user_id, "assignment.created", said(&new), now);
    audit::note_change(&mut tx, line, Values { new: new.facts(), ..Values::default() }).await?;
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, &serde_json::to_vec(&new).map_err(Error::internal)?).await?;
    }
    tx.commit().await?;
    Ok(new)
}

async fn faults(tx: &mut sqlx::PgConnection, ask: &Ask) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let named = [ask.department_id, ask.programme_id, ask.class_group_id].into_iter().flatten().count();
    if named != 1 {
        let told = "Give one of department_id, programme_id and class_group_id.";
        faults.push(Fault::at("", "field.one_of", told));
    }
    if let Some(id) = ask.department_id
        && !Department::keep(tx, id).await?
    {
        faults.push(unknown("/department_id"));
    }
    if let Some(id) = ask.programme_id
        && !Programme::keep(tx, id).await?
    {
        faults.push(unknown("/programme_id"));
    }
    if let Some(id) = ask.class_group_id
        && !ClassGroup::keep(tx, id).await?
    {
        faults.push(unknown("/class_group_id"));
    }
    if ask.until_day.is_some_and(|day| day < ask.from_day) {
        faults.push(Fault::at("/until", "field.range", "This is before the first day."));
    }
    Ok(faults)
}

/// Ends an assignment: from today on it is over, and stays as history.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.deleted`, `assignment.not_found`, `assignment.ended`.
pub async fn end(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    assignment_id: Uuid,
) -> Result<()> {
    person.may(Permission::SchoolWrite)?;
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    user::lock_present(&mut tx, person, user_id).await?;
    let old = store::find_assignment(&mut tx, user_id, assignment_id).await?;
    let old = old.ok_or_else(|| NOT_FOUND.refuse("This person has no such assignment."))?;
    if old.state(now) == State::Ended {
        return Err(ENDED.refuse("This assignment is over already.").into());
    }
    store::set_ended(&mut tx, assignment_id, now).await?;
    let new = Assignment { ended_at: Some(now), ..old.clone() };
    let line = user::line(client, person, user_id, "assignment.ended", said(&old), now);
    audit::note_change(&mut tx, line, Values { old: old.facts(), new: new.facts(), sealed: None }).await?;
    tx.commit().await?;
    Ok(())
}

fn said(assignment: &Assignment) -> Value {
    json!({ "assignment": assignment.assignment_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_active_from_its_first_day_to_its_last() {
        let day = |text: &str| text.parse::<NaiveDate>().expect(text);
        let at = |text: &str| day(text).and_hms_opt(23, 59, 59).expect("time").and_utc();
        let bounded = Assignment {
            assignment_id: Uuid::nil(),
            user_id: Uuid::nil(),
            department_id: Some(Uuid::nil()),
            programme_id: None,
            class_group_id: None,
            title: "Mathematics".to_owned(),
            from_day: day("2026-09-01"),
            until_day: Some(day("2026-12-01")),
            ended_at: None,
            created_at: at("2026-08-01"),
        };
        assert_eq!(bounded.state(at("2026-08-31")), State::Planned);
        assert_eq!(bounded.state(at("2026-08-31") + TimeDelta::seconds(1)), State::Active);
        assert_eq!(bounded.state(at("2026-12-01")), State::Active);
        assert_eq!(bounded.state(at("2026-12-02")), State::Ended);
        let ended = Assignment { ended_at: Some(at("2026-08-31")), ..bounded };
        assert_eq!(ended.state(at("2026-08-31")), State::Ended);
    }
}
