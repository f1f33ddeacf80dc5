//! The staff's desk over HTTP: everybody in a list, and what is done to one account: status, restoring,
//! sessions.

use keryu_common::Context;
use keryu_common::config::Config;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::role::Permission;
use keryu_common::session::{End, FORBIDDEN};
use keryu_common::user::{self, Filter, Order, Slice, Status};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{DateIn, LineIn, TextIn};
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::Tagged;
use crate::operation::{Gone, Note, Security, Tag};
use crate::session::{SessionOut, SessionsOut};
use crate::user::ask::StatusIn;
use crate::user::wire::{UserDetailOut, UserPageOut};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "staff_list",
        security: Security::Staff(Permission::UsersRead),
        refusals: &[VALIDATION, user::TOO_DEEP],
    },
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

/// In which order a list is.
#[derive(Clone, Copy, Debug, Enum)]
pub enum OrderingIn {
    /// By when they joined, the last first.
    #[oai(rename = "-date_joined")]
    Newest,
    /// By when they joined, the first first.
    #[oai(rename = "date_joined")]
    Oldest,
    /// By username.
    #[oai(rename = "username")]
    Name,
    /// By username, from the end.
    #[oai(rename = "-username")]
    NameBackward,
    /// By when they last signed in, the last first; those who never did come last.
    #[oai(rename = "-last_login")]
    SignedInLast,
    /// The other way round.
    #[oai(rename = "last_login")]
    SignedInFirst,
}

impl From<OrderingIn> for Order {
    fn from(ordering: OrderingIn) -> Self {
        match ordering {
            OrderingIn::Newest => Self::Newest,
            OrderingIn::Oldest => Self::Oldest,
            OrderingIn::Name => Self::Name,
            OrderingIn::NameBackward => Self::NameBackward,
            OrderingIn::SignedInLast => Self::SignedInLast,
            OrderingIn::SignedInFirst => Self::SignedInFirst,
        }
    }
}

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
    /// List people
    ///
    /// Those who may sign in, unless `status` says otherwise, the last to join first, unless `ordering` does.
    /// Totals are exact to 10,000 and estimates above; no page goes beyond the first 100,000 people. Leaves one
    /// line in the audit log, with the filter, but for what was searched.
    #[oai(path = "/", method = "get", operation_id = "staff_list")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which page, from 1.
        #[oai(validator(minimum(value = "1"), maximum(value = "100000")))]
        page: Query<Option<u32>>,
        /// How many at most; 20 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        page_size: Query<Option<u32>>,
        /// Of which status; `active` without it.
        status: Query<Option<StatusIn>>,
        /// With which role.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$"))]
        role: Query<Option<String>>,
        /// Whether the e-mail address is proved.
        email_verified: Query<Option<bool>>,
        /// Whether the phone number is proved.
        phone_verified: Query<Option<bool>>,
        /// From three letters or digits in a row: any part of a username, a name, an e-mail address or a phone
        /// number, without regard to case and accents. Shorter: how one of them begins.
        #[oai(validator(min_length = 1, max_length = 100))]
        search: Query<Option<TextIn>>,
        /// The first day of joining (UTC).
        start_date: Query<Option<DateIn>>,
        /// The last day of joining (UTC), no earlier than the first.
        end_date: Query<Option<DateIn>>,
        /// In which order; `-date_joined` without it.
        ordering: Query<Option<OrderingIn>>,
    ) -> Answer<Json<UserPageOut>> {
        let (page, page_size) = (page.0.unwrap_or(1), page_size.0.unwrap_or(20));
        let filter = Filter {
            standing: status.0.unwrap_or(StatusIn::Active).standing(),
            role: role.0,
            search: search.0.map(|text| text.0),
            email_verified: email_verified.0,
            phone_verified: phone_verified.0,
            start_date: start_date.0.map(|day| day.0),
            end_date: end_date.0.map(|day| day.0),
        };
        let order = ordering.0.map(Order::from).unwrap_or_default();
        let slice = Slice { order, page: page.into(), page_size: page_size.into() };
        Ok(UserPageOut::of(user::list(&ctx, &from, &person, &filter, slice).await?, page, page_size))
    }

    /// Set a status
    ///
    /// Any but `active` ends all sessions. The person is told. It takes the right `users.read` too: the answer is
    /// the record.
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
    ///
    /// To what it was before: who was banned is banned again. It takes the right `users.read` too: the answer is
    /// the record.
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
