//! From a seed to digits, and nothing else.

use crate::secret::Keyring;

/// What a code is derived from. Key alone or seed alone gives no code.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which key, so that keys rotate.
    pub key_id: String,
    /// 16 random bytes, kept in the row and never returned.
    pub nonce: Vec<u8>,
    /// `register`, ...
    pub purpose: String,
    /// Normalised.
    pub identifier: String,
    /// How many digits, 4 to 10.
    pub digits: i16,
}

/// Derives the code: dynamic truncation (RFC 4226, section 5.3, over a SHA-256 MAC) of nonce, purpose
/// and identifier, each length-prefixed. None when the key is no longer known.
pub fn code(keys: &Keyring, seed: &Seed) -> Option<String> {
    let mac = keys.derive_with(&seed.key_id, "otp")?.mac(&[
        &seed.nonce,
        seed.purpose.as_bytes(),
        seed.identifier.as_bytes(),
    ]);
    let offset = usize::from(mac[31] & 0x0f);
    let word = u32::from_be_bytes([mac[offset] & 0x7f, mac[offset + 1], mac[offset + 2], mac[offset + 3]]);
    let digits = u32::try_from(seed.digits).unwrap_or(6).min(10);
    let width = usize::try_from(digits).unwrap_or(6);
    Some(format!("{:0width$}", u64::from(word) % 10_u64.pow(digits)))
}

#[cfg(test)]
mod tests {
    use super::code as code_of;
    use super::*;

    fn ring(id: &str, byte: u8) -> Keyring {
        let hex: String = (0..32).map(|n| format!("{:02x}", byte.wrapping_add(n))).collect();
        Keyring::parse(&format!("{id}:{hex}")).expect("ring")
    }

    fn seed() -> Seed {
        Seed {
            key_id: "a".into(),
            nonce: vec![1; 16],
            purpose: "login".into(),
            identifier: "ada@example.org".into(),
            digits: 6,
        }
    }

    #[test]
    fn a_code_is_bound_to_all_it_is_made_of() {
        let keys = ring("a", 1);
        let code = |seed: &Seed| code_of(&keys, seed).expect("code");
        let first = code(&seed());
        assert_eq!(first.len(), 6);
        assert_eq!(first, code(&seed()), "retries carry the same code");
        // over many nonces each change changes nearly every code
        let differs = |change: &dyn Fn(&mut Seed)| {
            (0..200_u8)
                .filter(|n| {
                    let mut one = Seed { nonce: vec![*n; 16], ..seed() };
                    let before = code(&one);
                    change(&mut one);
                    before != code(&one)
                })
                .count()
                >= 195
        };
        assert!(differs(&|s| s.purpose = "register".into()));
        assert!(differs(&|s| s.identifier = "bob@example.org".into()));
        assert!(differs(&|s| s.nonce[0] ^= 0xff));
        assert_ne!(code_of(&ring("a", 9), &seed()), Some(first));
        assert_eq!(code_of(&ring("b", 1), &seed()), None);
    }

    #[test]
    fn digits_are_evenly_used() {
        let keys = ring("a", 1);
        let mut first = [0_u32; 10];
        for n in 0..2_000_u32 {
            let seed = Seed { nonce: n.to_be_bytes().repeat(4), ..seed() };
            let code = code_of(&keys, &seed).expect("code");
            first[usize::from(code.as_bytes()[0] - b'0')] += 1;
        }
        assert!(first.iter().all(|count| (130..270).contains(count)), "{first:?}");
    }
}
