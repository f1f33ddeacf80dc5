//! Everything about a person, for that person, over HTTP.

use std::io;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use keryu_common::error::VALIDATION;
use keryu_common::provider::storage::{self, Stream};
use keryu_common::session::STEP_UP;
use keryu_common::{Context, export, idempotency, user};
use poem::http::header;
use poem::web::Data;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use crate::edge::client::Caller;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "export_request",
        security: Security::Bearer,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            STEP_UP,
            idempotency::MISMATCH,
            idempotency::LOST,
            VALIDATION,
        ],
    },
    Note {
        operation: "export_show",
        security: Security::Bearer,
        refusals: &[user::NOT_FOUND, export::NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "export_download",
        security: Security::Bearer,
        refusals: &[user::NOT_FOUND, export::NOT_FOUND, NOT_FOUND, export::NOT_READY, storage::UNAVAILABLE],
    },
];

/// An export, without its content.
#[derive(Debug, Object)]
#[oai(example, rename = "DataExportOut")]
pub struct ExportOut {
    /// Which.
    id: Uuid,
    /// `waiting` or `ready`.
    status: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it was ready.
    finished_at: Option<DateTime<Utc>>,
    /// Until when it is kept; until when it is gathered, while it waits.
    expires_at: DateTime<Utc>,
    /// Bytes of the archive, once it is ready.
    size: Option<i64>,
    /// Where the archive is, once it is ready.
    download_url: Option<String>,
}

impl ExportOut {
    fn of(user_id: Uuid, export: export::Export) -> Self {
        let id = export.export_id;
        let ready = export.finished_at.is_some();
        Self {
            id,
            status: if ready { "ready" } else { "waiting" }.to_owned(),
            created_at: export.created_at,
            finished_at: export.finished_at,
            expires_at: export.expires_at,
            size: export.size,
            download_url: ready.then(|| format!("/api/users/{user_id}/exports/{id}/download")),
        }
    }
}

impl Example for ExportOut {
    fn example() -> Self {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let export = export::Export {
            export_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182),
            created_at: at(1_793_000_000),
            finished_at: Some(at(1_793_000_002)),
            expires_at: at(1_793_604_802),
            size: Some(48_213),
        };
        Self::of(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172), export)
    }
}

/// The archive, sent while it is read.
pub struct Archive {
    day: String,
    pieces: Stream,
}

const ZIP: &str = "application/zip";

impl IntoResponse for Archive {
    fn into_response(self) -> Response {
        // a connection that ends early tells that the archive is not whole
        let pieces = self.pieces.map_err(|error| {
            tracing::error!(%error, "a download of an export broke off");
            io::Error::other("the archive is not whole")
        });
        let file = format!("attachment; filename=\"export-{}.zip\"", self.day);
        Response::builder()
            .content_type(ZIP)
            .header(header::CONTENT_DISPOSITION, file)
            .body(Body::from_bytes_stream(pieces))
    }
}

impl ApiResponse for Archive {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType {
            content_type: ZIP,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                example: Some("(the bytes of the archive)".into()),
                ..MetaSchema::new_with_format("string", "binary")
            })),
        }];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(_: &mut Registry) {}
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Exports;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Account")]
impl Exports {
    /// Ask for everything about oneself
    ///
    /// Shortly after a proof of who one is (`POST /api/auth/step-up`). A job gathers it, and a notice tells when
    /// it is ready. One waits per person: asking again answers with that one.
    #[oai(path = "/:id/exports", method = "post", operation_id = "export_request")]
    async fn request(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// One's own.
        id: Path<Uuid>,
        /// The same key within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
    ) -> Answer<Accepted<ExportOut>> {
        let key = key.bind_as(&ctx.config, &person, "export_request", id.0.as_bytes())?;
        let export = export::request(&ctx, &from, &person, id.0, key.as_ref()).await?;
        Ok(Accepted(ExportOut::of(id.0, export)))
    }

    /// See whether an export is ready
    #[oai(path = "/:id/exports/:export_id", method = "get", operation_id = "export_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// One's own.
        id: Path<Uuid>,
        /// Which.
        export_id: Path<Uuid>,
    ) -> Answer<Json<ExportOut>> {
        Ok(Json(ExportOut::of(id.0, export::show(&ctx, &person, id.0, export_id.0).await?)))
    }

    /// Download an export
    ///
    /// A ZIP archive: JSON for each area, the files that were sent, and `index.json`. Its owner alone; kept for
    /// 7 days, or until the next one is ready.
    #[oai(path = "/:id/exports/:export_id/download", method = "get", operation_id = "export_download")]
    async fn download(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// One's own.
        id: Path<Uuid>,
        /// Which.
        export_id: Path<Uuid>,
    ) -> Answer<Archive> {
        let (export, pieces) = export::download(&ctx, &from, &person, id.0, export_id.0).await?;
        let day = export.finished_at.unwrap_or(export.created_at).format("%Y-%m-%d").to_string();
        Ok(Archive { day, pieces })
    }
}
