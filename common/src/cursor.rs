//! Cursors of lists: a place in one list of one person's, signed, so that it is good for nothing else. Of lists
//! that run newest first the place is a moment and an id, of those by name the last name seen.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{Fault, Refusal, invalid};
use crate::secret::{Derived, Keyring, equal};

/// Bytes of a place: a moment and an id.
const PLACE: usize = 24;
/// Bytes of its signature.
const SIGNATURE: usize = 16;

/// A place in a list: what comes next lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The moment of the last row seen.
    pub at: DateTime<Utc>,
    /// Its id, among those of the same moment.
    pub id: Uuid,
}

fn sign(key: &Derived, list: &str, owner: Uuid, place: &[u8]) -> [u8; 32] {
    key.mac(&[list.as_bytes(), owner.as_bytes(), place])
}

fn encode(keys: &Keyring, list: &str, owner: Uuid, mut place: Vec<u8>) -> String {
    let signature = sign(&keys.derive("cursor"), list, owner, &place);
    place.extend_from_slice(&signature[..SIGNATURE]);
    URL_SAFE_NO_PAD.encode(place)
}

fn decode(keys: &Keyring, list: &str, owner: Uuid, text: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let signature = bytes.split_off(bytes.len().checked_sub(SIGNATURE)?);
    let mut all = keys.derive_all("cursor");
    all.find(|(_, key)| equal(&sign(key, list, owner, &bytes)[..SIGNATURE], &signature))?;
    Some(bytes)
}

fn foreign() -> Refusal {
    let told = "The parameter cursor is not one that this list gave out.";
    invalid(vec![Fault::at("", "field.format", told)])
}

/// The text of a place in `list`, for `owner` alone.
pub fn write(keys: &Keyring, list: &str, owner: Uuid, place: Place) -> String {
    let mut bytes = place.at.timestamp_micros().to_be_bytes().to_vec();
    bytes.extend_from_slice(place.id.as_bytes());
    encode(keys, list, owner, bytes)
}

/// The place of a text that [`write`] made for this list and owner.
///
/// # Errors
/// `request.invalid` for any other.
pub fn read(keys: &Keyring, list: &str, owner: Uuid, text: &str) -> Result<Place, Refusal> {
    find(keys, list, owner, text).ok_or_else(foreign)
}

fn find(keys: &Keyring, list: &str, owner: Uuid, text: &str) -> Option<Place> {
    let place = decode(keys, list, owner, text).filter(|bytes| bytes.len() == PLACE)?;
    let (at, id) = place.split_first_chunk::<8>()?;
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*at))?;
    Some(Place { at, id: Uuid::from_slice(id).ok()? })
}

/// The text of the place behind `name` in `list`, for `owner` alone.
pub fn write_name(keys: &Keyring, list: &str, owner: Uuid, name: &str) -> String {
    encode(keys, list, owner, name.as_bytes().to_vec())
}

/// The name of a text that [`write_name`] made for this list and owner.
///
/// # Errors
/// `request.invalid` for any other.
pub fn read_name(keys: &Keyring, list: &str, owner: Uuid, text: &str) -> Result<String, Refusal> {
    let name = decode(keys, list, owner, text).and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Uuid = Uuid::from_u128(1);
    const BOB: Uuid = Uuid::from_u128(2);

    fn ring(text: &str) -> Keyring {
        Keyring::parse(text).expect("ring")
    }

    #[test]
    fn a_cursor_is_good_for_its_list_and_its_owner_alone() {
        let old = "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let keys = ring(old);
        let place =
            Place { at: DateTime::from_timestamp_micros(1_793_000_000_123_456).expect("time"), id: BOB };
        let text = write(&keys, "notifications", ADA, place);
        assert_eq!(read(&keys, "notifications", ADA, &text), Ok(place));
        let new = ring(&format!("b:{},{old}", "ab01".repeat(16)));
        assert_eq!(read(&new, "notifications", ADA, &text), Ok(place), "after a rotation");
        assert!(read(&keys, "jobs", ADA, &text).is_err());
        assert!(read(&keys, "notifications", BOB, &text).is_err());
        for n in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[n] = if other[n] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("ascii");
            assert!(read(&keys, "notifications", ADA, &other).is_err(), "{n}");
        }
        for other in ["", "x", "\u{0}", &text[1..], &format!("{text}A"), &format!("{text}=")] {
            assert!(read(&keys, "notifications", ADA, other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_place_by_name_is_read_back_in_its_list_alone() {
        let keys = ring("a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        for name in ["", "école", "a name of twenty-four b"] {
            let text = write_name(&keys, "departments", ADA, name);
            assert_eq!(read_name(&keys, "departments", ADA, &text).as_deref(), Ok(name));
            assert!(read_name(&keys, "programmes", ADA, &text).is_err());
            assert!(read_name(&keys, "departments", BOB, &text).is_err());
            assert!(read_name(&keys, "departments", ADA, &text[1..]).is_err());
        }
        assert!(read_name(&keys, "departments", ADA, "").is_err());
    }
}
