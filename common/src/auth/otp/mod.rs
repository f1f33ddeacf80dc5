//! One-time codes: asking for one ([`request()`]) and proving it ([`verify`]). The derivation lives in
//! `code`, the limits in `budget`, SQL in `store`. A code is never stored, queued or logged.
//!
//! Known and unknown identifiers take the same path, write the same rows and get the same answer.
//! Whatever must be remembered of a refusal (a wrong try, a refused send) commits before the answer.

mod budget;
mod code;
pub mod link;
mod proof;
mod request;
pub mod sample;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use budget::Config;
pub use code::{Seed, code};
pub use proof::verify;
pub use request::{Desk, request};

use crate::audit::{Client, Line};
use crate::error::Code;
use crate::secret;
use crate::user::Identifier;

/// Too soon after the last send.
pub const COOLDOWN: Code = Code {
    code: "otp.cooldown",
    status: 429,
    title: "Too soon for another code",
    advice: "Wait for Retry-After; earlier codes stay valid until they expire.",
};
/// The identifier's codes of the hour or day are used up.
pub const BUDGET: Code = Code {
    code: "otp.budget",
    status: 429,
    title: "Too many codes for this identifier",
    advice: "Wait for Retry-After.",
};
/// The deployment's text messages of the day are used up.
pub const SMS_BUDGET: Code = Code {
    code: "otp.sms_budget",
    status: 503,
    title: "No text message can be sent now",
    advice: "Use an e-mail address, or try after Retry-After.",
};
/// The code is not right.
pub const INVALID: Code = Code {
    code: "otp.invalid",
    status: 422,
    title: "The code is not right",
    advice: "Check the digits; after three wrong tries ask for a new code.",
};
/// The code was right once.
pub const EXPIRED: Code = Code {
    code: "otp.expired",
    status: 422,
    title: "The code has expired or was used",
    advice: "Ask for a new code.",
};
/// Too many wrong tries.
pub const LOCKED: Code = Code {
    code: "otp.locked",
    status: 429,
    title: "Too many wrong codes",
    advice: "Wait for Retry-After, or use another verified channel.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[COOLDOWN, BUDGET, SMS_BUDGET, INVALID, EXPIRED, LOCKED];

/// How long a verification token works.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// What a code is for. The others of the product come with accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Making an account.
    Register,
    /// Signing in.
    Login,
    /// Choosing a new password.
    ResetPassword,
}

impl Purpose {
    /// The name on the wire and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::ResetPassword => "reset_password",
        }
    }
}

/// A request for a code.
#[derive(Clone, Debug)]
pub struct Ask {
    /// To whom.
    pub identifier: Identifier,
    /// What for.
    pub purpose: Purpose,
}

/// A code on its way.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Issued {
    /// Names the challenge; holding it is a right.
    pub challenge_id: Uuid,
    /// How long the code works.
    pub expires_in: Duration,
    /// When another may be asked for.
    pub resend_after: Duration,
    /// The receipt.
    pub delivery_id: Uuid,
}

/// A code handed in.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Whose.
    pub identifier: Identifier,
    /// The digits as typed.
    pub otp: String,
    /// What for.
    pub purpose: Purpose,
    /// Which challenge; without it, those asked for from the same client address.
    pub challenge_id: Option<Uuid>,
}

/// The right to act for an identifier, once.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Opaque; shown once, kept as a hash.
    pub verification_token: String,
    /// How long it works.
    pub expires_in: Duration,
}

fn identifier_hash(config: &crate::config::Config, identifier: &Identifier) -> [u8; 32] {
    config.keys.derive("identifier").mac(&[identifier.as_str().as_bytes()])
}

fn line<'a>(
    client: &'a Client,
    action: &'static str,
    hash: &[u8],
    at: DateTime<Utc>,
    details: serde_json::Value,
) -> Line<'a> {
    Line {
        action,
        entity_type: "identifier",
        entity_id: secret::hex(hash),
        actor: None,
        session_id: None,
        details,
        client,
        at,
    }
}
