//! What staff do to many people at once, over HTTP.

use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt;
use keryu_common::bulk::{self, Action, Ask, Filter, Format, Letter, Taken, Which, Who};
use keryu_common::config::Config;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::provider::storage;
use keryu_common::role::Permission;
use keryu_common::user::Standing;
use keryu_common::{Context, idempotency, role, session};
use poem::http::header;
use poem::web::Data;
use poem::{Body as Bytes, IntoResponse, Response};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::compress::Streamed;
use crate::edge::field::{DayIn, LineIn, ParagraphIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};
use crate::user::ask::StatusIn;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "bulk_order",
        security: Security::Staff(Permission::UsersRead),
        refusals: ORDER_REFUSALS,
    },
    Note {
        operation: "bulk_show",
        security: Security::Staff(Permission::UsersRead),
        refusals: &[bulk::NOT_FOUND, NOT_FOUND, VALIDATION],
    },
    Note {
        operation: "bulk_result",
        security: Security::Staff(Permission::UsersExport),
        refusals: &[bulk::NOT_FOUND, NOT_FOUND, bulk::NO_RESULT, bulk::RESULT_GONE, storage::UNAVAILABLE],
    },
];
const ORDER_REFUSALS: &[Code] = &[
    bulk::NOBODY,
    session::STEP_UP,
    role::NOT_FOUND,
    role::BEYOND_RANK,
    role::NOT_HELD,
    idempotency::MISMATCH,
    idempotency::LOST,
];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum BulkActionIn {
    /// Status `active`.
    Activate,
    /// Status `inactive`.
    Deactivate,
    /// Status `suspended`.
    Suspend,
    /// Status `banned`.
    Ban,
    /// Deleted, and erased after the grace time.
    Delete,
    /// A deletion taken back.
    Restore,
    /// Another role.
    AssignRole,
    /// A message.
    SendMessage,
    /// A file of them.
    Export,
}

impl From<BulkActionIn> for Action {
    fn from(action: BulkActionIn) -> Self {
        match action {
            BulkActionIn::Activate => Self::Activate,
            BulkActionIn::Deactivate => Self::Deactivate,
            BulkActionIn::Suspend => Self::Suspend,
            BulkActionIn::Ban => Self::Ban,
            BulkActionIn::Delete => Self::Delete,
            BulkActionIn::Restore => Self::Restore,
            BulkActionIn::AssignRole => Self::AssignRole,
            BulkActionIn::SendMessage => Self::SendMessage,
            BulkActionIn::Export => Self::Export,
        }
    }
}

/// Which people: all that fit everything said here, and have joined by now.
#[derive(Debug, Default, Object)]
pub struct BulkFilterIn {
    /// With this status; absent: `active`, as in the list of people, and for `restore` `deleted`, the only one it
    /// takes.
    #[oai(skip_serializing_if_is_none)]
    status: Option<StatusIn>,
    /// With this role.
    #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$"))]
    role: Option<String>,
    /// As in the list of people.
    search: Option<LineIn>,
    /// Whether the e-mail address is proved.
    email_verified: Option<bool>,
    /// Whether the phone number is proved.
    phone_verified: Option<bool>,
    /// The first day of joining (UTC).
    start_date: Option<DayIn>,
    /// The last day of joining (UTC), no earlier than the first.
    end_date: Option<DayIn>,
}

/// What staff write.
#[derive(Debug, Object)]
pub struct BulkMessageIn {
    /// One line.
    subject: LineIn,
    /// Plain text.
    text: ParagraphIn,
}

/// In which form people are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum BulkFormatIn {
    /// For spreadsheets (RFC 4180); a cell that a spreadsheet would run is led by an apostrophe.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl From<BulkFormatIn> for Format {
    fn from(format: BulkFormatIn) -> Self {
        match format {
            BulkFormatIn::Csv => Self::Csv,
            BulkFormatIn::Jsonl => Self::Jsonl,
        }
    }
}

/// Something to do to many people.
#[derive(Debug, Object)]
#[oai(example)]
pub struct BulkIn {
    /// What.
    action: BulkActionIn,
    /// To these people; either this or `filter`.
    #[oai(validator(max_items = 10000))]
    ids: Option<Vec<Uuid>>,
    /// To all who fit.
    #[oai(skip_serializing_if_is_none)]
    filter: Option<BulkFilterIn>,
    /// Why; kept with each account and in the audit log.
    reason: LineIn,
    /// For `assign_role`.
    #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$"))]
    role: Option<String>,
    /// For `send_message`.
    #[oai(skip_serializing_if_is_none)]
    message: Option<BulkMessageIn>,
    /// For `export`.
    #[oai(skip_serializing_if_is_none)]
    format: Option<BulkFormatIn>,
}

impl Example for BulkIn {
    fn example() -> Self {
        Self {
            action: BulkActionIn::Suspend,
            ids: None,
            filter: Some(BulkFilterIn {
                status: Some(StatusIn::Active),
                role: Some("trainee".to_owned()),
                end_date: Some(DayIn("2025-12-31".to_owned())),
                ..BulkFilterIn::default()
            }),
            reason: LineIn("The intake of 2025 has left".to_owned()),
            role: None,
            message: None,
            format: None,
        }
    }
}

fn which(status: StatusIn) -> Which {
    match status.standing() {
        Standing::Only(status) => Which::Only(status),
        Standing::Kept | Standing::Any => Which::All,
    }
}

/// A day that may be left out. None: it is none.
fn day(given: Option<DayIn>) -> Option<Option<NaiveDate>> {
    given.map_or(Some(None), |day| day.parse().map(Some))
}

impl Input for BulkIn {
    type Ask = Ask;
    /// Ten thousand ids.
    const ROOM: usize = 524_288;

    fn ask(self, _: &Config) -> Option<Ask> {
        let who = match (self.ids, self.filter) {
            (Some(ids), None) => Some(Who::Ids(ids)),
            (None, Some(filter)) => Some(Who::Filter(Filter {
                status: filter.status.map(which),
                role: filter.role,
                search: match &filter.search {
                    Some(text) => Some(text.parse()?),
                    None => None,
                },
                email_verified: filter.email_verified,
                phone_verified: filter.phone_verified,
                start_date: day(filter.start_date)?,
                end_date: day(filter.end_date)?,
            })),
            _ => None,
        };
        let message = match &self.message {
            Some(letter) => Some(Letter { subject: letter.subject.parse()?, text: letter.text.parse()? }),
            None => None,
        };
        Some(Ask {
            action: self.action.into(),
            who,
            reason: self.reason.parse()?,
            role: self.role,
            message,
            format: self.format.map(Format::from),
        })
    }
}

/// What was asked for.
#[derive(Debug, Object)]
#[oai(example)]
pub struct BulkOrderedOut {
    /// Under which it can be looked at.
    id: Uuid,
}

impl Example for BulkOrderedOut {
    fn example() -> Self {
        Self { id: ID }
    }
}

const ID: Uuid = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6178);

/// Somebody it was not done to.
#[derive(Debug, Object)]
pub struct BulkFailureOut {
    /// Who.
    user_id: Uuid,
    /// `failed`, or `skipped`: oneself.
    outcome: String,
    /// The code of the refusal.
    code: String,
}

/// How far it is.
#[derive(Debug, Object)]
#[oai(example)]
pub struct BulkOut {
    /// Which.
    id: Uuid,
    /// What is done.
    action: String,
    /// `selecting`, `running` or `finished`; `expired`: a day was not enough; `cancelled`: an operator has ended it;
    /// `discarded`: it was given up, and an operator may have it tried again.
    state: String,
    /// How many people were chosen so far.
    total: i64,
    /// To how many it was done.
    done: i64,
    /// To how many it could not be done.
    failed: i64,
    /// Oneself.
    skipped: i64,
    /// Who asked.
    created_by: Uuid,
    /// When.
    created_at: DateTime<Utc>,
    /// When it was finished.
    finished_at: Option<DateTime<Utc>>,
    /// Where the file of an export is, once it is there.
    download_url: Option<String>,
    /// Until when it is kept.
    download_until: Option<DateTime<Utc>>,
    /// Those it was not done to so far, by id; once it is finished, all of them, a page at a time.
    failures: Vec<BulkFailureOut>,
    /// For the next page of failures; null where there is none.
    next_cursor: Option<Uuid>,
}

impl Example for BulkOut {
    fn example() -> Self {
        let who = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172);
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: ID,
            action: "suspend".to_owned(),
            state: "finished".to_owned(),
            total: 300,
            done: 299,
            failed: 1,
            skipped: 0,
            created_by: who,
            created_at: at,
            finished_at: Some(at),
            download_url: None,
            download_until: None,
            failures: vec![BulkFailureOut {
                user_id: ID,
                outcome: "failed".to_owned(),
                code: "auth.forbidden".to_owned(),
            }],
            next_cursor: None,
        }
    }
}

/// The file of an export.
#[derive(Debug)]
pub struct BulkResult(Taken);

impl IntoResponse for BulkResult {
    fn into_response(self) -> Response {
        let Taken { format, at, pieces } = self.0;
        // never shown in our own origin
        let file = format!("attachment; filename=\"people-{}.{}\"", at.format("%Y-%m-%d"), format.name());
        let pieces = pieces.map_err(std::io::Error::other);
        let mut response = Response::builder()
            .content_type(format.media())
            .header(header::CONTENT_DISPOSITION, file)
            .body(Bytes::from_bytes_stream(pieces));
        response.set_data(Streamed);
        response
    }
}

impl ApiResponse for BulkResult {
    fn meta() -> MetaResponses {
        let media = |format: Format, example: &str| MetaMediaType {
            content_type: format.media(),
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                example: Some(example.into()),
                ..MetaSchema::new("string")
            })),
        };
        let content = vec![
            media(Format::Csv, "id,username,email\r\n"),
            media(Format::Jsonl, "{\"username\":\"ada.lovelace\"}\n"),
        ];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(_: &mut Registry) {}
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Bulk;

#[OpenApi(prefix_path = "/api/admin/users", tag = "Tag::Admin")]
impl Bulk {
    /// Do something to many people
    ///
    /// A job does it, one person after another, each with an audit line and a notice. Never to oneself, never
    /// above one's rank; the rights of who asked count as they are when it is done. Beside the right to see
    /// people it takes the one for the action: `users.status`, `users.delete`, `users.role`, `users.message` or
    /// `users.export`. Deleting, giving roles and exporting need a recent proof of who one is. An export by ids
    /// leaves a line for each person.
    #[oai(path = "/bulk", method = "post", operation_id = "bulk_order")]
    async fn order(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<BulkIn>,
    ) -> Answer<Accepted<BulkOrderedOut>> {
        let key = key.bind_as(&ctx.config, &person, "bulk_order", &body.raw)?;
        let id = bulk::order(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Accepted(BulkOrderedOut { id }))
    }

    /// See how far it is
    #[oai(path = "/bulk/:id", method = "get", operation_id = "bulk_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
        /// How many failures at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u32>>,
        /// From the page before.
        cursor: Query<Option<Uuid>>,
    ) -> Answer<Json<BulkOut>> {
        let limit = i64::from(limit.0.unwrap_or(100));
        let it = bulk::show(&ctx, &person, id.0, cursor.0, limit).await?;
        let last = it.failures.last().map(|failure| failure.user_id);
        let next_cursor = last.filter(|_| it.failures.len() as i64 == limit);
        let failures = it.failures.into_iter().map(|failure| BulkFailureOut {
            user_id: failure.user_id,
            outcome: failure.outcome,
            code: failure.code,
        });
        Ok(Json(BulkOut {
            id: it.bulk_action_id,
            action: it.action,
            state: it.state.name().to_owned(),
            total: it.total,
            done: it.done,
            failed: it.failed,
            skipped: it.skipped,
            created_by: it.created_by,
            created_at: it.created_at,
            finished_at: it.finished_at,
            download_url: it
                .result_until
                .map(|_| format!("/api/admin/users/bulk/{}/result", it.bulk_action_id)),
            download_until: it.result_until,
            failures: failures.collect(),
            next_cursor,
        }))
    }

    /// Take the file of an export away
    ///
    /// For who asked for it, for seven days. What it holds is as people were when it was written.
    #[oai(path = "/bulk/:id/result", method = "get", operation_id = "bulk_result")]
    async fn result(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<BulkResult> {
        Ok(BulkResult(bulk::download(&ctx, &from, &person, id.0).await?))
    }
}
