//! One's own documents: files are sent first, and a document names them.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use regex::Regex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::file::{self, Kind};
use super::store::{self, Row, Written};
use super::{DECIDED, Document, FILE_NOT_FOUND, NOT_FOUND, NUMBER, PENDING, State, number};
use crate::audit::{self, Client, Values};
use crate::context::Context;
use crate::error::{Error, Fault, Result, invalid};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::job::Queue;
use crate::seal;
use crate::secret::Keyring;
use crate::session::Person;
use crate::upload::{self, Purpose, Unclaimed};
use crate::user::audit::line;
use crate::user::{self, Change};

/// Earlier documents that are shown beside the newest.
const HISTORY: i64 = 20;

/// A file that no document names yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    /// Which.
    pub upload_id: Uuid,
    /// By its content.
    pub content_type: String,
    /// Bytes.
    pub size: i64,
    /// When it came.
    pub created_at: DateTime<Utc>,
}

/// Keeps a file for a document, sealed. What no document names within a day is deleted.
///
/// # Errors
/// `kyc.file_type`, `kyc.file_broken`, `kyc.file_pixels`, `kyc.file_too_large`, the refusals of
/// [`upload::keep`] and of [`idempotency::begin`].
pub async fn keep(
    ctx: &Context,
    client: &Client,
    person: &Person,
    key: Option<&idempotency::Key>,
    bytes: Bytes,
) -> Result<File> {
    let kind = file::check(&bytes)?;
    // a key that was answered before costs no object; one that was not is left free again
    let mut tx = ctx.db.begin().await?;
    if let Some(file) = begun(&mut tx, ctx, key).await? {
        return Ok(file);
    }
    tx.rollback().await?;
    let size = i64::try_from(bytes.len()).map_err(Error::internal)?;
    let kept = upload::keep(ctx, person.user_id(), Purpose::KycDocument, kind.media_type(), bytes).await?;
    let now = ctx.now();
    let content_type = kind.media_type().to_owned();
    let file = File { upload_id: kept.upload_id, content_type, size, created_at: now };
    let mut tx = ctx.db.begin().await?;
    if let Some(faster) = begun(&mut tx, ctx, key).await.transpose() {
        // a parallel call with the same key
        tx.rollback().await?;
        Unclaimed::of(ctx, file.upload_id).release().await;
        return faster;
    }
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, &serde_json::to_vec(&file).map_err(Error::internal)?).await?;
    }
    let details = json!({ "file": file.upload_id, "content_type": file.content_type });
    audit::note(&mut tx, line(client, person, person.user_id(), "kyc.file_kept", details, now)).await?;
    tx.commit().await?;
    Ok(file)
}

/// The saved answer of a key, if it has one; else the key is this transaction's.
pub(super) async fn begun<T: DeserializeOwned>(
    tx: &mut PgConnection,
    ctx: &Context,
    key: Option<&idempotency::Key>,
) -> Result<Option<T>> {
    let Some(key) = key else { return Ok(None) };
    match idempotency::begin(tx, ctx.now(), key).await? {
        Begun::Fresh => Ok(None),
        Begun::Replay(outcome) => serde_json::from_slice(&outcome).map(Some).map_err(Error::internal),
    }
}

/// A document as it is handed in.
#[derive(Clone)]
pub struct Submission {
    /// One of `kyc_document_types`.
    pub document_type: String,
    /// In capitals, without spaces.
    pub number: String,
    /// A file that [`keep`] kept.
    pub front: Uuid,
    /// Another one, where the document has two sides.
    pub back: Option<Uuid>,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("document_type", &self.document_type).finish_non_exhaustive()
    }
}

/// What is to change of a document.
#[derive(Clone, Default)]
pub struct Edit {
    /// To another kind.
    pub document_type: Option<String>,
    /// In capitals, without spaces.
    pub number: Option<String>,
    /// Another file.
    pub front: Option<Uuid>,
    /// Another file, or none.
    pub back: Change<Uuid>,
}

impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edit").finish_non_exhaustive()
    }
}

/// Hands a document in. One waits per person; while one is approved, the next one may be handed in, and takes
/// its place once it is approved too.
///
/// # Errors
/// `request.invalid` with every rule that does not hold, `kyc.pending`, the refusals of
/// [`idempotency::begin`].
pub async fn submit(
    ctx: &Context,
    client: &Client,
    person: &Person,
    key: Option<&idempotency::Key>,
    ask: &Submission,
) -> Result<Document> {
    let mut tx = ctx.db.begin().await?;
    if let Some(document) = begun(&mut tx, ctx, key).await? {
        return Ok(document);
    }
    let newest = may_submit(&mut tx, person).await?;
    let document = hand_in(&mut tx, ctx, client, person, newest.as_ref(), ask).await?;
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, &serde_json::to_vec(&document).map_err(Error::internal)?).await?;
    }
    tx.commit().await?;
    // files of those before it are deleted
    ctx.wake.queue(Queue::Low);
    Ok(document)
}

/// Locks the caller, of whom no document may wait; with their newest.
pub(super) async fn may_submit(tx: &mut PgConnection, person: &Person) -> Result<Option<Row>> {
    let newest = lock(tx, person).await?;
    match newest.as_ref().is_some_and(|newest| is(newest, State::Pending)) {
        true => Err(PENDING.refuse("Your last document still waits.").into()),
        false => Ok(newest),
    }
}

/// Changes the document that waits; after a rejection, hands in another one with what is not named taken over.
/// Where a version is named, only if it is still that one.
///
/// # Errors
/// `kyc.not_found`, `user.changed`, `kyc.decided`, `request.invalid` with every rule that does not hold.
pub async fn amend(
    ctx: &Context,
    client: &Client,
    person: &Person,
    version: Option<DateTime<Utc>>,
    edit: Edit,
) -> Result<Document> {
    let mut tx = ctx.db.begin().await?;
    let (old, waits) = may_amend(&mut tx, person, version).await?;
    let ask = Submission {
        document_type: edit.document_type.unwrap_or_else(|| old.document_type.clone()),
        number: match edit.number {
            Some(number) => number,
            None => number(ctx, &old)?,
        },
        front: edit.front.unwrap_or(old.front_upload_id),
        back: match edit.back {
            Change::Keep => old.back_upload_id,
            Change::Set(back) => back,
        },
    };
    let document = match waits {
        true => rewrite(&mut tx, ctx, client, person, &old, &ask).await?,
        false => hand_in(&mut tx, ctx, client, person, Some(&old), &ask).await?,
    };
    tx.commit().await?;
    // files that it does not show any more are deleted
    ctx.wake.queue(Queue::Low);
    Ok(document)
}

/// Locks the caller, and finds the document that may be changed, and whether it waits; else it was rejected.
pub(super) async fn may_amend(
    tx: &mut PgConnection,
    person: &Person,
    version: Option<DateTime<Utc>>,
) -> Result<(Row, bool)> {
    let old = lock(tx, person).await?;
    let old = old.ok_or_else(|| NOT_FOUND.refuse("You have not handed in any document."))?;
    if version.is_some_and(|version| version != old.updated_at) {
        return Err(user::CHANGED.refuse("The document has changed meanwhile.").into());
    }
    match old.state.parse().map_err(Error::internal)? {
        State::Pending => Ok((old, true)),
        State::Rejected => Ok((old, false)),
        State::Approved | State::Expired => {
            Err(DECIDED.refuse(format!("Your document is {}.", old.state)).into())
        }
    }
}

/// The caller's newest document, and those before it, newest first.
///
/// # Errors
/// `kyc.not_found`.
pub async fn own(ctx: &Context, person: &Person) -> Result<(Document, Vec<Document>)> {
    let rows = store::list_own(&ctx.db, person.user_id(), HISTORY + 1).await?;
    let all = rows.into_iter().map(|row| Document::of(ctx, row)).collect::<Result<Vec<_>>>()?;
    let mut all = all.into_iter();
    let newest = all.next().ok_or_else(|| NOT_FOUND.refuse("You have not handed in any document."))?;
    Ok((newest, all.collect()))
}

/// The caller's newest document, if they ever handed one in.
///
/// # Errors
/// The database does not answer.
pub async fn status(ctx: &Context, person: &Person) -> Result<Option<Document>> {
    newest(ctx, person.user_id()).await
}

/// Somebody's newest document, for who may see that there is one: its number stays masked.
///
/// # Errors
/// The database does not answer.
pub async fn newest(ctx: &Context, user_id: Uuid) -> Result<Option<Document>> {
    let newest = store::list_own(&ctx.db, user_id, 1).await?.into_iter().next();
    newest.map(|row| Document::of(ctx, row)).transpose()
}

/// A file of the caller's own; the look leaves an audit line.
///
/// # Errors
/// `kyc.file_not_found`: also for that of somebody else.
pub async fn read_own(
    ctx: &Context,
    client: &Client,
    person: &Person,
    upload_id: Uuid,
) -> Result<(Kind, Bytes)> {
    let file = read(ctx, upload_id, person.user_id()).await?;
    let details = json!({ "file": upload_id });
    let mut tx = ctx.db.begin().await?;
    let line = line(client, person, person.user_id(), "kyc.file_read", details, ctx.now());
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Ok(file)
}

/// A file of somebody's.
pub(super) async fn read(ctx: &Context, upload_id: Uuid, owner: Uuid) -> Result<(Kind, Bytes)> {
    let found = upload::read(ctx, upload_id, owner, Purpose::KycDocument).await?;
    let (upload, bytes) = found.ok_or_else(|| FILE_NOT_FOUND.refuse("There is no such file."))?;
    let kind = Kind::of(&upload.content_type);
    Ok((kind.ok_or_else(|| Error::internal("a file of a type that is not taken"))?, bytes))
}

fn is(row: &Row, state: State) -> bool {
    row.state == state.name()
}

/// Locks the caller, and finds their newest document.
async fn lock(tx: &mut PgConnection, person: &Person) -> Result<Option<Row>> {
    let owner = store::lock_owner(&mut *tx, person.user_id()).await?;
    owner.ok_or_else(|| user::NOT_FOUND.refuse("The account is gone."))?;
    Ok(store::list_own(&mut *tx, person.user_id(), 1).await?.into_iter().next())
}

/// A document of its own, after `newest`.
async fn hand_in(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    newest: Option<&Row>,
    ask: &Submission,
) -> Result<Document> {
    let (user_id, now) = (person.user_id(), later(ctx, newest.map(|newest| newest.created_at)));
    check(&mut *tx, user_id, &Draft::of(ask), newest, now).await?;
    let submission_id = id::ordered(now);
    let (sealed, hash) = seal_number(&ctx.config.keys, submission_id, &ask.number)?;
    if !store::insert(&mut *tx, user_id, &written(submission_id, ask, &sealed, &hash), now).await? {
        return Err(PENDING.refuse("Your last document still waits.").into());
    }
    // what was decided against keeps its row; its files would hold the person's room for ever
    let past = store::list_past_files(&mut *tx, user_id).await?;
    upload::release_many(&mut *tx, &past, now).await?;
    store::set_status(&mut *tx, user_id).await?;
    let line = line(client, person, user_id, "kyc.submitted", details(submission_id, ask), now);
    audit::note(&mut *tx, line).await?;
    found(tx, ctx, submission_id).await
}

/// Other values for the document that waits.
async fn rewrite(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    old: &Row,
    ask: &Submission,
) -> Result<Document> {
    let (user_id, submission_id) = (person.user_id(), old.submission_id);
    let now = later(ctx, Some(old.updated_at));
    check(&mut *tx, user_id, &Draft::of(ask), Some(old), now).await?;
    let numbered = ask.number != number(ctx, old)?;
    let (sealed, hash) = seal_number(&ctx.config.keys, submission_id, &ask.number)?;
    store::set(&mut *tx, &written(submission_id, ask, &sealed, &hash), now).await?;
    for file in [Some(old.front_upload_id), old.back_upload_id].into_iter().flatten() {
        if !store::is_shown(&mut *tx, user_id, file).await? {
            upload::release(&mut *tx, file, now).await?;
        }
    }
    let facts = |document_type: &str, number, front, back: Option<Uuid>| json!({ "document_type": document_type, "document_number": number, "front": front, "back": back });
    let changed = if numbered { "changed" } else { "kept" };
    let values = Values {
        old: facts(&old.document_type, "kept", old.front_upload_id, old.back_upload_id),
        new: facts(&ask.document_type, changed, ask.front, ask.back),
        sealed: None,
    };
    let line = line(client, person, user_id, "kyc.changed", json!({ "submission_id": submission_id }), now);
    audit::note_change(&mut *tx, line, values).await?;
    found(tx, ctx, submission_id).await
}

/// This moment; or the next one after another, so that a person's documents and versions have an order.
fn later(ctx: &Context, than: Option<DateTime<Utc>>) -> DateTime<Utc> {
    than.map_or(ctx.now(), |than| ctx.now().max(than + TimeDelta::microseconds(1)))
}

async fn found(tx: &mut PgConnection, ctx: &Context, submission_id: Uuid) -> Result<Document> {
    let row = store::find(tx, submission_id).await?;
    Document::of(ctx, row.ok_or_else(|| Error::internal("the document is gone"))?)
}

fn details(submission_id: Uuid, ask: &Submission) -> serde_json::Value {
    json!({ "submission_id": submission_id, "document_type": ask.document_type })
}

fn written<'a>(submission_id: Uuid, ask: &'a Submission, sealed: &'a [u8], hash: &'a [u8]) -> Written<'a> {
    Written {
        submission_id,
        document_type: &ask.document_type,
        number_sealed: sealed,
        number_hash: hash,
        front: ask.front,
        back: ask.back,
    }
}

/// The number of a document, sealed, and its keyed hash.
pub(crate) fn seal_number(keys: &Keyring, submission_id: Uuid, number: &str) -> Result<(Vec<u8>, [u8; 32])> {
    let sealed = seal::seal(keys, NUMBER, submission_id.as_bytes(), number.as_bytes())?;
    Ok((sealed, keys.derive(NUMBER).mac(&[number.as_bytes()])))
}

/// A side of a document that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sheet {
    /// There is none.
    None,
    /// A file that was kept.
    Kept(Uuid),
    /// A file that is to be kept if all else holds.
    Coming,
}

impl Sheet {
    pub(super) fn of(file: Option<Uuid>) -> Self {
        file.map_or(Self::None, Self::Kept)
    }
}

/// What is looked at of a document before it is written.
pub(super) struct Draft<'a> {
    pub document_type: &'a str,
    pub number: &'a str,
    pub front: Sheet,
    pub back: Sheet,
}

impl<'a> Draft<'a> {
    fn of(ask: &'a Submission) -> Self {
        let Submission { document_type, number, front, back } = ask;
        Self { document_type, number, front: Sheet::Kept(*front), back: Sheet::of(*back) }
    }
}

/// Takes the files, and refuses with every rule that does not hold: of the kind of document, its number, its
/// sides, its files. Files that `old` shows are taken already, if it waits or was rejected.
pub(super) async fn check(
    tx: &mut PgConnection,
    user_id: Uuid,
    ask: &Draft<'_>,
    old: Option<&Row>,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut faults = Vec::new();
    match store::find_type(&mut *tx, ask.document_type).await? {
        None => {
            let known = store::list_types(&mut *tx).await?.join(", ");
            faults.push(Fault::at("/document_type", "kyc.document_type", format!("One of these: {known}.")));
        }
        Some(kind) => {
            if !fits(&kind, ask.number)? {
                let told = format!("The number of this document ({}) is {}.", kind.name, kind.rule);
                faults.push(Fault::at("/document_number", "kyc.number", told));
            }
            if kind.two_sided && ask.back == Sheet::None {
                let told = format!("This document ({}) has two sides.", kind.name);
                faults.push(Fault::at("/document_back_url", "kyc.back", told));
            }
        }
    }
    let old = old.filter(|old| is(old, State::Pending) || is(old, State::Rejected));
    let taken =
        |file: Uuid| old.is_some_and(|old| old.front_upload_id == file || old.back_upload_id == Some(file));
    for (pointer, sheet) in [("/document_front_url", ask.front), ("/document_back_url", ask.back)] {
        let Sheet::Kept(file) = sheet else { continue };
        let twice = pointer == "/document_back_url" && sheet == ask.front;
        if twice
            || (!taken(file) && !upload::attach(&mut *tx, file, user_id, Purpose::KycDocument, now).await?)
        {
            let told = "This is no file of yours that no other document shows. Send it to `POST /api/users/kyc/documents` first.";
            faults.push(Fault::at(pointer, "kyc.file", told));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(invalid(faults).into()) }
}

fn fits(kind: &store::DocumentType, number: &str) -> Result<bool> {
    let length = i16::try_from(number.chars().count()).unwrap_or(i16::MAX);
    let pattern = Regex::new(&format!("^(?:{})$", kind.pattern)).map_err(Error::internal)?;
    Ok((kind.min_length..=kind.max_length).contains(&length) && pattern.is_match(number))
}
