//! The staff's desk: what waits, one document with its number, its two sides, and the decision. Every look
//! leaves an audit line.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::file::Kind;
use super::store::{self, Owner, Row};
use super::{Document, FILE_NOT_FOUND, NOT_FOUND, NOT_PENDING, NUMBER, State, number, own};
use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Error, Result};
use crate::job::Queue;
use crate::notify::{self, Facts, Message, Told};
use crate::role::Permission;
use crate::session::{FORBIDDEN, Person};
use crate::user::audit::line;
use crate::user::{self, Status};

/// The most others with the same number that are named.
const SAME_NUMBER: i64 = 10;

/// Which documents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// None: what waits; of one person, all.
    pub state: Option<State>,
    /// Of one person.
    pub user_id: Option<Uuid>,
}

/// A document in the staff's list.
#[derive(Clone, Debug)]
pub struct Item {
    /// Which.
    pub submission_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// Their name.
    pub username: String,
    /// `passport`, ...
    pub document_type: String,
    /// How far it is.
    pub state: State,
    /// When it was handed in.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A page of them.
#[derive(Clone, Debug)]
pub struct Page {
    /// Oldest first.
    pub items: Vec<Item>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Documents, oldest first. Leaves one audit line with the filter.
///
/// # Errors
/// `auth.forbidden`; `request.invalid` for a cursor that is not one of this list.
pub async fn list(
    ctx: &Context,
    client: &Client,
    person: &Person,
    filter: Filter,
    limit: u16,
    cursor: Option<&str>,
) -> Result<Page> {
    person.may(Permission::KycRead)?;
    let state = filter.state.map(State::name);
    let of = filter.user_id.map(|user_id| user_id.to_string());
    let name = format!("kyc:{}:{}", state.unwrap_or_default(), of.as_deref().unwrap_or_default());
    let (keys, owner) = (&ctx.config.keys, person.user_id());
    let after = match cursor {
        Some(text) => cursor::read(keys, &name, owner, text)?,
        None => Place { at: DateTime::UNIX_EPOCH, id: Uuid::nil() },
    };
    let limit = usize::from(limit);
    // one more tells whether there is a next page
    let (most, place) = (i64::try_from(limit + 1).map_err(Error::internal)?, (after.at, after.id));
    let mut rows = match filter.user_id {
        Some(user_id) => store::list_of(&ctx.db, user_id, state, place, most).await?,
        None => {
            let state = state.unwrap_or(State::Pending.name());
            store::list_in_state(&ctx.db, state, place, most).await?
        }
    };
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| Place { at: row.created_at, id: row.submission_id });
    let items = rows.into_iter().map(Item::of).collect::<Result<_>>()?;
    let details = json!({ "status": state, "user_id": filter.user_id });
    let line = Line {
        entity_id: "*".to_owned(),
        ..line(client, person, Uuid::nil(), "kyc.listed", details, ctx.now())
    };
    let mut tx = ctx.db.begin().await?;
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Ok(Page { items, next_cursor: last.map(|place| cursor::write(keys, &name, owner, place)) })
}

impl Item {
    fn of(row: store::Listed) -> Result<Self> {
        Ok(Self {
            state: row.state.parse().map_err(Error::internal)?,
            submission_id: row.submission_id,
            user_id: row.user_id,
            username: row.username,
            document_type: row.document_type,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// A document as the staff see it.
pub struct Case {
    /// As its owner sees it.
    pub document: Document,
    /// Their name.
    pub username: String,
    /// In full.
    pub number: String,
    /// Others of whom a document with this number is approved: up to ten.
    pub same_number: Vec<Uuid>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("document", &self.document).finish_non_exhaustive()
    }
}

/// A document with its number, of nobody above the caller. The look leaves an audit line.
///
/// # Errors
/// `auth.forbidden`, `kyc.not_found`.
pub async fn show(ctx: &Context, client: &Client, person: &Person, submission_id: Uuid) -> Result<Case> {
    let (row, owner) = reached(ctx, person, submission_id).await?;
    let number = number(ctx, &row)?;
    let keys = ctx.config.keys.derive_all(NUMBER);
    let hashes: Vec<Vec<u8>> = keys.map(|(_, key)| key.mac(&[number.as_bytes()]).to_vec()).collect();
    let (user_id, kind) = (row.user_id, &row.document_type);
    let same_number = store::list_same_number(&ctx.db, user_id, kind, &hashes, SAME_NUMBER).await?;
    note_read(ctx, client, person, &row, "kyc.read", json!({ "submission_id": submission_id })).await?;
    Ok(Case { document: Document::of(ctx, row)?, username: owner.username, number, same_number })
}

/// Of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What everybody hands in.
    Front,
    /// What documents of two sides have.
    Back,
}

impl Side {
    /// As paths and file names say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }
}

/// A side of a document of nobody above the caller: the kind of document, the kind of file, and its bytes. The
/// look leaves an audit line.
///
/// # Errors
/// `auth.forbidden`, `kyc.not_found`, `kyc.file_not_found`.
pub async fn read_side(
    ctx: &Context,
    client: &Client,
    person: &Person,
    submission_id: Uuid,
    side: Side,
) -> Result<(String, Kind, Bytes)> {
    let (row, _) = reached(ctx, person, submission_id).await?;
    let file = match side {
        Side::Front => Some(row.front_upload_id),
        Side::Back => row.back_upload_id,
    };
    let file = file.ok_or_else(|| FILE_NOT_FOUND.refuse("This document was handed in without a back."))?;
    let (kind, bytes) = own::read(ctx, file, row.user_id).await?;
    let details = json!({ "submission_id": submission_id, "side": side.name() });
    note_read(ctx, client, person, &row, "kyc.file_read", details).await?;
    Ok((row.document_type, kind, bytes))
}

/// Approves a document that waits: it is good for as long as documents of its kind are, and takes the place of
/// what was approved before. Its owner is told. Where a version is named, only if it is still that one: what
/// was looked at is what is approved.
///
/// # Errors
/// `auth.forbidden`, `kyc.not_found`, `user.self`, `user.deleted`, `kyc.not_pending`, `user.changed`.
pub async fn approve(
    ctx: &Context,
    client: &Client,
    person: &Person,
    submission_id: Uuid,
    version: Option<DateTime<Utc>>,
) -> Result<Document> {
    let (mut tx, row) = decide(ctx, person, submission_id, version).await?;
    let now = ctx.now().max(row.updated_at + TimeDelta::microseconds(1));
    let kind = store::find_type(&mut *tx, &row.document_type).await?;
    let days = kind.and_then(|kind| kind.valid_days).map(|days| TimeDelta::days(days.into()));
    let expires_at = days.and_then(|days| now.checked_add_signed(days));
    store::set_replaced(&mut tx, row.user_id, now).await?;
    store::set_approved(&mut tx, submission_id, person.user_id(), expires_at, now).await?;
    let details = json!({ "submission_id": submission_id });
    note_decision(&mut tx, client, person, &row, ("kyc.approved", State::Approved), details, now).await?;
    let facts = Facts { date: expires_at.map(|at| at.date_naive()), ..Facts::at(now) };
    finish(tx, ctx, client, &row, Message::KycApproved, facts).await
}

/// Rejects a document that waits. Its owner is told why.
///
/// # Errors
/// As [`approve`].
pub async fn reject(
    ctx: &Context,
    client: &Client,
    person: &Person,
    submission_id: Uuid,
    version: Option<DateTime<Utc>>,
    reason: &str,
) -> Result<Document> {
    let (mut tx, row) = decide(ctx, person, submission_id, version).await?;
    let now = ctx.now().max(row.updated_at + TimeDelta::microseconds(1));
    store::set_rejected(&mut tx, submission_id, person.user_id(), reason, now).await?;
    let details = json!({ "submission_id": submission_id, "reason": reason });
    note_decision(&mut tx, client, person, &row, ("kyc.rejected", State::Rejected), details, now).await?;
    let facts = Facts { text: Some(reason.to_owned()), ..Facts::at(now) };
    finish(tx, ctx, client, &row, Message::KycRejected, facts).await
}

/// A document of nobody above the caller, and whose it is.
async fn reached(ctx: &Context, person: &Person, submission_id: Uuid) -> Result<(Row, Owner)> {
    person.may(Permission::KycRead)?;
    let row = store::find(&ctx.db, submission_id).await?;
    let row = row.ok_or_else(|| NOT_FOUND.refuse("There is no such document."))?;
    let owner = store::find_owner(&ctx.db, row.user_id).await?;
    let owner = owner.ok_or_else(|| NOT_FOUND.refuse("There is no such document."))?;
    must_reach(person, &owner)?;
    Ok((row, owner))
}

fn must_reach(person: &Person, owner: &Owner) -> Result<()> {
    match person.reaches(owner.rank, owner.is_superuser) {
        true => Ok(()),
        false => Err(FORBIDDEN.refuse("This person stands above you.").into()),
    }
}

/// Locks a document that waits, of somebody on whom the caller may decide.
async fn decide(
    ctx: &Context,
    person: &Person,
    submission_id: Uuid,
    version: Option<DateTime<Utc>>,
) -> Result<(Transaction<'static, Postgres>, Row)> {
    person.may(Permission::KycReview)?;
    let none = || NOT_FOUND.refuse("There is no such document.");
    let mut tx = ctx.db.begin().await?;
    let user_id = store::find(&mut *tx, submission_id).await?.ok_or_else(none)?.user_id;
    let owner = store::lock_owner(&mut tx, user_id).await?.ok_or_else(none)?;
    // as it is now that nobody else changes it
    let row = store::find(&mut *tx, submission_id).await?.ok_or_else(none)?;
    if user_id == person.user_id() {
        return Err(user::SELF.refuse("Nobody decides on their own document.").into());
    }
    must_reach(person, &owner)?;
    if owner.status == Status::Deleted {
        return Err(user::IS_DELETED.refuse("The account is deleted.").into());
    }
    if row.state != State::Pending.name() {
        return Err(NOT_PENDING.refuse(format!("The document is {}.", row.state)).into());
    }
    if version.is_some_and(|version| version != row.updated_at) {
        return Err(user::CHANGED.refuse("Its owner has changed the document meanwhile.").into());
    }
    Ok((tx, row))
}

async fn note_read(
    ctx: &Context,
    client: &Client,
    person: &Person,
    row: &Row,
    action: &'static str,
    details: Value,
) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    audit::note(&mut tx, line(client, person, row.user_id, action, details, ctx.now())).await?;
    tx.commit().await?;
    Ok(())
}

async fn note_decision(
    tx: &mut PgConnection,
    client: &Client,
    person: &Person,
    row: &Row,
    (action, state): (&'static str, State),
    details: Value,
    now: DateTime<Utc>,
) -> Result<()> {
    let said = |state: &str| json!({ "status": state });
    let values = Values { old: said(&row.state), new: said(state.name()), sealed: None };
    let line = line(client, person, row.user_id, action, details, now);
    Ok(audit::note_change(tx, line, values).await?)
}

async fn finish(
    mut tx: Transaction<'_, Postgres>,
    ctx: &Context,
    client: &Client,
    row: &Row,
    message: Message,
    facts: Facts,
) -> Result<Document> {
    store::set_status(&mut tx, row.user_id).await?;
    notify::tell(&mut tx, ctx, client, &Told { user_id: row.user_id, message, facts }).await?;
    let new = store::find(&mut *tx, row.submission_id).await?;
    let new = new.ok_or_else(|| Error::internal("the document is gone"))?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Document::of(ctx, new)
}
