//! Passkeys over HTTP: making them, signing in with them, looking after them. The wire is in `wire`.

mod wire;

use keryu_common::Context;
use keryu_common::error::Code;
use keryu_common::factor::{self, passkey};
use keryu_common::{Error, session, user};
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use uuid::Uuid;

pub use wire::{AnswerIn, PasskeyOut};

use crate::edge::body::Body;
use crate::edge::client::Caller;
use crate::edge::limit::anonymous;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::{MaybeSigned, Signed};
use crate::operation::{Created, Gone, Note, Security, Tag};
use crate::session::TokensOut;
use wire::{
    LoginFinishIn, LoginStartIn, LoginStartOut, PasskeyMadeOut, PasskeyNameIn, PasskeysOut, RegisterFinishIn,
    RegisterStartOut,
};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "passkey_list", security: Security::Bearer, refusals: &[] },
    Note {
        operation: "passkey_register_start",
        security: Security::Bearer,
        refusals: &[session::STEP_UP, passkey::TOO_MANY],
    },
    Note { operation: "passkey_register_finish", security: Security::Bearer, refusals: REGISTER_REFUSALS },
    Note {
        operation: "passkey_login_start",
        security: Security::Anonymous,
        refusals: &[factor::EXPIRED, session::INVALID_TOKEN, session::ENDED],
    },
    Note { operation: "passkey_login_finish", security: Security::Anonymous, refusals: LOGIN_REFUSALS },
    Note {
        operation: "passkey_rename",
        security: Security::Bearer,
        refusals: &[passkey::NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "passkey_remove",
        security: Security::Bearer,
        refusals: &[session::STEP_UP, passkey::NOT_FOUND, passkey::LAST, NOT_FOUND],
    },
];
const REGISTER_REFUSALS: &[Code] = &[
    session::STEP_UP,
    passkey::CHALLENGE,
    passkey::INVALID,
    passkey::EXISTS,
    passkey::TOO_MANY,
    keryu_common::auth::password::BUSY,
];
const LOGIN_REFUSALS: &[Code] = &[
    passkey::CHALLENGE,
    passkey::INVALID,
    factor::EXPIRED,
    user::INACTIVE,
    user::SUSPENDED,
    user::BANNED,
    user::DELETED,
];

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Passkeys;

#[OpenApi(prefix_path = "/api/auth", tag = "Tag::Factors")]
impl Passkeys {
    /// List one's passkeys
    #[oai(path = "/passkeys", method = "get", operation_id = "passkey_list")]
    async fn list(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<PasskeysOut>> {
        let passkeys = passkey::list(&ctx, person.user_id()).await?;
        Ok(Json(PasskeysOut { items: passkeys.into_iter().map(Into::into).collect() }))
    }

    /// Start making a passkey
    ///
    /// `options` is for `PublicKeyCredential.parseCreationOptionsFromJSON`.
    #[oai(path = "/passkeys/register/start", method = "post", operation_id = "passkey_register_start")]
    async fn register_start(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<RegisterStartOut>> {
        Ok(Json(passkey::start(&ctx, &person).await?.into()))
    }

    /// Keep a passkey
    ///
    /// Answers with recovery codes, where there are none yet.
    #[oai(path = "/passkeys/register/finish", method = "post", operation_id = "passkey_register_finish")]
    async fn register_finish(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        body: Body<RegisterFinishIn>,
    ) -> Answer<Created<PasskeyMadeOut>> {
        let (passkey, recovery_codes) = passkey::finish(&ctx, &from, &person, body.ask).await?;
        Ok(Created(PasskeyMadeOut { passkey: passkey.into(), recovery_codes }))
    }

    /// Ask for an answer by a passkey
    ///
    /// Of anybody; with an `mfa_token`, of the person whose sign-in waits; with an access token, of its
    /// person, for `step-up`. `options` is for `PublicKeyCredential.parseRequestOptionsFromJSON`.
    #[oai(
        path = "/passkeys/login/start",
        method = "post",
        operation_id = "passkey_login_start",
        transform = "anonymous"
    )]
    async fn login_start(
        &self,
        ctx: Data<&Context>,
        person: MaybeSigned,
        body: Body<LoginStartIn>,
    ) -> Answer<Json<LoginStartOut>> {
        Ok(Json(passkey::ask(&ctx, person.0.as_deref(), body.ask.as_deref()).await?.into()))
    }

    /// Sign in with a passkey
    ///
    /// By itself it is two factors. With an `mfa_token` it ends the sign-in that waits.
    #[oai(
        path = "/passkeys/login/finish",
        method = "post",
        operation_id = "passkey_login_finish",
        transform = "anonymous"
    )]
    async fn login_finish(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        body: Body<LoginFinishIn>,
    ) -> Answer<Json<TokensOut>> {
        let outcome = passkey::login(&ctx, &from, body.ask).await;
        ctx.metrics.sign_in("passkey", outcome.as_ref().map_or_else(Error::name, |_| "ok"));
        Ok(Json(outcome?.into()))
    }

    /// Rename a passkey
    #[oai(path = "/passkeys/:id", method = "patch", operation_id = "passkey_rename")]
    async fn rename(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
        body: Body<PasskeyNameIn>,
    ) -> Answer<Json<PasskeyOut>> {
        Ok(Json(passkey::rename(&ctx, &from, &person, id.0, &body.ask).await?.into()))
    }

    /// Remove a passkey
    ///
    /// Never the last way in.
    #[oai(path = "/passkeys/:id", method = "delete", operation_id = "passkey_remove")]
    async fn remove(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        passkey::remove(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
