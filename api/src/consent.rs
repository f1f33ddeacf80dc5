//! Consents over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::config::Config;
use keryu_common::consent::{self, Consent, Kind};
use keryu_common::{Context, idempotency, session, user};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::LineIn;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Created, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "consent_list",
        security: Security::Bearer,
        refusals: &[user::NOT_FOUND, NOT_FOUND, session::FORBIDDEN],
    },
    Note {
        operation: "consent_give",
        security: Security::Bearer,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            session::FORBIDDEN,
            consent::TOO_MANY,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
];

/// To what somebody agrees.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ConsentKindIn {
    /// The terms of use.
    Terms,
    /// Messages that advertise.
    Marketing,
    /// The use of one's face.
    Face,
}

impl From<ConsentKindIn> for Kind {
    fn from(kind: ConsentKindIn) -> Self {
        match kind {
            ConsentKindIn::Terms => Self::Terms,
            ConsentKindIn::Marketing => Self::Marketing,
            ConsentKindIn::Face => Self::Face,
        }
    }
}

/// That somebody agrees, or does not any more.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ConsentIn {
    /// To what.
    kind: ConsentKindIn,
    /// Which version of the text was shown.
    text_version: LineIn,
    /// False: taken back, or refused.
    given: bool,
}

impl Example for ConsentIn {
    fn example() -> Self {
        Self { kind: ConsentKindIn::Terms, text_version: LineIn("2026-10".to_owned()), given: true }
    }
}

impl Input for ConsentIn {
    type Ask = (Kind, String, bool);
    fn ask(self, _: &Config) -> Option<Self::Ask> {
        Some((self.kind.into(), self.text_version.parse()?, self.given))
    }
}

/// A line of the record.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ConsentOut {
    /// Which.
    id: Uuid,
    /// `terms`, `marketing` or `face`.
    kind: String,
    /// Which version of the text was shown.
    text_version: String,
    /// False: taken back, or refused.
    given: bool,
    /// When.
    at: DateTime<Utc>,
    /// From where; null after ninety days.
    ip_address: Option<String>,
}

impl From<Consent> for ConsentOut {
    fn from(consent: Consent) -> Self {
        Self {
            id: consent.consent_id,
            kind: consent.kind.name().to_owned(),
            text_version: consent.text_version,
            given: consent.given,
            at: consent.at,
            ip_address: consent.ip_address,
        }
    }
}

impl Example for ConsentOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6183),
            kind: "terms".to_owned(),
            text_version: "2026-10".to_owned(),
            given: true,
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            ip_address: Some("203.0.113.7".to_owned()),
        }
    }
}

/// Somebody's consents.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ConsentsOut {
    /// The newest line of each kind: how it stands.
    present: Vec<ConsentOut>,
    /// All lines, newest first.
    items: Vec<ConsentOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl Example for ConsentsOut {
    fn example() -> Self {
        Self { present: vec![ConsentOut::example()], items: vec![ConsentOut::example()], next_cursor: None }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Consents;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Users")]
impl Consents {
    /// See to what somebody agreed
    ///
    /// One's own, or as staff anybody's who does not stand above.
    #[oai(path = "/:id/consents", method = "get", operation_id = "consent_list")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// How many lines at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<ConsentsOut>> {
        let limit = limit.0.unwrap_or(50);
        let listed = consent::list(&ctx, &from, &person, id.0, limit, cursor.0.as_deref()).await?;
        Ok(Json(ConsentsOut {
            present: listed.present.into_iter().map(ConsentOut::from).collect(),
            items: listed.items.into_iter().map(ConsentOut::from).collect(),
            next_cursor: listed.next_cursor,
        }))
    }

    /// Agree, or take it back
    ///
    /// For oneself alone. A line of its own each time; none is changed, but that its address goes after ninety days.
    #[oai(path = "/:id/consents", method = "post", operation_id = "consent_give")]
    async fn give(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<ConsentIn>,
    ) -> Answer<Created<ConsentOut>> {
        let key = key.bind_as(&ctx.config, &person, "consent_give", &body.raw)?;
        let (kind, version, given) = body.ask;
        let asked = (kind, version.as_str(), given);
        Ok(Created(consent::give(&ctx, &from, &person, id.0, key.as_ref(), asked).await?.into()))
    }
}
