//! `Idempotency-Key`: the outcome of a POST is saved in the verb's own transaction and given again to
//! the same call within a day. The key is kept as a hash, the body (which may hold a password) as a keyed
//! one, and the outcome sealed under the key given and the deployment's secret: neither alone opens it.
//!
//! The row is the lock. Of two parallel calls the second waits in [`begin`] until the first commits. A
//! verb that commits without [`finish`] (a refusal it remembers) leaves the key free.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::{Code, Error, Fault, Refusal, Result, VALIDATION};
use crate::seal;
use crate::secret::{Keyring, sha256};

/// The same key came with another body.
pub const MISMATCH: Code = Code {
    code: "idempotency.mismatch",
    status: 422,
    title: "The idempotency key was used for another request",
    advice: "Make a new key for each request; repeat a key only with the same body.",
};

/// The saved answer cannot be opened any more.
pub const LOST: Code = Code {
    code: "idempotency.lost",
    status: 409,
    title: "The saved answer can no longer be read",
    advice: "The request was carried out. Look up its result, or send a new request with a new key.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[MISMATCH, LOST];

/// How long an outcome is kept.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long an outcome that holds credentials is kept.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(600);

/// A key given by a client, bound to who gave it, where and with which body.
pub struct Key {
    hash: [u8; 32],
    /// Keyed hashes of the body, newest first.
    bodies: Vec<[u8; 32]>,
    life: Duration,
    /// Key id and sealing key, newest first.
    seals: Vec<(String, [u8; 32])>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("life", &self.life).finish_non_exhaustive()
    }
}

/// What a call with a key is to do.
#[derive(Debug, PartialEq)]
pub enum Begun {
    /// Go on, and [`finish`] before the commit.
    Fresh,
    /// Answer with this outcome.
    Replay(Vec<u8>),
}

impl Key {
    /// Binds the text of an `Idempotency-Key` field. `owner` is the actor or the client address, `route`
    /// the template.
    ///
    /// # Errors
    /// The text is empty, longer than 255 characters or holds something but visible ASCII.
    pub fn bind(keys: &Keyring, given: &str, owner: &str, route: &str, body: &[u8]) -> Result<Self, Refusal> {
        if given.is_empty() || given.len() > 255 || !given.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            let fault =
                Fault::at("", "idempotency.key", "Idempotency-Key is 1 to 255 visible ASCII characters.");
            return Err(Refusal {
                faults: vec![fault],
                ..VALIDATION.refuse("The Idempotency-Key field is not valid.")
            });
        }
        let scope = [owner.as_bytes(), route.as_bytes(), given.as_bytes()];
        let of_body = [b"body", scope[0], scope[1], scope[2], body];
        let (seals, bodies) = keys
            .derive_all("idempotency")
            .map(|(id, key)| ((id.to_owned(), key.mac(&scope)), key.mac(&of_body)))
            .unzip();
        let mut name = Vec::with_capacity(given.len() + owner.len() + route.len() + 24);
        for part in scope {
            name.extend_from_slice(&(part.len() as u64).to_be_bytes());
            name.extend_from_slice(part);
        }
        Ok(Self { hash: sha256(&name), bodies, life: LIFE, seals })
    }

    /// For outcomes that hold credentials: kept ten minutes.
    #[must_use]
    pub fn with_credentials(self) -> Self {
        Self { life: CREDENTIALS_LIFE, ..self }
    }

    /// Key id, nonce, sealed outcome.
    fn seal(&self, outcome: &[u8]) -> Result<Vec<u8>> {
        let (id, key) = self.seals.first().ok_or_else(|| Error::internal("no key to seal with"))?;
        let mut sealed = vec![u8::try_from(id.len()).unwrap_or(u8::MAX)];
        sealed.extend_from_slice(id.as_bytes());
        sealed.extend_from_slice(&seal::seal_with(key, &self.hash, outcome)?);
        Ok(sealed)
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = sealed.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (_, key) = self.seals.iter().find(|(known, _)| known.as_bytes() == id)?;
        seal::open_with(key, &self.hash, rest)
    }
}

/// Takes the key within the verb's transaction. Waits for a parallel call with the same key.
///
/// # Errors
/// `idempotency.mismatch`, `idempotency.lost`, or the database does not answer.
pub async fn begin(tx: &mut PgConnection, now: DateTime<Utc>, key: &Key) -> Result<Begun> {
    let fresh = sqlx::query_scalar!(
        r#"INSERT INTO idempotency_keys AS k (key_hash, body_hash, created_at, expires_at)
           VALUES ($1, $2, $3, $4)
           ON CONFLICT (key_hash) DO UPDATE
           SET body_hash = excluded.body_hash, outcome = NULL,
               created_at = excluded.created_at, expires_at = excluded.expires_at
           WHERE k.outcome IS NULL OR k.expires_at <= excluded.created_at
           RETURNING true AS "fresh!""#,
        &key.hash,
        key.bodies.first().map_or(&[][..], |hash| hash.as_slice()),
        now,
        now + key.life,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if fresh.is_some() {
        return Ok(Begun::Fresh);
    }
    let saved = sqlx::query!(
        r#"SELECT body_hash, outcome AS "outcome!" FROM idempotency_keys WHERE key_hash = $1"#,
        &key.hash,
    )
    .fetch_one(tx)
    .await?;
    let outcome = key.open(&saved.outcome);
    let outcome = outcome.ok_or_else(|| LOST.refuse("The key that sealed the saved answer is gone."))?;
    if !key.bodies.iter().any(|hash| hash.as_slice() == saved.body_hash) {
        return Err(MISMATCH.refuse("This Idempotency-Key was sent before with another body.").into());
    }
    Ok(Begun::Replay(outcome))
}

/// Saves the outcome within the verb's transaction.
///
/// # Errors
/// The database does not answer.
pub async fn finish(tx: &mut PgConnection, key: &Key, outcome: &[u8]) -> Result<()> {
    let sealed = key.seal(outcome)?;
    sqlx::query!("UPDATE idempotency_keys SET outcome = $2 WHERE key_hash = $1", &key.hash, sealed)
        .execute(tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{hex, random};

    fn ring(ids: &str) -> Keyring {
        let parts: Vec<String> =
            ids.chars().map(|id| format!("{id}:{}", hex(&[id as u8, 7].repeat(16)))).collect();
        Keyring::parse(&parts.join(",")).expect("ring")
    }

    fn bind(ring: &Keyring, given: &str, owner: &str) -> Key {
        Key::bind(ring, given, owner, "/api/x", b"{}").expect("key")
    }

    #[test]
    fn an_outcome_opens_under_its_key_alone() {
        let sealed = bind(&ring("a"), "k1", "me").seal(b"answer").expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"answer"));
        assert_eq!(bind(&ring("a"), "k1", "me").open(&sealed), Some(b"answer".to_vec()));
        assert_eq!(bind(&ring("ba"), "k1", "me").open(&sealed), Some(b"answer".to_vec()), "after a rotation");
        for (ids, given, owner) in [("a", "k2", "me"), ("a", "k1", "you"), ("b", "k1", "me")] {
            assert_eq!(bind(&ring(ids), given, owner).open(&sealed), None, "{ids} {given} {owner}");
        }
        for cut in 0..sealed.len() {
            assert_eq!(bind(&ring("a"), "k1", "me").open(&sealed[..cut]), None);
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        let long = "a".repeat(256);
        for given in ["", "a\u{7f}b", "a\nb", "é", long.as_str()] {
            assert!(Key::bind(&ring("a"), given, "me", "/", b"").is_err(), "{given:?}");
        }
        let random = hex(&random::<16>());
        assert!(Key::bind(&ring("a"), &random, "me", "/", b"").is_ok());
    }
}
