//! Second factors.

mod base32;
pub mod recovery;
pub mod totp;
