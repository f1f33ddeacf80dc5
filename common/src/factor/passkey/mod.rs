//! Passkeys: WebAuthn credentials (W3C Web Authentication Level 3), discoverable and with user
//! verification, so that one alone is two factors. `register` makes them, `login` signs in with them,
//! `keep` lists, names and removes them; both ceremonies are checked in `ceremony`, over `data` (what
//! browsers and authenticators write) and `cose` (public keys). SQL in `store`.
//!
//! No attestation is asked for: which make an authenticator is decides nothing here.

mod ceremony;
mod config;
mod cose;
mod data;
mod keep;
mod login;
mod register;
mod store;

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

pub use ceremony::{Assertion, Registration};
pub use config::Config;
pub use cose::ALGORITHMS;
pub(super) use keep::remove_for;
pub use keep::{list, remove, rename};
pub use login::{Answer, Asked, Login, ask, login};
pub(super) use login::{Proved, Purpose, prove};
pub use register::{Finish, Options, finish, start};
pub use store::Listed;

use crate::context::Context;
use crate::error::{Code, Result};
use crate::{id, secret};

/// The challenge is none of ours that may be answered.
pub const CHALLENGE: Code = Code {
    code: "passkey.challenge",
    status: 422,
    title: "The challenge cannot be answered",
    advice: "Start again: a challenge is answered once, within five minutes, by whom it was given to.",
};
/// The answer does not hold.
pub const INVALID: Code = Code {
    code: "passkey.invalid",
    status: 422,
    title: "The passkey's answer is not accepted",
    advice: "Start again; `detail` names what did not hold.",
};
/// The credential is registered already.
pub const EXISTS: Code = Code {
    code: "passkey.exists",
    status: 409,
    title: "The passkey is registered already",
    advice: "Use it, or make another.",
};
/// Nobody needs more.
pub const TOO_MANY: Code = Code {
    code: "passkey.too_many",
    status: 409,
    title: "There are twenty passkeys already",
    advice: "Remove one that is not used.",
};
/// No such passkey of this person.
pub const NOT_FOUND: Code = Code {
    code: "passkey.not_found",
    status: 404,
    title: "No such passkey",
    advice: "List the passkeys and use an id from there.",
};
/// Without it nobody could sign in any more.
pub const LAST: Code = Code {
    code: "passkey.last_way_in",
    status: 409,
    title: "The passkey is the last way in",
    advice: "Verify an e-mail address or a phone number, set a password, or add another passkey first.",
};
/// All refusals of passkeys.
pub const CODES: &[Code] = &[CHALLENGE, INVALID, EXISTS, TOO_MANY, NOT_FOUND, LAST];

/// How long a challenge may be answered.
pub const LIFE: Duration = Duration::from_secs(300);
const LIFE_DELTA: TimeDelta = TimeDelta::seconds(300);

/// Makes a challenge for an answer of `purpose`.
async fn challenge(
    ctx: &Context,
    purpose: &'static str,
    user_id: Option<Uuid>,
    session_id: Option<Uuid>,
) -> Result<store::NewChallenge> {
    let now = ctx.now();
    let new = store::NewChallenge {
        challenge_id: id::unguessable(),
        challenge: secret::random(),
        purpose,
        user_id,
        session_id,
        expires_at: now + LIFE_DELTA,
    };
    store::insert_challenge(&ctx.db, &new, now).await?;
    Ok(new)
}
