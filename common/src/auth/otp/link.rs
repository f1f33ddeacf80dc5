//! From a seed to the token of a link, and back to its challenge. Nothing else: whether the challenge
//! still stands is for whoever reads its row.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::Seed;
use crate::secret::{self, Keyring};

/// Where the link of an e-mail address leads, below `KERYU_PUBLIC_URL`; the token follows.
pub const PATH: &str = "/api/users/verify/email/";

/// Bytes of the MAC that a token carries: 128 bits (NIST SP 800-107, 5.3.4).
const MAC: usize = 16;

/// The token: the challenge's id and a MAC over it, the nonce, purpose and identifier. None when the key
/// is no longer known. It is made when the mail is sent, and kept nowhere.
pub fn token(keys: &Keyring, challenge_id: Uuid, seed: &Seed) -> Option<String> {
    let mac = mac(keys, challenge_id, seed)?;
    Some(URL_SAFE_NO_PAD.encode([challenge_id.as_bytes(), &mac[..]].concat()))
}

/// The challenge that a token names, and the MAC it shows. None for what is no token.
pub fn read(token: &str) -> Option<(Uuid, [u8; MAC])> {
    let bytes: [u8; 16 + MAC] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (id, mac) = bytes.split_at(16);
    Some((Uuid::from_slice(id).ok()?, mac.try_into().ok()?))
}

/// Whether a token's MAC is that of this challenge, in constant time.
pub fn is_of(keys: &Keyring, challenge_id: Uuid, seed: &Seed, shown: &[u8; MAC]) -> bool {
    mac(keys, challenge_id, seed).is_some_and(|mac| secret::equal(&mac, shown))
}

fn mac(keys: &Keyring, challenge_id: Uuid, seed: &Seed) -> Option<[u8; MAC]> {
    let key = keys.derive_with(&seed.key_id, "link")?;
    let parts: [&[u8]; 4] =
        [challenge_id.as_bytes(), &seed.nonce, seed.purpose.as_bytes(), seed.identifier.as_bytes()];
    key.mac(&parts)[..MAC].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(id: &str) -> Keyring {
        Keyring::parse(&format!("{id}:{}", secret::hex(&[3, 7].repeat(16)))).expect("ring")
    }

    fn seed() -> Seed {
        Seed {
            key_id: "a".into(),
            nonce: vec![1; 16],
            purpose: "verify_email_link".into(),
            identifier: "ada@example.org".into(),
            digits: 6,
        }
    }

    #[test]
    fn a_token_is_read_back_and_bound_to_all_it_is_made_of() {
        let (keys, id) = (ring("a"), Uuid::from_u128(7));
        let token = token(&keys, id, &seed()).expect("token");
        assert_eq!(token.len(), 43);
        let (named, mac) = read(&token).expect("read");
        assert_eq!(named, id);
        assert!(is_of(&keys, id, &seed(), &mac));
        let other = |seed: Seed| is_of(&keys, id, &seed, &mac);
        assert!(!other(Seed { nonce: vec![2; 16], ..seed() }));
        assert!(!other(Seed { identifier: "bob@example.org".into(), ..seed() }));
        assert!(!other(Seed { purpose: "verify_email".into(), ..seed() }));
        assert!(!is_of(&keys, Uuid::from_u128(8), &seed(), &mac));
        assert!(!is_of(&ring("b"), id, &seed(), &mac));
    }

    #[test]
    fn what_is_no_token_names_nothing() {
        let token = token(&ring("a"), Uuid::from_u128(7), &seed()).expect("token");
        let long = token.repeat(200);
        for odd in ["", "x", "=", "\0", "é", &token[1..], long.as_str(), &format!("{token}=")] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }
}
