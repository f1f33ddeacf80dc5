//! From a row to a text. The one place where a code is derived for a message, whether it is sent
//! (`jobs`) or looked at in development (`inbox`); it lives as long as the text.

use chrono::{DateTime, Utc};

use super::Message;
use super::store::Opened;
use super::template::{Facts, MailText};
use crate::auth::otp::{self, Seed};
use crate::config::Config;
use crate::user::Channel;

/// What is said, by channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Text message.
    Sms(String),
    /// Mail.
    Mail(MailText),
}

/// What a text is made from, besides settings.
pub(super) struct Recipe<'a> {
    pub kind: &'a str,
    pub channel: &'a str,
    pub language: &'a str,
    pub purpose: Option<&'a str>,
    /// None where the message carries no code.
    pub seed: Option<Seed>,
    pub minutes: i64,
}

/// Renders a message, or tells why not, without secrets.
pub(super) fn render(config: &Config, recipe: &Recipe<'_>) -> Result<(Channel, Text), String> {
    let message = Message::named(recipe.kind).ok_or_else(|| format!("{} is not a message", recipe.kind))?;
    let code = match (&recipe.seed, message) {
        (Some(seed), Message::OtpCode) => {
            let code = otp::code(&config.keys, seed);
            code.ok_or("KERYU_SECRET_KEY no longer holds the key this code was made with")?
        }
        (None, Message::OtpCode) => return Err("its challenge is gone".to_owned()),
        (_, Message::AccountExists) => String::new(),
    };
    let facts = Facts {
        name: &config.notify.name,
        code: &code,
        minutes: recipe.minutes,
        purpose: recipe.purpose.unwrap_or_default(),
        support: config.support_url.as_deref(),
    };
    let templates = &config.notify.templates;
    // a template's error may quote what it was given
    let broken = |_| format!("the template of {} does not render", message.name());
    match recipe.channel {
        "email" => {
            let mail = templates.mail(message, recipe.language, &facts).map_err(broken)?;
            Ok((Channel::Email, Text::Mail(mail)))
        }
        _ => Ok((Channel::Sms, Text::Sms(templates.sms(message, recipe.language, &facts).map_err(broken)?))),
    }
}

/// Minutes from one moment to another, rounded up.
pub(super) fn minutes(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    ((to - from).num_milliseconds() + 59_999).div_euclid(60_000).max(1)
}

/// What a delivery that was taken up says, and by which way; or why it says nothing.
pub(super) fn compose(
    config: &Config,
    opened: &Opened,
    now: DateTime<Utc>,
) -> Result<(Channel, Text), String> {
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
        minutes: minutes(now, opened.expires_at),
    };
    render(config, &recipe)
}

#[cfg(test)]
mod tests;
