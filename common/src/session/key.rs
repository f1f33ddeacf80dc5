//! The keys that sign access tokens: made when due, published ten minutes before their first use, kept
//! while tokens of theirs live. The private halves are sealed in the database; every process holds them
//! open and looks once a second whether there are others. No restart, nobody is signed out.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::access::Remembered;
use super::{Algorithm, after, store};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::{seal, secret};

/// How long a key is published before it signs: caches of the key set are no older.
const LEAD: Duration = Duration::from_secs(600);
/// How often other processes' keys are looked for.
const EVERY: Duration = Duration::from_secs(1);

/// A key, ready to use.
pub(super) struct Key {
    pub key_id: String,
    pub algorithm: jsonwebtoken::Algorithm,
    /// None: the secret it is sealed with is gone; it still verifies.
    pub private: Option<EncodingKey>,
    pub public: DecodingKey,
    active_from: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    published: serde_json::Value,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The keys of this process, and the signatures it found right.
#[derive(Debug, Default)]
pub struct Keys {
    held: RwLock<Arc<Vec<Key>>>,
    looked: RwLock<Option<Instant>>,
    pub(super) remembered: Remembered,
}

impl Keys {
    pub(super) fn all(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, keys: Vec<Key>) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Whether to look now: at most once a second, whoever asks.
    fn due(&self) -> bool {
        let mut looked = self.looked.write().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at.elapsed() >= EVERY);
        if due {
            *looked = Some(Instant::now());
        }
        due
    }
}

/// Looks for keys that other processes made, for a token of a key that is not held; at most once a second.
pub(super) async fn look(ctx: &Context) -> Result<()> {
    if ctx.keys.due() { load(ctx).await } else { Ok(()) }
}

/// Takes over the keys of the database, if they are others than those held.
async fn load(ctx: &Context) -> Result<()> {
    let rows = store::list_keys(&ctx.db, ctx.now()).await?;
    let held = ctx.keys.all();
    let same = held.len() == rows.len()
        && held.iter().zip(&rows).all(|(key, row)| {
            key.key_id == row.key_id && key.active_from == row.active_from && key.expires_at == row.expires_at
        });
    if !same {
        let keys: Result<Vec<Key>> = rows.into_iter().map(|row| open(ctx, row)).collect();
        ctx.keys.put(keys?);
    }
    Ok(())
}

/// The key to sign with now. Makes the first one.
pub(super) async fn signer(ctx: &Context) -> Result<(Arc<Vec<Key>>, usize)> {
    let now = ctx.now();
    // newest first
    let find = |keys: &[Key]| keys.iter().position(|key| key.active_from <= now && key.private.is_some());
    let held = ctx.keys.all();
    if let Some(at) = find(&held) {
        return Ok((held, at));
    }
    load(ctx).await?;
    if find(&ctx.keys.all()).is_none() {
        let newest = store::list_keys(&ctx.db, now).await?.first().map(|key| key.created_at);
        make(ctx, now, newest).await?;
        load(ctx).await?;
    }
    let held = ctx.keys.all();
    let at = find(&held).ok_or_else(|| Error::internal("no signing key"))?;
    Ok((held, at))
}

/// Makes the first key, if there is none, and keeps the keys up to date for as long as the process lives.
pub async fn follow(ctx: Context) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while let Err(error) = signer(&ctx).await {
        tracing::debug!(%error, "no signing key yet");
        every.tick().await;
    }
    loop {
        every.tick().await;
        if let Err(error) = load(&ctx).await {
            tracing::debug!(%error, "signing keys were not read");
        }
    }
}

/// The public keys (RFC 7517): those in use, those about to be, and those of tokens that still live.
///
/// # Errors
/// The database does not answer and no key is held.
pub async fn jwks(ctx: &Context) -> Result<serde_json::Value> {
    signer(ctx).await?;
    let keys: Vec<_> = ctx.keys.all().iter().map(|key| key.published.clone()).collect();
    Ok(json!({ "keys": keys }))
}

/// Makes the next key when the newest is old enough, by `TOKEN_KEY_LIFE`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct RotateSigningKeys {}

impl Job for RotateSigningKeys {
    const KIND: &'static str = "session.rotate_signing_keys";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match rotate(ctx, false).await {
            Ok(_) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// Makes the next key if it is due, or `now_or_never`. Answers whether one was made.
///
/// # Errors
/// The database does not answer.
pub async fn rotate(ctx: &Context, now_or_never: bool) -> Result<bool> {
    let now = ctx.now();
    let rows = store::list_keys(&ctx.db, now).await?;
    let wanted = ctx.config.session.algorithm.to_string();
    let due = rows.first().is_some_and(|newest| {
        now_or_never
            || newest.algorithm != wanted
            || after(newest.created_at, ctx.config.session.key_life) <= now
    });
    if due {
        make(ctx, after(now, LEAD), rows.first().map(|newest| newest.created_at)).await?;
        load(ctx).await?;
    }
    Ok(due)
}

/// Makes the key that follows the one made at `newest`, unless another process just did. Those before it
/// end when no token of theirs can live any more.
async fn make(ctx: &Context, active_from: DateTime<Utc>, newest: Option<DateTime<Utc>>) -> Result<()> {
    let algorithm = ctx.config.session.algorithm;
    let key_id = secret::hex(&secret::random::<8>());
    let pkcs8 = tokio::task::spawn_blocking(move || generate(algorithm)).await.map_err(Error::internal)??;
    let private = read(algorithm, &pkcs8)?;
    let mut public = Jwk::from_encoding_key(&private, jwt(algorithm)).map_err(Error::internal)?;
    public.common.key_id = Some(key_id.clone());
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    let row = store::SigningKey {
        sealed: seal::seal(&ctx.config.keys, "signing_key", key_id.as_bytes(), &pkcs8)?,
        key_id,
        algorithm: algorithm.to_string(),
        public_key: serde_json::to_value(public).map_err(Error::internal)?,
        created_at: ctx.now(),
        active_from,
        expires_at: None,
    };
    // tokens signed in the last moment, and a minute for clocks that differ
    let last = after(active_from, ctx.config.session.access_life + Duration::from_secs(60));
    let mut tx = ctx.db.begin().await?;
    store::lock_keys(&mut tx).await?;
    if store::insert_key(&mut tx, &row, newest.unwrap_or_default()).await? {
        store::set_keys_expiry(&mut tx, &row.key_id, last).await?;
    }
    tx.commit().await?;
    Ok(())
}

fn generate(algorithm: Algorithm) -> Result<Vec<u8>> {
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(Error::internal)?;
            let document = pair.to_pkcs8v1().map_err(Error::internal)?;
            Ok(document.as_ref().to_vec())
        }
        Algorithm::Es256 => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(Error::internal)?;
            Ok(document.as_ref().to_vec())
        }
        Algorithm::Rs256 => {
            let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(Error::internal)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(Error::internal)?;
            Ok(der.as_ref().to_vec())
        }
    }
}

fn jwt(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    }
}

/// The private half, from PKCS #8.
fn read(algorithm: Algorithm, pkcs8: &[u8]) -> Result<EncodingKey> {
    Ok(match algorithm {
        Algorithm::EdDsa => EncodingKey::from_ed_der(pkcs8),
        Algorithm::Es256 => EncodingKey::from_ec_der(pkcs8),
        Algorithm::Rs256 => {
            let text = STANDARD.encode(pkcs8);
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
            EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(Error::internal)?
        }
    })
}

fn open(ctx: &Context, row: store::SigningKey) -> Result<Key> {
    let algorithm: Algorithm = row.algorithm.parse().map_err(|error: String| Error::internal(error))?;
    let private = seal::open(&ctx.config.keys, "signing_key", row.key_id.as_bytes(), &row.sealed);
    if private.is_none() {
        tracing::warn!(key_id = row.key_id, "KERYU_SECRET_KEY no longer holds what seals this signing key");
    }
    let public: Jwk = serde_json::from_value(row.public_key.clone()).map_err(Error::internal)?;
    Ok(Key {
        key_id: row.key_id,
        algorithm: jwt(algorithm),
        private: private.map(|pkcs8| read(algorithm, &pkcs8)).transpose()?,
        public: DecodingKey::from_jwk(&public).map_err(Error::internal)?,
        active_from: row.active_from,
        expires_at: row.expires_at,
        published: row.public_key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_signs_what_it_verifies() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let private = read(algorithm, &generate(algorithm).expect("key")).expect("private");
            let public = Jwk::from_encoding_key(&private, jwt(algorithm)).expect("public");
            let claims = json!({ "sub": "x", "exp": 4_000_000_000_u64 });
            let header = jsonwebtoken::Header::new(jwt(algorithm));
            let token = jsonwebtoken::encode(&header, &claims, &private).expect("token");
            let (public, rules) =
                (DecodingKey::from_jwk(&public), jsonwebtoken::Validation::new(jwt(algorithm)));
            let read = jsonwebtoken::decode::<serde_json::Value>(token, &public.expect("key"), &rules);
            assert_eq!(read.expect("claims").claims["sub"], "x");
        }
    }
}
