//! The sync with CRM and analytics systems: HubSpot and a signed webhook, each by configuration, each with its
//! own progress.
//!
//! A trigger marks whoever changes in `crm_changes` and asks for the job that tells of them, both with the
//! transaction of the change (migration 0015). So no verb can forget it, and without a target nothing is written.
//! The mark holds no data: people are read at the moment they are told of, and whoever is gone is erased there.

mod config;
pub mod desk;
pub mod jobs;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use config::Config;
pub use jobs::SyncUsers;
pub use store::{Aside, Target};

use crate::context::Context;
use crate::error::Result;
use crate::job::{self, Queue, Terms};
use crate::provider::crm::hubspot::{self, HubSpot};
use crate::provider::crm::webhook::{self, Webhook};
use crate::provider::crm::{Contact, CrmProvider};
use crate::user::{Status, verification_status};

/// Every system there may be.
pub const TARGETS: [&str; 2] = [hubspot::NAME, webhook::NAME];

/// Transactions that began before a target was switched on do not know of it. By then they have ended: no
/// statement and no idle transaction of ours lasts as long.
const SETTLED: Duration = Duration::from_secs(60);

/// The systems that are configured.
#[derive(Debug, Default)]
pub struct Links(Vec<Box<dyn CrmProvider>>);

impl Links {
    /// Opens what the settings name.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(config: &Config) -> Result<Self> {
        let mut all: Vec<Box<dyn CrmProvider>> = Vec::new();
        if let Some(settings) = &config.hubspot {
            all.push(Box::new(HubSpot::open(settings, config.timeout)?));
        }
        if let Some(settings) = &config.webhook {
            all.push(Box::new(Webhook::open(settings, config.timeout)?));
        }
        Ok(Self(all))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|one| one.name())
    }

    /// One of them.
    pub fn find(&self, name: &str) -> Option<&dyn CrmProvider> {
        self.0.iter().find(|one| one.name() == name).map(AsRef::as_ref)
    }
}

/// Switches targets on and off as the settings say: the worker does so when it starts. One that is switched on is
/// told of everybody. One that was on already is tried at once, for its settings may have been mended.
///
/// # Errors
/// The database does not answer.
pub async fn register(ctx: &Context) -> Result<()> {
    for target in TARGETS {
        let mut tx = ctx.db.begin().await?;
        let was = store::lock_target(&mut tx, target).await?;
        match (ctx.crm.find(target).is_some(), was) {
            (true, Some(true)) => {
                let _is_on = store::set_free(&mut tx, target).await?;
                // beside the one that waits, which may be set back for long
                ask(&mut tx, target, Some("start"), ctx.now(), ctx.now()).await?;
            }
            (true, _) => {
                store::set_on(&mut tx, target).await?;
                ask(&mut tx, target, None, ctx.now(), ctx.now() + SETTLED).await?;
                tracing::info!(system = target, "switched on: it will be told of everybody");
            }
            (false, Some(true)) => {
                store::set_off(&mut tx, target).await?;
                tracing::warn!(system = target, "switched off: it is not configured any more");
            }
            (false, _) => {}
        }
        tx.commit().await?;
    }
    ctx.wake.queue(Queue::Default);
    Ok(())
}

/// Has somebody erased wherever people were ever told of, with the transaction that erases them here.
///
/// # Errors
/// The database does not answer.
pub async fn erased(tx: &mut PgConnection, user_id: Uuid, now: DateTime<Utc>) -> Result<()> {
    Ok(store::insert_erased(tx, user_id, now).await?)
}

/// Asks for a run, unless one waits. Marks share the one without a `why`; another one does not keep them waiting.
async fn ask(
    tx: &mut PgConnection,
    target: &str,
    why: Option<&str>,
    now: DateTime<Utc>,
    run_at: DateTime<Utc>,
) -> Result<()> {
    let key = why.map_or_else(|| target.to_owned(), |why| format!("{target}:{why}"));
    let terms = Terms {
        run_at: Some(run_at),
        unique_key: Some(key),
        serial_key: Some(format!("crm:{target}")),
        ..Terms::default()
    };
    job::enqueue(tx, now, &SyncUsers { target: target.to_owned() }, terms).await?;
    Ok(())
}

/// What is told of somebody. Of whoever deleted their account no name and no address goes out any more.
fn contact(user_id: Uuid, change: i64, person: store::Person) -> Contact {
    let is_there = person.status != Status::Deleted;
    let keep = |value: Option<String>| value.filter(|_| is_there);
    let (email_verified, phone_verified) =
        (is_there && person.email_verified, is_there && person.phone_verified);
    Contact {
        user_id,
        change,
        username: if is_there { person.username } else { String::new() },
        email: keep(person.email),
        email_verified,
        phone_number: keep(person.phone_number),
        phone_verified,
        first_name: keep(person.first_name),
        last_name: keep(person.last_name),
        status: person.status.name(),
        verification: verification_status(email_verified, phone_verified),
        role: person.role,
        language: person.language,
        created_at: person.created_at,
    }
}
