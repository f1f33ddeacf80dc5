//! Role profiles over HTTP: read by their owners, staff and services, written by staff.

mod wire;

use keryu_common::api_key::Scope;
use keryu_common::error::Code;
use keryu_common::role::Permission;
use keryu_common::school::profile::{self, DpAcademics, Hod, Trainee, Trainer};
use keryu_common::{Context, school, session, user};
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use uuid::Uuid;

use crate::edge::body::Body;
use crate::edge::client::Caller;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Note, Security, Tag};
use wire::{
    DpAcademicsProfileIn, DpAcademicsProfileOut, HodProfileIn, HodProfileOut, TraineeProfileIn,
    TraineeProfileOut, TrainerProfileIn, TrainerProfileOut,
};

const READ: Security = Security::BearerOrKey(Scope::RolesRead);
const WRITE: Security = Security::Staff(Permission::SchoolWrite);
const READ_REFUSALS: &[Code] = &[user::NOT_FOUND, NOT_FOUND, session::FORBIDDEN, profile::NOT_FOUND];

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "trainee_profile_show", security: READ, refusals: READ_REFUSALS },
    Note {
        operation: "trainee_profile_put",
        security: WRITE,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            user::IS_DELETED,
            user::CHANGED,
            profile::OTHER_ROLE,
            profile::NUMBER_TAKEN,
            school::FULL,
        ],
    },
    Note { operation: "trainer_profile_show", security: READ, refusals: READ_REFUSALS },
    Note {
        operation: "trainer_profile_put",
        security: WRITE,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            user::IS_DELETED,
            user::CHANGED,
            profile::OTHER_ROLE,
            profile::NUMBER_TAKEN,
        ],
    },
    Note { operation: "hod_profile_show", security: READ, refusals: READ_REFUSALS },
    Note {
        operation: "hod_profile_put",
        security: WRITE,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            user::IS_DELETED,
            user::CHANGED,
            profile::OTHER_ROLE,
            profile::DEPARTMENT_TAKEN,
        ],
    },
    Note { operation: "dp_academics_profile_show", security: READ, refusals: READ_REFUSALS },
    Note {
        operation: "dp_academics_profile_put",
        security: WRITE,
        refusals: &[user::NOT_FOUND, NOT_FOUND, user::IS_DELETED, user::CHANGED, profile::OTHER_ROLE],
    },
];

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct RoleProfiles;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::School")]
impl RoleProfiles {
    /// See a trainee's profile
    ///
    /// One's own; staff with `school.read` and services with the scope `roles:read` anybody's up to their rank.
    #[oai(path = "/:id/trainee-profile", method = "get", operation_id = "trainee_profile_show")]
    async fn show_trainee_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Tagged<TraineeProfileOut>> {
        Ok(tagged(profile::show::<Trainee>(&ctx, &from, party.reader(), id.0).await?))
    }

    /// Write a trainee's profile
    ///
    /// For people with the role `trainee`. The class group belongs to the programme, and takes no more trainees than its
    /// capacity; who graduated or withdrew holds no place.
    #[oai(path = "/:id/trainee-profile", method = "put", operation_id = "trainee_profile_put")]
    async fn put_trainee_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<TraineeProfileIn>,
    ) -> Answer<Tagged<TraineeProfileOut>> {
        Ok(tagged(profile::put::<Trainee>(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// See a trainer's profile
    ///
    /// One's own; staff with `school.read` and services with the scope `roles:read` anybody's up to their rank.
    #[oai(path = "/:id/trainer-profile", method = "get", operation_id = "trainer_profile_show")]
    async fn show_trainer_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Tagged<TrainerProfileOut>> {
        Ok(tagged(profile::show::<Trainer>(&ctx, &from, party.reader(), id.0).await?))
    }

    /// Write a trainer's profile
    ///
    /// For people with the role `trainer`.
    #[oai(path = "/:id/trainer-profile", method = "put", operation_id = "trainer_profile_put")]
    async fn put_trainer_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<TrainerProfileIn>,
    ) -> Answer<Tagged<TrainerProfileOut>> {
        Ok(tagged(profile::put::<Trainer>(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// See a head of department's profile
    ///
    /// One's own; staff with `school.read` and services with the scope `roles:read` anybody's up to their rank.
    #[oai(path = "/:id/hod-profile", method = "get", operation_id = "hod_profile_show")]
    async fn show_hod_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Tagged<HodProfileOut>> {
        Ok(tagged(profile::show::<Hod>(&ctx, &from, party.reader(), id.0).await?))
    }

    /// Write a head of department's profile
    ///
    /// For people with the role `hod`. A department has one head at a time: who has the role no more, or is deleted, makes
    /// room.
    #[oai(path = "/:id/hod-profile", method = "put", operation_id = "hod_profile_put")]
    async fn put_hod_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<HodProfileIn>,
    ) -> Answer<Tagged<HodProfileOut>> {
        Ok(tagged(profile::put::<Hod>(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// See a deputy principal's profile
    ///
    /// One's own; staff with `school.read` and services with the scope `roles:read` anybody's up to their rank.
    #[oai(path = "/:id/dp-academics-profile", method = "get", operation_id = "dp_academics_profile_show")]
    async fn show_dp_academics_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Tagged<DpAcademicsProfileOut>> {
        Ok(tagged(profile::show::<DpAcademics>(&ctx, &from, party.reader(), id.0).await?))
    }

    /// Write a deputy principal's profile
    ///
    /// For people with the role `dp_academics`.
    #[oai(path = "/:id/dp-academics-profile", method = "put", operation_id = "dp_academics_profile_put")]
    async fn put_dp_academics_profile(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<DpAcademicsProfileIn>,
    ) -> Answer<Tagged<DpAcademicsProfileOut>> {
        Ok(tagged(profile::put::<DpAcademics>(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }
}

/// A profile on the wire, with its version.
fn tagged<P: profile::RoleProfile, O: From<P>>(profile: P) -> Tagged<O> {
    let version = profile.updated_at();
    Tagged(profile.into(), version)
}
