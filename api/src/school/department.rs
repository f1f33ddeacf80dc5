//! Departments over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::role::Permission;
use keryu_common::school::{self, Department, DepartmentAsk, Noun, Page, Unit};
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
use crate::edge::field::{LineIn, ParagraphIn, TextIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Created, Gone, Note, Security, Tag};

const NOUN: Noun = Department::NOUN;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "department_list",
        security: Security::BearerOrKey(Scope::RolesRead),
        refusals: LISTED,
    },
    Note {
        operation: "department_create",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.name_taken, KEYED[0], KEYED[1]],
    },
    Note {
        operation: "department_show",
        security: Security::BearerOrKey(Scope::RolesRead),
        refusals: &[NOUN.not_found, NOT_FOUND],
    },
    Note {
        operation: "department_replace",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.not_found, NOUN.name_taken, user::CHANGED, NOT_FOUND],
    },
    Note {
        operation: "department_delete",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[NOUN.not_found, NOUN.in_use, NOT_FOUND],
    },
];

/// A department.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DepartmentOut {
    /// Which.
    id: Uuid,
    /// Unique without regard to case.
    name: String,
    /// For people.
    description: Option<String>,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Department> for DepartmentOut {
    fn from(it: Department) -> Self {
        Self {
            id: it.department_id,
            name: it.name,
            description: it.description,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for DepartmentOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            name: "Computing and Informatics".to_owned(),
            description: None,
            created_at: at,
            updated_at: at,
        }
    }
}

/// A page of departments.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DepartmentsOut {
    /// By name.
    items: Vec<DepartmentOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl From<Page<Department>> for DepartmentsOut {
    fn from(page: Page<Department>) -> Self {
        let items = page.items.into_iter().map(DepartmentOut::from).collect();
        Self { items, next_cursor: page.next_cursor }
    }
}

impl Example for DepartmentsOut {
    fn example() -> Self {
        Self { items: vec![DepartmentOut::example()], next_cursor: None }
    }
}

/// A department to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DepartmentIn {
    /// Unique without regard to case.
    name: LineIn,
    /// For people.
    description: Option<ParagraphIn>,
}

impl Example for DepartmentIn {
    fn example() -> Self {
        Self { name: LineIn("Computing and Informatics".to_owned()), description: None }
    }
}

impl Input for DepartmentIn {
    type Ask = DepartmentAsk;
    fn ask(self, _: &Config) -> Option<DepartmentAsk> {
        Some(DepartmentAsk {
            name: self.name.parse()?,
            description: self.description.as_ref().and_then(ParagraphIn::parse),
        })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Departments;

#[OpenApi(prefix_path = "/api/departments", tag = "Tag::School")]
impl Departments {
    /// List the departments
    ///
    /// By name. For staff with `school.read`, and for services with the scope `roles:read`.
    #[oai(path = "/", method = "get", operation_id = "department_list")]
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
    ) -> Answer<Json<DepartmentsOut>> {
        let filter = filter(search.0, None, cursor.0);
        Ok(Json(school::list(&ctx, party.reader(), &filter, limit.0.unwrap_or(LIMIT)).await?.into()))
    }

    /// Make a department
    #[oai(path = "/", method = "post", operation_id = "department_create")]
    async fn create(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<DepartmentIn>,
    ) -> Answer<Created<DepartmentOut>> {
        let key = key.bind_as(&ctx.config, &person, "department_create", &body.raw)?;
        let made: Department = school::create(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Created(made.into()))
    }

    /// See a department
    ///
    /// For staff with `school.read`, and for services with the scope `roles:read`.
    #[oai(path = "/:id", method = "get", operation_id = "department_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        party: Party,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Tagged<DepartmentOut>> {
        let it: Department = school::show(&ctx, party.reader(), id.0).await?;
        let version = it.updated_at;
        Ok(Tagged(it.into(), version))
    }

    /// Replace a department
    #[oai(path = "/:id", method = "put", operation_id = "department_replace")]
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
        body: Body<DepartmentIn>,
    ) -> Answer<Tagged<DepartmentOut>> {
        let it: Department = school::replace(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        let version = it.updated_at;
        Ok(Tagged(it.into(), version))
    }

    /// Delete a department
    ///
    /// One that nothing belongs to, and that nobody was ever assigned to.
    #[oai(path = "/:id", method = "delete", operation_id = "department_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        school::delete::<Department>(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
