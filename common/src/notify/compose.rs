//! From a row to a text. The one place where a code or a link is derived for a message, whether it is sent
//! (`jobs`) or looked at in development (`inbox`); it lives as long as the text.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::Opened;
use super::template::{Facts, MailText, PushText};
use super::{Message, Via, notice};
use crate::auth::otp::{self, Seed};
use crate::config::Config;

/// What is said, by channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Text message.
    Sms(String),
    /// Mail.
    Mail(MailText),
    /// Push.
    Push(PushText),
}

/// What a text is made from, besides settings.
pub(super) struct Recipe<'a> {
    pub kind: &'a str,
    pub channel: &'a str,
    pub language: &'a str,
    pub purpose: Option<&'a str>,
    /// None where the message carries no code.
    pub seed: Option<Seed>,
    /// What a link names.
    pub challenge_id: Option<Uuid>,
    pub minutes: i64,
    /// As the row holds them.
    pub facts: &'a serde_json::Value,
}

/// Renders a message, or tells why not, without secrets.
pub(super) fn render(config: &Config, recipe: &Recipe<'_>) -> Result<(Via, Text), String> {
    let message = Message::named(recipe.kind).ok_or_else(|| format!("{} is not a message", recipe.kind))?;
    const LOST: &str = "KERYU_SECRET_KEY no longer holds the key this code was made with";
    let (mut code, mut link) = (String::new(), String::new());
    match (message, &recipe.seed, recipe.challenge_id) {
        (Message::OtpCode, Some(seed), _) => code = otp::code(&config.keys, seed).ok_or(LOST)?,
        (Message::VerifyEmailLink, Some(seed), Some(id)) => {
            let token = otp::link::token(&config.keys, id, seed).ok_or(LOST)?;
            link = format!("{}{}{token}", config.public_url, otp::link::PATH);
        }
        (Message::OtpCode | Message::VerifyEmailLink, ..) => return Err("its challenge is gone".to_owned()),
        _ => {}
    }
    let told = notice::Facts::read(recipe.facts);
    let facts = Facts {
        name: &config.notify.name,
        code: &code,
        minutes: recipe.minutes,
        purpose: recipe.purpose.unwrap_or_default(),
        support: config.support_url.as_deref(),
        link: &link,
        told: &told,
    };
    let templates = &config.notify.templates;
    // a template's error may quote what it was given
    let broken = |_| format!("the template of {} does not render", message.name());
    let via = Via::named(recipe.channel).ok_or_else(|| format!("{} is not a channel", recipe.channel))?;
    let text = match via {
        Via::Sms => templates.sms(message, recipe.language, &facts).map(Text::Sms),
        Via::Email => templates.mail(message, recipe.language, &facts).map(Text::Mail),
        Via::Push => templates.push(message, recipe.language, &facts).map(Text::Push),
    };
    Ok((via, text.map_err(broken)?))
}

/// Minutes from one moment to another, rounded up.
pub(super) fn minutes(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    ((to - from).num_milliseconds() + 59_999).div_euclid(60_000).max(1)
}

/// What a delivery that was taken up says, and by which way; or why it says nothing.
pub(super) fn compose(config: &Config, opened: &Opened, now: DateTime<Utc>) -> Result<(Via, Text), String> {
    let seed =
        match (&opened.key_id, &opened.nonce, &opened.challenge_purpose, &opened.identifier, opened.digits) {
            (Some(key_id), Some(nonce), Some(purpose), Some(identifier), Some(digits)) => Some(Seed {
                key_id: key_id.clone(),
                nonce: nonce.clone(),
                purpose: purpose.clone(),
                identifier: identifier.clone(),
                digits,
            }),
            _ => None,
        };
    let recipe = Recipe {
        kind: &opened.kind,
        channel: &opened.channel,
        language: &opened.language,
        purpose: opened.purpose.as_deref(),
        seed,
        challenge_id: opened.challenge_id,
        minutes: minutes(now, opened.expires_at),
        facts: &opened.facts,
    };
    render(config, &recipe)
}

#[cfg(test)]
mod tests;
