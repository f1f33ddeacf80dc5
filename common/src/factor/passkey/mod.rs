//! Passkeys.

mod ceremony;
mod cose;
mod data;
