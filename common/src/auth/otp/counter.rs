//! In which row the sends and wrong tries of an identifier are counted: its own, or for its owner's
//! known devices others, so that strangers who use the first up lock nobody out. Sends of all known devices
//! share one row, for everybody may have as many devices as they sign in; wrong tries are each device's.

use crate::config::Config;
use crate::secret::{Derived, sha256};
use crate::user::Identifier;

/// The rows that come into question. Which it is, is decided beside the lock: the device's, if the token
/// shown is one of the person who has proved the identifier.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    /// Everybody's: a keyed hash of the identifier.
    pub plain: [u8; 32],
    /// The device's.
    pub device: Option<Device>,
}

/// The rows of a device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// As `device_tokens` has it.
    pub token_hash: [u8; 32],
    /// Of its wrong tries: a keyed hash of identifier and token.
    pub tries: [u8; 32],
    /// Of the sends of all known devices.
    pub sends: [u8; 32],
}

/// The row of the sends of all known devices of who has proved an identifier.
fn sends_of(key: &Derived, text: &str) -> [u8; 32] {
    key.mac(&[text.as_bytes(), b"devices"])
}

/// Every row that an identifier was ever counted in, under every key, given the tokens of its owner's
/// devices as hashes; that of everybody first.
pub(crate) fn rows(config: &Config, text: &str, tokens: &[Vec<u8>]) -> impl Iterator<Item = [u8; 32]> {
    config.keys.derive_all("identifier").flat_map(move |(_, key)| {
        let tries = tokens.iter().map(|token| key.mac(&[text.as_bytes(), token]));
        let tries: Vec<_> = tries.collect();
        [key.mac(&[text.as_bytes()]), sends_of(&key, text)].into_iter().chain(tries)
    })
}

impl Counter {
    pub(super) fn of(config: &Config, identifier: &Identifier, device_token: Option<&str>) -> Self {
        let key = config.keys.derive("identifier");
        let text = identifier.as_str().as_bytes();
        let device = device_token.map(|token| {
            let token_hash = sha256(token.as_bytes());
            let tries = key.mac(&[text, &token_hash]);
            Device { token_hash, tries, sends: sends_of(&key, identifier.as_str()) }
        });
        Self { plain: key.mac(&[text]), device }
    }

    /// The rows it may lock.
    pub(super) fn locks(&self) -> impl Iterator<Item = [u8; 32]> + use<> {
        let of_device = self.device.as_ref().map(|device| [device.tries, device.sends]);
        [self.plain].into_iter().chain(of_device.into_iter().flatten())
    }
}

/// Counters as columns: everybody's row, hash of the token, the device's rows.
pub(super) struct Columns<'a> {
    pub plain: Vec<&'a [u8]>,
    pub token: Vec<Option<&'a [u8]>>,
    pub tries: Vec<Option<&'a [u8]>>,
    pub sends: Vec<Option<&'a [u8]>>,
    pub email: Vec<Option<&'a str>>,
    pub phone: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(all: impl Iterator<Item = (&'a Counter, &'a Identifier)>) -> Self {
        let (plain, token, tries, sends) = (vec![], vec![], vec![], vec![]);
        let mut columns = Self { plain, token, tries, sends, email: vec![], phone: vec![] };
        for (counter, identifier) in all {
            columns.plain.push(&counter.plain);
            columns.token.push(counter.device.as_ref().map(|device| device.token_hash.as_slice()));
            columns.tries.push(counter.device.as_ref().map(|device| device.tries.as_slice()));
            columns.sends.push(counter.device.as_ref().map(|device| device.sends.as_slice()));
            let (email, phone) = identifier.columns();
            columns.email.push(email);
            columns.phone.push(phone);
        }
        columns
    }
}
