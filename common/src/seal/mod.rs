//! Sealing at rest: AES-256-GCM under a key per use, derived from `KERYU_SECRET_KEY`, its id beside the
//! text, so that keys rotate. What is sealed opens only for the same use and the same owner. Which columns
//! hold such texts says `column`; `rewrap` brings them to the newest key.

mod column;
mod rewrap;
mod store;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};

pub use column::Column;
pub use rewrap::{Rewrapped, rewrap};

use crate::error::{Error, Result};
use crate::secret::Keyring;

/// Bytes of a GCM nonce (NIST SP 800-38D).
const NONCE: usize = 12;

/// Seals under a key that is not the deployment's: nonce, sealed text, tag.
///
/// # Errors
/// A defect: the cipher takes every text.
pub fn seal_with(key: &[u8; 32], owner: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(Error::internal)?;
    let mut sealed = text.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(owner), &mut sealed).map_err(Error::internal)?;
    Ok([&nonce.as_ref()[..], &sealed].concat())
}

/// Opens what [`seal_with`] made; None for anything else.
pub fn open_with(key: &[u8; 32], owner: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = sealed.split_at_checked(NONCE)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    Some(key.open_in_place(nonce, Aad::from(owner), &mut text).ok()?.to_vec())
}

/// Seals under the newest key. `owner` (a row's id) is bound: in another row it does not open.
///
/// # Errors
/// A defect.
pub fn seal(keys: &Keyring, purpose: &'static str, owner: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let mut sealed = stamp(keys)?;
    let key = keys.derive(purpose);
    sealed.extend_from_slice(&seal_with(&key.mac(&[b"seal"]), owner, text)?);
    Ok(sealed)
}

/// What everything sealed under the newest key begins with: the length of its id, and the id.
fn stamp(keys: &Keyring) -> Result<Vec<u8>> {
    let id = keys.current();
    let mut stamp = vec![u8::try_from(id.len()).map_err(Error::internal)?];
    stamp.extend_from_slice(id.as_bytes());
    Ok(stamp)
}

/// Opens what [`seal`] made; None when its key is gone, or it is another owner's.
pub fn open(keys: &Keyring, purpose: &'static str, owner: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = sealed.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    let key = keys.derive_with(std::str::from_utf8(id).ok()?, purpose)?;
    open_with(&key.mac(&[b"seal"]), owner, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::hex;

    fn ring(ids: &str) -> Keyring {
        let keys: Vec<String> =
            ids.chars().map(|id| format!("{id}:{}", hex(&[id as u8, 3].repeat(16)))).collect();
        Keyring::parse(&keys.join(",")).expect("ring")
    }

    #[test]
    fn what_is_sealed_opens_for_its_use_and_owner_alone() {
        let sealed = seal(&ring("a"), "totp", b"ada", b"secret").expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        let opened = |ids: &str, purpose, owner: &[u8]| open(&ring(ids), purpose, owner, &sealed);
        assert_eq!(opened("a", "totp", b"ada").as_deref(), Some(&b"secret"[..]));
        assert_eq!(opened("ba", "totp", b"ada").as_deref(), Some(&b"secret"[..]), "after a rotation");
        assert_eq!(opened("b", "totp", b"ada"), None);
        assert_eq!(opened("a", "other", b"ada"), None);
        assert_eq!(opened("a", "totp", b"bob"), None);
        for cut in 0..sealed.len() {
            assert_eq!(open(&ring("a"), "totp", b"ada", &sealed[..cut]), None);
        }
    }
}
