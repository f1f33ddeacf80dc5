//! One's own account over HTTP: signing in to it, seeing it, deleting it.

use chrono::{DateTime, Utc};
use keryu_common::auth::password::{self, Password};
use keryu_common::auth::{sign_in, token};
use keryu_common::config::{Config, Stage};
use keryu_common::error::{Code, invalid};
use keryu_common::limit::lockout;
use keryu_common::profile::{self, Profile};
use keryu_common::role::Permission;
use keryu_common::session::{Method, Person};
use keryu_common::{Context, Error, Fault, factor, session, user};
use poem::Request;
use poem::http::{HeaderName, HeaderValue};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::NameIn;
use crate::edge::limit::anonymous;
use crate::edge::problem::{Answer, Problem};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};
use crate::profile::wire::avatar_url;
use crate::session::TokensOut;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "login", security: Security::Anonymous, refusals: LOGIN_REFUSALS },
    Note { operation: "me", security: Security::Bearer, refusals: &[] },
    Note {
        operation: "account_delete",
        security: Security::Bearer,
        refusals: &[session::STEP_UP, user::LAST_SUPERUSER],
    },
    Note { operation: "debug_headers", security: Security::Staff(Permission::DebugRead), refusals: &[] },
];
const LOGIN_REFUSALS: &[Code] = &[
    password::OFF,
    password::BUSY,
    password::INVALID,
    password::UNVERIFIED,
    lockout::LOCKED,
    token::INVALID,
    token::EXPIRED,
    sign_in::NO_ACCOUNT,
    factor::REQUIRED,
    user::INACTIVE,
    user::SUSPENDED,
    user::BANNED,
    user::DELETED,
];

/// A sign-in, by password or by verification token.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LoginIn {
    /// Who says to be. With a verification token, the phone number or e-mail address that was proved.
    identifier: NameIn,
    /// In place of a verification token.
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: Option<String>,
    /// From `otp/verify` with the purpose `login`, in place of a password.
    #[oai(validator(min_length = 1, max_length = 128))]
    verification_token: Option<String>,
    /// From an earlier sign-in in this browser or app.
    #[oai(validator(min_length = 1, max_length = 128))]
    device_token: Option<String>,
}

impl Example for LoginIn {
    fn example() -> Self {
        Self {
            identifier: NameIn("+254712345678".to_owned()),
            password: None,
            verification_token: Some("q0Jm3oTn0jvQq3cQyHfUuP1rGm2bXo8w".to_owned()),
            device_token: None,
        }
    }
}

/// The two ways to sign in.
pub enum Login {
    /// With what a code proved.
    Token(sign_in::Ask),
    /// With a password.
    Password(password::Ask),
    /// Neither, or both.
    Fault(Fault),
}

impl Input for LoginIn {
    type Ask = Login;
    fn ask(self, config: &Config) -> Option<Login> {
        let name = self.identifier.parse(config)?;
        let device_token = self.device_token;
        Some(match (self.password, self.verification_token, name) {
            (Some(text), None, name) => {
                Login::Password(password::Ask { name, password: Password::given(&text), device_token })
            }
            (None, Some(verification_token), password::Name::Identifier(identifier)) => {
                Login::Token(sign_in::Ask { identifier, verification_token, device_token })
            }
            (None, Some(_), password::Name::Username(_)) => Login::Fault(Fault::at(
                "/identifier",
                "identifier.phone",
                "With a verification token, give the phone number or e-mail address that was proved.",
            )),
            _ => Login::Fault(Fault::at("", "field.one_of", "Give either password or verification_token.")),
        })
    }
}

/// One's own account.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserOut {
    /// Which.
    id: Uuid,
    /// As chosen.
    username: String,
    /// Where the picture is.
    profile_picture: Option<String>,
    /// For others to name when they register.
    referral_code: Option<String>,
    /// Whether they may sign in.
    status: String,
    /// When they joined.
    date_joined: DateTime<Utc>,
    /// Whether the profile has all it should.
    profile_complete: bool,
    /// How far the check of documents is.
    kyc_status: String,
    /// With which they registered, if by one.
    social_provider: Option<String>,
    /// Which identifiers are proved.
    verification_status: String,
    /// `member`, ...
    role: String,
}

impl UserOut {
    fn of(person: &Person, profile: &Profile) -> Self {
        let account = &person.account;
        Self {
            id: account.user_id,
            username: account.username.clone(),
            profile_picture: avatar_url(profile),
            referral_code: account.referral_code.clone(),
            status: account.status.name().to_owned(),
            date_joined: account.created_at,
            profile_complete: profile.missing().is_empty(),
            kyc_status: account.kyc_status.clone(),
            social_provider: account.social_provider.clone(),
            verification_status: account.verification_status().to_owned(),
            role: account.role.clone(),
        }
    }
}

impl Example for UserOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            username: "ada.lovelace".to_owned(),
            profile_picture: None,
            referral_code: Some("7Q2M9XKD".to_owned()),
            status: "active".to_owned(),
            date_joined: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            profile_complete: false,
            kyc_status: "not_submitted".to_owned(),
            social_provider: None,
            verification_status: "phone_verified".to_owned(),
            role: "member".to_owned(),
        }
    }
}

/// A deletion.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeletionOut {
    /// For a person.
    message: String,
    /// When everything is erased; until then staff can restore the account.
    erase_at: DateTime<Utc>,
}

impl Example for DeletionOut {
    fn example() -> Self {
        Self {
            message: "Your account is deleted.".to_owned(),
            erase_at: DateTime::from_timestamp(1_795_592_000, 0).unwrap_or_default(),
        }
    }
}

/// A request as the server saw it.
#[derive(Debug, Object)]
#[oai(example)]
pub struct HeadersOut {
    /// The caller's address, behind trusted proxies.
    ip_address: String,
    /// Names and values, in the order of names; credentials redacted.
    headers: Vec<HeaderOut>,
}

/// A header field.
#[derive(Debug, Object)]
pub struct HeaderOut {
    /// In small letters.
    name: String,
    /// As it came; bytes that are no text are replaced.
    value: String,
}

impl Example for HeadersOut {
    fn example() -> Self {
        let header = HeaderOut { name: "accept".to_owned(), value: "application/json".to_owned() };
        Self { ip_address: "203.0.113.7".to_owned(), headers: vec![header] }
    }
}

/// Fields that hold credentials.
const SECRET: [&str; 5] = ["authorization", "cookie", "proxy-authorization", "x-api-key", "idempotency-key"];

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Accounts;

#[OpenApi(prefix_path = "/api/auth", tag = "Tag::Account")]
impl Accounts {
    /// Sign in
    ///
    /// By a verification token, or by a password. Names known and unknown get the same answers.
    #[oai(path = "/login", method = "post", operation_id = "login", transform = "anonymous")]
    async fn login(&self, ctx: Data<&Context>, from: Caller, body: Body<LoginIn>) -> Answer<Json<TokensOut>> {
        let (method, outcome) = match body.ask {
            Login::Token(ask) => (Method::Otp, sign_in::sign_in(&ctx, &from, ask).await),
            Login::Password(ask) => (Method::Password, password::sign_in(&ctx, &from, ask).await),
            Login::Fault(fault) => return Err(Problem::from(invalid(vec![fault]))),
        };
        ctx.metrics.sign_in(method.name(), outcome.as_ref().map_or_else(Error::name, |_| "ok"));
        Ok(Json(outcome?.into()))
    }

    /// See one's own account
    #[oai(path = "/me", method = "get", operation_id = "me")]
    async fn me(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<UserOut>> {
        let profile = profile::own(&ctx, person.user_id()).await?;
        Ok(Json(UserOut::of(&person, &profile)))
    }

    /// Delete one's own account
    ///
    /// Wants a fresh proof of who one is. Staff can restore it for 30 days, then it is erased.
    #[oai(path = "/account", method = "delete", operation_id = "account_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
    ) -> Answer<Accepted<DeletionOut>> {
        let erase_at = user::delete_own(&ctx, &from, &person).await?;
        Ok(Accepted(DeletionOut { message: "Your account is deleted.".to_owned(), erase_at }))
    }

    /// See one's request as the server saw it
    ///
    /// For staff; in development for everybody who is signed in.
    #[oai(path = "/debug/headers", method = "get", operation_id = "debug_headers")]
    async fn headers(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        request: &Request,
    ) -> Answer<Json<HeadersOut>> {
        if ctx.config.stage == Stage::Production {
            person.may(Permission::DebugRead)?;
        }
        let mut headers: Vec<HeaderOut> = request.headers().iter().map(header).collect();
        headers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Json(HeadersOut { ip_address: from.ip.to_string(), headers }))
    }
}

fn header((name, value): (&HeaderName, &HeaderValue)) -> HeaderOut {
    let value = match SECRET.contains(&name.as_str()) {
        true => "[redacted]".to_owned(),
        false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    HeaderOut { name: name.as_str().to_owned(), value }
}
