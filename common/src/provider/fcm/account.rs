//! A service account of Google's: who signs, and where the signature is exchanged.

use std::fmt;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::provider::{http, is_loopback};

/// What the access token is for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The longest life of a signature that the token endpoint takes.
const LIFE: i64 = 3600;

/// `FCM_SERVICE_ACCOUNT`, read.
#[derive(Clone)]
pub struct Account {
    /// The Firebase project.
    pub project_id: String,
    /// Where signatures are exchanged for access tokens.
    pub token_uri: Url,
    key_id: String,
    email: String,
    key: EncodingKey,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("project_id", &self.project_id).finish_non_exhaustive()
    }
}

/// The file, as the console gives it out.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    r#type: String,
    project_id: String,
    private_key_id: String,
    private_key: String,
    client_email: String,
    token_uri: String,
}

impl Account {
    /// Reads the setting: the JSON itself, or the path of a file that holds it.
    ///
    /// # Errors
    /// What is wrong with it, without what it holds.
    pub fn read(setting: &str) -> Result<Self, String> {
        match setting.trim() {
            json if json.starts_with('{') => Self::parse(json),
            path => {
                // what is no path may be the key: it is not repeated
                let text = std::fs::read_to_string(path);
                let fault = |error: std::io::Error| {
                    format!("neither JSON nor a file that can be read: {}", error.kind())
                };
                Self::parse(&text.map_err(fault)?)
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        // the parser's own words may quote the key
        let file: File = serde_json::from_str(text).map_err(|error| {
            format!("not the JSON of a service account (line {}, column {})", error.line(), error.column())
        })?;
        if file.r#type != "service_account" {
            return Err("its type is not service_account".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
        if file.project_id.is_empty() || !file.project_id.chars().all(is_name) {
            return Err("its project_id is missing or malformed".to_owned());
        }
        if file.client_email.is_empty() {
            return Err("its client_email is missing".to_owned());
        }
        let token_uri = secure(&file.token_uri).map_err(|fault| format!("its token_uri is {fault}"))?;
        let key = EncodingKey::from_rsa_pem(file.private_key.as_bytes());
        let key = key.map_err(|_| "its private_key is not an RSA key in PEM".to_owned())?;
        let account = Self {
            project_id: file.project_id,
            token_uri,
            key_id: file.private_key_id,
            email: file.client_email,
            key,
        };
        account.assertion(DateTime::UNIX_EPOCH).map_err(|_| "its private_key does not sign".to_owned())?;
        Ok(account)
    }

    /// A signed request for an access token (RFC 7523, section 3).
    ///
    /// # Errors
    /// The key does not sign.
    pub fn assertion(&self, now: DateTime<Utc>) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::RS256) };
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri.as_str(),
            "iat": now.timestamp(), "exp": now.timestamp() + LIFE,
        });
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

/// An address that credentials may be sent to: `https`, or this machine.
///
/// # Errors
/// What is wrong with it.
pub fn secure(text: &str) -> Result<Url, String> {
    let url = http::address(text)?;
    if url.scheme() == "https" || url.host_str().is_some_and(is_loopback) {
        return Ok(url);
    }
    Err("neither https nor on this machine".to_owned())
}
