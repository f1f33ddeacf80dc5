//! A document and its files in one: the files are kept once all else holds, and go again if it does not in the end.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::own::{self, Draft, Edit, Sheet, Submission, amend, check, may_amend, may_submit, submit};
use super::{Document, file, number};
use crate::audit::Client;
use crate::context::Context;
use crate::error::Result;
use crate::idempotency;
use crate::session::Person;
use crate::upload::Unclaimed;
use crate::user::Change;

/// A side of a document.
#[derive(Clone)]
pub enum Given {
    /// A file that was kept before.
    Kept(Uuid),
    /// A file that comes along.
    Sent(Bytes),
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(upload_id) => f.debug_tuple("Kept").field(upload_id).finish(),
            Self::Sent(bytes) => f.debug_tuple("Sent").field(&bytes.len()).finish(),
        }
    }
}

impl Given {
    fn sheet(&self) -> Sheet {
        match self {
            Self::Kept(upload_id) => Sheet::Kept(*upload_id),
            Self::Sent(_) => Sheet::Coming,
        }
    }
}

/// A document as it is handed in with its files.
#[derive(Clone)]
pub struct WithFiles {
    /// One of `kyc_document_types`.
    pub document_type: String,
    /// In capitals, without spaces.
    pub number: String,
    /// Its front.
    pub front: Given,
    /// Its back, where it has two sides.
    pub back: Option<Given>,
}

impl std::fmt::Debug for WithFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WithFiles").field("document_type", &self.document_type).finish_non_exhaustive()
    }
}

/// What is to change of a document, with files: what is left out stays.
#[derive(Clone, Default)]
pub struct FilesEdit {
    /// To another kind.
    pub document_type: Option<String>,
    /// In capitals, without spaces.
    pub number: Option<String>,
    /// Another front.
    pub front: Option<Given>,
    /// Another back.
    pub back: Option<Given>,
}

impl std::fmt::Debug for FilesEdit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilesEdit").finish_non_exhaustive()
    }
}

/// Hands a document in with its files. Nothing of what is refused is kept, nor of a call that was answered before.
///
/// # Errors
/// As [`own::keep`] and [`submit`].
pub async fn submit_with_files(
    ctx: &Context,
    client: &Client,
    person: &Person,
    key: Option<&idempotency::Key>,
    ask: WithFiles,
) -> Result<Document> {
    must_be_whole([Some(&ask.front), ask.back.as_ref()])?;
    let mut tx = ctx.db.begin().await?;
    if let Some(document) = own::begun(&mut tx, ctx, key).await? {
        return Ok(document);
    }
    let newest = may_submit(&mut tx, person).await?;
    let draft = Draft {
        document_type: &ask.document_type,
        number: &ask.number,
        front: ask.front.sheet(),
        back: ask.back.as_ref().map_or(Sheet::None, Given::sheet),
    };
    check(&mut tx, person.user_id(), &draft, newest.as_ref(), ctx.now()).await?;
    // the files are kept with no transaction open
    tx.rollback().await?;
    let mut kept = Kept::new(ctx, client, person);
    let done = async {
        let front = kept.keep(ask.front).await?;
        let back = match ask.back {
            None => None,
            Some(back) => Some(kept.keep(back).await?),
        };
        let WithFiles { document_type, number, .. } = ask;
        submit(ctx, client, person, key, &Submission { document_type, number, front, back }).await
    };
    let done = done.await;
    kept.settle(&done).await;
    done
}

/// As [`amend`], with files.
///
/// # Errors
/// As [`own::keep`] and [`amend`].
pub async fn amend_with_files(
    ctx: &Context,
    client: &Client,
    person: &Person,
    version: Option<DateTime<Utc>>,
    edit: FilesEdit,
) -> Result<Document> {
    must_be_whole([edit.front.as_ref(), edit.back.as_ref()])?;
    let mut tx = ctx.db.begin().await?;
    let (old, _) = may_amend(&mut tx, person, version).await?;
    let numbered = match &edit.number {
        Some(number) => number.clone(),
        None => number(ctx, &old)?,
    };
    let draft = Draft {
        document_type: edit.document_type.as_deref().unwrap_or(&old.document_type),
        number: &numbered,
        front: edit.front.as_ref().map_or(Sheet::Kept(old.front_upload_id), Given::sheet),
        back: edit.back.as_ref().map_or(Sheet::of(old.back_upload_id), Given::sheet),
    };
    check(&mut tx, person.user_id(), &draft, Some(&old), ctx.now()).await?;
    tx.rollback().await?;
    let mut kept = Kept::new(ctx, client, person);
    let done = async {
        let front = match edit.front {
            None => None,
            Some(front) => Some(kept.keep(front).await?),
        };
        let back = match edit.back {
            None => Change::Keep,
            Some(back) => Change::Set(Some(kept.keep(back).await?)),
        };
        let edit = Edit { document_type: edit.document_type, number: edit.number, front, back };
        amend(ctx, client, person, version, edit).await
    };
    let done = done.await;
    kept.settle(&done).await;
    done
}

/// Looks at all files before any is kept.
fn must_be_whole(sides: [Option<&Given>; 2]) -> Result<()> {
    for side in sides.into_iter().flatten() {
        if let Given::Sent(bytes) = side {
            file::check(bytes)?;
        }
    }
    Ok(())
}

/// Files that were kept for a document that is not there yet.
struct Kept<'a> {
    ctx: &'a Context,
    client: &'a Client,
    person: &'a Person,
    files: Vec<Uuid>,
    unclaimed: Unclaimed,
}

impl<'a> Kept<'a> {
    fn new(ctx: &'a Context, client: &'a Client, person: &'a Person) -> Self {
        Self { ctx, client, person, files: Vec::new(), unclaimed: Unclaimed::new(ctx) }
    }

    async fn keep(&mut self, given: Given) -> Result<Uuid> {
        let bytes = match given {
            Given::Kept(upload_id) => return Ok(upload_id),
            Given::Sent(bytes) => bytes,
        };
        let file = own::keep(self.ctx, self.client, self.person, None, bytes).await?;
        self.unclaimed.hold(file.upload_id);
        self.files.push(file.upload_id);
        Ok(file.upload_id)
    }

    /// A parallel call with the same key may have been faster: then the document shows its files, and not these.
    async fn settle(self, done: &Result<Document>) {
        let shown = |file: &Uuid| done.as_ref().is_ok_and(|it| it.front == *file || it.back == Some(*file));
        match self.files.iter().all(shown) {
            true => self.unclaimed.done(),
            false => self.unclaimed.release().await,
        }
    }
}
