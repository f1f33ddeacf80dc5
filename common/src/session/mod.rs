//! Sessions: what a sign-in gives. Opening one (`open`), renewing it (`refresh`), ending it (`end`), and
//! telling from an access token who calls (`person`, read live). Access tokens are made and checked in
//! `access`, with keys kept by `key`; SQL in `store`.

mod access;
mod end;
mod key;
mod open;
mod person;
mod refresh;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use access::Claims;
pub use end::{End, end, end_all, end_others, list, logout, logout_by_token};
pub use key::{Keys, RotateSigningKeys, follow as follow_keys, jwks, rotate as rotate_keys};
pub use open::{SignIn, open};
pub(crate) use person::recall;
pub use person::{Person, Present, authenticate, set_fresh};
pub use refresh::{Renewals, refresh};
pub use store::Listed;

use crate::config::Source;
use crate::error::Code;

/// No token, or none of the form wanted.
pub const REQUIRED: Code = Code {
    code: "auth.required",
    status: 401,
    title: "Sign in first",
    advice: "Send `Authorization: Bearer` and an access token.",
};
/// A token that is not ours, not valid any more, or not of this service.
pub const INVALID_TOKEN: Code = Code {
    code: "auth.invalid_token",
    status: 401,
    title: "The access token is not valid",
    advice: "Refresh it, or sign in again.",
};
/// The session is over.
pub const ENDED: Code = Code {
    code: "auth.session_ended",
    status: 401,
    title: "The session has ended",
    advice: "Sign in again.",
};
/// Not with these rights.
pub const FORBIDDEN: Code = Code {
    code: "auth.forbidden",
    status: 403,
    title: "Not allowed",
    advice: "Ask somebody whose role has the right to do it.",
};
/// Too long since the person proved who they are.
pub const STEP_UP: Code = Code {
    code: "auth.step_up_required",
    status: 403,
    title: "Prove again who you are",
    advice: "Call `POST /api/auth/step-up`, then send the request again.",
};
/// A refresh token that is none of ours, or ran out.
pub const REFRESH_INVALID: Code = Code {
    code: "auth.refresh_invalid",
    status: 401,
    title: "The refresh token is not valid",
    advice: "Sign in again.",
};
/// A refresh token whose successor was used already.
pub const REFRESH_REUSED: Code = Code {
    code: "auth.refresh_reused",
    status: 401,
    title: "The refresh token was used before",
    advice: "Use the newest refresh token; if you have none, sign in again.",
};
/// No such session of this person.
pub const NOT_FOUND: Code = Code {
    code: "session.not_found",
    status: 404,
    title: "No such session",
    advice: "List the sessions and use an id from there.",
};
/// All refusals of this slice.
pub const CODES: &[Code] =
    &[REQUIRED, INVALID_TOKEN, ENDED, FORBIDDEN, STEP_UP, REFRESH_INVALID, REFRESH_REUSED, NOT_FOUND];

/// How long after its rotation a token may be shown again without suspicion: a lost answer, a slow line.
pub const RETRY: Duration = Duration::from_secs(30);

/// Settings of sessions and tokens.
#[derive(Clone, Debug)]
pub struct Config {
    /// `TOKEN_ALGORITHM`.
    pub algorithm: Algorithm,
    /// `TOKEN_AUDIENCE`: `aud` of access tokens; without it the public URL.
    pub audience: Option<String>,
    /// `TOKEN_LIFE`: of an access token.
    pub access_life: Duration,
    /// `TOKEN_KEY_LIFE`: after which a signing key is followed by a new one.
    pub key_life: Duration,
    /// `SESSION_IDLE`: without a refresh.
    pub idle: Duration,
    /// `SESSION_LIFE`: in all.
    pub life: Duration,
    /// `AUTH_FRESH`: how long a proof is good for sensitive changes.
    pub fresh: Duration,
}

/// Signature algorithms of access tokens (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        })
    }
}

impl std::str::FromStr for Algorithm {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        [Self::EdDsa, Self::Es256, Self::Rs256]
            .into_iter()
            .find(|algorithm| algorithm.to_string() == name)
            .ok_or_else(|| format!("{name} is none of EdDSA, ES256, RS256"))
    }
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let config = Self {
            algorithm: source.get("TOKEN_ALGORITHM", Algorithm::EdDsa),
            audience: source.find("TOKEN_AUDIENCE"),
            access_life: source.span("TOKEN_LIFE", Duration::from_secs(300)),
            key_life: source.span("TOKEN_KEY_LIFE", 30 * DAY),
            idle: source.span("SESSION_IDLE", 30 * DAY),
            life: source.span("SESSION_LIFE", 90 * DAY),
            fresh: source.span("AUTH_FRESH", Duration::from_secs(600)),
        };
        for (name, holds, range) in [
            ("TOKEN_LIFE", (30..=3600).contains(&config.access_life.as_secs()), "30s to 1h"),
            ("TOKEN_KEY_LIFE", config.key_life >= DAY, "1d or more"),
            ("SESSION_IDLE", config.idle >= config.access_life, "no shorter than TOKEN_LIFE"),
            ("SESSION_LIFE", config.life >= config.idle, "no shorter than SESSION_IDLE"),
            ("AUTH_FRESH", (60..=86_400).contains(&config.fresh.as_secs()), "1m to 1d"),
        ] {
            if !holds {
                source.fault(format!("{name}: out of range ({range})"));
            }
        }
        config
    }
}

/// How somebody proved who they are: `amr` values (RFC 8176).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A one-time code.
    Otp,
    /// A password.
    Password,
    /// A key in hardware or a passkey.
    Key,
    /// The authenticator checked who touched it.
    User,
    /// More than one factor.
    Multi,
}

impl Method {
    /// All of them.
    const ALL: [Self; 5] = [Self::Otp, Self::Password, Self::Key, Self::User, Self::Multi];

    /// The method that rows call so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// As rows and tokens say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::Password => "pwd",
            Self::Key => "hwk",
            Self::User => "user",
            Self::Multi => "mfa",
        }
    }
}

/// What a sign-in or a refresh gives.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Tokens {
    /// Whose.
    pub user_id: Uuid,
    /// The session they belong to.
    pub session_id: Uuid,
    /// JWT (RFC 9068).
    pub access_token: String,
    /// Opaque; kept as a hash.
    pub refresh_token: String,
    /// How long the access token works.
    pub expires_in: Duration,
    /// Names this browser or app from now on; only at a sign-in.
    pub device_token: Option<String>,
}

/// The moment `span` after `now`.
fn after(now: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    now + chrono::TimeDelta::from_std(span).unwrap_or_default()
}
