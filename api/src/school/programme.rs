//! Programmes over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::role::Permission;
use keryu_common::school::{self, Noun, Page, Programme, ProgrammeAsk, Unit};
use keryu_common::user;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::{KEYED, LIMIT, LISTED, filter};
use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{LineIn, TextIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Created, Gone, Note, Security, Tag};

const NOUN: Noun = Programme::NOUN;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "programme_list", security: Security::BearerOrKey(Scope::RolesRead), refusals: LISTED },
    Note {
        operation: "programme_create",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.name_taken, KEYED[0], KEYED[1]],
    },
    Note {
        operation: "programme_show",
        security: Security::BearerOrKey(Scope::RolesRead),
        refusals: &[NOUN.not_found, NOT_FOUND],
    },
    Note {
        operation: "programme_replace",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.not_found, NOUN.name_taken, user::CHANGED, NOT_FOUND],
    },
    Note {
        operation: "programme_delete",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.not_found, NOUN.in_use, NOT_FOUND],
    },
];

/// A programme.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProgrammeOut {
    /// Which.
    id: Uuid,
    /// Whose.
    department_id: Uuid,
    /// Unique without regard to case.
    name: String,
    /// Certificate, diploma, ...
    level: String,
    /// How long it takes.
    duration_months: i16,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Programme> for ProgrammeOut {
    fn from(it: Programme) -> Self {
        Self {
            id: it.programme_id,
            department_id: it.department_id,
            name: it.name,
            level: it.level,
            duration_months: it.duration_months,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for ProgrammeOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181),
            department_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            name: "Diploma in Information Technology".to_owned(),
            level: "diploma".to_owned(),
            duration_months: 24,
            created_at: at,
            updated_at: at,
        }
    }
}

/// A page of programmes.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProgrammesOut {
    /// By name.
    items: Vec<ProgrammeOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page<Programme>> for ProgrammesOut {
    fn from(page: Page<Programme>) -> Self {
        let items = page.items.into_iter().map(ProgrammeOut::from).collect();
        Self { items, next_cursor: page.next_cursor }
    }
}

impl Example for ProgrammesOut {
    fn example() -> Self {
        Self { items: vec![ProgrammeOut::example()], next_cursor: None }
    }
}

/// A programme to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProgrammeIn {
    /// Whose.
    department_id: Uuid,
    /// Unique without regard to case.
    name: LineIn,
    /// Certificate, diploma, ...
    level: LineIn,
    /// How long it takes.
    #[oai(validator(minimum(value = "1"), maximum(value = "120")))]
    duration_months: i16,
}

impl Example for ProgrammeIn {
    fn example() -> Self {
        Self {
            department_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            name: LineIn("Diploma in Information Technology".to_owned()),
            level: LineIn("diploma".to_owned()),
            duration_months: 24,
        }
    }
}

impl Input for ProgrammeIn {
    type Ask = ProgrammeAsk;
    fn ask(self, _: &Config) -> Option<ProgrammeAsk> {
        Some(ProgrammeAsk {
            department_id: self.department_id,
            name: self.name.parse()?,
            level: self.level.parse()?,
            duration_months: self.duration_months,
        })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Programmes;

#[OpenApi(prefix_path = "/api/programmes", tag = "Tag::School")]
impl Programmes {
    /// List the programmes
    ///
    /// By name. For staff with `school.read`, and for services with the scope `roles:read`.
    #[oai(path = "/", method = "get", operation_id = "programme_list")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        party: Party,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 2_000))]
        cursor: Query<Option<String>>,
        /// Part of a name, without regard to case; of one or two characters its beginning.
        #[oai(validator(min_length = 1, max_length = 100))]
        search: Query<Option<TextIn>>,
        /// Of this department.
        department_id: Query<Option<Uuid>>,
    ) -> Answer<Json<ProgrammesOut>> {
        let filter = filter(search.0, department_id.0, cursor.0);
        Ok(Json(school::list(&ctx, party.reader(), &filter, limit.0.unwrap_or(LIMIT)).await?.into()))
    }

    /// Make a programme
    #[oai(path = "/", method = "post", operation_id = "programme_create")]
    async fn create(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<ProgrammeIn>,
    ) -> Answer<Created<ProgrammeOut>> {
        let key = key.bind_as(&ctx.config, &person, "programme_create", &body.raw)?;
        let made: Programme = school::create(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Created(made.into()))
    }

    /// See a programme
    ///
    /// For staff with `school.read`, and for services with the scope `roles:read`.
    #[oai(path = "/:id", method = "get", operation_id = "programme_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        party: Party,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Tagged<ProgrammeOut>> {
        let it: Programme = school::show(&ctx, party.reader(), id.0).await?;
        let version = it.updated_at;
        Ok(Tagged(it.into(), version))
    }

    /// Replace a programme
    #[oai(path = "/:id", method = "put", operation_id = "programme_replace")]
    async fn replace(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProgrammeIn>,
    ) -> Answer<Tagged<ProgrammeOut>> {
        let it: Programme = school::replace(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        let version = it.updated_at;
        Ok(Tagged(it.into(), version))
    }

    /// Delete a programme
    ///
    /// One that nothing belongs to, and that nobody was ever assigned to.
    #[oai(path = "/:id", method = "delete", operation_id = "programme_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        school::delete::<Programme>(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
