//! Roles over HTTP: what they may do, and who has them.

use chrono::{DateTime, Utc};
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::role::{self, Assignment, Grant, HIGHEST_RANK, Permission, Rights, Role};
use keryu_common::{Context, session, user};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::choice::OneOf;
use crate::edge::client::Caller;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "role_list", security: Security::BearerOrKey(Scope::RolesRead), refusals: &[] },
    Note {
        operation: "role_change",
        security: Security::Staff(Permission::RolesWrite),
        refusals: &[session::STEP_UP, role::NOT_FOUND, role::BEYOND_RANK, role::NOT_HELD, user::CHANGED],
    },
    Note {
        operation: "role_assign",
        security: Security::Staff(Permission::UsersRole),
        refusals: &[
            session::STEP_UP,
            user::NOT_FOUND,
            NOT_FOUND,
            role::NOT_FOUND,
            user::SELF,
            user::CHANGED,
            role::BEYOND_RANK,
            role::NOT_HELD,
            user::LAST_SUPERUSER,
        ],
    },
];

/// A role.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RoleOut {
    /// Its name.
    role: String,
    /// How high it stands: nobody acts above their own rank.
    rank: i16,
    /// Whether who has it is one of staff.
    is_staff: bool,
    /// What who has it may do.
    permissions: Vec<String>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Role> for RoleOut {
    fn from(role: Role) -> Self {
        let Role { role, rank, is_staff, permissions, updated_at } = role;
        Self { role, rank, is_staff, permissions, updated_at }
    }
}

impl Example for RoleOut {
    fn example() -> Self {
        Self {
            role: "hod".to_owned(),
            rank: 20,
            is_staff: true,
            permissions: vec!["users.read".to_owned()],
            updated_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// All roles.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RolesOut {
    /// The highest first.
    items: Vec<RoleOut>,
}

impl Example for RolesOut {
    fn example() -> Self {
        Self { items: vec![RoleOut::example()] }
    }
}

/// What a role is to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RoleIn {
    /// All that who has it may do: what is not named is taken away.
    #[oai(validator(max_items = 100))]
    permissions: Vec<OneOf<Permission>>,
    /// How high it stands, below one's own rank; absent: as high as it does.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000")))]
    rank: Option<i16>,
    /// Whether who has it is one of staff; absent: as it is.
    is_staff: Option<bool>,
}

impl Example for RoleIn {
    fn example() -> Self {
        Self { permissions: vec![OneOf(Permission::UsersRead)], rank: Some(20), is_staff: Some(true) }
    }
}

impl Input for RoleIn {
    type Ask = Rights;
    fn ask(self, _: &Config) -> Option<Rights> {
        Some(Rights {
            permissions: self.permissions.into_iter().map(|one| one.0).collect(),
            rank: self.rank.filter(|rank| *rank <= HIGHEST_RANK),
            is_staff: self.is_staff,
        })
    }
}

/// The role somebody is to have.
#[derive(Debug, Object)]
#[oai(example)]
pub struct GrantIn {
    /// Its name.
    #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$"))]
    role: String,
    /// Above all roles or not; absent: as it is. Superusers alone may say this.
    is_superuser: Option<bool>,
}

impl Example for GrantIn {
    fn example() -> Self {
        Self { role: "trainer".to_owned(), is_superuser: None }
    }
}

impl Input for GrantIn {
    type Ask = Grant;
    fn ask(self, _: &Config) -> Option<Grant> {
        Some(Grant { role: self.role, is_superuser: self.is_superuser, version: None })
    }
}

/// Somebody's place.
#[derive(Debug, Object)]
#[oai(example)]
pub struct AssignmentOut {
    /// Who.
    user_id: Uuid,
    /// Their role.
    role: String,
    /// Its rank.
    rank: i16,
    /// Whether they stand above all ranks.
    is_superuser: bool,
}

impl From<Assignment> for AssignmentOut {
    fn from(assignment: Assignment) -> Self {
        let Assignment { user_id, role, rank, is_superuser, .. } = assignment;
        Self { user_id, role, rank, is_superuser }
    }
}

impl Example for AssignmentOut {
    fn example() -> Self {
        Self {
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            role: "trainer".to_owned(),
            rank: 10,
            is_superuser: false,
        }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Roles;

#[OpenApi(prefix_path = "/api", tag = "Tag::Admin")]
impl Roles {
    /// List the roles and what they may do
    ///
    /// For staff with `roles.read`, and for services with the scope `roles:read`.
    #[oai(path = "/admin/roles", method = "get", operation_id = "role_list")]
    async fn list(&self, ctx: Data<&Context>, party: Party) -> Answer<Json<RolesOut>> {
        party.reader().may(Permission::RolesRead, Scope::RolesRead)?;
        let items = role::list(&ctx).await?.into_iter().map(RoleOut::from).collect();
        Ok(Json(RolesOut { items }))
    }

    /// Change what a role may do
    ///
    /// For everybody who has it, at once. Nobody gives a right they do not hold, nor changes a role that
    /// stands beside or above their own. Needs a recent proof of who one is.
    #[oai(path = "/admin/roles/:role", method = "put", operation_id = "role_change")]
    async fn change(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Its name.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$"))]
        role: Path<String>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<RoleIn>,
    ) -> Answer<Tagged<RoleOut>> {
        let role = role::change(&ctx, &from, &person, &role, version.0, body.ask).await?;
        let version = role.updated_at;
        Ok(Tagged(role.into(), version))
    }

    /// Give somebody a role
    ///
    /// Up to one's own rank, to people up to it, never to oneself. They are told. Needs a recent proof of
    /// who one is. The version is that of the person's record.
    #[oai(path = "/users/:id/role", method = "put", operation_id = "role_assign")]
    async fn assign(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still the version of their record.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<GrantIn>,
    ) -> Answer<Tagged<AssignmentOut>> {
        let grant = Grant { version: version.0, ..body.ask };
        let assignment = role::assign(&ctx, &from, &person, id.0, grant).await?;
        let version = assignment.updated_at;
        Ok(Tagged(assignment.into(), version))
    }
}
