//! One-time codes: asking for one and proving it.

use std::time::Duration;

use uuid::Uuid;

use crate::audit::Client;
use crate::config::{Source, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::idempotency::Key;
use crate::secret::Keyring;
use crate::user::Identifier;

/// Settings of codes.
#[derive(Clone, Debug)]
pub struct Config {
    /// `OTP_DIGITS`.
    pub digits: u8,
    /// `OTP_LIFE`.
    pub life: Duration,
}

impl Config {
    pub(crate) fn read(source: &mut Source, _stage: Stage) -> Self {
        Self { digits: source.get("OTP_DIGITS", 6), life: source.span("OTP_LIFE", Duration::from_secs(300)) }
    }
}

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Making an account.
    Register,
    /// Signing in.
    Login,
    /// Choosing a new password.
    ResetPassword,
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
#[derive(Clone, Debug)]
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
    /// Opaque; shown once.
    pub verification_token: String,
    /// How long it works.
    pub expires_in: Duration,
}

/// Asks for a code.
///
/// # Errors
/// `otp.cooldown`, `otp.budget`, `otp.sms_budget`.
pub async fn request(_ctx: &Context, _client: &Client, _ask: Ask, _key: Option<&Key>) -> Result<Issued> {
    Err(Error::internal("not built yet"))
}

/// Proves a code.
///
/// # Errors
/// `otp.invalid`, `otp.expired`, `otp.locked`.
pub async fn verify(_ctx: &Context, _client: &Client, _proof: Proof) -> Result<Verified> {
    Err(Error::internal("not built yet"))
}

/// What a code is derived from.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which key.
    pub key_id: String,
    /// 16 random bytes.
    pub nonce: Vec<u8>,
    /// `register`, ...
    pub purpose: String,
    /// Normalised.
    pub identifier: String,
    /// How many digits.
    pub digits: i16,
}

/// Derives the code: HOTP truncation (RFC 4226) of an HMAC over nonce, purpose and identifier. None
/// when the key is no longer known.
pub fn code(keys: &Keyring, seed: &Seed) -> Option<String> {
    let mac = keys.derive_with(&seed.key_id, "otp")?.mac(&[
        &seed.nonce, seed.purpose.as_bytes(), seed.identifier.as_bytes(),
    ]);
    let offset = usize::from(mac[31] & 0x0f);
    let word = u32::from_be_bytes([mac[offset] & 0x7f, mac[offset + 1], mac[offset + 2], mac[offset + 3]]);
    let digits = u32::try_from(seed.digits).unwrap_or(6);
    let width = usize::try_from(digits).unwrap_or(6);
    Some(format!("{:0width$}", u64::from(word) % 10_u64.pow(digits)))
}

/// What a request for a code may be refused with.
pub const REQUEST_CODES: &[crate::error::Code] = &[];
/// What a code handed in may be refused with.
pub const VERIFY_CODES: &[crate::error::Code] = &[];
