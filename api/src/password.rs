//! Passwords over HTTP: forgetting, choosing and changing one. Signing in with one is the account's.

use keryu_common::auth::password::{self, Change, Password, Reset};
use keryu_common::auth::{otp, sign_in};
use keryu_common::config::Config;
use keryu_common::error::Code;
use keryu_common::limit::lockout;
use keryu_common::{Context, idempotency, user};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::auth::{OtpRequestOut, counted};
use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{IdentifierIn, NewPasswordIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::limit::anonymous;
use crate::edge::problem::Answer;
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};
use crate::session::MessageOut;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "password_forgot", security: Security::Anonymous, refusals: FORGOT_REFUSALS },
    Note { operation: "password_reset", security: Security::Anonymous, refusals: RESET_REFUSALS },
    Note { operation: "password_change", security: Security::Bearer, refusals: CHANGE_REFUSALS },
];
const FORGOT_REFUSALS: &[Code] =
    &[password::OFF, otp::COOLDOWN, otp::BUDGET, idempotency::MISMATCH, idempotency::LOST];
const RESET_REFUSALS: &[Code] = &[
    password::OFF,
    password::BUSY,
    otp::INVALID,
    otp::EXPIRED,
    otp::LOCKED,
    sign_in::NO_ACCOUNT,
    user::INACTIVE,
    user::SUSPENDED,
    user::BANNED,
    user::DELETED,
];
const CHANGE_REFUSALS: &[Code] =
    &[password::OFF, password::BUSY, password::NONE, password::WRONG, lockout::LOCKED];

/// Whose password is forgotten.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ForgotIn {
    /// A proved phone number or e-mail address of theirs.
    identifier: IdentifierIn,
}

impl Example for ForgotIn {
    fn example() -> Self {
        Self { identifier: IdentifierIn("+254712345678".to_owned()) }
    }
}

impl Input for ForgotIn {
    type Ask = otp::Ask;
    fn ask(self, config: &Config) -> Option<otp::Ask> {
        Some(otp::Ask::of(self.identifier.parse(config)?, otp::Purpose::ResetPassword))
    }
}

/// A new password, with a code.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ResetIn {
    /// Where the code went.
    identifier: IdentifierIn,
    /// The digits.
    #[oai(validator(min_length = 4, max_length = 10, pattern = "^[0-9]+$"))]
    otp: String,
    /// As it shall be.
    new_password: NewPasswordIn,
    /// From the request for the code. Without it, codes asked for from the same client address are tried.
    challenge_id: Option<Uuid>,
}

impl Example for ResetIn {
    fn example() -> Self {
        Self {
            identifier: IdentifierIn("+254712345678".to_owned()),
            otp: "492817".to_owned(),
            new_password: NewPasswordIn("a river of small stones".to_owned()),
            challenge_id: Some(Uuid::from_u128(0x5f0c_8d6e_2b1a_4c7d_9e3f_a1b2_c3d4_e5f6)),
        }
    }
}

impl Input for ResetIn {
    type Ask = Reset;
    fn ask(self, config: &Config) -> Option<Reset> {
        Some(Reset {
            identifier: self.identifier.parse(config)?,
            otp: self.otp,
            challenge_id: self.challenge_id,
            new: self.new_password.parse(config)?,
        })
    }
}

/// A new password, with the present one.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ChangeIn {
    /// As it is.
    #[oai(validator(min_length = 1, max_length = 1024))]
    current_password: String,
    /// As it shall be.
    new_password: NewPasswordIn,
}

impl Example for ChangeIn {
    fn example() -> Self {
        Self {
            current_password: "correct horse battery staple".to_owned(),
            new_password: NewPasswordIn("a river of small stones".to_owned()),
        }
    }
}

impl Input for ChangeIn {
    type Ask = Change;
    fn ask(self, config: &Config) -> Option<Change> {
        let current = Password::given(&self.current_password);
        Some(Change { current, new: self.new_password.parse(config)? })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Passwords;

#[OpenApi(prefix_path = "/api/auth/password", tag = "Tag::Account")]
impl Passwords {
    /// Ask for a code to choose a new password
    ///
    /// The same as a code with the purpose `reset_password`. Identifiers known and unknown get the same
    /// answer.
    #[oai(path = "/forgot", method = "post", operation_id = "password_forgot", transform = "anonymous")]
    async fn forgot(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<ForgotIn>,
    ) -> Answer<Accepted<OtpRequestOut>> {
        password::must_be_on(&ctx.config)?;
        let key = key.bind(&ctx.config, &from, "password_forgot", &body)?;
        let issued = otp::request(&ctx, &from, body.ask, key.as_ref()).await;
        let issued = counted(&ctx, "asked", issued)?;
        Ok(Accepted(OtpRequestOut::of("A code is on its way.", &issued, &ctx.config.public_url)))
    }

    /// Choose a new password with a code
    ///
    /// All sessions end, and nobody is signed in. A second factor stays as it is. The code counts as at
    /// `otp/verify`, and is used up even if the password is then refused.
    #[oai(path = "/reset", method = "post", operation_id = "password_reset", transform = "anonymous")]
    async fn reset(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        body: Body<ResetIn>,
    ) -> Answer<Json<MessageOut>> {
        password::reset(&ctx, &from, body.ask).await?;
        Ok(Json(MessageOut { message: "The password was changed. Sign in with it.".to_owned() }))
    }

    /// Change the password
    ///
    /// All other sessions end.
    #[oai(path = "/change", method = "post", operation_id = "password_change")]
    async fn change(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        body: Body<ChangeIn>,
    ) -> Answer<Json<MessageOut>> {
        password::change(&ctx, &from, &person, body.ask).await?;
        Ok(Json(MessageOut { message: "The password was changed.".to_owned() }))
    }
}
