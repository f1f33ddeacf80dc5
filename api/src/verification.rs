//! Proving the identifiers of an account over HTTP: links and codes to them, and how they stand. The page
//! of a link is in `page`.

mod by_hand;
mod page;

use chrono::{DateTime, Utc};
use keryu_common::auth::{otp, verify};
use keryu_common::config::Config;
use keryu_common::error::Code;
use keryu_common::role::Permission;
use keryu_common::user::{self, Channel, verification};
use keryu_common::{Context, idempotency, session};
use poem::http::Method;
use poem::web::Data;
use poem::{Request, Response};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::{Example, ToJSON};
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::auth::{OtpRequestOut, counted};
use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::idempotency::Idempotent;
use crate::edge::limit::anonymous;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};
pub use by_hand::ByHand;
use page::Opened;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "verify_email", security: Security::Bearer, refusals: SEND },
    Note { operation: "verify_phone", security: Security::Bearer, refusals: SEND },
    Note { operation: "verify_phone_confirm", security: Security::Bearer, refusals: CONFIRM },
    Note { operation: "verify_email_link", security: Security::Anonymous, refusals: LINK },
    Note { operation: "verify_email_confirm", security: Security::Anonymous, refusals: LINK },
    Note { operation: "user_verify", security: Security::Staff(Permission::UsersVerify), refusals: BY_HAND },
    Note {
        operation: "verification_show",
        security: Security::Bearer,
        refusals: &[session::FORBIDDEN, user::NOT_FOUND, NOT_FOUND],
    },
];
const SEND: &[Code] = &[
    session::FORBIDDEN,
    user::NOT_FOUND,
    NOT_FOUND,
    verification::NOT_HELD,
    verification::ALREADY,
    otp::COOLDOWN,
    otp::BUDGET,
    otp::SMS_BUDGET,
    otp::NOT_YOURS,
    idempotency::MISMATCH,
    idempotency::LOST,
];
const CONFIRM: &[Code] = &[
    session::FORBIDDEN,
    user::NOT_FOUND,
    NOT_FOUND,
    verification::NOT_HELD,
    user::IDENTIFIER_TAKEN,
    otp::INVALID,
    otp::EXPIRED,
    otp::LOCKED,
];
const BY_HAND: &[Code] = &[
    user::NOT_FOUND,
    NOT_FOUND,
    user::SELF,
    verification::NOT_HELD,
    verification::ALREADY,
    user::IDENTIFIER_TAKEN,
];
const LINK: &[Code] = &[verify::LINK_INVALID, verify::LINK_EXPIRED, user::IDENTIFIER_TAKEN];

/// A code handed in for the account's phone number.
#[derive(Debug, Object)]
#[oai(example)]
pub struct PhoneConfirmIn {
    /// The digits.
    #[oai(validator(min_length = 4, max_length = 10, pattern = "^[0-9]+$"))]
    code: String,
    /// From the request for the code. Without it, those asked for in this session are tried.
    challenge_id: Option<Uuid>,
}

impl Example for PhoneConfirmIn {
    fn example() -> Self {
        Self { code: "492817".to_owned(), challenge_id: None }
    }
}

impl Input for PhoneConfirmIn {
    type Ask = (String, Option<Uuid>);
    fn ask(self, _: &Config) -> Option<Self::Ask> {
        Some((self.code, self.challenge_id))
    }
}

/// An identifier was proved.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProvedOut {
    /// For a person.
    message: String,
}

impl ProvedOut {
    fn of(message: &str) -> Self {
        Self { message: message.to_owned() }
    }
}

impl Example for ProvedOut {
    fn example() -> Self {
        Self::of("The address is confirmed.")
    }
}

/// A link or code that still works.
#[derive(Debug, Object)]
pub struct OpenOut {
    /// `sms` or `email`.
    channel: String,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// Of no use after.
    expires_at: DateTime<Utc>,
}

/// Something that happened to an identifier.
#[derive(Debug, Object)]
pub struct EventOut {
    /// When.
    at: DateTime<Utc>,
    /// `sms` or `email`.
    channel: String,
    /// Masked.
    address: Option<String>,
    /// `code`, `link`, `staff`, `change` or `registration`.
    by: String,
    /// Who did it.
    actor: Option<Uuid>,
    /// Staff's.
    reason: Option<String>,
    /// `requested`, `verified`, or the code of a refusal.
    outcome: String,
}

/// How the identifiers of an account stand.
#[derive(Debug, Object)]
#[oai(example)]
pub struct VerificationOut {
    /// `not_verified`, `phone_verified`, `email_verified` or `both_verified`.
    verification_status: String,
    /// When the e-mail address was proved.
    email_verified_at: Option<DateTime<Utc>>,
    /// When the phone number was proved.
    phone_verified_at: Option<DateTime<Utc>>,
    /// The newest link or code that still works.
    open_request: Option<OpenOut>,
    /// Newest first, a hundred at most.
    history: Vec<EventOut>,
}

impl From<verify::Standing> for VerificationOut {
    fn from(standing: verify::Standing) -> Self {
        let verify::Standing { subject, open, history } = standing;
        let (email, phone) = (subject.email_verified_at, subject.phone_verified_at);
        Self {
            verification_status: user::verification_status(email.is_some(), phone.is_some()).to_owned(),
            email_verified_at: email,
            phone_verified_at: phone,
            open_request: open.map(|open| OpenOut {
                channel: open.channel,
                requested_at: open.created_at,
                expires_at: open.expires_at,
            }),
            history: history
                .into_iter()
                .map(|event| EventOut {
                    at: event.at,
                    channel: event.channel,
                    address: event.address,
                    by: event.by,
                    actor: event.actor,
                    reason: event.reason,
                    outcome: event.outcome,
                })
                .collect(),
        }
    }
}

impl Example for VerificationOut {
    fn example() -> Self {
        let at = |seconds: i64| DateTime::from_timestamp(1_793_000_000 + seconds, 0).unwrap_or_default();
        Self {
            verification_status: "phone_verified".to_owned(),
            email_verified_at: None,
            phone_verified_at: Some(at(0)),
            open_request: Some(OpenOut {
                channel: "email".to_owned(),
                requested_at: at(60),
                expires_at: at(86_460),
            }),
            history: vec![EventOut {
                at: at(60),
                channel: "email".to_owned(),
                address: Some("a***@example.org".to_owned()),
                by: "link".to_owned(),
                actor: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172)),
                reason: None,
                outcome: "requested".to_owned(),
            }],
        }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Verification;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Users")]
impl Verification {
    /// Send a link to an account's e-mail address
    ///
    /// It works once, for 24 hours, while the address stays the same. For the person, and for staff with the
    /// right `users.verify`.
    #[oai(path = "/:id/verify/email", method = "post", operation_id = "verify_email")]
    async fn email(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// The same key within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
    ) -> Answer<Accepted<OtpRequestOut>> {
        let key = key.bind_as(&ctx.config, &person, "verify_email", id.as_bytes())?;
        let issued = verify::send(&ctx, &from, &person, id.0, Channel::Email, key.as_ref()).await;
        let issued = counted(&ctx, "asked", issued)?;
        Ok(Accepted(OtpRequestOut::of("A link is on its way.", &issued, &ctx.config.public_url)))
    }

    /// Send a code to an account's phone number
    ///
    /// For the person, and for staff with the right `users.verify`.
    #[oai(path = "/:id/verify/phone", method = "post", operation_id = "verify_phone")]
    async fn phone(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// The same key within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
    ) -> Answer<Accepted<OtpRequestOut>> {
        let key = key.bind_as(&ctx.config, &person, "verify_phone", id.as_bytes())?;
        let issued = verify::send(&ctx, &from, &person, id.0, Channel::Sms, key.as_ref()).await;
        let issued = counted(&ctx, "asked", issued)?;
        Ok(Accepted(OtpRequestOut::of("A code is on its way.", &issued, &ctx.config.public_url)))
    }

    /// Confirm an account's phone number
    ///
    /// With the code that was sent to it, asked for in the same session.
    #[oai(path = "/:id/verify/phone/confirm", method = "post", operation_id = "verify_phone_confirm")]
    async fn confirm_phone(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        body: Body<PhoneConfirmIn>,
    ) -> Answer<Json<ProvedOut>> {
        let (code, challenge_id) = body.ask;
        let proved = verify::confirm_phone(&ctx, &from, &person, id.0, code, challenge_id).await;
        counted(&ctx, "verified", proved)?;
        Ok(Json(ProvedOut::of("The number is confirmed.")))
    }

    /// Open a link
    ///
    /// With `Accept: application/json` it confirms the address. Whoever else opens it gets a page whose button
    /// does, so that programs which look at mail confirm nothing.
    #[oai(
        path = "/verify/email/:token",
        method = "get",
        operation_id = "verify_email_link",
        transform = "anonymous"
    )]
    async fn open_link(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        request: &Request,
        /// From the mail.
        token: Path<String>,
    ) -> Answer<Opened<ProvedOut>> {
        if request.method() != Method::GET || !page::is_program(request) {
            let outcome = verify::look(&ctx, &token.0).await;
            return Ok(Opened::Page(page::ask(&ctx.config, &from.language, outcome)?));
        }
        verify::confirm_link(&ctx, &from, &token.0).await?;
        Ok(Opened::Told(ProvedOut::example()))
    }

    /// Confirm an e-mail address by its link
    #[oai(
        path = "/verify/email/:token",
        method = "post",
        operation_id = "verify_email_confirm",
        transform = "anonymous"
    )]
    async fn confirm_link(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        request: &Request,
        /// From the mail.
        token: Path<String>,
    ) -> Answer<Opened<ProvedOut>> {
        let outcome = verify::confirm_link(&ctx, &from, &token.0).await;
        if page::is_wanted(request) {
            return Ok(Opened::Page(page::tell(&ctx.config, &from.language, outcome)?));
        }
        outcome?;
        Ok(Opened::Told(ProvedOut::example()))
    }

    /// See how an account's identifiers stand
    ///
    /// For the person, and for staff with the right `users.verify`.
    #[oai(path = "/:id/verification", method = "get", operation_id = "verification_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Json<VerificationOut>> {
        Ok(Json(verify::show(&ctx, &from, &person, id.0).await?.into()))
    }
}

impl<T: ToJSON> Opened<T> {
    /// The answer on the wire.
    fn response(self) -> Response {
        use poem::IntoResponse;
        match self {
            Self::Told(told) => poem::web::Json(told.to_json()).into_response(),
            Self::Page(page) => page,
        }
    }
}
