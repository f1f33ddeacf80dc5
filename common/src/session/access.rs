//! Access tokens: JWTs by RFC 9068. Only the algorithm of the key that `kid` names is accepted, and no
//! key but ours: `jku`, `jwk`, `x5u` and `x5c` are not looked at. Verified signatures are remembered, by
//! SHA-256 of the token, in bounded memory; times are checked at each use.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::Key;
use super::{INVALID_TOKEN, after};
use crate::config::Config;
use crate::error::{Error, Refusal, Result};
use crate::id;
use crate::secret::sha256;

/// `typ` of an access token (RFC 9068, section 2.1).
const TYPE: &str = "at+jwt";
/// Verified tokens remembered; about 200 bytes each.
const REMEMBERED: usize = 20_000;
/// No token of ours is longer.
const LONGEST: usize = 2_048;

/// What an access token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: our public URL.
    pub iss: String,
    /// The user.
    pub sub: Uuid,
    /// Whom the token is for.
    pub aud: String,
    /// Seconds since 1970 at which it ends.
    pub exp: i64,
    /// Seconds since 1970 before which it does not work.
    pub nbf: i64,
    /// Seconds since 1970 at which it was made.
    pub iat: i64,
    /// Its own id.
    pub jti: Uuid,
    /// The session.
    pub sid: Uuid,
    /// The role when it was made; what the user may do is read live.
    pub role: String,
    /// What it may be used for.
    pub scope: String,
}

/// The facts of a verified token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verified {
    pub session_id: Uuid,
    pub user_id: Uuid,
    exp: i64,
    nbf: i64,
}

/// Signatures that were found right.
#[derive(Debug)]
pub(super) struct Remembered(Cache<[u8; 32], Verified>);

impl Default for Remembered {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

fn audience(config: &Config) -> &str {
    config.session.audience.as_deref().unwrap_or(&config.public_url)
}

/// Signs a token for a session.
pub(super) fn sign(
    config: &Config,
    key: &Key,
    now: DateTime<Utc>,
    (user_id, session_id): (Uuid, Uuid),
    role: &str,
) -> Result<String> {
    let header =
        Header { typ: Some(TYPE.to_owned()), kid: Some(key.key_id.clone()), ..Header::new(key.algorithm) };
    let claims = Claims {
        iss: config.public_url.clone(),
        sub: user_id,
        aud: audience(config).to_owned(),
        exp: after(now, config.session.access_life).timestamp(),
        nbf: now.timestamp(),
        iat: now.timestamp(),
        jti: id::unguessable(),
        sid: session_id,
        role: role.to_owned(),
        scope: "user".to_owned(),
    };
    let private = key.private.as_ref().ok_or_else(|| Error::internal("a key that cannot sign"))?;
    jsonwebtoken::encode(&header, &claims, private).map_err(Error::internal)
}

/// What a token is found to be.
pub(super) enum Found {
    /// Right and in time.
    Good(Verified),
    /// It names a key we do not know: perhaps one that another process has just made.
    UnknownKey,
}

impl Remembered {
    /// Checks a token.
    pub(super) fn check(
        &self,
        config: &Config,
        keys: &[Key],
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Found, Refusal> {
        const NOT_OURS: &str = "This is not an access token of this service.";
        if token.len() > LONGEST {
            return Err(INVALID_TOKEN.refuse(NOT_OURS));
        }
        let hash = sha256(token.as_bytes());
        let verified = match self.0.get(&hash) {
            Some(verified) => verified,
            None => {
                let header =
                    jsonwebtoken::decode_header(token).map_err(|_| INVALID_TOKEN.refuse(NOT_OURS))?;
                let typed = header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE));
                let Some(kid) = header.kid.filter(|_| typed) else {
                    return Err(INVALID_TOKEN.refuse(NOT_OURS));
                };
                let Some(key) = keys.iter().find(|key| key.key_id == kid) else {
                    return Ok(Found::UnknownKey);
                };
                let data = jsonwebtoken::decode::<Claims>(token, &key.public, &rules(config, key))
                    .map_err(|_| INVALID_TOKEN.refuse(NOT_OURS))?;
                let verified = Verified {
                    session_id: data.claims.sid,
                    user_id: data.claims.sub,
                    exp: data.claims.exp,
                    nbf: data.claims.nbf,
                };
                self.0.insert(hash, verified);
                verified
            }
        };
        let at = now.timestamp();
        if at >= verified.exp {
            return Err(INVALID_TOKEN.refuse("The access token has expired."));
        }
        if at < verified.nbf {
            return Err(INVALID_TOKEN.refuse("The access token is not valid yet."));
        }
        Ok(Found::Good(verified))
    }
}

/// The algorithm is the key's, never the token's choice (RFC 8725, section 3.1); times are checked by our
/// own clock.
fn rules(config: &Config, key: &Key) -> Validation {
    let mut rules = Validation::new(key.algorithm);
    rules.set_audience(&[audience(config)]);
    rules.set_issuer(&[&config.public_url]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules
}
