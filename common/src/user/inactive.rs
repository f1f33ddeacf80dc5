//! Accounts that nobody uses: without activity for six months they are set inactive, after a warning of two
//! weeks. Staff are exempt. A sign-in by code brings back whom this set aside, and nobody whom staff did.

use chrono::{DateTime, Months, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Status, store};
use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::error::Result;
use crate::id;
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::{self, Facts, Message, Told};
use crate::session::{self, End};

/// Months without activity.
const WAIT: Months = Months::new(6);
/// Between the warning and the end.
const NOTICE: TimeDelta = TimeDelta::days(14);
/// People a transaction warns or sets aside.
const BATCH: i64 = 100;

/// Warns, and sets inactive who was warned and did not come.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct DeactivateInactive {}

impl Job for DeactivateInactive {
    const KIND: &'static str = "user.deactivate_inactive";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1_800);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match deactivate(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn deactivate(ctx: &Context) -> Result<()> {
    let now = ctx.now();
    let idle_since = now - WAIT;
    let mut after = Uuid::nil();
    while let Some(last) = set_aside(ctx, idle_since, after, now).await? {
        after = last;
    }
    after = Uuid::nil();
    while let Some(last) = warn(ctx, idle_since + NOTICE, after, now).await? {
        after = last;
    }
    Ok(())
}

/// Warns the next batch of people without activity since `idle_since`, once each until they come back.
/// Answers with the last of them, if there may be more.
async fn warn(
    ctx: &Context,
    idle_since: DateTime<Utc>,
    after: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>> {
    let mut tx = ctx.db.begin().await?;
    let mut people = store::set_warned(&mut tx, idle_since, after, now, BATCH).await?;
    people.sort_unstable();
    let facts = Facts { date: Some((now + NOTICE).date_naive()), ..Facts::at(now) };
    for user_id in &people {
        let told = Told { user_id: *user_id, message: Message::InactivityWarning, facts: facts.clone() };
        notify::tell(&mut tx, ctx, None, &told).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(last(&people))
}

/// Sets the next batch of people aside: without activity since `idle_since`, and warned long enough ago.
async fn set_aside(
    ctx: &Context,
    idle_since: DateTime<Utc>,
    after: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>> {
    let mut tx = ctx.db.begin().await?;
    let mut people = store::set_lapsed(&mut tx, idle_since, now - NOTICE, after, now, BATCH).await?;
    people.sort_unstable();
    let lines: Vec<Uuid> = people.iter().map(|_| id::ordered(now)).collect();
    store::insert_lapsed(&mut tx, &lines, &people, now).await?;
    for user_id in &people {
        session::end_all(&mut tx, *user_id, None, End::Status, now).await?;
        tell(&mut tx, ctx, None, *user_id, Status::Inactive).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(last(&people))
}

fn last(people: &[Uuid]) -> Option<Uuid> {
    people.last().copied().filter(|_| people.len() == BATCH as usize)
}

/// Whether the schedule set this account aside, and nobody has said otherwise since.
///
/// # Errors
/// The database does not answer.
pub async fn is_lapsed(tx: &mut PgConnection, user_id: Uuid) -> Result<bool> {
    Ok(store::is_lapsed(tx, user_id).await?)
}

/// Makes an account active again that the schedule set aside, with the caller's transaction: its owner has
/// proved an identifier of it. Nothing happens to any other.
///
/// # Errors
/// The database does not answer.
pub async fn bring_back(tx: &mut PgConnection, ctx: &Context, client: &Client, user_id: Uuid) -> Result<()> {
    let now = ctx.now();
    if !store::set_back(&mut *tx, user_id, now).await? {
        return Ok(());
    }
    let line = Line {
        action: "user.status_changed",
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(user_id),
        session_id: None,
        details: json!({ "by": "sign_in" }),
        client,
        at: now,
    };
    let said = |status: Status| json!({ "status": status.name() });
    let values = Values { old: said(Status::Inactive), new: said(Status::Active), sealed: None };
    audit::note_change(tx, line, values).await?;
    tell(tx, ctx, Some(client), user_id, Status::Active).await
}

async fn tell(
    tx: &mut PgConnection,
    ctx: &Context,
    client: Option<&Client>,
    user_id: Uuid,
    status: Status,
) -> Result<()> {
    let facts = Facts { status: Some(status.name().to_owned()), ..Facts::at(ctx.now()) };
    notify::tell(tx, ctx, client, &Told { user_id, message: Message::AccountStatusChanged, facts }).await?;
    Ok(())
}
