//! Proving who someone is. So far: one-time codes.

pub mod otp;
pub mod password;
