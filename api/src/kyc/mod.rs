//! One's own documents over HTTP. Forms are in `form`, what answers look like in `wire`.

mod form;
pub mod wire;

use keryu_common::error::{Code, VALIDATION};
use keryu_common::kyc::{self, file};
use keryu_common::provider::storage;
use keryu_common::{Context, idempotency, upload, user};
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use uuid::Uuid;

use crate::edge::client::Caller;
use crate::edge::form::OneFile;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Created, Note, Security, Tag};

use form::{Amended, Handed};
use wire::{FileOut, KycOut, KycOwnOut, KycStatusOut, Shown};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "kyc_keep_file", security: Security::Bearer, refusals: FILE_REFUSALS },
    Note {
        operation: "kyc_read_file",
        security: Security::Bearer,
        refusals: &[kyc::FILE_NOT_FOUND, NOT_FOUND, storage::UNAVAILABLE],
    },
    Note {
        operation: "kyc_submit",
        security: Security::Bearer,
        refusals: &[
            kyc::PENDING,
            idempotency::MISMATCH,
            idempotency::LOST,
            file::TYPE,
            file::BROKEN,
            file::PIXELS,
            file::BYTES,
            upload::QUOTA,
            storage::UNAVAILABLE,
        ],
    },
    Note {
        operation: "kyc_amend",
        security: Security::Bearer,
        refusals: &[
            kyc::NOT_FOUND,
            kyc::DECIDED,
            user::CHANGED,
            file::TYPE,
            file::BROKEN,
            file::PIXELS,
            file::BYTES,
            upload::QUOTA,
            storage::UNAVAILABLE,
        ],
    },
    Note { operation: "kyc_show", security: Security::Bearer, refusals: &[kyc::NOT_FOUND] },
    Note { operation: "kyc_status", security: Security::Bearer, refusals: &[] },
];
const FILE_REFUSALS: &[Code] = &[
    file::TYPE,
    file::BROKEN,
    file::PIXELS,
    file::BYTES,
    upload::QUOTA,
    storage::UNAVAILABLE,
    VALIDATION,
    idempotency::MISMATCH,
    idempotency::LOST,
];

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Kyc;

#[OpenApi(prefix_path = "/api/users/kyc", tag = "Tag::Account")]
impl Kyc {
    /// Send a file for a document
    ///
    /// JPEG, PNG, WebP or PDF by its content, 5 MiB and 40 megapixels at most. It is sealed at rest. A file
    /// that no document names within a day is deleted.
    #[oai(path = "/documents", method = "post", operation_id = "kyc_keep_file")]
    async fn keep(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and file within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: OneFile<{ file::MOST_BYTES }>,
    ) -> Answer<Created<FileOut>> {
        let key = key.bind_as(&ctx.config, &person, "kyc_keep_file", &body.0)?;
        let kept = kyc::keep(&ctx, &from, &person, key.as_ref(), body.0).await?;
        Ok(Created(FileOut::of(&ctx, kept)))
    }

    /// Read a file of one's own
    ///
    /// Each look leaves an audit line.
    #[oai(path = "/documents/:id", method = "get", operation_id = "kyc_read_file")]
    async fn read(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Shown> {
        let (kind, bytes) = kyc::read_own(&ctx, &from, &person, id.0).await?;
        Ok(Shown { name: "document".to_owned(), kind, bytes })
    }

    /// Hand in a document
    ///
    /// By the URLs of files that were sent before, or with the files in one form. Nothing is ever fetched. One
    /// waits at a time; while one is approved, the next one may be handed in.
    #[oai(path = "/", method = "post", operation_id = "kyc_submit")]
    async fn submit(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Handed,
    ) -> Answer<Created<KycOut>> {
        let digest = match &body {
            Handed::Urls(_, raw) => raw,
            Handed::Form(form) => &form.digest,
        };
        let key = key.bind_as(&ctx.config, &person, "kyc_submit", digest)?;
        let document = match body {
            Handed::Urls(ask, _) => kyc::submit(&ctx, &from, &person, key.as_ref(), &ask).await?,
            Handed::Form(form) => {
                let (ask, _place) = form.document()?;
                kyc::submit_with_files(&ctx, &from, &person, key.as_ref(), ask).await?
            }
        };
        Ok(Created(KycOut::of(&ctx, document)))
    }

    /// Change the document that waits
    ///
    /// By the URLs of files that were sent before, or with the files in one form. After a rejection: hand in
    /// another one, with what is left out taken over.
    #[oai(path = "/", method = "patch", operation_id = "kyc_amend")]
    async fn amend(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Amended,
    ) -> Answer<Tagged<KycOut>> {
        let document = match body {
            Amended::Urls(edit) => kyc::amend(&ctx, &from, &person, version.0, edit).await?,
            Amended::Form(form) => {
                let (edit, _place) = form.edit()?;
                kyc::amend_with_files(&ctx, &from, &person, version.0, edit).await?
            }
        };
        Ok(KycOut::tagged(&ctx, document))
    }

    /// See one's newest document, and those before it
    #[oai(path = "/", method = "get", operation_id = "kyc_show")]
    async fn show(&self, ctx: Data<&Context>, person: Signed) -> Answer<Tagged<KycOwnOut>> {
        let (newest, history) = kyc::own(&ctx, &person).await?;
        Ok(KycOwnOut::tagged(&ctx, newest, history))
    }

    /// See how far the check of one's documents is
    #[oai(path = "/status", method = "get", operation_id = "kyc_status")]
    async fn status(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<KycStatusOut>> {
        let newest = kyc::status(&ctx, &person).await?;
        Ok(Json(KycStatusOut::of(&person, newest)))
    }
}
