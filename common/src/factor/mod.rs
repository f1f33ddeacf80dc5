//! Second factors.

mod base32;
pub mod passkey;
pub mod recovery;
pub mod totp;
