//! Class groups over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::role::Permission;
use keryu_common::school::{self, ClassGroup, ClassGroupAsk, FULL, Noun, Page, Unit};
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

const NOUN: Noun = ClassGroup::NOUN;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "class_group_list",
        security: Security::BearerOrKey(Scope::RolesRead),
        refusals: LISTED,
    },
    Note {
        operation: "class_group_create",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.name_taken, KEYED[0], KEYED[1]],
    },
    Note {
        operation: "class_group_show",
        security: Security::BearerOrKey(Scope::RolesRead),
        refusals: &[NOUN.not_found, NOT_FOUND],
    },
    Note {
        operation: "class_group_replace",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.not_found, NOUN.name_taken, NOUN.in_use, FULL, user::CHANGED, NOT_FOUND],
    },
    Note {
        operation: "class_group_delete",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.not_found, NOUN.in_use, NOT_FOUND],
    },
];

/// A class group.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ClassGroupOut {
    /// Which.
    id: Uuid,
    /// Of which programme.
    programme_id: Uuid,
    /// Unique without regard to case.
    name: String,
    /// The month in which it begins: 2026-09.
    intake: Option<String>,
    /// The most trainees it takes; null: no bound.
    capacity: Option<i32>,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<ClassGroup> for ClassGroupOut {
    fn from(it: ClassGroup) -> Self {
        Self {
            id: it.class_group_id,
            programme_id: it.programme_id,
            name: it.name,
            intake: it.intake,
            capacity: it.capacity,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for ClassGroupOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182),
            programme_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181),
            name: "DIT September 2026 A".to_owned(),
            intake: Some("2026-09".to_owned()),
            capacity: Some(30),
            created_at: at,
            updated_at: at,
        }
    }
}

/// A page of class groups.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ClassGroupsOut {
    /// By name.
    items: Vec<ClassGroupOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page<ClassGroup>> for ClassGroupsOut {
    fn from(page: Page<ClassGroup>) -> Self {
        let items = page.items.into_iter().map(ClassGroupOut::from).collect();
        Self { items, next_cursor: page.next_cursor }
    }
}

impl Example for ClassGroupsOut {
    fn example() -> Self {
        Self { items: vec![ClassGroupOut::example()], next_cursor: None }
    }
}

/// A class group to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ClassGroupIn {
    /// Of which programme.
    programme_id: Uuid,
    /// Unique without regard to case.
    name: LineIn,
    /// The month in which it begins: 2026-09.
    #[oai(validator(pattern = "^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])$"))]
    intake: Option<String>,
    /// The most trainees it takes; null: no bound.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    capacity: Option<i32>,
}

impl Example for ClassGroupIn {
    fn example() -> Self {
        Self {
            programme_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181),
            name: LineIn("DIT September 2026 A".to_owned()),
            intake: Some("2026-09".to_owned()),
            capacity: Some(30),
        }
    }
}

impl Input for ClassGroupIn {
    type Ask = ClassGroupAsk;
    fn ask(self, _: &Config) -> Option<ClassGroupAsk> {
        Some(ClassGroupAsk {
            programme_id: self.programme_id,
            name: self.name.parse()?,
            intake: self.intake,
            capacity: self.capacity,
        })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct ClassGroups;

#[OpenApi(prefix_path = "/api/class-groups", tag = "Tag::School")]
impl ClassGroups {
    /// List the class groups
    ///
    /// By name. For staff with `school.read`, and for services with the scope `roles:read`.
    #[oai(path = "/", method = "get", operation_id = "class_group_list")]
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
        /// Of this programme.
        programme_id: Query<Option<Uuid>>,
    ) -> Answer<Json<ClassGroupsOut>> {
        let filter = filter(search.0, programme_id.0, cursor.0);
        Ok(Json(school::list(&ctx, party.reader(), &filter, limit.0.unwrap_or(LIMIT)).await?.into()))
    }

    /// Make a class group
    #[oai(path = "/", method = "post", operation_id = "class_group_create")]
    async fn create(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<ClassGroupIn>,
    ) -> Answer<Created<ClassGroupOut>> {
        let key = key.bind_as(&ctx.config, &person, "class_group_create", &body.raw)?;
        let made: ClassGroup = school::create(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Created(made.into()))
    }

    /// See a class group
    ///
    /// For staff with `school.read`, and for services with the scope `roles:read`.
    #[oai(path = "/:id", method = "get", operation_id = "class_group_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        party: Party,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Tagged<ClassGroupOut>> {
        let it: ClassGroup = school::show(&ctx, party.reader(), id.0).await?;
        let version = it.updated_at;
        Ok(Tagged(it.into(), version))
    }

    /// Replace a class group
    ///
    /// To another programme only while it has no trainees; its capacity never below how many it has.
    #[oai(path = "/:id", method = "put", operation_id = "class_group_replace")]
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
        body: Body<ClassGroupIn>,
    ) -> Answer<Tagged<ClassGroupOut>> {
        let it: ClassGroup = school::replace(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        let version = it.updated_at;
        Ok(Tagged(it.into(), version))
    }

    /// Delete a class group
    ///
    /// One that nothing belongs to, and that nobody was ever assigned to.
    #[oai(path = "/:id", method = "delete", operation_id = "class_group_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        school::delete::<ClassGroup>(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
