//! The audit log over HTTP: search and export for staff, a person's own view.

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream;
use keryu_common::audit::{self, By, Entry, Export, Filter, Format, Own};
use keryu_common::error::{VALIDATION, invalid};
use keryu_common::role::Permission;
use keryu_common::{Context, Fault};
use poem::http::header;
use poem::web::Data;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::edge::client::Caller;
use crate::edge::compress::Streamed;
use crate::edge::field::{TextIn, TimeIn};
use crate::edge::problem::Answer;
use crate::edge::signed::Signed;
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "audit_search",
        security: Security::Staff(Permission::AuditRead),
        refusals: &[VALIDATION],
    },
    Note {
        operation: "audit_export",
        security: Security::Staff(Permission::AuditRead),
        refusals: &[VALIDATION],
    },
    Note { operation: "audit_own", security: Security::Bearer, refusals: &[VALIDATION] },
];

/// A line of the log.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AuditLineOut {
    /// Which.
    id: Uuid,
    /// When.
    at: DateTime<Utc>,
    /// What happened.
    action: String,
    /// What kind of thing it happened to.
    entity_type: String,
    /// Which one; before sign-in a keyed hash, of many `*`.
    entity_id: String,
    /// Whose it is, where that is not the thing itself.
    owner: Option<Uuid>,
    /// Who did it: a person, or the key of a service; null: nobody who was signed in.
    actor: Option<Uuid>,
    /// In which session.
    session_id: Option<Uuid>,
    /// What is worth knowing.
    details: Value,
    /// Before: only what changed.
    old_values: Option<Value>,
    /// After: only what changed.
    new_values: Option<Value>,
    /// Whether something of it stays sealed: it takes the right `users.read`, and a person who is not erased.
    sealed: bool,
    /// From where; blanked after 90 days.
    ip_address: Option<String>,
    /// With which program; blanked after 90 days.
    user_agent: Option<String>,
    /// Of the request.
    request_id: Option<String>,
}

impl From<Entry> for AuditLineOut {
    fn from(line: Entry) -> Self {
        Self {
            id: line.id,
            at: line.at,
            action: line.action,
            entity_type: line.entity_type,
            entity_id: line.entity_id,
            owner: line.owner,
            actor: line.actor,
            session_id: line.session_id,
            details: line.details,
            old_values: line.old_values,
            new_values: line.new_values,
            sealed: line.sealed,
            ip_address: line.ip_address,
            user_agent: line.user_agent,
            request_id: line.request_id,
        }
    }
}

const ID: Uuid = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181);
const ADA: Uuid = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172);
const SESSION: Uuid = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6175);

impl Example for AuditLineOut {
    fn example() -> Self {
        Self {
            id: ID,
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            action: "user.changed".to_owned(),
            entity_type: "user".to_owned(),
            entity_id: ADA.to_string(),
            owner: None,
            actor: Some(ADA),
            session_id: Some(SESSION),
            details: json!({}),
            old_values: Some(json!({ "first_name": null })),
            new_values: Some(json!({ "first_name": "Ada" })),
            sealed: false,
            ip_address: Some("203.0.113.7".to_owned()),
            user_agent: Some("Mozilla/5.0".to_owned()),
            request_id: Some("019a9f31-7cf2-7b0a-9e1c-2d3e4f506170".to_owned()),
        }
    }
}

/// A page of the log.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AuditPageOut {
    /// Newest first. A search that finds little looks at a part of the log only, and goes on from its cursor.
    items: Vec<AuditLineOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl Example for AuditPageOut {
    fn example() -> Self {
        let next_cursor = Some("AAZet2Y9QAALn3weY6VNKI8QfC6dS2pTq0mXc1Lw9eVbHd3kZrT8yQ".to_owned());
        Self { items: vec![AuditLineOut::example()], next_cursor }
    }
}

/// Who did something to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ByOut {
    /// The person.
    You,
    /// Somebody of staff.
    Staff,
    /// A program.
    Service,
    /// Nobody who was signed in.
    Nobody,
}

impl From<By> for ByOut {
    fn from(by: By) -> Self {
        match by {
            By::You => Self::You,
            By::Staff => Self::Staff,
            By::Service => Self::Service,
            By::Nobody => Self::Nobody,
        }
    }
}

/// A line of the log in its person's own view.
#[derive(Debug, Object)]
#[oai(example)]
pub struct OwnLineOut {
    /// Which.
    id: Uuid,
    /// When.
    at: DateTime<Utc>,
    /// What happened.
    action: String,
    /// Who did it.
    by: ByOut,
    /// What kind of thing it happened to.
    entity_type: String,
    /// Which one.
    entity_id: String,
    /// Before, of what is yours.
    old_values: Option<Value>,
    /// After, of what is yours.
    new_values: Option<Value>,
    /// What is worth knowing of what you did.
    details: Option<Value>,
    /// From where, if you did it.
    ip_address: Option<String>,
    /// With which program, if you did it.
    user_agent: Option<String>,
    /// In which of your sessions.
    session_id: Option<Uuid>,
}

impl From<Own> for OwnLineOut {
    fn from(line: Own) -> Self {
        Self {
            id: line.id,
            at: line.at,
            action: line.action,
            by: line.by.into(),
            entity_type: line.entity_type,
            entity_id: line.entity_id,
            old_values: line.old_values,
            new_values: line.new_values,
            details: line.details,
            ip_address: line.ip_address,
            user_agent: line.user_agent,
            session_id: line.session_id,
        }
    }
}

impl Example for OwnLineOut {
    fn example() -> Self {
        Self {
            id: ID,
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            action: "user.status_changed".to_owned(),
            by: ByOut::Staff,
            entity_type: "user".to_owned(),
            entity_id: ADA.to_string(),
            old_values: Some(json!({ "status": "inactive" })),
            new_values: Some(json!({ "status": "active" })),
            details: None,
            ip_address: None,
            user_agent: None,
            session_id: None,
        }
    }
}

/// A page of one's own view.
#[derive(Debug, Object)]
#[oai(example)]
pub struct OwnPageOut {
    /// Newest first.
    items: Vec<OwnLineOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl Example for OwnPageOut {
    fn example() -> Self {
        Self { items: vec![OwnLineOut::example()], next_cursor: None }
    }
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum AuditFormat {
    /// For spreadsheets; no cell is a formula.
    Csv,
    /// A JSON document a line.
    Jsonl,
}

/// A file that is sent while it is written.
#[derive(Debug)]
pub struct Exported {
    format: AuditFormat,
    day: String,
    export: Export,
}

const CSV: &str = "text/csv; charset=utf-8";
const JSONL: &str = "application/jsonl; charset=utf-8";

impl IntoResponse for Exported {
    fn into_response(self) -> Response {
        let (media, ending) = match self.format {
            AuditFormat::Csv => (CSV, "csv"),
            AuditFormat::Jsonl => (JSONL, "jsonl"),
        };
        // the next page is read when this one is taken: nothing is held for who reads slowly or hangs up
        let pieces = stream::try_unfold(self.export, |mut export| async move {
            match export.next().await {
                Ok(piece) => Ok(piece.map(|piece| (Bytes::from(piece), export))),
                Err(error) => {
                    tracing::error!(%error, "an export of the audit log broke off");
                    Err(io::Error::other("the file is not whole"))
                }
            }
        });
        let file = format!("attachment; filename=\"audit-{}.{ending}\"", self.day);
        let mut response = Response::builder()
            .content_type(media)
            .header(header::CONTENT_DISPOSITION, file)
            .body(Body::from_bytes_stream(pieces));
        response.set_data(Streamed);
        response
    }
}

impl ApiResponse for Exported {
    fn meta() -> MetaResponses {
        let media = |content_type, example: &str| MetaMediaType {
            content_type,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema {
                example: Some(json!(example)),
                ..MetaSchema::new("string")
            })),
        };
        let content = vec![
            media(CSV, "at,action,entity_type,…\r\n2026-10-26T00:53:20.000000Z,user.changed,user,…\r\n"),
            media(JSONL, "{\"id\":\"019a9f31-7cf2-7b0a-9e1c-2d3e4f506181\",\"action\":\"user.changed\",…}\n"),
        ];
        let response =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
        MetaResponses { responses: vec![response] }
    }
    fn register(_: &mut Registry) {}
}

/// An address of a query.
fn address(given: Option<TextIn>) -> Answer<Option<IpAddr>> {
    let Some(TextIn(text)) = given else { return Ok(None) };
    let ip: Option<IpAddr> = text.parse().ok();
    let told = "The parameter ip_address is not an address, such as 203.0.113.7 or 2001:db8::7.";
    Ok(Some(ip.ok_or_else(|| invalid(vec![Fault::at("", "field.format", told)]))?))
}

/// The operations of staff.
#[derive(Clone, Copy, Debug)]
pub struct Audit;

#[OpenApi(prefix_path = "/api/admin/audit", tag = "Tag::Admin")]
impl Audit {
    /// Search the audit log
    ///
    /// Newest first; every parameter narrows. A call looks at 5,000 lines at most, so a page may hold fewer than
    /// `limit`, or none, and not be the last: go on until `next_cursor` is null. What identifies people is shown
    /// to those who have the right `users.read`. Searching leaves a line itself.
    #[oai(path = "/", method = "get", operation_id = "audit_search")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn search(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// What this person, or service (the id of its key), did.
        actor: Query<Option<Uuid>>,
        /// What happened to this kind of thing: `user`, `role`, ...
        #[oai(validator(pattern = "^[a-z_]{1,50}$"))]
        entity_type: Query<Option<String>>,
        /// What happened to this one.
        #[oai(validator(min_length = 1, max_length = 200))]
        entity_id: Query<Option<TextIn>>,
        /// This action, or all that begin so: `user.changed`, `user.*`.
        #[oai(validator(pattern = r"^[a-z0-9_]{1,50}(\.[a-z0-9_]{1,50}){0,3}(\.\*)?$"))]
        action: Query<Option<String>>,
        /// At this moment or later.
        since: Query<Option<TimeIn>>,
        /// Before this moment.
        until: Query<Option<TimeIn>>,
        /// From this address.
        #[oai(validator(min_length = 1, max_length = 45))]
        ip_address: Query<Option<TextIn>>,
        /// Of this request.
        #[oai(validator(min_length = 1, max_length = 200))]
        request_id: Query<Option<TextIn>>,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<AuditPageOut>> {
        let filter = Filter {
            actor: actor.0,
            entity_type: entity_type.0,
            entity_id: entity_id.0.map(|text| text.0),
            action: action.0,
            since: since.0.map(|time| time.0),
            until: until.0.map(|time| time.0),
            ip_address: address(ip_address.0)?,
            request_id: request_id.0.map(|text| text.0),
        };
        let limit = limit.0.unwrap_or(50);
        let page = audit::search(&ctx, &from, &person, &filter, limit, cursor.0.as_deref()).await?;
        Ok(Json(AuditPageOut {
            items: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        }))
    }

    /// Take the audit log out as a file
    ///
    /// The lines a search would find, newest first, sent while they are read. A connection that ends early means
    /// that the file is not whole. Leaves a line itself.
    #[oai(path = "/export", method = "get", operation_id = "audit_export")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn export(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// `csv` without it.
        format: Query<Option<AuditFormat>>,
        /// What this person, or service (the id of its key), did.
        actor: Query<Option<Uuid>>,
        /// What happened to this kind of thing: `user`, `role`, ...
        #[oai(validator(pattern = "^[a-z_]{1,50}$"))]
        entity_type: Query<Option<String>>,
        /// What happened to this one.
        #[oai(validator(min_length = 1, max_length = 200))]
        entity_id: Query<Option<TextIn>>,
        /// This action, or all that begin so: `user.changed`, `user.*`.
        #[oai(validator(pattern = r"^[a-z0-9_]{1,50}(\.[a-z0-9_]{1,50}){0,3}(\.\*)?$"))]
        action: Query<Option<String>>,
        /// At this moment or later.
        since: Query<Option<TimeIn>>,
        /// Before this moment.
        until: Query<Option<TimeIn>>,
        /// From this address.
        #[oai(validator(min_length = 1, max_length = 45))]
        ip_address: Query<Option<TextIn>>,
        /// Of this request.
        #[oai(validator(min_length = 1, max_length = 200))]
        request_id: Query<Option<TextIn>>,
    ) -> Answer<Exported> {
        let filter = Filter {
            actor: actor.0,
            entity_type: entity_type.0,
            entity_id: entity_id.0.map(|text| text.0),
            action: action.0,
            since: since.0.map(|time| time.0),
            until: until.0.map(|time| time.0),
            ip_address: address(ip_address.0)?,
            request_id: request_id.0.map(|text| text.0),
        };
        let format = format.0.unwrap_or(AuditFormat::Csv);
        let form = match format {
            AuditFormat::Csv => Format::Csv,
            AuditFormat::Jsonl => Format::JsonLines,
        };
        let export = audit::export(&ctx, &from, &person, filter, form).await?;
        Ok(Exported { format, day: ctx.now().format("%Y-%m-%d").to_string(), export })
    }
}

/// The operation of everybody.
#[derive(Clone, Copy, Debug)]
pub struct OwnAudit;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Account")]
impl OwnAudit {
    /// See what happened to one's account
    ///
    /// What was done to it and by it, newest first, reads by staff and services among it. Who of staff did it is
    /// not told, nor from where others came.
    #[oai(path = "/audit", method = "get", operation_id = "audit_own")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        person: Signed,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<OwnPageOut>> {
        let limit = limit.0.unwrap_or(50);
        let page = audit::list_own(&ctx, person.user_id(), limit, cursor.0.as_deref()).await?;
        Ok(Json(OwnPageOut {
            items: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        }))
    }
}
