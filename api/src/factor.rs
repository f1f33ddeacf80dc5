//! Second factors over HTTP: the authenticator app, recovery codes, the second step of a sign-in, the
//! proof anew. Passkeys have a file of their own.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::auth::{password, token};
use keryu_common::config::Config;
use keryu_common::error::{Code, Fault, all_or};
use keryu_common::factor::{self, Enrolled, Proof, Typed, challenge, passkey, recovery, totp};
use keryu_common::role::Permission;
use keryu_common::{session, user};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::TextIn;
use crate::edge::limit::anonymous;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Gone, Note, Security, Tag};
use crate::passkey::{AnswerIn, PasskeyOut};
use crate::session::{MessageOut, TokensOut};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "mfa_show", security: Security::Bearer, refusals: &[] },
    Note { operation: "mfa_verify", security: Security::Anonymous, refusals: VERIFY_REFUSALS },
    Note {
        operation: "totp_start",
        security: Security::Bearer,
        refusals: &[session::STEP_UP, factor::TOTP_ON],
    },
    Note { operation: "totp_confirm", security: Security::Bearer, refusals: CONFIRM_REFUSALS },
    Note {
        operation: "totp_remove",
        security: Security::Bearer,
        refusals: &[session::STEP_UP, factor::TOTP_OFF],
    },
    Note {
        operation: "recovery_codes_make",
        security: Security::Bearer,
        refusals: &[session::STEP_UP, factor::NO_FACTOR, factor::SETS, password::BUSY],
    },
    Note { operation: "step_up", security: Security::Bearer, refusals: STEP_UP_REFUSALS },
    Note {
        operation: "factor_reset",
        security: Security::Staff(Permission::FactorsReset),
        refusals: RESET_REFUSALS,
    },
];
const VERIFY_REFUSALS: &[Code] = &[
    factor::EXPIRED,
    factor::INVALID,
    factor::LOCKED,
    password::BUSY,
    user::INACTIVE,
    user::SUSPENDED,
    user::BANNED,
    user::DELETED,
];
const CONFIRM_REFUSALS: &[Code] = &[
    session::STEP_UP,
    factor::TOTP_OFF,
    factor::TOTP_ON,
    factor::INVALID,
    factor::LOCKED,
    factor::SETS,
    password::BUSY,
];
const STEP_UP_REFUSALS: &[Code] = &[
    factor::FACTOR_NEEDED,
    factor::INVALID,
    factor::LOCKED,
    factor::WRONG_PASSWORD,
    passkey::CHALLENGE,
    passkey::INVALID,
    token::INVALID,
    token::EXPIRED,
    password::BUSY,
];
const RESET_REFUSALS: &[Code] =
    &[session::FORBIDDEN, session::STEP_UP, user::NOT_FOUND, factor::NOT_FOUND, NOT_FOUND];

/// An authenticator app.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TotpOut {
    /// Names it.
    id: Uuid,
    /// When it was turned on.
    confirmed_at: DateTime<Utc>,
    /// When a code of it was taken last.
    last_used_at: Option<DateTime<Utc>>,
}

impl Example for TotpOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            confirmed_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            last_used_at: None,
        }
    }
}

/// What is enrolled.
#[derive(Debug, Object)]
#[oai(example)]
pub struct FactorsOut {
    /// Whether a sign-in asks for a second factor.
    required: bool,
    /// The authenticator app, once confirmed.
    totp: Option<TotpOut>,
    /// Recovery codes that were not used.
    recovery_codes_left: i64,
    /// Passkeys, oldest first.
    passkeys: Vec<PasskeyOut>,
}

impl From<Enrolled> for FactorsOut {
    fn from(enrolled: Enrolled) -> Self {
        Self {
            required: enrolled.totp.is_some() || !enrolled.passkeys.is_empty(),
            totp: enrolled.totp.map(|app| TotpOut {
                id: app.factor_id,
                confirmed_at: app.confirmed_at,
                last_used_at: app.last_used_at,
            }),
            recovery_codes_left: enrolled.recovery_codes_left,
            passkeys: enrolled.passkeys.into_iter().map(Into::into).collect(),
        }
    }
}

impl Example for FactorsOut {
    fn example() -> Self {
        Self {
            required: true,
            totp: Some(TotpOut::example()),
            recovery_codes_left: 10,
            passkeys: vec![PasskeyOut::example()],
        }
    }
}

/// An app to set up: shown once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TotpStartOut {
    /// Base32, for typing.
    secret: String,
    /// For the app (Key Uri Format).
    uri: String,
    /// The same as a QR code: a `data:` URI of a PNG.
    qr: String,
}

impl From<totp::Started> for TotpStartOut {
    fn from(started: totp::Started) -> Self {
        Self { secret: started.secret, uri: started.uri, qr: started.qr }
    }
}

impl Example for TotpStartOut {
    fn example() -> Self {
        Self {
            secret: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP".to_owned(),
            uri: "otpauth://totp/Keryu:ada?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Keryu&algorithm=SHA1&digits=6&period=30"
                .to_owned(),
            qr: "data:image/png;base64,iVBORw0KGgo…".to_owned(),
        }
    }
}

/// The first code of an app.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TotpConfirmIn {
    /// What the app shows.
    #[oai(validator(min_length = 6, max_length = 10, pattern = "^[0-9 ]+$"))]
    code: String,
}

impl Example for TotpConfirmIn {
    fn example() -> Self {
        Self { code: "492817".to_owned() }
    }
}

impl Input for TotpConfirmIn {
    type Ask = String;
    fn ask(self, _: &Config) -> Option<String> {
        Some(self.code)
    }
}

/// An app that is on.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TotpConfirmOut {
    /// Shown this once, where there were none: each stands in for a lost factor, once.
    recovery_codes: Option<Vec<String>>,
}

impl Example for TotpConfirmOut {
    fn example() -> Self {
        Self { recovery_codes: Some(RecoveryCodesOut::example().recovery_codes) }
    }
}

/// A new set of recovery codes: shown this once.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RecoveryCodesOut {
    /// Ten; those before work no longer.
    recovery_codes: Vec<String>,
}

impl Example for RecoveryCodesOut {
    fn example() -> Self {
        Self { recovery_codes: vec!["0K7QP-9XW2M-4TDHR".to_owned(), "1B3VZ-0CN8E-6YGAS".to_owned()] }
    }
}

/// Kinds of codes.
#[derive(Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum CodeKindIn {
    /// From an authenticator app.
    Totp,
    /// One of the recovery codes.
    RecoveryCode,
}

/// A second factor for a sign-in that waits.
#[derive(Debug, Object)]
#[oai(example)]
pub struct MfaVerifyIn {
    /// From `mfa.required`.
    #[oai(validator(min_length = 1, max_length = 128))]
    mfa_token: String,
    /// What the code is.
    method: CodeKindIn,
    /// As typed.
    #[oai(validator(min_length = 1, max_length = 64))]
    code: String,
    /// From an earlier sign-in in this browser or app.
    #[oai(validator(min_length = 1, max_length = 128))]
    device_token: Option<String>,
}

impl Example for MfaVerifyIn {
    fn example() -> Self {
        Self {
            mfa_token: "q0Jm3oTn0jvQq3cQyHfUuP1rGm2bXo8w".to_owned(),
            method: CodeKindIn::Totp,
            code: "492817".to_owned(),
            device_token: None,
        }
    }
}

impl Input for MfaVerifyIn {
    type Ask = challenge::Ask;
    fn ask(self, _: &Config) -> Option<challenge::Ask> {
        let typed = match self.method {
            CodeKindIn::Totp => Typed::Totp(self.code),
            CodeKindIn::RecoveryCode => Typed::RecoveryCode(self.code),
        };
        Some(challenge::Ask { mfa_token: self.mfa_token, typed, device_token: self.device_token })
    }
}

/// A proof anew: exactly one of these.
#[derive(Debug, Object)]
#[oai(example)]
pub struct StepUpIn {
    /// The account's; not where it has a second factor.
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: Option<String>,
    /// From `otp/verify` with the purpose `step_up`, or `delete_account` before that; not where the account has a second factor.
    #[oai(validator(min_length = 1, max_length = 128))]
    verification_token: Option<String>,
    /// What the authenticator app shows.
    #[oai(validator(min_length = 1, max_length = 64))]
    totp: Option<String>,
    /// One of the recovery codes.
    #[oai(validator(min_length = 1, max_length = 64))]
    recovery_code: Option<String>,
    /// An answer to `passkeys/login/start`, called with the same access token.
    passkey: Option<AnswerIn>,
}

impl Example for StepUpIn {
    fn example() -> Self {
        Self {
            password: None,
            verification_token: None,
            totp: Some("492817".to_owned()),
            recovery_code: None,
            passkey: None,
        }
    }
}

impl Input for StepUpIn {
    type Ask = Vec<Proof>;
    fn ask(self, _: &Config) -> Option<Vec<Proof>> {
        let passkey = match self.passkey {
            Some(answer) => Some(Proof::Passkey(answer.parse()?)),
            None => None,
        };
        let proofs = [
            self.password.map(Proof::Password),
            self.verification_token.map(Proof::VerificationToken),
            self.totp.map(|code| Proof::Typed(Typed::Totp(code))),
            self.recovery_code.map(|code| Proof::Typed(Typed::RecoveryCode(code))),
            passkey,
        ];
        Some(proofs.into_iter().flatten().collect())
    }
}

/// The one proof of several that might be.
fn only(proofs: Vec<Proof>) -> Answer<Proof> {
    let one: Result<[Proof; 1], _> = proofs.try_into();
    let wanted = "Exactly one of password, verification_token, totp, recovery_code, passkey.";
    let faults = if one.is_ok() { Vec::new() } else { vec![Fault::at("", "field.one_of", wanted)] };
    Ok(all_or(one.ok().map(|[proof]| proof), faults)?)
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Factors;

#[OpenApi(prefix_path = "/api", tag = "Tag::Factors")]
impl Factors {
    /// See one's second factors
    #[oai(path = "/auth/mfa", method = "get", operation_id = "mfa_show")]
    async fn show(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<FactorsOut>> {
        Ok(Json(factor::list(&ctx, person.user_id()).await?.into()))
    }

    /// Hand in a second factor
    ///
    /// Ends a sign-in that was answered with `mfa.required`. A passkey goes to `passkeys/login/finish`.
    #[oai(path = "/auth/mfa/verify", method = "post", operation_id = "mfa_verify", transform = "anonymous")]
    async fn verify(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        body: Body<MfaVerifyIn>,
    ) -> Answer<Json<TokensOut>> {
        Ok(Json(challenge::verify(&ctx, &from, body.ask).await?.into()))
    }

    /// Set up an authenticator app
    ///
    /// It counts once its first code is confirmed. Calling again makes another secret.
    #[oai(path = "/auth/mfa/totp", method = "post", operation_id = "totp_start")]
    async fn totp_start(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
    ) -> Answer<Json<TotpStartOut>> {
        Ok(Json(totp::start(&ctx, &from, &person).await?.into()))
    }

    /// Turn the authenticator app on
    ///
    /// With its first code. Answers with recovery codes, where there are none yet.
    #[oai(path = "/auth/mfa/totp/confirm", method = "post", operation_id = "totp_confirm")]
    async fn totp_confirm(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        body: Body<TotpConfirmIn>,
    ) -> Answer<Json<TotpConfirmOut>> {
        let recovery_codes = totp::confirm(&ctx, &from, &person, body.ask).await?;
        Ok(Json(TotpConfirmOut { recovery_codes }))
    }

    /// Remove the authenticator app
    #[oai(path = "/auth/mfa/totp", method = "delete", operation_id = "totp_remove")]
    async fn totp_remove(&self, ctx: Data<&Context>, from: Caller, person: Signed) -> Answer<Gone> {
        totp::remove(&ctx, &from, &person).await?;
        Ok(Gone)
    }

    /// Make new recovery codes
    ///
    /// Those before work no longer.
    #[oai(path = "/auth/mfa/recovery-codes", method = "post", operation_id = "recovery_codes_make")]
    async fn recovery_codes(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
    ) -> Answer<Json<RecoveryCodesOut>> {
        let recovery_codes = recovery::renew(&ctx, &from, &person).await?;
        Ok(Json(RecoveryCodesOut { recovery_codes }))
    }

    /// Prove again who one is
    ///
    /// What `auth.step_up_required` asks for. An account with a second factor wants one of those.
    #[oai(path = "/auth/step-up", method = "post", operation_id = "step_up")]
    async fn step_up(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        body: Body<StepUpIn>,
    ) -> Answer<Json<MessageOut>> {
        factor::step_up(&ctx, &from, &person, only(body.ask)?).await?;
        Ok(Json(MessageOut { message: "You have proved who you are.".to_owned() }))
    }

    /// Take away somebody's factor
    ///
    /// For somebody who lost it. Their sessions end, and they are told.
    #[oai(path = "/admin/users/:id/factors/:factor_id", method = "delete", operation_id = "factor_reset")]
    async fn reset(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// The authenticator app, or a passkey.
        factor_id: Path<Uuid>,
        /// Why; kept in the audit log.
        #[oai(validator(min_length = 3, max_length = 500))]
        reason: Query<TextIn>,
    ) -> Answer<Gone> {
        factor::reset(&ctx, &from, &person, (id.0, factor_id.0), &reason.0.0).await?;
        Ok(Gone)
    }
}
