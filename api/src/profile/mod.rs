//! Profiles over HTTP: one's own, and as staff anybody's; their history, and the way back. What is asked is in `ask`,
//! what answers look like in `wire`.

pub mod ask;
pub mod wire;

use keryu_common::error::{Code, VALIDATION};
use keryu_common::profile::{self, history};
use keryu_common::role::Permission;
use keryu_common::{Context, session, user};
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use uuid::Uuid;

use crate::edge::body::Body;
use crate::edge::client::Caller;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Note, Security, Tag};

use ask::{ProfilePatchIn, ProfilePutIn, ProfileRestoreIn};
use wire::{ProfileChangeOut, ProfileHistoryOut, ProfileOut};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "profile_show_own", security: Security::Bearer, refusals: &[] },
    Note { operation: "profile_replace_own", security: Security::Bearer, refusals: &[user::CHANGED] },
    Note { operation: "profile_edit_own", security: Security::Bearer, refusals: &[user::CHANGED] },
    Note { operation: "profile_show", security: Security::Bearer, refusals: &[user::NOT_FOUND, NOT_FOUND] },
    Note { operation: "profile_replace", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note { operation: "profile_edit", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note {
        operation: "profile_history",
        security: Security::Bearer,
        refusals: &[user::NOT_FOUND, NOT_FOUND, VALIDATION],
    },
    Note {
        operation: "profile_restore",
        security: Security::Staff(Permission::UsersWrite),
        refusals: &[user::NOT_FOUND, NOT_FOUND, profile::CHANGE_NOT_FOUND],
    },
];
const EDIT_REFUSALS: &[Code] = &[user::NOT_FOUND, NOT_FOUND, session::FORBIDDEN, user::CHANGED];

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Profiles;

#[OpenApi(prefix_path = "/api", tag = "Tag::Account")]
impl Profiles {
    /// See one's own profile
    #[oai(path = "/users/profile", method = "get", operation_id = "profile_show_own")]
    async fn show_own(&self, ctx: Data<&Context>, person: Signed) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&*profile::own(&ctx, person.user_id()).await?))
    }

    /// Replace one's own profile
    #[oai(path = "/users/profile", method = "put", operation_id = "profile_replace_own")]
    async fn replace_own(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProfilePutIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        let id = person.user_id();
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id, version.0, body.ask).await?))
    }

    /// Change one's own profile
    #[oai(path = "/users/profile", method = "patch", operation_id = "profile_edit_own")]
    async fn edit_own(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProfilePatchIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        let id = person.user_id();
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id, version.0, body.ask).await?))
    }

    /// See a profile
    ///
    /// One's own, or as staff (`users.read`) anybody's.
    #[oai(path = "/users/:id/profile", method = "get", operation_id = "profile_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&*profile::show(&ctx, &from, &person, id.0).await?))
    }

    /// Replace a profile
    ///
    /// One's own, or as staff (`users.write`) that of nobody above one's rank.
    #[oai(path = "/users/:id/profile", method = "put", operation_id = "profile_replace")]
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
        body: Body<ProfilePutIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// Change a profile
    ///
    /// One's own, or as staff (`users.write`) that of nobody above one's rank.
    #[oai(path = "/users/:id/profile", method = "patch", operation_id = "profile_edit")]
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
        body: Body<ProfilePatchIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// See what a profile said before
    ///
    /// Its last 200 changes, newest first: one's own, or as staff (`users.read`) anybody's.
    #[oai(path = "/users/:id/profile/history", method = "get", operation_id = "profile_history")]
    async fn history(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<ProfileHistoryOut>> {
        let (limit, cursor) = (limit.0.unwrap_or(50), cursor.0.as_deref());
        let page = history::list(&ctx, &from, &person, id.0, limit, cursor).await?;
        let items = page.items.into_iter().map(ProfileChangeOut::from).collect();
        Ok(Json(ProfileHistoryOut { items, next_cursor: page.next_cursor }))
    }

    /// Put an earlier state of a profile back
    ///
    /// Takes back a change and all that came after it; that is one more change. Pictures are not part of it.
    #[oai(
        path = "/admin/users/:id/profile/restore",
        method = "post",
        operation_id = "profile_restore",
        tag = "Tag::Admin"
    )]
    async fn restore(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        body: Body<ProfileRestoreIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&profile::restore(&ctx, &from, &person, id.0, body.ask).await?))
    }
}
