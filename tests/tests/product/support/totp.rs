//! An authenticator app: RFC 6238 read anew, so that the product is not checked by itself.

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};

/// An app with a secret as a person typed it.
pub struct App(Vec<u8>);

impl App {
    /// Reads base32 (RFC 4648).
    pub fn with(secret: &str) -> Self {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let bits: String =
            secret.chars().map(|c| format!("{:05b}", ALPHABET.find(c).expect("base32"))).collect();
        let bytes = bits.as_bytes().chunks_exact(8);
        Self(
            bytes
                .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).expect("bits"), 2).expect("byte"))
                .collect(),
        )
    }

    /// What it shows at a moment.
    pub fn shows(&self, at: DateTime<Utc>) -> String {
        let counter = (at.timestamp() / 30).to_be_bytes();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0), &counter);
        let tag = tag.as_ref();
        let offset = usize::from(tag[19] & 15);
        let number = u32::from_be_bytes(tag[offset..offset + 4].try_into().expect("four bytes"));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}
