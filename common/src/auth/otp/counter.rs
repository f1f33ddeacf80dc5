//! In which row the sends and wrong tries of an identifier are counted: its own, or for its owner's
//! known device one of that device's, so that strangers who use the others up lock nobody out.

use crate::config::Config;
use crate::secret::sha256;
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

/// The row of a device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// As `device_tokens` has it.
    pub token_hash: [u8; 32],
    /// A keyed hash of identifier and token.
    pub row: [u8; 32],
}

impl Counter {
    pub(super) fn of(config: &Config, identifier: &Identifier, device_token: Option<&str>) -> Self {
        let key = config.keys.derive("identifier");
        let text = identifier.as_str().as_bytes();
        let device = device_token.map(|token| {
            let token_hash = sha256(token.as_bytes());
            Device { token_hash, row: key.mac(&[text, &token_hash]) }
        });
        Self { plain: key.mac(&[text]), device }
    }

    /// The rows it may lock.
    pub(super) fn locks(&self) -> impl Iterator<Item = [u8; 32]> + use<> {
        [self.plain].into_iter().chain(self.device.as_ref().map(|device| device.row))
    }
}

/// Counters as columns: everybody's row, hash of the token, the device's row.
pub(super) struct Columns<'a> {
    pub plain: Vec<&'a [u8]>,
    pub token: Vec<Option<&'a [u8]>>,
    pub device: Vec<Option<&'a [u8]>>,
    pub email: Vec<Option<&'a str>>,
    pub phone: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(all: impl Iterator<Item = (&'a Counter, &'a Identifier)>) -> Self {
        let mut columns = Self { plain: vec![], token: vec![], device: vec![], email: vec![], phone: vec![] };
        for (counter, identifier) in all {
            columns.plain.push(&counter.plain);
            columns.token.push(counter.device.as_ref().map(|device| device.token_hash.as_slice()));
            columns.device.push(counter.device.as_ref().map(|device| device.row.as_slice()));
            let (email, phone) = identifier.columns();
            columns.email.push(email);
            columns.phone.push(phone);
        }
        columns
    }
}
