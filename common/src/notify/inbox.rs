//! Development's inbox: what providers took, with texts derived while somebody looks. Never in
//! production, and never stored.

use chrono::{DateTime, Utc};

use super::compose::{Recipe, Text, minutes, render};
use super::{NOT_FOUND, store};
use crate::auth::otp::Seed;
use crate::config::Stage;
use crate::context::Context;
use crate::error::Result;

/// The most messages shown.
const MOST: i64 = 200;

/// A message as its recipient has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// To whom: a device by its id.
    pub to: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// `otp_code`, ...
    pub kind: String,
    /// The subject of a mail, the title of a push message.
    pub subject: Option<String>,
    /// What it says.
    pub text: String,
    /// When a provider took it.
    pub at: DateTime<Utc>,
}

/// The messages that were accepted, newest first.
///
/// # Errors
/// `delivery.not_found` in production: there is no inbox.
pub async fn list(ctx: &Context) -> Result<Vec<Letter>> {
    if ctx.config.stage != Stage::Development {
        return Err(NOT_FOUND.refuse("There is no inbox in production.").into());
    }
    let rows = store::list_accepted(&ctx.db, MOST).await?;
    Ok(rows.into_iter().map(|row| letter(ctx, row)).collect())
}

fn letter(ctx: &Context, row: store::Shown) -> Letter {
    let seed = match (row.key_id, row.nonce, row.challenge_purpose, row.identifier, row.digits) {
        (Some(key_id), Some(nonce), Some(purpose), Some(identifier), Some(digits)) => {
            Some(Seed { key_id, nonce, purpose, identifier, digits })
        }
        _ => None,
    };
    let recipe = Recipe {
        kind: &row.kind,
        channel: &row.channel,
        language: &row.language,
        purpose: row.purpose.as_deref(),
        seed,
        challenge_id: row.challenge_id,
        minutes: minutes(row.at, row.expires_at),
        facts: &row.facts,
    };
    let (subject, text) = match render(&ctx.config, &recipe) {
        Ok((_, Text::Sms(text))) => (None, text),
        Ok((_, Text::Mail(mail))) => (Some(mail.subject), mail.text),
        Ok((_, Text::Push(push))) => (Some(push.title), push.text),
        Err(reason) => (None, format!("({reason})")),
    };
    Letter { to: row.recipient, channel: row.channel, kind: row.kind, subject, text, at: row.at }
}
