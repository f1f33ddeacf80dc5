//! Gathering an export. Its file is attached, its owner told and the one before it let go in one transaction, so
//! that a body that starts twice gathers twice and tells once.

use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::archive::Archive;
use super::area::{AREAS, Area};
use super::{LIFE, store};
use crate::audit;
use crate::context::Context;
use crate::cursor::Place;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::{self, Facts, Message, Told};
use crate::seal;
use crate::upload::{self, Purpose, Upload};

/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// Lines of the log that are read at once.
const LINES: u16 = 500;

/// Gathers everything about a person and tells them.
#[derive(Debug, Deserialize, Serialize)]
pub struct BuildExport {
    /// Which.
    pub export_id: Uuid,
}

impl Job for BuildExport {
    const KIND: &'static str = "export.build_export";
    const QUEUE: Queue = Queue::Bulk;
    const MAX_ATTEMPTS: i16 = 10;
    const TIMEOUT: Duration = Duration::from_secs(1_800);

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        match build(ctx, lease, self.export_id).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn build(ctx: &Context, lease: &Lease, export_id: Uuid) -> Result<()> {
    // finished before, erased or too old
    let Some(user_id) = store::find_owner(&ctx.db, export_id).await? else { return Ok(()) };
    let mut archive = Archive::begin(ctx, user_id).await?;
    match gather(ctx, lease, user_id, &mut archive).await {
        Ok(()) => finish(ctx, user_id, export_id, archive.finish(ctx).await?).await,
        Err(error) => {
            archive.abort(ctx).await?;
            Err(error)
        }
    }
}

async fn finish(ctx: &Context, user_id: Uuid, export_id: Uuid, file: Upload) -> Result<()> {
    let (now, mut tx) = (ctx.now(), ctx.db.begin().await?);
    let expires_at = now + LIFE;
    let size = i64::try_from(file.size).map_err(Error::internal)?;
    let is_first = store::set_finished(&mut tx, export_id, (file.upload_id, size), now, expires_at).await?;
    if is_first && upload::attach(&mut tx, file.upload_id, user_id, Purpose::Export, now).await? {
        for older in store::delete_others(&mut tx, user_id, export_id).await?.into_iter().flatten() {
            upload::release(&mut tx, older, now).await?;
        }
        let facts = Facts { date: Some(expires_at.date_naive()), ..Facts::at(now) };
        notify::tell(&mut tx, ctx, None, &Told { user_id, message: Message::ExportReady, facts }).await?;
    } else {
        upload::release(&mut tx, file.upload_id, now).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

/// Somebody else may have the job by now: it is theirs.
fn must_hold(lease: &Lease) -> Result<()> {
    match lease.holds() {
        true => Ok(()),
        false => Err(Error::Aborted("the lease was not renewed in time".into())),
    }
}

async fn gather(ctx: &Context, lease: &Lease, user_id: Uuid, archive: &mut Archive) -> Result<()> {
    let mut files = Map::new();
    for area in AREAS {
        must_hold(lease)?;
        let name = format!("{}.json", area.name);
        archive.file(&name)?;
        files.insert(name, rows(ctx, area, user_id, archive).await?.into());
    }
    must_hold(lease)?;
    archive.file("activity.json")?;
    files.insert("activity.json".to_owned(), activity(ctx, user_id, archive).await?.into());
    for file in upload::list(ctx, user_id).await? {
        must_hold(lease)?;
        let ending = file.content_type.rsplit('/').next().unwrap_or("bin");
        let name = format!("files/{}-{}.{ending}", file.purpose.name(), file.upload_id);
        // deleted meanwhile
        let found = upload::stream(ctx, file.upload_id, user_id, file.purpose).await?;
        let Some((_, mut pieces)) = found else { continue };
        archive.file(&name)?;
        while let Some(piece) = pieces.next().await {
            archive.write(&piece?).await?;
        }
    }
    archive.file("index.json")?;
    let index = json!({ "version": 1, "generated_at": ctx.now(), "entries": files });
    archive.write(&serde_json::to_vec_pretty(&index).map_err(Error::internal)?).await
}

/// A JSON list that grows.
#[derive(Default)]
struct List(u64);

impl List {
    async fn push(&mut self, archive: &mut Archive, item: &impl Serialize) -> Result<()> {
        archive.write(if self.0 == 0 { b"[\n" } else { b",\n" }).await?;
        self.0 += 1;
        archive.write(&serde_json::to_vec(item).map_err(Error::internal)?).await
    }

    async fn end(self, archive: &mut Archive) -> Result<u64> {
        archive.write(if self.0 == 0 { b"[]\n" } else { b"\n]\n" }).await?;
        Ok(self.0)
    }
}

/// Writes the rows of an area. Answers with how many.
async fn rows(ctx: &Context, area: &Area, user_id: Uuid, archive: &mut Archive) -> Result<u64> {
    let (mut list, mut skip) = (List::default(), 0);
    loop {
        let page = store::list_rows(&ctx.db, area, user_id, skip, PAGE).await?;
        let count = page.len() as i64;
        for row in page {
            list.push(archive, &open(ctx, area, row)).await?;
        }
        skip += count;
        if count < PAGE {
            return list.end(archive).await;
        }
    }
}

/// A row, with what is sealed in it opened; what no key opens any more is null.
fn open(ctx: &Context, area: &Area, mut row: Value) -> Value {
    let Some(fields) = row.as_object_mut() else { return row };
    for sealed in area.open {
        let text = fields.get(sealed.column).and_then(Value::as_str).and_then(bytes);
        let owner = fields.get(sealed.owner).and_then(Value::as_str).and_then(|id| id.parse::<Uuid>().ok());
        let opened = text.zip(owner).and_then(|(text, owner)| {
            let text = seal::open(&ctx.config.keys, sealed.purpose, owner.as_bytes(), &text)?;
            String::from_utf8(text).ok()
        });
        fields.remove(sealed.column);
        fields.insert(sealed.name.to_owned(), opened.into());
    }
    for sealed in area.open {
        if !area.take.contains(&sealed.owner) {
            fields.remove(sealed.owner);
        }
    }
    row
}

/// What Postgres writes of bytes: `\x` and hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let pairs =
        digits.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}

/// Writes the person's own view of the audit log. Answers with how many lines.
async fn activity(ctx: &Context, user_id: Uuid, archive: &mut Archive) -> Result<u64> {
    let mut list = List::default();
    let mut from = Some(Place { at: ctx.now() + TimeDelta::minutes(1), id: Uuid::max() });
    while let Some(place) = from {
        let (lines, next) = audit::lines(ctx, user_id, place, LINES).await?;
        for line in &lines {
            list.push(archive, line).await?;
        }
        from = next;
    }
    list.end(archive).await
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_read_as_postgres_writes_them() {
        assert_eq!(bytes("\\x00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes("\\x"), Some(Vec::new()));
        assert_eq!((bytes("00ff"), bytes("\\xzz")), (None, None));
    }
}
