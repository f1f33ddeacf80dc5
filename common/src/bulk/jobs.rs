//! Doing it: people are chosen first, in batches, so that what is done does not change who is chosen; then
//! each is done in a transaction that also writes what became of it. Whatever stops the job in the middle, it
//! goes on with those who have no outcome yet.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::Connection;
use uuid::Uuid;

use super::{Action, Filter, export, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::Facts;
use crate::role::{self, Grant};
use crate::session::{self, FORBIDDEN, Person};
use crate::user::{self, SELF, Status};

/// People chosen in one statement.
const CHOSEN: i64 = 5_000;
/// People between two looks at the rights of who asked.
const BATCH: i64 = 50;
/// Batches of one run, of either kind; then others have their turn.
const ROUNDS: usize = 20;

/// Does it.
#[derive(Debug, Deserialize, Serialize)]
pub struct RunAction {
    /// Which.
    pub bulk_action_id: Uuid,
}

impl Job for RunAction {
    const KIND: &'static str = "bulk.run_action";
    const QUEUE: Queue = Queue::Bulk;
    /// More than a day has room for: its expiry is what ends it, not an outage of some hours.
    const MAX_ATTEMPTS: i16 = 1_000;
    const TIMEOUT: Duration = Duration::from_secs(1800);

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        let run = go_on(ctx, lease, self.bulk_action_id).await;
        ctx.wake.queue(Queue::Default);
        match run {
            Ok(true) => Verdict::Done,
            Ok(false) => {
                Verdict::Snooze { after: Duration::ZERO, reason: "others have their turn".to_owned() }
            }
            Err(error) => error.into(),
        }
    }
}

/// Whether all is done.
async fn go_on(ctx: &Context, lease: &Lease, bulk_action_id: Uuid) -> Result<bool> {
    let Some(order) = store::find_order(&ctx.db, bulk_action_id).await? else { return Ok(true) };
    if order.finished_at.is_some() {
        return Ok(true);
    }
    let client = client(&order, lease);
    let mut rounds = 0..ROUNDS;
    if order.selected_at.is_none() {
        loop {
            if rounds.next().is_none() {
                return Ok(false);
            }
            if !choose(ctx, &order).await? {
                break;
            }
        }
    }
    if Action::named(&order.action) == Some(Action::Export) {
        return export::write(ctx, lease, &client, &order).await;
    }
    for _ in rounds {
        let asker = session::recall(ctx, order.created_by, order.session_id, order.created_at).await?;
        let open = store::list_open(&ctx.db, bulk_action_id, BATCH).await?;
        if open.is_empty() {
            store::set_finished(&ctx.db, bulk_action_id, ctx.now()).await?;
            return Ok(true);
        }
        for user_id in open {
            settle(ctx, &client, asker.as_ref(), &order, user_id).await?;
        }
    }
    Ok(false)
}

/// Chooses the next batch of people who fit the filter; one body at a time. False: there are no more.
async fn choose(ctx: &Context, order: &store::Order) -> Result<bool> {
    let filter: Filter =
        serde_json::from_value(order.filter.clone().unwrap_or_default()).map_err(Error::internal)?;
    let mut tx = ctx.db.begin().await?;
    if !store::lock_unselected(&mut tx, order.bulk_action_id).await? {
        return Ok(false);
    }
    let after = store::find_last_item(&mut *tx, order.bulk_action_id).await?.unwrap_or(Uuid::nil());
    let chosen = user::choose(&mut tx, &filter.into(), order.created_at, None, after, CHOSEN).await?;
    store::insert_items(&mut tx, order.bulk_action_id, &chosen).await?;
    let more = chosen.len() as i64 == CHOSEN;
    if !more {
        store::set_selected(&mut tx, order.bulk_action_id, ctx.now()).await?;
    }
    tx.commit().await?;
    Ok(more)
}

/// Does it to one person and writes what became of it, in one transaction. A refusal is what became of it; a
/// part that does not answer is left to another try.
async fn settle(
    ctx: &Context,
    client: &Client,
    asker: Option<&Person>,
    order: &store::Order,
    user_id: Uuid,
) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    if !store::lock_open(&mut tx, order.bulk_action_id, user_id).await? {
        return Ok(());
    }
    let (outcome, code) = if user_id == order.created_by {
        ("skipped", Some(SELF.code))
    } else {
        // what the verb began goes with its refusal, the outcome stays
        let mut point = tx.begin().await?;
        let done = match asker {
            Some(asker) => act(&mut point, ctx, client, asker, order, user_id).await,
            None => Err(FORBIDDEN.refuse("Who asked for it may no longer sign in.").into()),
        };
        match done {
            Ok(()) => {
                point.commit().await?;
                ("done", None)
            }
            Err(Error::Refusal(Refusal { code, .. })) => {
                point.rollback().await?;
                ("failed", Some(code))
            }
            // one person's rows that defeat us must not stop the others
            Err(error @ Error::Internal(_)) => {
                tracing::error!(%error, %user_id, "not done");
                point.rollback().await?;
                ("failed", Some("server.internal"))
            }
            Err(error) => return Err(error),
        }
    };
    store::set_outcome(&mut tx, order.bulk_action_id, user_id, outcome, code).await?;
    tx.commit().await?;
    Ok(())
}

async fn act(
    tx: &mut sqlx::PgConnection,
    ctx: &Context,
    client: &Client,
    asker: &Person,
    order: &store::Order,
    user_id: Uuid,
) -> Result<()> {
    let action = Action::named(&order.action).ok_or_else(|| Error::internal("an unknown bulk action"))?;
    let reason = order.reason.as_str();
    let status = match action {
        Action::Activate => Status::Active,
        Action::Deactivate => Status::Inactive,
        Action::Suspend => Status::Suspended,
        Action::Ban => Status::Banned,
        Action::Delete => {
            user::delete_in(tx, ctx, client, asker, user_id, reason).await?;
            return Ok(());
        }
        Action::Restore => return user::restore_in(tx, ctx, client, asker, user_id, reason).await,
        Action::AssignRole => {
            let grant =
                Grant { role: order.role.clone().unwrap_or_default(), is_superuser: None, version: None };
            role::assign_in(tx, ctx, client, asker, user_id, grant, reason).await?;
            return Ok(());
        }
        Action::SendMessage => {
            let (subject, text) = (order.subject.clone(), order.message.clone());
            let facts = Facts { subject, text, ..Facts::at(ctx.now()) };
            return user::write_to_in(tx, ctx, client, asker, user_id, facts, reason).await;
        }
        Action::Export => return Err(Error::internal("an export is written as a whole")),
    };
    user::set_status_in(tx, ctx, client, asker, user_id, status, reason).await
}

/// Who asked, as the edge saw them then.
fn client(order: &store::Order, lease: &Lease) -> Client {
    let ip = order.ip_address.as_deref().and_then(|text| text.parse().ok());
    Client {
        ip: ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        user_agent: order.user_agent.clone(),
        request_id: order.request_id.clone().unwrap_or_default(),
        traceparent: lease.traceparent.clone(),
        language: "en".to_owned(),
    }
}
