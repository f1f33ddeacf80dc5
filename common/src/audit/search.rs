//! Searching the log, for staff. A search walks one index, the one of what narrows most, and sifts what it finds
//! by the rest of the filter: at most [`STEP`] lines a call, so that the rarest combination in the longest log
//! costs no more than that. A page may thus hold fewer lines than asked for, and still not be the last.

use std::net::IpAddr;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::entry::{self, Entry};
use super::store::{self, Kind, Row, Wanted};
use super::{Client, Line, note};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Error, Fault, Result, invalid};
use crate::role::Permission;
use crate::session::Person;

/// The most lines a call looks at.
pub const STEP: i64 = 5_000;
/// What cursors are of.
const LIST: &str = "audit";

/// Which lines: every field narrows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of what this person or service did.
    pub actor: Option<Uuid>,
    /// Of what happened to this kind of thing.
    pub entity_type: Option<String>,
    /// Of what happened to this one.
    pub entity_id: Option<String>,
    /// Of this action, or of those that begin so: `user.*`.
    pub action: Option<String>,
    /// At this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Before this moment.
    pub until: Option<DateTime<Utc>>,
    /// From this address.
    pub ip_address: Option<IpAddr>,
    /// Of this request.
    pub request_id: Option<String>,
}

impl Filter {
    /// Refuses a time that ends before it begins.
    pub(super) fn check(&self) -> Result<()> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since > until => {
                let told = "The parameter since is later than until.";
                Err(invalid(vec![Fault::at("", "field.range", told)]).into())
            }
            _ => Ok(()),
        }
    }

    /// Where lines end: just before `until`.
    pub(super) fn end(&self) -> Place {
        Place { at: self.until.unwrap_or_else(far), id: Uuid::nil() }
    }

    /// As the line of the search says it. Somebody's address is not repeated.
    pub(super) fn told(&self) -> Value {
        json!({
            "actor": self.actor, "entity_type": self.entity_type, "entity_id": self.entity_id,
            "action": self.action, "since": self.since, "until": self.until,
            "ip_address": self.ip_address.map(|_| "given"), "request_id": self.request_id,
        })
    }

    fn takes(&self, kind: &Kind) -> bool {
        let of_type = self.entity_type.as_ref().is_none_or(|wanted| *wanted == kind.entity_type);
        of_type
            && self.action.as_ref().is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(head) => kind.action.starts_with(head),
                None => kind.action == *wanted,
            })
    }
}

/// Later than every line.
fn far() -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(9999, 12, 31)
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .unwrap_or_default()
        .and_utc()
}

/// Which index a search walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Request,
    Entity,
    Actor,
    Address,
    Kinds,
    All,
}

impl Way {
    fn of(filter: &Filter) -> Self {
        match filter {
            Filter { request_id: Some(_), .. } => Self::Request,
            Filter { entity_id: Some(_), .. } => Self::Entity,
            Filter { actor: Some(_), .. } => Self::Actor,
            Filter { ip_address: Some(_), .. } => Self::Address,
            Filter { action: Some(_), .. } | Filter { entity_type: Some(_), .. } => Self::Kinds,
            _ => Self::All,
        }
    }

    /// Whether what it leads to is wanted as it is.
    fn is_exact(self) -> bool {
        matches!(self, Self::Kinds | Self::All)
    }
}

/// Lines in front of a place, and where the next ones begin; none: these were the last.
pub(super) struct Found {
    pub rows: Vec<Row>,
    pub next: Option<Place>,
}

/// The next lines of a filter, `most` at most.
pub(super) async fn walk(ctx: &Context, filter: &Filter, from: Place, most: u16) -> Result<Found> {
    let way = Way::of(filter);
    let kinds: Vec<Kind> = match filter.action.is_some() || filter.entity_type.is_some() || way == Way::Entity
    {
        true => store::list_kinds(&ctx.db).await?.into_iter().filter(|kind| filter.takes(kind)).collect(),
        false => Vec::new(),
    };
    let narrowed = filter.action.is_some() || filter.entity_type.is_some() || way == Way::Entity;
    if narrowed && kinds.is_empty() {
        return Ok(Found { rows: Vec::new(), next: None });
    }
    let (types, actions): (Vec<String>, Vec<String>) =
        kinds.into_iter().map(|kind| (kind.entity_type, kind.action)).unzip();
    let most = i64::from(most);
    let address = filter.ip_address.map(|ip| ip.to_string());
    let wanted = Wanted {
        at: from.at,
        id: from.id,
        since: filter.since.unwrap_or(DateTime::UNIX_EPOCH),
        // one more tells whether there is a next page
        step: if way.is_exact() { most + 1 } else { STEP },
        most: most + 1,
        actor: filter.actor,
        types: narrowed.then_some(&types),
        entity_id: filter.entity_id.as_deref(),
        actions: narrowed.then_some(&actions),
        ip_address: address.as_deref(),
        request_id: filter.request_id.as_deref(),
    };
    let rows = match way {
        Way::Request => store::walk_request(&ctx.db, &wanted).await?,
        Way::Entity => store::walk_entity(&ctx.db, &wanted).await?,
        Way::Actor => store::walk_actor(&ctx.db, &wanted).await?,
        Way::Address => store::walk_address(&ctx.db, &wanted).await?,
        Way::Kinds => store::walk_kinds(&ctx.db, &wanted).await?,
        Way::All => store::walk_all(&ctx.db, &wanted).await?,
    };
    Ok(page(rows, most, wanted.step))
}

/// Cuts what was found to a page.
fn page(rows: Vec<Row>, most: i64, step: i64) -> Found {
    let place = |row: &Row| Place { at: row.at, id: row.audit_id };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let looked = rows.last().filter(|last| last.looked >= step).map(place);
    let mut rows: Vec<Row> = rows.into_iter().filter(|row| row.hit).collect();
    if rows.len() > most {
        rows.truncate(most);
        return Found { next: rows.last().map(place), rows };
    }
    Found { rows, next: looked }
}

/// A page of lines.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Entry>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Lines of the log, newest first; leaves one with the filter. What identifies people is opened for those who
/// may read people's records.
///
/// # Errors
/// `auth.forbidden`; `request.invalid` for a cursor that is not one of this list of theirs, and for a time that
/// ends before it begins.
pub async fn search(
    ctx: &Context,
    client: &Client,
    person: &Person,
    filter: &Filter,
    limit: u16,
    cursor: Option<&str>,
) -> Result<Page> {
    person.may(Permission::AuditRead)?;
    filter.check()?;
    let keys = &ctx.config.keys;
    let from = match cursor {
        Some(text) => earlier(cursor::read(keys, LIST, person.user_id(), text)?, filter.end()),
        None => filter.end(),
    };
    let found = walk(ctx, filter, from, limit).await?;
    let items = entry::read(ctx, found.rows, person.has(Permission::UsersRead)).await?;
    let mut details = filter.told();
    details["found"] = json!(items.len());
    note_look(ctx, client, person, "audit.searched", details).await?;
    let next_cursor = found.next.map(|place| cursor::write(keys, LIST, person.user_id(), place));
    Ok(Page { items, next_cursor })
}

/// The one of two places that comes later in a list that is newest first.
fn earlier(a: Place, b: Place) -> Place {
    if (a.at, a.id) < (b.at, b.id) { a } else { b }
}

/// Writes the line of a look at the log.
pub(super) async fn note_look(
    ctx: &Context,
    client: &Client,
    person: &Person,
    action: &'static str,
    details: Value,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "audit",
        entity_id: "*".to_owned(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details,
        client,
        at: ctx.now(),
    };
    let mut tx = ctx.db.begin().await?;
    note(&mut tx, line).await?;
    tx.commit().await.map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(entity_type: &str, action: &str) -> Kind {
        Kind { entity_type: entity_type.to_owned(), action: action.to_owned() }
    }

    #[test]
    fn an_action_is_one_or_all_that_begin_so() {
        let filter = |action: &str, entity_type: Option<&str>| Filter {
            action: Some(action.to_owned()),
            entity_type: entity_type.map(str::to_owned),
            ..Filter::default()
        };
        assert!(filter("user.read", None).takes(&kind("user", "user.read")));
        assert!(!filter("user.read", None).takes(&kind("user", "user.read_all")));
        assert!(filter("user.*", None).takes(&kind("user", "user.read")));
        assert!(!filter("user.*", None).takes(&kind("user", "users.read")));
        assert!(!filter("user.*", Some("role")).takes(&kind("user", "user.read")));
    }

    #[test]
    fn what_narrows_most_is_walked() {
        let all = Filter {
            actor: Some(Uuid::nil()),
            entity_type: Some("user".to_owned()),
            action: Some("user.*".to_owned()),
            ..Filter::default()
        };
        assert_eq!(Way::of(&all), Way::Actor);
        assert_eq!(Way::of(&Filter { actor: None, ..all.clone() }), Way::Kinds);
        assert_eq!(Way::of(&Filter { entity_id: Some(String::new()), ..all }), Way::Entity);
        assert_eq!(Way::of(&Filter::default()), Way::All);
    }
}
