//! Which identifiers of a person are proved: the one verb that says so ([`prove`]), how it came about
//! ([`history`]), and what is known when somebody wants to act on it ([`find`]).
//!
//! The first to prove an identifier has it. The first proof of all on an account, by somebody who does not
//! come from that account, voids what was set on it before: whoever registered with another's address keeps
//! nothing of it. Later proofs void nothing.

mod store;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

pub use store::Subject;

use super::{IDENTIFIER_TAKEN, Identifier, NOT_FOUND, audit};
use crate::audit::{Client, Line};
use crate::context::Context;
use crate::error::{Code, Error, Refusal, Result};
use crate::mask;
use crate::notify::{self, Change, Facts, Message, Told};
use crate::wallet;

/// The account has another identifier by now, or none.
pub const NOT_HELD: Code = Code {
    code: "user.identifier_not_held",
    status: 409,
    title: "The account does not have this identifier",
    advice: "Set the identifier first; a link or code for an earlier one no longer counts.",
};
/// Nothing is left to prove.
pub const ALREADY: Code = Code {
    code: "user.already_verified",
    status: 409,
    title: "The identifier is proved already",
    advice: "Nothing needs to be done.",
};
/// All refusals of proving.
pub const CODES: &[Code] = &[NOT_HELD, ALREADY];

/// The most lines of a history.
const MOST: i64 = 100;

/// By what an identifier is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A one-time code.
    Code,
    /// A link in a mail.
    Link,
    /// Staff, by hand.
    Staff,
    /// A code for the new identifier of an account, which its owner then set.
    Change,
}

impl By {
    /// As lines say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Link => "link",
            Self::Staff => "staff",
            Self::Change => "change",
        }
    }
}

/// An identifier that is about to count as proved.
#[derive(Clone, Debug)]
pub struct Proving<'a> {
    /// Whose.
    pub user_id: Uuid,
    /// Which: it must be the account's at this moment.
    pub identifier: &'a Identifier,
    /// By what.
    pub by: By,
    /// Who did it.
    pub actor: Uuid,
    /// In which session, if signed in.
    pub session_id: Option<Uuid>,
    /// Staff's.
    pub reason: Option<&'a str>,
    /// Whether whoever proves it comes from the account: signed in to it, or with the challenge that was
    /// bound to it. Else password, sessions, factors and devices of an account with nothing ever proved are
    /// void. Staff never come from it.
    pub keeps: bool,
}

/// Something that happened to an identifier.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// `sms` or `email`.
    pub channel: String,
    /// Masked.
    pub address: Option<String>,
    /// `code`, `link`, `staff`, `change` or `registration`.
    pub by: String,
    /// Who did it.
    pub actor: Option<Uuid>,
    /// Staff's.
    pub reason: Option<String>,
    /// `requested`, `verified`, or the code of a refusal.
    pub outcome: String,
}

/// Marks an identifier as proved with the caller's transaction, and writes the line of the history. The
/// transaction stays usable after a refusal, and is to be committed: the line of the refusal is in it.
///
/// # Errors
/// `user.identifier_taken` (another account has proved it), `user.identifier_not_held`.
pub async fn prove(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    proving: &Proving<'_>,
) -> Result<()> {
    let now = ctx.now();
    let outcome = mark(tx, proving, now).await?;
    let voided = match &outcome {
        Ok(before) if !before.ever_verified && !proving.keeps => {
            Some(store::void_credentials(tx, proving.user_id, now).await?)
        }
        _ => None,
    };
    let mut details = json!({
        "channel": proving.identifier.channel().name(),
        "by": proving.by.name(),
        "reason": proving.reason,
        "outcome": outcome.as_ref().map_or_else(|refusal| refusal.code, |_| "verified"),
    });
    if let Some(voided) = &voided {
        details["voided"] = serde_json::to_value(voided).map_err(Error::internal)?;
    }
    note(tx, ctx, client, proving, "verification.proved", details).await?;
    if outcome.as_ref().is_ok_and(|before| before.is_referred && !before.ever_verified) {
        wallet::ask_reward(&mut *tx, now, proving.user_id).await?;
    }
    if let Some(voided) = &voided {
        tell_voided(tx, ctx, client, proving, voided).await?;
    }
    outcome?;
    Ok(())
}

/// Tells the owner, at the address that was just proved, what is gone. The caller wakes the queue.
async fn tell_voided(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    proving: &Proving<'_>,
    voided: &store::Voided,
) -> Result<()> {
    let facts = || match proving.actor == proving.user_id {
        true => Facts::of(client, ctx.now()),
        false => Facts::at(ctx.now()),
    };
    for (gone, message, what) in [
        (voided.passwords, Message::PasswordChanged, None),
        (voided.totp, Message::MfaChanged, Some(Change::TotpRemoved)),
        (voided.passkeys, Message::MfaChanged, Some(Change::PasskeyRemoved)),
    ] {
        if gone > 0 {
            let told = Told { user_id: proving.user_id, message, facts: Facts { what, ..facts() } };
            notify::tell(tx, ctx, client, &told).await?;
        }
    }
    Ok(())
}

/// Sets the time within a savepoint, so that the unique index decides between two who prove it at once.
async fn mark(
    tx: &mut PgConnection,
    proving: &Proving<'_>,
    now: DateTime<Utc>,
) -> Result<Result<store::Before, Refusal>> {
    let mut point = tx.begin().await?;
    match store::set_proved(&mut point, proving.user_id, proving.identifier, now).await {
        Ok(Some(before)) => {
            point.commit().await?;
            Ok(Ok(before))
        }
        Ok(None) => {
            point.rollback().await?;
            Ok(Err(NOT_HELD.refuse("The account has another identifier by now.")))
        }
        Err(sqlx::Error::Database(error))
            if matches!(
                error.constraint(),
                Some("users_verified_email_key" | "users_verified_phone_key")
            ) =>
        {
            point.rollback().await?;
            Ok(Err(IDENTIFIER_TAKEN.refuse("Another account has proved this identifier.")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes to the history that a proof was asked for, with the caller's transaction.
///
/// # Errors
/// The database does not answer.
pub async fn note_request(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    proving: &Proving<'_>,
) -> Result<()> {
    let details = json!({
        "channel": proving.identifier.channel().name(), "by": proving.by.name(), "outcome": "requested",
    });
    note(tx, ctx, client, proving, "verification.requested", details).await
}

/// Writes to the history that an identifier was proved before it became the account's, with the caller's
/// transaction.
///
/// # Errors
/// The database does not answer.
pub(super) async fn note_change(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    proving: &Proving<'_>,
) -> Result<()> {
    let details = json!({
        "channel": proving.identifier.channel().name(), "by": proving.by.name(), "outcome": "verified",
    });
    note(tx, ctx, client, proving, "verification.proved", details).await
}

/// Writes a line of the history; the address, masked, is sealed under the person's own key.
async fn note(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    proving: &Proving<'_>,
    action: &'static str,
    details: serde_json::Value,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "user",
        entity_id: proving.user_id.to_string(),
        actor: Some(proving.actor),
        session_id: proving.session_id,
        details,
        client,
        at: ctx.now(),
    };
    let address = json!({ "address": mask::identifier(proving.identifier.as_str()) });
    audit::note_sealed(tx, ctx, line, proving.user_id, &address).await
}

/// Somebody whose identifiers are to be proved.
///
/// # Errors
/// `user.not_found`: nobody, or a deleted account.
pub async fn find(ctx: &Context, user_id: Uuid) -> Result<Subject> {
    let found = store::find_subject(&ctx.db, user_id).await?;
    found.ok_or_else(|| Error::from(NOT_FOUND.refuse("There is no user with this id.")))
}

/// What happened to a person's identifiers, newest first.
///
/// # Errors
/// The database does not answer.
pub async fn history(ctx: &Context, user_id: Uuid) -> Result<Vec<Event>> {
    let rows = store::list_events(&ctx.db, &user_id.to_string(), MOST).await?;
    let key = audit::key(&mut *ctx.db.acquire().await?, ctx, user_id).await?;
    let address = |sealed: &[u8]| audit::open(&key, sealed)?["address"].as_str().map(str::to_owned);
    Ok(rows
        .into_iter()
        .map(|row| Event {
            at: row.at,
            channel: row.channel,
            address: row.sealed.as_deref().and_then(address),
            by: row.by,
            actor: row.actor,
            reason: row.reason,
            outcome: row.outcome,
        })
        .collect())
}
