//! One-time codes: asking for one ([`request()`]) and proving it ([`verify`]). The derivation lives in
//! `code`, that of links in `link`, the limits in `budget`, which row they count in in `counter`, what is
//! sent to whom in `order`, how calls share transactions in `desk`, SQL in `store`. A code is never stored,
//! queued or logged.
//!
//! Known and unknown identifiers take the same path, write the same rows and get the same answer.
//! Whatever must be remembered of a refusal (a wrong try, a refused send) commits before the answer.

mod budget;
mod code;
mod counter;
mod desk;
pub mod link;
mod order;
mod proof;
mod purpose;
mod request;
pub mod sample;
mod store;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use budget::Config;
pub use code::{Seed, code};
pub(crate) use counter::rows;
pub use desk::Desk;
pub use proof::verify;
pub use purpose::Purpose;
pub(crate) use request::spend_sms;
pub use request::{request, request_in};

use crate::audit::{Client, Line};
use crate::error::{Code, Refusal, Result};
use crate::secret;
use crate::session::{Person, REQUIRED};
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
/// The purpose does not go with this identifier.
pub const NOT_YOURS: Code = Code {
    code: "otp.not_yours",
    status: 422,
    title: "The purpose does not go with this identifier",
    advice: "`verify_phone` and `verify_email` want your own unproved identifier, `delete_account` and `step_up` \
             a proved one, `change_identifier` a new one.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[COOLDOWN, BUDGET, SMS_BUDGET, INVALID, EXPIRED, LOCKED, NOT_YOURS];

/// How long a verification token works.
const TOKEN_LIFE: Duration = Duration::from_secs(600);

/// Somebody signed in, as codes know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Whose identifier it is about: their own account, or for staff one in their charge.
    pub user_id: Uuid,
    /// Who calls.
    pub actor: Uuid,
    /// In which session.
    pub session_id: Uuid,
}

impl From<&Person> for Bearer {
    fn from(person: &Person) -> Self {
        let user_id = person.user_id();
        Self { user_id, actor: user_id, session_id: person.session_id }
    }
}

/// A request for a code.
#[derive(Clone)]
pub struct Ask {
    /// To whom.
    pub identifier: Identifier,
    /// What for.
    pub purpose: Purpose,
    /// Who asks, if signed in; counts for the purposes that want it.
    pub bearer: Option<Bearer>,
    /// The account that waits for this proof: one just registered, or one whose password was right. It
    /// keeps what was set before when the identifier is proved by this code.
    pub bound_to: Option<Uuid>,
    /// Names a browser or app that signed in before.
    pub device_token: Option<String>,
}

impl Ask {
    /// For whoever sends the call.
    pub fn of(identifier: Identifier, purpose: Purpose) -> Self {
        Self { identifier, purpose, bearer: None, bound_to: None, device_token: None }
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("purpose", &self.purpose).finish_non_exhaustive()
    }
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
#[derive(Clone)]
pub struct Proof {
    /// Whose.
    pub identifier: Identifier,
    /// The digits as typed.
    pub otp: String,
    /// What for.
    pub purpose: Purpose,
    /// Which challenge; without it, those asked for from the same client address.
    pub challenge_id: Option<Uuid>,
    /// Who hands it in, if signed in; counts for the purposes that want it.
    pub bearer: Option<Bearer>,
    /// Names a browser or app that signed in before.
    pub device_token: Option<String>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// The right to act for an identifier, once.
#[derive(Clone)]
pub struct Verified {
    /// Opaque; shown once, kept as a hash.
    pub verification_token: String,
    /// How long it works.
    pub expires_in: Duration,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Who acts, for a purpose that wants somebody signed in; none for the others.
fn bearer(purpose: Purpose, bearer: Option<Bearer>) -> Result<Option<Bearer>, Refusal> {
    match (purpose.wants_bearer(), bearer) {
        (false, _) => Ok(None),
        (true, Some(bearer)) => Ok(Some(bearer)),
        (true, None) => Err(REQUIRED.refuse("Only somebody signed in asks for a code of this purpose.")),
    }
}

fn line<'a>(
    client: &'a Client,
    action: &'static str,
    hash: &[u8],
    bearer: Option<Bearer>,
    at: DateTime<Utc>,
    details: serde_json::Value,
) -> Line<'a> {
    Line {
        action,
        entity_type: "identifier",
        entity_id: secret::hex(hash),
        actor: bearer.map(|bearer| bearer.actor),
        session_id: bearer.map(|bearer| bearer.session_id),
        details,
        client,
        at,
    }
}
