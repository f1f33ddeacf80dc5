//! Reports about one's own use, over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::error::VALIDATION;
use keryu_common::report::{self, Format};
use keryu_common::{Context, idempotency};
use poem::http::header;
use poem::web::Data;
use poem::{IntoResponse, Response};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::json;
use uuid::Uuid;

use crate::edge::client::Caller;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "report_request",
        security: Security::Bearer,
        refusals: &[idempotency::MISMATCH, idempotency::LOST, VALIDATION],
    },
    Note { operation: "report_show", security: Security::Bearer, refusals: &[report::NOT_FOUND, NOT_FOUND] },
    Note {
        operation: "report_download",
        security: Security::Bearer,
        refusals: &[report::NOT_FOUND, NOT_FOUND, report::NOT_READY],
    },
];

/// A report, without its content.
#[derive(Debug, Object)]
#[oai(example, rename = "UsageReportOut")]
pub struct ReportOut {
    /// Which.
    id: Uuid,
    /// `waiting` or `ready`.
    status: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it was ready.
    finished_at: Option<DateTime<Utc>>,
    /// Until when it is kept; until when it is built, while it waits.
    expires_at: DateTime<Utc>,
    /// Where its content is, once it is ready.
    download_url: Option<String>,
}

impl From<report::Report> for ReportOut {
    fn from(report: report::Report) -> Self {
        let id = report.report_id;
        let ready = report.finished_at.is_some();
        Self {
            id,
            status: if ready { "ready" } else { "waiting" }.to_owned(),
            created_at: report.created_at,
            finished_at: report.finished_at,
            expires_at: report.expires_at,
            download_url: ready.then(|| format!("/api/users/analytics/reports/{id}/download")),
        }
    }
}

impl Example for ReportOut {
    fn example() -> Self {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        report::Report {
            report_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6179),
            created_at: at(1_793_000_000),
            finished_at: Some(at(1_793_000_002)),
            expires_at: at(1_795_592_002),
        }
        .into()
    }
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ReportFormat {
    /// For programs.
    Json,
    /// A page that loads nothing.
    Html,
}

/// A report's content, as a file.
#[derive(Debug)]
pub struct Downloaded {
    format: ReportFormat,
    day: String,
    content: Vec<u8>,
}

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

impl IntoResponse for Downloaded {
    fn into_response(self) -> Response {
        let (media, ending) = match self.format {
            ReportFormat::Json => (JSON, "json"),
            ReportFormat::Html => (HTML, "html"),
        };
        // never shown in our own origin
        let file = format!("attachment; filename=\"report-{}.{ending}\"", self.day);
        Response::builder().content_type(media).header(header::CONTENT_DISPOSITION, file).body(self.content)
    }
}

impl ApiResponse for Downloaded {
    fn meta() -> MetaResponses {
        let figures = json!({ "version": 1, "generated_at": "2026-10-26T00:53:20Z",
                              "sections": { "sign_ins": { "total": 12 } } });
        let media = |content_type, kind, example| MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                example: Some(example),
                ..MetaSchema::new(kind)
            })),
        };
        let content = vec![
            media(JSON, "object", figures),
            media(HTML, "string", json!("<!doctype html><html lang=\"en\">…</html>")),
        ];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(_: &mut Registry) {}
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Reports;

#[OpenApi(prefix_path = "/api/users/analytics", tag = "Tag::Account")]
impl Reports {
    /// Ask for a report of one's own use
    ///
    /// A job builds it, and a notice tells when it is ready. One waits per person: asking again answers with
    /// that one.
    #[oai(path = "/reports", method = "post", operation_id = "report_request")]
    async fn request(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
    ) -> Answer<Accepted<ReportOut>> {
        let key = key.bind_as(&ctx.config, &person, "report_request", b"")?;
        Ok(Accepted(report::request(&ctx, &from, &person, key.as_ref()).await?.into()))
    }

    /// See whether a report is ready
    #[oai(path = "/reports/:id", method = "get", operation_id = "report_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Json<ReportOut>> {
        Ok(Json(report::show(&ctx, &person, id.0).await?.into()))
    }

    /// Download a report
    ///
    /// Its owner alone. It is kept for 30 days.
    #[oai(path = "/reports/:id/download", method = "get", operation_id = "report_download")]
    async fn download(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
        /// `json` without it.
        format: Query<Option<ReportFormat>>,
    ) -> Answer<Downloaded> {
        let format = format.0.unwrap_or(ReportFormat::Json);
        let wanted = match format {
            ReportFormat::Json => Format::Json,
            ReportFormat::Html => Format::Html,
        };
        let (report, content) = report::download(&ctx, &person, id.0, wanted).await?;
        let day = report.finished_at.unwrap_or(report.created_at).format("%Y-%m-%d").to_string();
        Ok(Downloaded { format, day, content })
    }
}
