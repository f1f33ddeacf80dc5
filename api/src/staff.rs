//! What staff do to accounts, over HTTP: status, restoring, sessions.

use keryu_common::Context;
use keryu_common::config::Config;
use keryu_common::error::Code;
use keryu_common::role::Permission;
use keryu_common::session::{End, FORBIDDEN};
use keryu_common::user::{self, Status};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::LineIn;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::Tagged;
use crate::operation::{Gone, Note, Security, Tag};
use crate::session::{SessionOut, SessionsOut};
use crate::user::UserDetailOut;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "user_set_status",
        security: Security::Staff(Permission::UsersStatus),
        refusals: STATUS_REFUSALS,
    },
    Note {
        operation: "user_restore",
        security: Security::Staff(Permission::UsersStatus),
        refusals: RESTORE_REFUSALS,
    },
    Note {
        operation: "user_sessions",
        security: Security::Staff(Permission::SessionsRead),
        refusals: &[user::NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "user_end_sessions",
        security: Security::Staff(Permission::SessionsEnd),
        refusals: &[user::NOT_FOUND, NOT_FOUND, FORBIDDEN],
    },
];
const STATUS_REFUSALS: &[Code] =
    &[user::NOT_FOUND, NOT_FOUND, user::SELF, user::IS_DELETED, user::LAST_SUPERUSER];
const RESTORE_REFUSALS: &[Code] = &[
    user::NOT_FOUND,
    NOT_FOUND,
    user::SELF,
    user::NOT_DELETED,
    user::IDENTIFIER_TAKEN,
    user::USERNAME_TAKEN,
];

/// A status that staff set.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum NewStatusIn {
    /// May sign in.
    Active,
    /// Set aside.
    Inactive,
    /// For a time.
    Suspended,
    /// For good.
    Banned,
}

/// A change of status.
#[derive(Debug, Object)]
#[oai(example)]
pub struct StatusChangeIn {
    /// From now on.
    status: NewStatusIn,
    /// Why; kept with the account and in the audit log.
    reason: LineIn,
}

impl Example for StatusChangeIn {
    fn example() -> Self {
        Self { status: NewStatusIn::Suspended, reason: LineIn("Reported by two schools".to_owned()) }
    }
}

impl Input for StatusChangeIn {
    type Ask = (Status, String);
    fn ask(self, _: &Config) -> Option<(Status, String)> {
        let status = match self.status {
            NewStatusIn::Active => Status::Active,
            NewStatusIn::Inactive => Status::Inactive,
            NewStatusIn::Suspended => Status::Suspended,
            NewStatusIn::Banned => Status::Banned,
        };
        Some((status, self.reason.parse()?))
    }
}

/// Why something is done.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ReasonIn {
    /// Kept in the audit log.
    reason: LineIn,
}

impl Example for ReasonIn {
    fn example() -> Self {
        Self { reason: LineIn("Deleted by mistake, ticket 4711".to_owned()) }
    }
}

impl Input for ReasonIn {
    type Ask = String;
    fn ask(self, _: &Config) -> Option<String> {
        self.reason.parse()
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Staff;

#[OpenApi(prefix_path = "/api/admin/users", tag = "Tag::Admin")]
impl Staff {
    /// Set a status
    ///
    /// Any but `active` ends all sessions. The person is told.
    #[oai(path = "/:id/status", method = "post", operation_id = "user_set_status")]
    async fn set_status(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        body: Body<StatusChangeIn>,
    ) -> Answer<Tagged<UserDetailOut>> {
        person.may(Permission::UsersStatus)?;
        let (status, reason) = body.ask;
        let record = user::set_status(&ctx, &from, &person, id.0, status, &reason).await?;
        Ok(UserDetailOut::of(&ctx, record))
    }

    /// Restore a deleted account
    #[oai(path = "/:id/restore", method = "post", operation_id = "user_restore")]
    async fn restore(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        body: Body<ReasonIn>,
    ) -> Answer<Tagged<UserDetailOut>> {
        let record = user::restore(&ctx, &from, &person, id.0, &body.ask).await?;
        Ok(UserDetailOut::of(&ctx, record))
    }

    /// List somebody's open sessions
    #[oai(path = "/:id/sessions", method = "get", operation_id = "user_sessions")]
    async fn sessions(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Json<SessionsOut>> {
        person.may(Permission::SessionsRead)?;
        let items = user::list_sessions(&ctx, &from, &person, id.0).await?;
        Ok(Json(SessionsOut {
            items: items.into_iter().map(|listed| SessionOut::of(listed, None)).collect(),
        }))
    }

    /// End all of somebody's sessions
    #[oai(path = "/:id/sessions", method = "delete", operation_id = "user_end_sessions")]
    async fn end_sessions(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        person.may(Permission::SessionsEnd)?;
        user::end_sessions(&ctx, &from, &person, id.0, End::ByStaff).await?;
        Ok(Gone)
    }
}
