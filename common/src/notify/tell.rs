//! Telling people of their account ([`tell`]): at one proved address, mail before text message, by what they
//! want; and on every device of theirs that is signed in, as deliveries of their own.

use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use super::jobs::DeliverNotice;
use super::notice::Told;
use super::preference::Preferences;
use super::store::{self, Reach};
use super::{Message, Via};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::id;
use crate::job::{self, Terms};
use crate::user::Identifier;

/// How long a notice is worth sending.
const LIFE: TimeDelta = TimeDelta::hours(24);

impl Reach {
    /// The proved address for a message: mail before text message, by what the person wants.
    pub(super) fn address(&self, message: Message) -> Option<Identifier> {
        let wanted = Preferences::read(&self.preferences);
        let email = self.email.clone().filter(|_| wanted.allows(message, Via::Email)).map(Identifier::Email);
        let phone = self.phone_number.clone();
        let phone = phone.filter(|_| message.goes_by(Via::Sms) && wanted.allows(message, Via::Sms));
        email.or(phone.map(Identifier::Phone))
    }

    /// The other proved address, where this is one of them.
    pub(super) fn other(&self, recipient: &str) -> Option<Identifier> {
        match (&self.email, &self.phone_number) {
            (Some(email), Some(phone)) if email == recipient => Some(Identifier::Phone(phone.clone())),
            (Some(email), Some(phone)) if phone == recipient => Some(Identifier::Email(email.clone())),
            _ => None,
        }
    }
}

/// How somebody is reached now.
pub(super) async fn reach(tx: &mut PgConnection, ctx: &Context, user_id: Uuid) -> Result<Option<Reach>> {
    let now = ctx.now();
    let idle_since = now - TimeDelta::from_std(ctx.config.session.idle).unwrap_or_default();
    Ok(store::find_reach(tx, user_id, now, idle_since).await?)
}

/// Tells the person, with the caller's transaction: at their proved address, by mail before text message, and
/// on their devices. Answers with how many messages that makes: whoever has neither, or wants none, is not told.
/// The caller wakes [`Queue::Default`](crate::job::Queue) after the commit.
///
/// # Errors
/// The database does not answer.
pub async fn tell<'a>(
    tx: &mut PgConnection,
    ctx: &Context,
    client: impl Into<Option<&'a Client>>,
    told: &Told,
) -> Result<usize> {
    let Some(reach) = reach(tx, ctx, told.user_id).await? else { return Ok(0) };
    let to = reach.address(told.message);
    let telling = Telling { ctx, client: client.into(), told, reach: &reach };
    if let Some(to) = &to {
        telling.insert(tx, to.channel().into(), to.as_str()).await?;
    }
    Ok(usize::from(to.is_some()) + telling.push(tx).await?)
}

/// Tells these addresses, proved or not, once each (the old and the new one of a change), and the person's
/// devices.
///
/// # Errors
/// The database does not answer.
pub async fn tell_at<'a>(
    tx: &mut PgConnection,
    ctx: &Context,
    client: impl Into<Option<&'a Client>>,
    told: &Told,
    to: &[Identifier],
) -> Result<()> {
    let Some(reach) = reach(tx, ctx, told.user_id).await? else { return Ok(()) };
    let telling = Telling { ctx, client: client.into(), told, reach: &reach };
    for (n, one) in to.iter().enumerate() {
        if !to[..n].contains(one) && told.message.goes_by(one.channel().into()) {
            telling.insert(tx, one.channel().into(), one.as_str()).await?;
        }
    }
    telling.push(tx).await?;
    Ok(())
}

/// One message to one person.
struct Telling<'a> {
    ctx: &'a Context,
    client: Option<&'a Client>,
    told: &'a Told,
    reach: &'a Reach,
}

impl Telling<'_> {
    /// To each device, where push is set up and wanted. Answers with how many.
    async fn push(&self, tx: &mut PgConnection) -> Result<usize> {
        let wanted = Preferences::read(&self.reach.preferences).allows(self.told.message, Via::Push);
        if !wanted || self.ctx.notify.push().is_empty() {
            return Ok(0);
        }
        for device in &self.reach.devices {
            self.insert(tx, Via::Push, &device.to_string()).await?;
        }
        Ok(self.reach.devices.len())
    }

    async fn insert(&self, tx: &mut PgConnection, via: Via, to: &str) -> Result<()> {
        let (now, delivery_id) = (self.ctx.now(), id::unguessable());
        let terms = Terms { expires_at: Some(now + LIFE), ..self.client.map(Terms::of).unwrap_or_default() };
        let (request_id, traceparent) = (terms.request_id.clone(), terms.traceparent.clone());
        let job = job::row(now, &DeliverNotice { delivery_id, created_at: now }, terms)?;
        let delivery = store::NewDelivery {
            delivery_id,
            created_at: now,
            kind: self.told.message.name(),
            channel: via.name(),
            recipient: to.to_owned(),
            language: self.reach.language.clone(),
            user_id: Some(self.told.user_id),
            challenge_id: None,
            purpose: None,
            sends: true,
            facts: serde_json::to_value(&self.told.facts).map_err(Error::internal)?,
            expires_at: now + LIFE,
            request_id,
            traceparent,
            fell_back_at: None,
        };
        Ok(store::insert(tx, &delivery, &job).await?)
    }
}
