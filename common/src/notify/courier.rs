//! The courier: providers in their order, and the batched record of what they answered.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::Via;
use super::store::{self, Closed, Firsts, Opened};
use crate::batch::Batcher;
use crate::config::{Config, Stage};
use crate::error::Result;
use crate::provider::fcm::Fcm;
use crate::provider::gateway::Gateway;
use crate::provider::inbox::Inbox;
use crate::provider::smtp::Smtp;
use crate::provider::twilio::Twilio;
use crate::provider::{MailProvider, PushProvider, SmsProvider, gateway, inbox, twilio};

/// Two statements of each kind may run at once: one is planned and sent while the other commits.
const LANES: usize = 2;
/// The most deliveries one statement carries.
const MOST: usize = 256;

/// A delivery to take up.
#[derive(Clone, Copy, Debug)]
struct Ask {
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
    at: DateTime<Utc>,
    again: bool,
}

/// Channels and the batched delivery record.
#[derive(Clone, Debug)]
pub struct Courier {
    mail: Vec<Arc<dyn MailProvider>>,
    sms: Vec<Arc<dyn SmsProvider>>,
    push: Vec<Arc<dyn PushProvider>>,
    open: Batcher<Ask, Option<Opened>>,
    close: Batcher<(DateTime<Utc>, Closed), ()>,
}

impl Courier {
    /// Makes the providers and starts the batches. Nothing is connected yet.
    ///
    /// # Errors
    /// A provider's client cannot be made.
    pub fn open(config: &Config, db: PgPool) -> Result<Self> {
        let (mail, sms, push) = (mail(config)?, sms(config)?, push(config)?);
        let firsts = Firsts {
            sms: sms.first().map(|provider| provider.name()),
            email: mail.first().map(|provider| provider.name()),
            push: push.first().map(|provider| provider.name()),
        };
        let pool = db.clone();
        let open = Batcher::start(LANES, MOST, move |asks: Vec<Ask>| {
            let pool = pool.clone();
            async move { take_up(&pool, &asks, firsts).await }
        });
        let close = Batcher::start(LANES, MOST, move |ends: Vec<(DateTime<Utc>, Closed)>| {
            let db = db.clone();
            async move { write_down(&db, ends).await }
        });
        Ok(Self { mail, sms, push, open, close })
    }

    /// Mail providers, in order.
    pub fn mail(&self) -> &[Arc<dyn MailProvider>] {
        &self.mail
    }

    /// SMS providers, in order.
    pub fn sms(&self) -> &[Arc<dyn SmsProvider>] {
        &self.sms
    }

    /// Push providers, in order; none where push is not set up.
    pub fn push(&self) -> &[Arc<dyn PushProvider>] {
        &self.push
    }

    /// The names of a channel's providers, in order.
    pub fn names(&self, via: Via) -> Vec<&'static str> {
        match via {
            Via::Sms => self.sms.iter().map(|provider| provider.name()).collect(),
            Via::Email => self.mail.iter().map(|provider| provider.name()).collect(),
            Via::Push => self.push.iter().map(|provider| provider.name()).collect(),
        }
    }

    /// Takes a delivery up; none where there is no such delivery or nothing is owed any more. `again`:
    /// a call whose end nobody knows is made once more.
    pub(super) async fn take_up(
        &self,
        delivery_id: Uuid,
        created_at: DateTime<Utc>,
        at: DateTime<Utc>,
        again: bool,
    ) -> Result<Option<Opened>> {
        self.open.call(Ask { delivery_id, created_at, at, again }).await
    }

    /// Writes the end of a step.
    pub(super) async fn write_down(&self, at: DateTime<Utc>, end: Closed) -> Result<()> {
        self.close.call((at, end)).await
    }
}

async fn take_up(db: &PgPool, asks: &[Ask], firsts: Firsts) -> Result<Vec<Option<Opened>>> {
    let ids: Vec<Uuid> = asks.iter().map(|ask| ask.delivery_id).collect();
    let created: Vec<DateTime<Utc>> = asks.iter().map(|ask| ask.created_at).collect();
    let again: Vec<bool> = asks.iter().map(|ask| ask.again).collect();
    let now = asks.iter().map(|ask| ask.at).max().unwrap_or_default();
    let rows = store::open(db, now, &ids, &created, firsts, &again).await?;
    // two jobs may name one delivery: the first has it, the other finds nothing to do
    let mut rows: HashMap<Uuid, Opened> = rows.into_iter().map(|row| (row.delivery_id, row)).collect();
    Ok(ids.iter().map(|id| rows.remove(id)).collect())
}

async fn write_down(db: &PgPool, ends: Vec<(DateTime<Utc>, Closed)>) -> Result<Vec<()>> {
    let now = ends.iter().map(|(at, _)| *at).max().unwrap_or_default();
    let ends: Vec<Closed> = ends.into_iter().map(|(_, end)| end).collect();
    store::close(db, now, &ends).await?;
    Ok(vec![(); ends.len()])
}

fn mail(config: &Config) -> Result<Vec<Arc<dyn MailProvider>>> {
    let settings = &config.notify;
    Ok(match (&settings.stand_in, &settings.smtp) {
        (Some(fake), _) => vec![Arc::new(fake.clone())],
        (None, Some(smtp)) => vec![Arc::new(Smtp::open(smtp.clone())?)],
        (None, None) if settings.inbox => vec![Arc::new(Inbox)],
        (None, None) => {
            missing(config.stage, "mail", "SMTP_URL");
            Vec::new()
        }
    })
}

fn sms(config: &Config) -> Result<Vec<Arc<dyn SmsProvider>>> {
    let settings = &config.notify;
    if let Some(fake) = &settings.stand_in {
        return Ok(vec![Arc::new(fake.clone())]);
    }
    let mut providers: Vec<Arc<dyn SmsProvider>> = Vec::new();
    for name in &settings.sms_order {
        match (*name, &settings.twilio, &settings.gateway) {
            (twilio::NAME, Some(twilio), _) => {
                let callback = format!("{}/api/webhooks/twilio/", config.public_url);
                providers.push(Arc::new(Twilio::open(twilio.clone(), callback)?));
            }
            (gateway::NAME, _, Some(gateway)) => {
                let callback = settings.gateway_secret.as_ref().map(|secret| {
                    format!(
                        "{}/api/webhooks/sms/{}/{}?id=",
                        config.public_url,
                        gateway::NAME,
                        secret.reveal()
                    )
                });
                providers.push(Arc::new(Gateway::open(gateway.clone(), callback.unwrap_or_default())?));
            }
            (inbox::NAME, ..) if settings.inbox => providers.push(Arc::new(Inbox)),
            _ => {}
        }
    }
    if providers.is_empty() && settings.inbox {
        providers.push(Arc::new(Inbox));
    } else if providers.is_empty() {
        missing(config.stage, "SMS", "TWILIO_ACCOUNT_SID or SMS_HTTP_URL");
    }
    Ok(providers)
}

/// Push is an addition: where nothing is set up nobody is asked for it, and nothing is missing.
fn push(config: &Config) -> Result<Vec<Arc<dyn PushProvider>>> {
    let settings = &config.notify;
    Ok(match (&settings.stand_in, &settings.fcm) {
        (Some(fake), _) => vec![Arc::new(fake.clone())],
        (None, Some(fcm)) => vec![Arc::new(Fcm::open(fcm.clone())?)],
        (None, None) if settings.inbox => vec![Arc::new(Inbox)],
        (None, None) => Vec::new(),
    })
}

fn missing(stage: Stage, channel: &str, setting: &str) {
    if stage == Stage::Production {
        tracing::warn!("no {channel} provider is configured ({setting}): messages by {channel} will fail");
    }
}
