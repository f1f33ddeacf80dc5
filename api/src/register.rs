//! Registering over HTTP: with an identifier that was proved, or by the classic form.

use keryu_common::auth::{classic, otp, password, register, token};
use keryu_common::config::Config;
use keryu_common::error::{Code, invalid};
use keryu_common::session::Tokens;
use keryu_common::{Context, Fault, idempotency, user};
use poem::web::Data;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};

use crate::auth::OtpRequestOut;
use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{EmailIn, IdentifierIn, NewPasswordIn, PhoneIn, UsernameIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::limit::anonymous;
use crate::edge::problem::{Answer, Problem};
use crate::operation::{Accepted, Created, Note, Security, Tag};
use crate::session::TokensOut;

/// What the document says of the operations here.
pub const NOTES: &[Note] =
    &[Note { operation: "register", security: Security::Anonymous, refusals: REFUSALS }];
const REFUSALS: &[Code] = &[
    token::INVALID,
    token::EXPIRED,
    user::IDENTIFIER_TAKEN,
    user::USERNAME_TAKEN,
    user::REFERRAL_UNKNOWN,
    user::IDENTIFIER_NEEDED,
    password::OFF,
    password::BUSY,
    classic::OFF,
    otp::COOLDOWN,
    otp::BUDGET,
    otp::SMS_BUDGET,
    idempotency::MISMATCH,
    idempotency::LOST,
];

/// A registration: with `identifier` and `verification_token`, or by the classic form with `email`,
/// `phone_number` or both, and `password`.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RegisterIn {
    /// The name wanted.
    username: UsernameIn,
    /// What was proved.
    identifier: Option<IdentifierIn>,
    /// From `otp/verify` with the purpose `register`.
    #[oai(validator(min_length = 1, max_length = 128))]
    verification_token: Option<String>,
    /// Classic form: to be proved by the code that is sent.
    phone_number: Option<PhoneIn>,
    /// Classic form: as `phone_number`; with both, the code goes to the phone.
    email: Option<EmailIn>,
    /// To sign in with later, beside codes.
    password: Option<NewPasswordIn>,
    /// Of whoever invited.
    #[oai(validator(min_length = 1, max_length = 16, pattern = "^[0-9A-Za-z]+$"))]
    referral_code: Option<String>,
}

impl Example for RegisterIn {
    fn example() -> Self {
        Self {
            username: UsernameIn("ada.lovelace".to_owned()),
            identifier: Some(IdentifierIn("+254712345678".to_owned())),
            verification_token: Some("q0Jm3oTn0jvQq3cQyHfUuP1rGm2bXo8w".to_owned()),
            phone_number: None,
            email: None,
            password: Some(NewPasswordIn("a river of small stones".to_owned())),
            referral_code: None,
        }
    }
}

/// The two ways to register.
pub enum Register {
    /// With what a code proved.
    Proved(register::Ask),
    /// By the form.
    Form(classic::Ask),
    /// Parts of both, or of neither.
    Faults(Vec<Fault>),
}

impl Input for RegisterIn {
    type Ask = Register;
    fn ask(self, config: &Config) -> Option<Register> {
        let username = self.username.parse()?;
        let password = match &self.password {
            Some(password) => Some(password.parse(config)?),
            None => None,
        };
        let mut identifiers = Vec::new();
        if let Some(phone) = &self.phone_number {
            identifiers.push(phone.parse(config)?);
        }
        if let Some(email) = &self.email {
            identifiers.push(email.parse()?);
        }
        let referral_code = self.referral_code;
        let missing = |name: &str| Fault::at(format!("/{name}"), "field.required", "This field is missing.");
        let form = !identifiers.is_empty();
        Some(match (self.identifier, self.verification_token, password) {
            (Some(identifier), Some(verification_token), password) if !form => {
                let identifier = identifier.parse(config)?;
                Register::Proved(register::Ask {
                    identifier,
                    username,
                    referral_code,
                    password,
                    verification_token,
                })
            }
            (None, None, Some(password)) if form => {
                Register::Form(classic::Ask { username, identifiers, password, referral_code })
            }
            (None, None, None) if form => Register::Faults(vec![missing("password")]),
            (identifier, token, _) if !form => {
                let missing = [(identifier.is_none(), "identifier"), (token.is_none(), "verification_token")]
                    .into_iter()
                    .filter(|(is, _)| *is)
                    .map(|(_, name)| missing(name));
                Register::Faults(missing.collect())
            }
            _ => Register::Faults(vec![Fault::at(
                "",
                "field.one_of",
                "Give either identifier and verification_token, or email or phone_number and password.",
            )]),
        })
    }
}

/// What a registration leads to.
pub enum Registered {
    /// An account, signed in to.
    Made(Box<Tokens>),
    /// An account that waits for a code.
    Waits(OtpRequestOut),
}

impl IntoResponse for Registered {
    fn into_response(self) -> Response {
        match self {
            Self::Made(tokens) => Created(TokensOut::from(*tokens)).into_response(),
            Self::Waits(issued) => Accepted(issued).into_response(),
        }
    }
}

impl ApiResponse for Registered {
    fn meta() -> MetaResponses {
        let both = [Created::<TokensOut>::meta(), Accepted::<OtpRequestOut>::meta()];
        MetaResponses { responses: both.into_iter().flat_map(|meta| meta.responses).collect() }
    }
    fn register(registry: &mut Registry) {
        Created::<TokensOut>::register(registry);
        Accepted::<OtpRequestOut>::register(registry);
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Registration;

#[OpenApi(prefix_path = "/api/auth", tag = "Tag::Account")]
impl Registration {
    /// Register
    ///
    /// Makes an account for an identifier that was proved, and signs in to it: 201. By the classic form,
    /// where it is switched on: 202, and a code; hand it in with its `challenge_id`, then sign in with the
    /// verification token.
    #[oai(path = "/register", method = "post", operation_id = "register", transform = "anonymous")]
    async fn register(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        /// The same key and body within ten minutes gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<RegisterIn>,
    ) -> Answer<Registered> {
        let key = key.bind(&ctx.config, &from, "register", &body)?.map(idempotency::Key::with_credentials);
        match body.ask {
            Register::Proved(ask) => {
                let tokens = register::register(&ctx, &from, ask, key.as_ref()).await?;
                Ok(Registered::Made(Box::new(tokens)))
            }
            Register::Form(ask) => {
                let issued = classic::register(&ctx, &from, ask, key.as_ref()).await?;
                Ok(Registered::Waits(OtpRequestOut::of(
                    "A code is on its way.",
                    &issued,
                    &ctx.config.public_url,
                )))
            }
            Register::Faults(faults) => Err(Problem::from(invalid(faults))),
        }
    }
}
