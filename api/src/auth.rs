//! Proving who someone is, over HTTP. So far: one-time codes.

use keryu_common::auth::otp;
use keryu_common::config::Config;
use keryu_common::error::Code;
use keryu_common::user::{self, verification};
use keryu_common::{Context, Result, idempotency};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::IdentifierIn;
use crate::edge::idempotency::Idempotent;
use crate::edge::limit::anonymous;
use crate::edge::problem::Answer;
use crate::edge::signed::MaybeSigned;
use crate::operation::{Accepted, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "otp_request", security: Security::MaybeBearer, refusals: REQUEST_REFUSALS },
    Note { operation: "otp_verify", security: Security::MaybeBearer, refusals: VERIFY_REFUSALS },
];
const REQUEST_REFUSALS: &[Code] =
    &[otp::NOT_YOURS, otp::COOLDOWN, otp::BUDGET, otp::SMS_BUDGET, idempotency::MISMATCH, idempotency::LOST];
const VERIFY_REFUSALS: &[Code] =
    &[otp::INVALID, otp::EXPIRED, otp::LOCKED, user::IDENTIFIER_TAKEN, verification::NOT_HELD];

/// What a code is for.
#[derive(Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum PurposeIn {
    /// Making an account.
    Register,
    /// Signing in.
    Login,
    /// Choosing a new password.
    ResetPassword,
    /// Proving the phone number of one's own account; signed in.
    VerifyPhone,
    /// Proving the e-mail address of one's own account; signed in.
    VerifyEmail,
    /// Taking another identifier; signed in.
    ChangeIdentifier,
    /// Deleting one's own account; signed in.
    DeleteAccount,
    /// Proving once more who one is; signed in.
    StepUp,
}

impl From<PurposeIn> for otp::Purpose {
    fn from(purpose: PurposeIn) -> Self {
        match purpose {
            PurposeIn::Register => Self::Register,
            PurposeIn::Login => Self::Login,
            PurposeIn::ResetPassword => Self::ResetPassword,
            PurposeIn::VerifyPhone => Self::VerifyPhone,
            PurposeIn::VerifyEmail => Self::VerifyEmail,
            PurposeIn::ChangeIdentifier => Self::ChangeIdentifier,
            PurposeIn::DeleteAccount => Self::DeleteAccount,
            PurposeIn::StepUp => Self::StepUp,
        }
    }
}

/// A request for a code.
#[derive(Debug, Object)]
#[oai(example)]
pub struct OtpRequestIn {
    /// To whom the code goes.
    identifier: IdentifierIn,
    /// What it is for.
    purpose: PurposeIn,
    /// From an earlier sign-in in this browser or app: its codes are counted apart from those that
    /// strangers ask for.
    #[oai(validator(max_length = 128))]
    device_token: Option<String>,
}

impl Example for OtpRequestIn {
    fn example() -> Self {
        Self {
            identifier: IdentifierIn("+254712345678".to_owned()),
            purpose: PurposeIn::Login,
            device_token: None,
        }
    }
}

impl Input for OtpRequestIn {
    type Ask = otp::Ask;
    fn ask(self, config: &Config) -> Option<otp::Ask> {
        let ask = otp::Ask::of(self.identifier.parse(config)?, self.purpose.into());
        Some(otp::Ask { device_token: self.device_token, ..ask })
    }
}

/// A code or link on its way. The same for identifiers known and unknown.
#[derive(Debug, Object)]
#[oai(example)]
pub struct OtpRequestOut {
    /// For a person.
    message: String,
    /// Names this request; hand it in with the code.
    challenge_id: Uuid,
    /// Seconds it works.
    expires_in: u64,
    /// Seconds until another may be asked for.
    resend_after: u64,
    /// Where the receipt is.
    delivery_url: String,
}

impl OtpRequestOut {
    /// With a word for a person.
    pub fn of(message: &str, issued: &otp::Issued, public_url: &str) -> Self {
        Self {
            message: message.to_owned(),
            challenge_id: issued.challenge_id,
            expires_in: issued.expires_in.as_secs(),
            resend_after: issued.resend_after.as_secs(),
            delivery_url: format!("{public_url}/api/deliveries/{}", issued.delivery_id),
        }
    }
}

impl Example for OtpRequestOut {
    fn example() -> Self {
        Self {
            message: "A code is on its way.".to_owned(),
            challenge_id: Uuid::from_u128(0x5f0c_8d6e_2b1a_4c7d_9e3f_a1b2_c3d4_e5f6),
            expires_in: 300,
            resend_after: 60,
            delivery_url: "https://id.example.org/api/deliveries/0b9f7c1e-63a5-4d28-8f10-7c2e9d4b6a53"
                .to_owned(),
        }
    }
}

/// A code handed in.
#[derive(Debug, Object)]
#[oai(example)]
pub struct OtpVerifyIn {
    /// Whose code it is.
    identifier: IdentifierIn,
    /// The digits.
    #[oai(validator(min_length = 4, max_length = 10, pattern = "^[0-9]+$"))]
    otp: String,
    /// What it is for.
    purpose: PurposeIn,
    /// From the request for the code. Without it, codes asked for from the same client address are tried.
    challenge_id: Option<Uuid>,
    /// From an earlier sign-in in this browser or app: its tries are counted apart from those of
    /// strangers.
    #[oai(validator(max_length = 128))]
    device_token: Option<String>,
}

impl Example for OtpVerifyIn {
    fn example() -> Self {
        Self {
            identifier: IdentifierIn("+254712345678".to_owned()),
            otp: "492817".to_owned(),
            purpose: PurposeIn::Login,
            challenge_id: Some(Uuid::from_u128(0x5f0c_8d6e_2b1a_4c7d_9e3f_a1b2_c3d4_e5f6)),
            device_token: None,
        }
    }
}

impl Input for OtpVerifyIn {
    type Ask = otp::Proof;
    fn ask(self, config: &Config) -> Option<otp::Proof> {
        let identifier = self.identifier.parse(config)?;
        Some(otp::Proof {
            identifier,
            otp: self.otp,
            purpose: self.purpose.into(),
            challenge_id: self.challenge_id,
            bearer: None,
            device_token: self.device_token,
        })
    }
}

/// Proof that the identifier is the caller's.
#[derive(Debug, Object)]
#[oai(example)]
pub struct OtpVerifyOut {
    /// Works once, for this identifier and purpose.
    verification_token: String,
    /// Seconds it works.
    expires_in: u64,
}

impl Example for OtpVerifyOut {
    fn example() -> Self {
        Self { verification_token: "v1.q0Jm3oTn0jvQq3cQyHfUuP1rGm2bXo8w".to_owned(), expires_in: 600 }
    }
}

impl From<otp::Verified> for OtpVerifyOut {
    fn from(verified: otp::Verified) -> Self {
        Self { verification_token: verified.verification_token, expires_in: verified.expires_in.as_secs() }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Auth;

#[OpenApi(prefix_path = "/api/auth", tag = "Tag::Auth")]
impl Auth {
    /// Ask for a one-time code
    ///
    /// The code goes by text message or mail. Identifiers known and unknown get the same answer. The
    /// purposes `verify_phone`, `verify_email`, `change_identifier`, `delete_account` and `step_up` want an
    /// access token, and the code is handed in in the same session.
    #[oai(path = "/otp/request", method = "post", operation_id = "otp_request", transform = "anonymous")]
    async fn otp_request(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        person: MaybeSigned,
        body: Body<OtpRequestIn>,
    ) -> Answer<Accepted<OtpRequestOut>> {
        let key = match &person.0 {
            Some(person) => key.bind_as(&ctx.config, person, "otp_request", &body.raw)?,
            None => key.bind(&ctx.config, &from, "otp_request", &body)?,
        };
        let ask = otp::Ask { bearer: person.bearer(), ..body.ask };
        let issued = otp::request(&ctx, &from, ask, key.as_ref()).await;
        let issued = counted(&ctx, "asked", issued)?;
        Ok(Accepted(OtpRequestOut::of("A code is on its way.", &issued, &ctx.config.public_url)))
    }

    /// Hand in a one-time code
    ///
    /// The right code gives a token that works once for this identifier and purpose; for `verify_phone` and
    /// `verify_email` it proves the account's identifier at once.
    #[oai(path = "/otp/verify", method = "post", operation_id = "otp_verify", transform = "anonymous")]
    async fn otp_verify(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: MaybeSigned,
        body: Body<OtpVerifyIn>,
    ) -> Answer<Json<OtpVerifyOut>> {
        let proof = otp::Proof { bearer: person.bearer(), ..body.ask };
        let verified = otp::verify(&ctx, &from, proof).await;
        Ok(Json(counted(&ctx, "verified", verified)?.into()))
    }
}

/// Counts the outcome of a call about a code.
pub fn counted<T>(ctx: &Context, action: &'static str, outcome: Result<T>) -> Result<T> {
    let name = outcome.as_ref().map_or_else(keryu_common::Error::name, |_| "ok");
    ctx.metrics.code(action, name);
    outcome
}
