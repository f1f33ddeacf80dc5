//! An export: what lists know of the people chosen, as a file in the object store, sealed at rest. It is written
//! in one go, batch by batch, and counted on the way; a body that is stopped begins a new file, and what was
//! written of the old one is cleaned up. Whoever asked may take it away for seven days.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{NO_RESULT, NOT_FOUND, RESULT_GONE, store};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::provider::storage::Stream;
use crate::role::Permission;
use crate::session::{self, FORBIDDEN, Person};
use crate::sheet;
use crate::upload::{self, Purpose, Writer};
use crate::user::{self, Card, SELF};

/// People of one batch.
const BATCH: i64 = 2_000;
/// How long a file is kept.
const KEPT: TimeDelta = TimeDelta::days(7);

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For spreadsheets (RFC 4180); no cell is a formula.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl Format {
    /// The name on the wire and in rows, and how the file's name ends.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    fn named(name: Option<&str>) -> Self {
        match name {
            Some("jsonl") => Self::Jsonl,
            _ => Self::Csv,
        }
    }

    /// The media type of the file.
    pub fn media(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Jsonl => "application/jsonl; charset=utf-8",
        }
    }
}

/// The columns, in the order of [`cells`].
const COLUMNS: [&str; 12] = [
    "id",
    "username",
    "email",
    "phone_number",
    "first_name",
    "last_name",
    "status",
    "role",
    "email_verified",
    "phone_verified",
    "date_joined",
    "last_login",
];

fn cells(card: &Card) -> [Option<String>; 12] {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    [
        Some(card.user_id.to_string()),
        Some(card.username.clone()),
        card.email.clone(),
        card.phone_number.clone(),
        card.first_name.clone(),
        card.last_name.clone(),
        Some(card.status.name().to_owned()),
        Some(card.role.clone()),
        Some(card.email_verified.to_string()),
        Some(card.phone_verified.to_string()),
        Some(time(card.created_at)),
        card.last_login_at.map(time),
    ]
}

fn rows(format: Format, cards: &[Card]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for card in cards {
        let cells = cells(card);
        match format {
            Format::Csv => {
                out.extend(sheet::row(cells.iter().map(|cell| cell.as_deref().unwrap_or_default())))
            }
            Format::Jsonl => {
                let mut object = serde_json::Map::new();
                for (name, cell) in COLUMNS.into_iter().zip(cells) {
                    object.insert(name.to_owned(), cell.into());
                }
                object.insert("email_verified".to_owned(), card.email_verified.into());
                object.insert("phone_verified".to_owned(), card.phone_verified.into());
                serde_json::to_writer(&mut out, &object).map_err(Error::internal)?;
                out.push(b'\n');
            }
        }
    }
    Ok(out)
}

/// Writes the file. Whether all is done.
pub(super) async fn write(
    ctx: &Context,
    lease: &Lease,
    client: &Client,
    order: &store::Order,
) -> Result<bool> {
    let asker = session::recall(ctx, order.created_by, order.session_id, order.created_at).await?;
    if !asker.is_some_and(|asker| asker.has(Permission::UsersExport)) {
        let mut tx = ctx.db.begin().await?;
        store::set_open_outcome(&mut tx, order.bulk_action_id, FORBIDDEN.code).await?;
        store::set_finished(&mut *tx, order.bulk_action_id, ctx.now()).await?;
        tx.commit().await?;
        return Ok(true);
    }
    store::set_outcomes(&ctx.db, order.bulk_action_id, &[order.created_by], "skipped", SELF.code).await?;
    let format = Format::named(order.format.as_deref());
    let mut writer = upload::writer(ctx, order.created_by, Purpose::Export, format.media()).await?;
    match fill(ctx, lease, order, format, &mut writer).await {
        Ok(Some(written)) => finish(ctx, client, order, writer, written).await,
        Ok(None) => {
            writer.abort(ctx).await?;
            Ok(false)
        }
        Err(error) => {
            writer.abort(ctx).await?;
            Err(error)
        }
    }
}

/// Whose rows a file holds.
#[derive(Default)]
struct Written {
    /// How many people.
    people: i64,
    /// Who, where they were asked for by id; of a filter the order's own line says all.
    named: Vec<Uuid>,
}

/// Writes everybody's rows. Answers with whose; none: somebody else may have the job by now.
async fn fill(
    ctx: &Context,
    lease: &Lease,
    order: &store::Order,
    format: Format,
    writer: &mut Writer,
) -> Result<Option<Written>> {
    if format == Format::Csv {
        writer.write(Bytes::from(sheet::row(COLUMNS))).await?;
    }
    let (mut after, mut written) = (Uuid::nil(), Written::default());
    loop {
        if !lease.holds() {
            return Ok(None);
        }
        let ids = store::list_open_after(&ctx.db, order.bulk_action_id, after, BATCH).await?;
        let Some(last) = ids.last() else { return Ok(Some(written)) };
        let cards = user::list_cards(&ctx.db, &ids).await?;
        writer.write(Bytes::from(rows(format, &cards)?)).await?;
        let found: std::collections::HashSet<Uuid> = cards.iter().map(|card| card.user_id).collect();
        let gone: Vec<Uuid> = ids.iter().copied().filter(|id| !found.contains(id)).collect();
        if !gone.is_empty() {
            let code = user::NOT_FOUND.code;
            store::set_outcomes(&ctx.db, order.bulk_action_id, &gone, "failed", code).await?;
        }
        written.people += cards.len() as i64;
        if order.filter.is_none() {
            written.named.extend(cards.iter().map(|card| card.user_id));
        }
        store::set_exported(&ctx.db, order.bulk_action_id, written.people).await?;
        after = *last;
    }
}

async fn finish(
    ctx: &Context,
    client: &Client,
    order: &store::Order,
    writer: Writer,
    written: Written,
) -> Result<bool> {
    let file = writer.finish(ctx).await?;
    let now = ctx.now();
    let until = now + KEPT;
    let mut tx = ctx.db.begin().await?;
    // another body was first: its file is the result, and this one is cleaned up
    if !store::set_result(&mut tx, order.bulk_action_id, file.upload_id, written.people, until, now).await? {
        return Ok(true);
    }
    if !upload::attach(&mut tx, file.upload_id, order.created_by, Purpose::Export, now).await? {
        return Err(Error::internal("the file of an export is not there"));
    }
    let details = json!({ "people": written.people, "format": order.format, "bytes": file.size });
    audit::note(&mut tx, line(client, order, "bulk.exported", details, order.session_id, now)).await?;
    let details = json!({ "bulk_action_id": order.bulk_action_id, "reason": order.reason });
    let each = line(client, order, "user.exported", details, order.session_id, now);
    audit::note_each(&mut tx, Line { entity_type: "user", ..each }, &written.named).await?;
    let terms = Terms { run_at: Some(until), ..Terms::default() };
    job::enqueue(&mut tx, now, &ReleaseResult { bulk_action_id: order.bulk_action_id }, terms).await?;
    tx.commit().await?;
    Ok(true)
}

fn line<'a>(
    client: &'a Client,
    order: &store::Order,
    action: &'static str,
    details: serde_json::Value,
    session_id: Uuid,
    at: DateTime<Utc>,
) -> Line<'a> {
    Line {
        action,
        entity_type: "bulk_action",
        entity_id: order.bulk_action_id.to_string(),
        actor: Some(order.created_by),
        session_id: Some(session_id),
        details,
        client,
        at,
    }
}

/// A file to take away.
pub struct Taken {
    /// In which form.
    pub format: Format,
    /// When it was finished.
    pub at: DateTime<Utc>,
    /// Its content, piece by piece.
    pub pieces: Stream,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken").field("format", &self.format).finish_non_exhaustive()
    }
}

/// The file of an export, for who asked for it; leaves an audit line.
///
/// # Errors
/// `auth.forbidden`; `bulk.not_found`, also for what somebody else asked for; `bulk.no_result`,
/// `bulk.result_gone`; `storage.unavailable`.
pub async fn download(
    ctx: &Context,
    client: &Client,
    person: &Person,
    bulk_action_id: Uuid,
) -> Result<Taken> {
    person.may(Permission::UsersExport)?;
    let order = store::find_order(&ctx.db, bulk_action_id).await?;
    let order = order.filter(|order| order.created_by == person.user_id());
    let order = order.ok_or_else(|| NOT_FOUND.refuse("You asked for no export with this id."))?;
    let Some(until) = order.result_until else {
        return Err(NO_RESULT.refuse("It is not an export, or not finished.").into());
    };
    let gone = || RESULT_GONE.refuse("It was kept for seven days.");
    let upload_id = order.upload_id.filter(|_| ctx.now() < until).ok_or_else(gone)?;
    let mut tx = ctx.db.begin().await?;
    let session_id = person.session_id;
    audit::note(&mut tx, line(client, &order, "bulk.downloaded", json!({}), session_id, ctx.now())).await?;
    tx.commit().await?;
    let found = upload::stream(ctx, upload_id, order.created_by, Purpose::Export).await?;
    let (_, pieces) = found.ok_or_else(gone)?;
    let at = order.finished_at.unwrap_or(order.created_at);
    Ok(Taken { format: Format::named(order.format.as_deref()), at, pieces })
}

/// Lets the file of an export go when its time is over.
#[derive(Debug, Deserialize, Serialize)]
pub struct ReleaseResult {
    /// Of which.
    pub bulk_action_id: Uuid,
}

impl Job for ReleaseResult {
    const KIND: &'static str = "bulk.release_result";
    const QUEUE: Queue = Queue::Low;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match release(ctx, self.bulk_action_id).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn release(ctx: &Context, bulk_action_id: Uuid) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    if let Some(upload_id) = store::take_result(&mut tx, bulk_action_id).await? {
        upload::release(&mut tx, upload_id, ctx.now()).await?;
    }
    tx.commit().await?;
    Ok(())
}
