//! The staff's desk for documents over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::config::Config;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::kyc::{self, Case, Filter, Item, Page, Side, State};
use keryu_common::provider::storage;
use keryu_common::role::Permission;
use keryu_common::{Context, session, user};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::ParagraphIn;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::kyc::wire::{KycOut, Shown};
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "kyc_list", security: Security::Staff(Permission::KycRead), refusals: &[VALIDATION] },
    Note {
        operation: "kyc_case",
        security: Security::Staff(Permission::KycRead),
        refusals: &[kyc::NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "kyc_read_side",
        security: Security::Staff(Permission::KycRead),
        refusals: &[kyc::NOT_FOUND, kyc::FILE_NOT_FOUND, NOT_FOUND, storage::UNAVAILABLE],
    },
    Note { operation: "kyc_approve", security: Security::Staff(Permission::KycReview), refusals: DECISION },
    Note { operation: "kyc_reject", security: Security::Staff(Permission::KycReview), refusals: DECISION },
];
const DECISION: &[Code] = &[
    kyc::NOT_FOUND,
    NOT_FOUND,
    kyc::NOT_PENDING,
    user::SELF,
    user::IS_DELETED,
    user::CHANGED,
    session::FORBIDDEN,
];

/// How far a document is.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum KycStateIn {
    /// Waits to be looked at.
    Pending,
    /// Good until it expires.
    Approved,
    /// Not good.
    Rejected,
    /// Was good once.
    Expired,
}

impl From<KycStateIn> for State {
    fn from(state: KycStateIn) -> Self {
        match state {
            KycStateIn::Pending => Self::Pending,
            KycStateIn::Approved => Self::Approved,
            KycStateIn::Rejected => Self::Rejected,
            KycStateIn::Expired => Self::Expired,
        }
    }
}

/// Of a document.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum SideIn {
    /// What everybody hands in.
    Front,
    /// What documents of two sides have.
    Back,
}

/// A document in the queue.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycItemOut {
    /// Which.
    id: Uuid,
    /// Whose.
    user_id: Uuid,
    /// Their name.
    username: String,
    /// `passport`, ...
    document_type: String,
    /// `pending`, `approved`, `rejected` or `expired`.
    status: String,
    /// When it was handed in.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

impl From<Item> for KycItemOut {
    fn from(item: Item) -> Self {
        Self {
            id: item.submission_id,
            user_id: item.user_id,
            username: item.username,
            document_type: item.document_type,
            status: item.state.name().to_owned(),
            created_at: item.created_at,
            updated_at: item.updated_at,
        }
    }
}

impl Example for KycItemOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182),
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            username: "ada.lovelace".to_owned(),
            document_type: "passport".to_owned(),
            status: "pending".to_owned(),
            created_at: at,
            updated_at: at,
        }
    }
}

/// A page of the queue.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycPageOut {
    /// Oldest first.
    items: Vec<KycItemOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page> for KycPageOut {
    fn from(page: Page) -> Self {
        let items = page.items.into_iter().map(KycItemOut::from).collect();
        Self { items, next_cursor: page.next_cursor }
    }
}

impl Example for KycPageOut {
    fn example() -> Self {
        Self { items: vec![KycItemOut::example()], next_cursor: None }
    }
}

/// A document with its number.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycCaseOut {
    /// Which.
    id: Uuid,
    /// Whose.
    user_id: Uuid,
    /// Their name.
    username: String,
    /// `passport`, ...
    document_type: String,
    /// In full.
    document_number: String,
    /// Others of whom a document of this kind with this number is approved: up to ten. Their owner is not told.
    same_number: Vec<Uuid>,
    /// Where its front is.
    document_front_url: String,
    /// Where its back is.
    document_back_url: Option<String>,
    /// `pending`, `approved`, `rejected` or `expired`.
    status: String,
    /// When it was approved.
    verified_at: Option<DateTime<Utc>>,
    /// Why it was rejected.
    rejection_reason: Option<String>,
    /// When it expires, or when it did.
    expires_at: Option<DateTime<Utc>>,
    /// When it was handed in.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
}

impl KycCaseOut {
    /// On the wire, with its version.
    fn tagged(ctx: &Context, case: Case) -> Tagged<Self> {
        let Case { document, username, number, same_number } = case;
        let version = document.updated_at;
        let id = document.submission_id;
        let url =
            |side: Side| format!("{}/api/admin/kyc/{id}/documents/{}", ctx.config.public_url, side.name());
        let case = Self {
            id,
            user_id: document.user_id,
            username,
            verified_at: document.verified_at(),
            document_type: document.document_type,
            document_number: number,
            same_number,
            document_front_url: url(Side::Front),
            document_back_url: document.back.map(|_| url(Side::Back)),
            status: document.state.name().to_owned(),
            rejection_reason: document.rejection_reason,
            expires_at: document.expires_at,
            created_at: document.created_at,
            updated_at: document.updated_at,
        };
        Tagged(case, version)
    }
}

impl Example for KycCaseOut {
    fn example() -> Self {
        let KycItemOut { id, user_id, username, document_type, status, created_at, updated_at } =
            KycItemOut::example();
        Self {
            document_front_url: format!("https://id.example.org/api/admin/kyc/{id}/documents/front"),
            id,
            user_id,
            username,
            document_type,
            document_number: "AK0123456".to_owned(),
            same_number: Vec::new(),
            document_back_url: None,
            status,
            verified_at: None,
            rejection_reason: None,
            expires_at: None,
            created_at,
            updated_at,
        }
    }
}

/// Why a document is not good.
#[derive(Debug, Object)]
#[oai(example)]
pub struct KycRejectIn {
    /// Its owner reads it.
    reason: ParagraphIn,
}

impl Example for KycRejectIn {
    fn example() -> Self {
        Self { reason: ParagraphIn("The number cannot be read in the picture.".to_owned()) }
    }
}

impl Input for KycRejectIn {
    type Ask = String;
    fn ask(self, _: &Config) -> Option<String> {
        self.reason.parse()
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct KycDesk;

#[OpenApi(prefix_path = "/api/admin/kyc", tag = "Tag::Admin")]
impl KycDesk {
    /// List documents
    ///
    /// Those that wait, unless `status` or `user_id` say otherwise; oldest first.
    #[oai(path = "/", method = "get", operation_id = "kyc_list")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// In which state.
        status: Query<Option<KycStateIn>>,
        /// Of one person: in any state, unless `status` names one.
        user_id: Query<Option<Uuid>>,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<KycPageOut>> {
        let filter = Filter { state: status.0.map(State::from), user_id: user_id.0 };
        let limit = limit.0.unwrap_or(50);
        Ok(Json(kyc::list(&ctx, &from, &person, filter, limit, cursor.0.as_deref()).await?.into()))
    }

    /// See a document with its number
    ///
    /// Each look leaves an audit line.
    #[oai(path = "/:id", method = "get", operation_id = "kyc_case")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Tagged<KycCaseOut>> {
        Ok(KycCaseOut::tagged(&ctx, kyc::show(&ctx, &from, &person, id.0).await?))
    }

    /// See a side of a document
    ///
    /// Each look leaves an audit line.
    #[oai(path = "/:id/documents/:side", method = "get", operation_id = "kyc_read_side")]
    async fn read_side(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
        /// `front` or `back`.
        side: Path<SideIn>,
    ) -> Answer<Shown> {
        let side = match side.0 {
            SideIn::Front => Side::Front,
            SideIn::Back => Side::Back,
        };
        let (document_type, kind, bytes) = kyc::read_side(&ctx, &from, &person, id.0, side).await?;
        Ok(Shown { name: format!("{document_type}-{}", side.name()), kind, bytes })
    }

    /// Approve a document
    ///
    /// Its owner is told. Send its `ETag` as `If-Match`: what was looked at is what is approved.
    #[oai(path = "/:id/approve", method = "post", operation_id = "kyc_approve")]
    async fn approve(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
    ) -> Answer<Tagged<KycOut>> {
        let document = kyc::approve(&ctx, &from, &person, id.0, version.0).await?;
        Ok(KycOut::tagged(&ctx, document))
    }

    /// Reject a document
    ///
    /// Its owner is told why.
    #[oai(path = "/:id/reject", method = "post", operation_id = "kyc_reject")]
    async fn reject(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<KycRejectIn>,
    ) -> Answer<Tagged<KycOut>> {
        let document = kyc::reject(&ctx, &from, &person, id.0, version.0, &body.ask).await?;
        Ok(KycOut::tagged(&ctx, document))
    }
}
