//! Ending sessions: by their owner, by staff, and by what happens to the account.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::refresh::Token;
use super::{NOT_FOUND, Person, store};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::Result;
use crate::secret;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its owner signed out.
    SignedOut,
    /// Its owner ended it from another session.
    Revoked,
    /// Staff ended it.
    ByStaff,
    /// The password was changed or reset.
    PasswordChanged,
    /// A factor was taken away by staff.
    FactorReset,
    /// The account is not active any more.
    Status,
    /// Somebody proved an identifier of the account that was not proved before.
    Claimed,
}

impl End {
    /// As rows say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Revoked => "revoked",
            Self::ByStaff => "by_staff",
            Self::PasswordChanged => "password_changed",
            Self::FactorReset => "factor_reset",
            Self::Status => "status",
            Self::Claimed => "claimed",
        }
    }
}

/// The open sessions of somebody, newest first.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context, user_id: Uuid) -> Result<Vec<store::Listed>> {
    let idle_since = ctx.now() - chrono::TimeDelta::from_std(ctx.config.session.idle).unwrap_or_default();
    Ok(store::list_sessions(&ctx.db, user_id, ctx.now(), idle_since).await?)
}

/// Ends the caller's own session.
///
/// # Errors
/// The database does not answer.
pub async fn logout(ctx: &Context, client: &Client, person: &Person) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    let now = ctx.now();
    store::set_ended(&mut tx, &[person.session_id], End::SignedOut.name(), now).await?;
    note(&mut tx, client, person, person.user_id(), "session.signed_out", person.session_id.to_string(), now)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Ends the session of a refresh token: its present one, or any that was before it. Nothing tells whether
/// there was such a session.
///
/// # Errors
/// The database does not answer.
pub async fn logout_by_token(ctx: &Context, client: &Client, refresh_token: &str) -> Result<()> {
    let Some(shown) = Token::read(refresh_token) else { return Ok(()) };
    let Some(session) = store::find_session(&ctx.db, shown.session_id).await? else { return Ok(()) };
    let is_present = secret::equal(&shown.hash(), &session.token_hash);
    let is_earlier = shown.generation < session.generation && shown.is_ours(&ctx.config);
    if !is_present && !is_earlier {
        return Ok(());
    }
    let (now, mut tx) = (ctx.now(), ctx.db.begin().await?);
    if store::set_ended(&mut tx, &[session.session_id], End::SignedOut.name(), now).await? > 0 {
        let line = Line {
            action: "session.signed_out",
            entity_type: "user",
            entity_id: session.user_id.to_string(),
            actor: Some(session.user_id),
            session_id: Some(session.session_id),
            details: json!({ "session": session.session_id, "by": "refresh_token" }),
            client,
            at: now,
        };
        audit::note(&mut tx, line).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Ends one session of `user_id`.
///
/// # Errors
/// `session.not_found`.
pub async fn end(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    session_id: Uuid,
    why: End,
) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    let now = ctx.now();
    let owned = store::find_session(&mut *tx, session_id).await?.filter(|session| session.user_id == user_id);
    if owned.is_none_or(|session| session.ended_at.is_some()) {
        return Err(NOT_FOUND.refuse("There is no open session with this id.").into());
    }
    store::set_ended(&mut tx, &[session_id], why.name(), now).await?;
    note(&mut tx, client, person, user_id, "session.ended", session_id.to_string(), now).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends all sessions of the caller but the one they call in.
///
/// # Errors
/// The database does not answer.
pub async fn end_others(ctx: &Context, client: &Client, person: &Person) -> Result<u64> {
    let mut tx = ctx.db.begin().await?;
    let now = ctx.now();
    let count = end_all(&mut tx, person.user_id(), Some(person.session_id), End::Revoked, now).await?;
    note(&mut tx, client, person, person.user_id(), "session.others_ended", count.to_string(), now).await?;
    tx.commit().await?;
    Ok(count)
}

/// Ends the sessions of a user with the caller's transaction, but for one that stays.
///
/// # Errors
/// The database does not answer.
pub async fn end_all(
    tx: &mut PgConnection,
    user_id: Uuid,
    stays: Option<Uuid>,
    why: End,
    now: DateTime<Utc>,
) -> Result<u64> {
    Ok(store::set_all_ended(tx, user_id, stays, why.name(), now).await?)
}

async fn note(
    tx: &mut PgConnection,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    action: &'static str,
    which: String,
    at: DateTime<Utc>,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details: json!({ "session": which }),
        client,
        at,
    };
    Ok(audit::note(tx, line).await?)
}
