//! Verification tokens: what a code that was right is worth. Used once, for the identifier and purpose it
//! was given for, and where it was given to somebody signed in, in that session.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::otp::Purpose;
use super::store;
use crate::error::{Code, Result};
use crate::secret::sha256;
use crate::user::Identifier;

/// No token of ours, or for something else.
pub const INVALID: Code = Code {
    code: "verification.invalid",
    status: 422,
    title: "The verification token is not valid here",
    advice: "Ask for a code with the purpose wanted and hand it in.",
};
/// It was right once.
pub const EXPIRED: Code = Code {
    code: "verification.expired",
    status: 422,
    title: "The verification token has expired or was used",
    advice: "Ask for a new code.",
};
/// All refusals of tokens.
pub const CODES: &[Code] = &[INVALID, EXPIRED];

/// What a token stood for.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// What it was given for.
    pub purpose: String,
    /// Whom the challenge was bound to, or who had proved the identifier when the code was asked for.
    pub user_id: Option<Uuid>,
}

/// Uses a token with the caller's transaction: if that does not commit, it can be used again.
///
/// # Errors
/// `verification.invalid`, `verification.expired`.
pub async fn consume(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    text: &str,
    purposes: &[Purpose],
    identifier: &Identifier,
    session_id: Option<Uuid>,
) -> Result<Consumed> {
    let fits =
        |found: &store::Token| found.identifier == identifier.as_str() && found.session_id == session_id;
    take(tx, now, text, purposes, fits).await
}

/// Uses a token that was given to somebody signed in, in the session it was given in.
///
/// # Errors
/// `verification.invalid`, `verification.expired`.
pub async fn consume_for(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    text: &str,
    purposes: &[Purpose],
    (user_id, session_id): (Uuid, Uuid),
) -> Result<Consumed> {
    let fits = |found: &store::Token| found.user_id == Some(user_id) && found.session_id == Some(session_id);
    take(tx, now, text, purposes, fits).await
}

async fn take(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    text: &str,
    purposes: &[Purpose],
    fits: impl Fn(&store::Token) -> bool,
) -> Result<Consumed> {
    let hash = sha256(text.as_bytes());
    let found = store::lock_token(tx, &hash).await?;
    let wanted = |found: &store::Token| purposes.iter().any(|purpose| purpose.name() == found.purpose);
    let found = found.filter(|found| wanted(found) && fits(found));
    let found = found.ok_or_else(|| INVALID.refuse("The token was not given for this."))?;
    if found.used_at.is_some() || found.expires_at <= now {
        return Err(EXPIRED.refuse("The token was used or is too old.").into());
    }
    store::set_token_used(tx, &hash, now).await?;
    Ok(Consumed { purpose: found.purpose, user_id: found.user_id })
}
