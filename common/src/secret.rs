//! Keys and what is made of them. Nothing derived here may be logged, stored or queued in the clear.

use aws_lc_rs::{constant_time, digest, hkdf, hmac, rand};

/// Random bytes from the operating system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if rand::fill(&mut bytes).is_err() {
        // no randomness: going on would hand out guessable secrets
        std::process::abort();
    }
    bytes
}

/// The deployment's secret keys (`KERYU_SECRET_KEY`), newest first. Old ones still verify.
#[derive(Clone)]
pub struct Keyring(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: String,
    secret: Vec<u8>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// A key derived for one use. A caller can sign with it and nothing else.
pub struct Derived(hmac::Key);

impl Keyring {
    /// Reads `id:hex[,id:hex]`.
    ///
    /// # Errors
    /// Says which part is malformed, short (under 32 bytes), weak (one repeated byte) or named twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (n, part) in text.split(',').map(str::trim).enumerate() {
            let n = n + 1;
            let (id, hex) = part.split_once(':').ok_or(format!("key {n} is not of the form id:hex"))?;
            if id.is_empty() || id.len() > 16 || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                return Err(format!("key {n} has an id that is not 1 to 16 letters, digits or dashes"));
            }
            let secret = unhex(hex).ok_or(format!("key {n} is not hexadecimal"))?;
            if secret.len() < 32 {
                return Err(format!("key {n} is shorter than 32 bytes"));
            }
            if secret.iter().all(|byte| Some(byte) == secret.first()) {
                return Err(format!("key {n} is one byte repeated"));
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(format!("key {n} has the id of an earlier one"));
            }
            keys.push(Key { id: id.to_owned(), secret });
        }
        Ok(Self(keys))
    }

    /// The id of the key that new secrets are made with.
    pub fn current(&self) -> &str {
        self.0.first().map_or("", |key| key.id.as_str())
    }

    /// The key for one purpose under the current secret.
    pub fn derive(&self, purpose: &'static str) -> Derived {
        // `parse` never gives an empty ring
        self.0.first().map_or_else(
            || Derived(hmac::Key::new(hmac::HMAC_SHA256, &random::<32>())),
            |key| key.derive(purpose),
        )
    }

    /// Every key for one purpose with its id, newest first.
    pub fn derive_all(&self, purpose: &'static str) -> impl Iterator<Item = (&str, Derived)> {
        self.0.iter().map(move |key| (key.id.as_str(), key.derive(purpose)))
    }

    /// The key for one purpose under the secret named, if it is still known.
    pub fn derive_with(&self, id: &str, purpose: &'static str) -> Option<Derived> {
        self.0.iter().find(|key| key.id == id).map(|key| key.derive(purpose))
    }
}

impl Key {
    /// HKDF-SHA256 (RFC 5869), the purpose as info.
    fn derive(&self, purpose: &'static str) -> Derived {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"keryu").extract(&self.secret);
        let mut bytes = [0; 32];
        let info = [purpose.as_bytes()];
        let filled = prk.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes));
        if filled.is_err() {
            std::process::abort(); // 32 bytes of HKDF-SHA256 always fit
        }
        Derived(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

impl Derived {
    /// HMAC-SHA256 over the parts, each length-prefixed, so that no two lists of parts collide.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

/// SHA-256 of a token that is random enough to need no salt.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Compares in constant time (for equal lengths).
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn keys_are_told_apart_and_old_ones_still_derive() {
        let old = Keyring::parse(A).expect("ring");
        let both = format!("b:{},{A}", hex(&[7, 8].repeat(16)));
        let new = Keyring::parse(&both).expect("ring");
        assert_eq!(new.current(), "b");
        let mac = |key: Derived| key.mac(&[b"x"]);
        assert_eq!(mac(old.derive("otp")), mac(new.derive_with("a", "otp").expect("a")));
        assert_ne!(mac(new.derive("otp")), mac(new.derive_with("a", "otp").expect("a")));
        assert_ne!(mac(old.derive("otp")), mac(old.derive("audit")));
        assert!(new.derive_with("c", "otp").is_none());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = Keyring::parse(A).expect("ring").derive("otp");
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
    }

    #[test]
    fn weak_keys_are_refused_and_never_shown() {
        let zeros = format!("a:{}", "00".repeat(32));
        for (text, wanted) in [
            ("", "form"),
            ("a:xyz", "hexadecimal"),
            ("a:abcd", "shorter"),
            (zeros.as_str(), "repeated"),
            ("a b:00", "id"),
            (&format!("{A},{A}"), "earlier"),
        ] {
            let fault = Keyring::parse(text).expect_err(text);
            assert!(fault.contains(wanted), "{fault}");
        }
        assert_eq!(format!("{:?}", Keyring::parse(A).expect("ring")), "[\"a\"]");
    }
}
