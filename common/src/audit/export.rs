//! The log as a file, for staff: page after page by the place of the last line, so that a million lines take no
//! more memory than a page, no slow reader holds a transaction, and whoever hangs up holds nothing.

use std::mem;

use serde_json::Value;

use super::Client;
use super::entry::{self, Entry};
use super::search::{Filter, note_look, walk};
use crate::context::Context;
use crate::cursor::Place;
use crate::error::{Error, Result};
use crate::role::Permission;
use crate::session::Person;
use crate::sheet;

/// Lines of a page.
const PAGE: u16 = 1_000;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For spreadsheets (RFC 4180), with a head; no cell is a formula.
    Csv,
    /// A JSON document a line.
    JsonLines,
}

impl Format {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }
}

/// A file that is being written: [`Export::next`] gives one piece after the other.
#[derive(Debug)]
pub struct Export {
    ctx: Context,
    filter: Filter,
    format: Format,
    opens: bool,
    next: Option<Place>,
    head: Vec<u8>,
}

/// Begins a file of the lines of a filter, newest first, up to this moment; leaves a line with the filter. What
/// identifies people is opened for those who may read people's records.
///
/// # Errors
/// `auth.forbidden`, `request.invalid`.
pub async fn export(
    ctx: &Context,
    client: &Client,
    person: &Person,
    filter: Filter,
    format: Format,
) -> Result<Export> {
    person.may(Permission::AuditRead)?;
    filter.check()?;
    let mut details = filter.told();
    details["format"] = format.name().into();
    note_look(ctx, client, person, "audit.exported", details).await?;
    let head = match format {
        Format::Csv => sheet::row(HEAD),
        Format::JsonLines => Vec::new(),
    };
    let (opens, next) = (person.has(Permission::UsersRead), Some(filter.end()));
    Ok(Export { ctx: ctx.clone(), filter, format, opens, next, head })
}

impl Export {
    /// The next piece; none after the last.
    ///
    /// # Errors
    /// The database does not answer: the file is not whole.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut piece = mem::take(&mut self.head);
        while piece.is_empty()
            && let Some(place) = self.next
        {
            let found = walk(&self.ctx, &self.filter, place, PAGE).await?;
            self.next = found.next;
            for line in entry::read(&self.ctx, found.rows, self.opens).await? {
                match self.format {
                    Format::Csv => piece.extend_from_slice(&cells(&line)),
                    Format::JsonLines => {
                        serde_json::to_writer(&mut piece, &line).map_err(Error::internal)?;
                        piece.push(b'\n');
                    }
                }
            }
        }
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

const HEAD: [&str; 15] = [
    "at",
    "action",
    "entity_type",
    "entity_id",
    "owner",
    "actor",
    "session_id",
    "ip_address",
    "user_agent",
    "request_id",
    "details",
    "old_values",
    "new_values",
    "sealed",
    "id",
];

fn cells(line: &Entry) -> Vec<u8> {
    let json = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let cells: [String; HEAD.len()] = [
        line.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        line.action.clone(),
        line.entity_type.clone(),
        line.entity_id.clone(),
        id(line.owner),
        id(line.actor),
        id(line.session_id),
        line.ip_address.clone().unwrap_or_default(),
        line.user_agent.clone().unwrap_or_default(),
        line.request_id.clone().unwrap_or_default(),
        line.details.to_string(),
        json(&line.old_values),
        json(&line.new_values),
        line.sealed.to_string(),
        line.id.to_string(),
    ];
    sheet::row(cells.iter().map(String::as_str))
}
