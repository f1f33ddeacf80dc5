//! People's records over HTTP: for their owners and for staff. What is asked is in `ask`, what answers look like in
//! `wire`.

pub mod ask;
pub mod wire;

use keryu_common::api_key::Scope;
use keryu_common::auth::token;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::role::Permission;
use keryu_common::user::{self, Filter, Order, Slice};
use keryu_common::{Context, factor, idempotency, kyc, profile, session, wallet};
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use uuid::Uuid;

use crate::edge::body::Body;
use crate::edge::client::Caller;
use crate::edge::field::TextIn;
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Created, Gone, Note, Security, Tag};
use crate::profile::wire::ProfileOut;

use ask::{StatusIn, UserIn, UserPatchIn, UserPutIn};
use wire::{HeldFactorOut, Shown, ShownOut, UserDetailOut, UserPageOut};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "user_list",
        security: Security::Staff(Permission::UsersRead),
        refusals: &[VALIDATION, user::TOO_DEEP],
    },
    Note {
        operation: "user_add",
        security: Security::Staff(Permission::UsersWrite),
        refusals: &[
            user::IDENTIFIER_NEEDED,
            user::USERNAME_TAKEN,
            user::IDENTIFIER_TAKEN,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
    Note {
        operation: "user_show",
        security: Security::BearerOrKey(Scope::UsersRead),
        refusals: &[user::NOT_FOUND, NOT_FOUND],
    },
    Note { operation: "user_replace", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note { operation: "user_edit", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note {
        operation: "user_delete",
        security: Security::Bearer,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            session::FORBIDDEN,
            session::STEP_UP,
            user::IS_DELETED,
            user::LAST_SUPERUSER,
        ],
    },
];
const EDIT_REFUSALS: &[Code] = &[
    user::NOT_FOUND,
    NOT_FOUND,
    session::FORBIDDEN,
    session::STEP_UP,
    user::IS_DELETED,
    user::CHANGED,
    user::USERNAME_TAKEN,
    user::IDENTIFIER_TAKEN,
    user::IDENTIFIER_NEEDED,
    token::INVALID,
    token::EXPIRED,
];

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Users;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Users")]
impl Users {
    /// List people
    ///
    /// Newest first; those who may sign in, unless `status` says otherwise.
    #[oai(path = "/", method = "get", operation_id = "user_list")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which page, from 1.
        #[oai(validator(minimum(value = "1"), maximum(value = "100000")))]
        page: Query<Option<u32>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        page_size: Query<Option<u32>>,
        /// Of which status; `active` without it.
        status: Query<Option<StatusIn>>,
        /// From three letters or digits in a row: any part of a username, a name, an e-mail address or a phone
        /// number, without regard to case and accents. Shorter: how one of them begins.
        #[oai(validator(min_length = 1, max_length = 100))]
        search: Query<Option<TextIn>>,
    ) -> Answer<Json<UserPageOut>> {
        let (page, page_size) = (page.0.unwrap_or(1), page_size.0.unwrap_or(50));
        let filter = Filter {
            standing: status.0.unwrap_or(StatusIn::Active).standing(),
            search: search.0.map(|text| text.0),
            ..Filter::default()
        };
        let slice = Slice { order: Order::Newest, page: page.into(), page_size: page_size.into() };
        Ok(UserPageOut::of(user::list(&ctx, &from, &person, &filter, slice).await?, page, page_size))
    }

    /// Make an account for somebody
    ///
    /// Its identifiers are not proved: who proves one signs in with it.
    #[oai(path = "/", method = "post", operation_id = "user_add")]
    async fn add(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<UserIn>,
    ) -> Answer<Created<UserDetailOut>> {
        let key = key.bind_as(&ctx.config, &person, "user_add", &body.raw)?;
        let record = user::add(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Created(UserDetailOut::of(&ctx, record).0))
    }

    /// See a record
    ///
    /// One's own, or as staff anybody's; services with the scope `users:read` see the basic fields. Second factors
    /// and documents are shown of nobody above one's rank.
    #[oai(path = "/:id", method = "get", operation_id = "user_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Shown> {
        Ok(match &party {
            Party::Person(person) => {
                let record = user::show(&ctx, &from, person, id.0).await?;
                let reaches = person.reaches(record.rank, record.is_superuser);
                let Tagged(mut detail, version) = UserDetailOut::of(&ctx, record);
                if person.user_id() != id.0 && reaches && person.has(Permission::FactorsReset) {
                    detail.factors = Some(HeldFactorOut::list(factor::list(&ctx, id.0).await?));
                }
                if person.user_id() != id.0 {
                    let held = wallet::show(&ctx, id.0).await?;
                    detail.profile = Some(ProfileOut::of(&*profile::own(&ctx, id.0).await?).0);
                    detail.wallet_balance = Some(held.balance.clone());
                    detail.points = Some(held.into());
                }
                if person.user_id() != id.0 && reaches && person.has(Permission::KycRead) {
                    detail.kyc = Some(kyc::newest(&ctx, id.0).await?.into());
                }
                Tagged(ShownOut::Detail(Box::new(detail)), version)
            }
            Party::Service(service) => {
                let record = user::show_to(&ctx, &from, service, id.0).await?;
                let version = record.updated_at;
                Tagged(ShownOut::Basic(record.into()), version)
            }
        })
    }

    /// Replace a record
    ///
    /// One's own; or as staff (`users.read` and `users.write`), of nobody above one's rank and of no account that is
    /// deleted.
    #[oai(path = "/:id", method = "put", operation_id = "user_replace")]
    async fn replace(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<UserPutIn>,
    ) -> Answer<Tagged<UserDetailOut>> {
        let record = user::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        Ok(UserDetailOut::of(&ctx, record))
    }

    /// Change a record
    ///
    /// One's own, with a new identifier that was proved; or as staff (`users.read` and `users.write`), of nobody
    /// above one's rank and of no account that is deleted. Identifiers are changed shortly after signing in or a proof anew, and by staff only of people without rights that
    /// they lack themselves.
    #[oai(path = "/:id", method = "patch", operation_id = "user_edit")]
    async fn edit(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<UserPatchIn>,
    ) -> Answer<Tagged<UserDetailOut>> {
        let record = user::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        Ok(UserDetailOut::of(&ctx, record))
    }

    /// Delete an account
    ///
    /// It can be restored by staff for 30 days, then it is erased.
    #[oai(path = "/:id", method = "delete", operation_id = "user_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        user::delete(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
