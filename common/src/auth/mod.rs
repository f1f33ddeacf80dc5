//! Proving who someone is: one-time codes (`otp`), what they prove (`token`), and the ways in: making an
//! account (`register`, or `classic` with the proof after) and signing in, by what a code proved (`sign_in`)
//! or by `password`. What a sign-in gives is the session slice's.

pub mod classic;
pub mod device_token;
pub mod otp;
pub mod password;
pub mod register;
pub mod sign_in;
mod store;
pub mod token;
pub mod verify;
