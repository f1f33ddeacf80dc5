//! Proving who someone is: one-time codes (`otp`), what they prove (`token`), and the ways in: making an
//! account (`register`) and signing in (`sign_in`). What a sign-in gives is the session slice's.

pub mod device_token;
pub mod otp;
pub mod register;
pub mod sign_in;
mod store;
pub mod token;
pub mod verify;
