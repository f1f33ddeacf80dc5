//! Argon2id (RFC 9106) in PHC strings. No thread and no queue here: see `hasher`.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::error::{Error, Result};
use crate::secret;

/// Bytes of a salt (RFC 9106, 3.1) and of what is kept.
const SALT: usize = 16;
const OUTPUT: usize = 32;

/// What one hash costs. One lane: a hash is one thread's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// KiB of memory.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    fn params(self) -> Result<Params> {
        Params::new(self.memory, self.passes, 1, Some(OUTPUT)).map_err(Error::internal)
    }
}

/// The memory of one thread, kept between hashes: asking the system for it anew costs a page fault for
/// each of its pages.
#[derive(Default)]
pub struct Memory(Vec<Block>);

impl Memory {
    fn of(&mut self, params: &Params) -> &mut [Block] {
        if self.0.len() < params.block_count() {
            self.0.resize(params.block_count(), Block::new());
        }
        &mut self.0
    }
}

/// Hashes with a salt of its own.
///
/// # Errors
/// A defect: a cost that Argon2 does not take.
pub fn hash(memory: &mut Memory, cost: Cost, text: &[u8]) -> Result<String> {
    let params = cost.params()?;
    let salt = secret::random::<SALT>();
    let params_text = ParamsString::try_from(&params).map_err(Error::internal)?;
    let output = derive(memory, Algorithm::Argon2id, Version::V0x13, params, text, &salt)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params_text,
        salt: Some(Salt::new(&salt).map_err(Error::internal)?),
        hash: Some(Output::new(&output).map_err(Error::internal)?),
    };
    Ok(hash.to_string())
}

/// Whether the text is what was hashed. Without a hash: no, at the same price.
///
/// # Errors
/// The stored hash is not of our form.
pub fn verify(memory: &mut Memory, cost: Cost, stored: Option<&str>, text: &[u8]) -> Result<bool> {
    let Some(stored) = stored else {
        let salt = secret::random::<SALT>();
        let output = derive(memory, Algorithm::Argon2id, Version::V0x13, cost.params()?, text, &salt)?;
        return Ok(secret::equal(&output, &secret::random::<OUTPUT>()));
    };
    let stored = PasswordHash::new(stored).map_err(Error::internal)?;
    let algorithm = Algorithm::try_from(stored.algorithm.as_str()).map_err(Error::internal)?;
    let version = stored.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(Error::internal)?;
    let params = Params::try_from(&stored).map_err(Error::internal)?;
    let (Some(salt), Some(wanted)) = (stored.salt, stored.hash) else {
        return Err(Error::internal("a stored hash without salt or hash"));
    };
    let output = derive(memory, algorithm, version, params, text, &salt)?;
    Ok(secret::equal(&output, wanted.as_bytes()))
}

/// Whether a stored hash was made at less (or otherwise) than this cost.
pub fn needs_rehash(stored: &str, cost: Cost) -> bool {
    let read = PasswordHash::new(stored).ok().and_then(|hash| {
        let params = Params::try_from(&hash).ok()?;
        Some((hash.algorithm.as_str() == Algorithm::Argon2id.as_str(), params))
    });
    read.is_none_or(|(id, params)| {
        !id || params.m_cost() < cost.memory || params.t_cost() < cost.passes || params.p_cost() != 1
    })
}

fn derive(
    memory: &mut Memory,
    algorithm: Algorithm,
    version: Version,
    params: Params,
    text: &[u8],
    salt: &[u8],
) -> Result<Vec<u8>> {
    let mut output = vec![0; params.output_len().unwrap_or(OUTPUT)];
    let blocks = memory.of(&params);
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(text, salt, &mut output, blocks)
        .map_err(Error::internal)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory: 64, passes: 2 };

    #[test]
    fn the_right_password_verifies_and_no_other() {
        let mut memory = Memory::default();
        let stored = hash(&mut memory, CHEAP, b"correct horse").expect("hash");
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{stored}");
        let mut is =
            |stored: Option<&str>, text: &[u8]| verify(&mut memory, CHEAP, stored, text).expect("verdict");
        assert!(is(Some(&stored), b"correct horse"));
        assert!(!is(Some(&stored), b"correct horsf"));
        assert!(!is(Some(&stored), b""));
        assert!(!is(None, b"correct horse"));
        assert_ne!(stored, hash(&mut memory, CHEAP, b"correct horse").expect("hash"), "salted");
    }

    /// Memory used for another cost and another password leaves no trace.
    #[test]
    fn memory_is_reused_without_a_trace() {
        let mut memory = Memory::default();
        let stored = hash(&mut Memory::default(), CHEAP, b"one").expect("hash");
        hash(&mut memory, Cost { memory: 256, passes: 1 }, b"another").expect("hash");
        assert!(verify(&mut memory, CHEAP, Some(&stored), b"one").expect("verdict"));
    }

    /// Made with the reference implementation (phc-winner-argon2): `argon2 somesalt -id -t 2 -m 16 -p 1`.
    #[test]
    fn hashes_of_the_reference_implementation_verify() {
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify(&mut Memory::default(), CHEAP, Some(stored), b"password").expect("verdict"));
    }

    #[test]
    fn a_hash_is_made_anew_when_the_setting_rose() {
        let stored = hash(&mut Memory::default(), CHEAP, b"x").expect("hash");
        for (memory, passes, anew) in [(64, 2, false), (65, 2, true), (64, 3, true), (8, 1, false)] {
            assert_eq!(needs_rehash(&stored, Cost { memory, passes }), anew, "m={memory} t={passes}");
        }
        assert!(needs_rehash("$2b$12$abc", CHEAP));
        assert!(verify(&mut Memory::default(), CHEAP, Some("nonsense"), b"x").is_err());
    }
}
