//! Gathering an export. Its file is attached, its owner told and the one before it let go in one transaction, so
//! that a body that starts twice gathers twice and tells once.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::archive::{Archive, PIECE};
use super::area::{AREAS, Area, Opens, Sealed};
use super::{LIFE, store};
use crate::audit;
use crate::context::Context;
use crate::cursor::Place;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::{self, Facts, Message, Told};
use crate::profile::history;
use crate::seal;
use crate::upload::{self, Purpose, Upload};
use crate::user::user_key;

/// Rows that are read at once.
const PAGE: i64 = 1_000;
/// Lines of the log that are read at once.
const LINES: u16 = 500;
/// So often the store is waited for with a file that it does not give; after it, it is taken for lost. Some three
/// hours.
const PATIENT: i16 = 25;

/// Gathers everything about a person and tells them.
#[derive(Debug, Deserialize, Serialize)]
pub struct BuildExport {
    /// Which.
    pub export_id: Uuid,
}

impl Job for BuildExport {
    const KIND: &'static str = "export.build_export";
    const QUEUE: Queue = Queue::Bulk;
    // as often as it takes until it expires: at the longest wait these are more than a day
    const MAX_ATTEMPTS: i16 = 500;
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
    let mut unreadable = Vec::new();
    for file in upload::list(ctx, user_id).await? {
        must_hold(lease)?;
        let ending = file.content_type.rsplit('/').next().unwrap_or("bin");
        let name = format!("files/{}-{}.{ending}", file.purpose.name(), file.upload_id);
        match read(ctx, lease, &file).await? {
            Read::Whole(bytes) => {
                archive.file(&name)?;
                for piece in bytes.chunks(PIECE) {
                    archive.write(piece).await?;
                }
            }
            Read::Unreadable => unreadable.push(name),
            Read::Gone => {}
        }
    }
    archive.file("index.json")?;
    let index =
        json!({ "version": 1, "generated_at": ctx.now(), "entries": files, "unreadable": unreadable });
    archive.write(&serde_json::to_vec_pretty(&index).map_err(Error::internal)?).await
}

/// What became of a file.
enum Read {
    Whole(Bytes),
    /// Deleted meanwhile.
    Gone,
    /// It is not in the store, does not open, or is not given.
    Unreadable,
}

/// Reads a file as a whole, so that no half of one is in the archive. One that cannot be read is no reason to keep
/// back all else.
async fn read(ctx: &Context, lease: &Lease, file: &Upload) -> Result<Read> {
    match upload::read(ctx, file.upload_id, file.user_id, file.purpose).await {
        Ok(Some((_, bytes))) => Ok(Read::Whole(bytes)),
        Ok(None) => Ok(Read::Gone),
        Err(error @ Error::Internal(_)) => Ok(unreadable(file, &error)),
        Err(error @ Error::Refusal(_)) if lease.attempt > PATIENT => Ok(unreadable(file, &error)),
        Err(error) => Err(error),
    }
}

fn unreadable(file: &Upload, error: &Error) -> Read {
    tracing::error!(upload_id = %file.upload_id, %error, "a file is left out of an export");
    Read::Unreadable
}

/// A JSON list that grows.
#[derive(Default)]
struct List(u64);

impl List {
    async fn push(&mut self, archive: &mut Archive, item: &[u8]) -> Result<()> {
        archive.write(if self.0 == 0 { b"[\n" } else { b",\n" }).await?;
        self.0 += 1;
        archive.write(item).await
    }

    async fn end(self, archive: &mut Archive) -> Result<u64> {
        archive.write(if self.0 == 0 { b"[]\n" } else { b"\n]\n" }).await?;
        Ok(self.0)
    }
}

/// Writes the rows of an area. Answers with how many.
async fn rows(ctx: &Context, area: &Area, user_id: Uuid, archive: &mut Archive) -> Result<u64> {
    let (mut list, mut after) = (List::default(), None);
    let key = match area.open.iter().any(|sealed| matches!(sealed.opens, Opens::Change)) {
        true => {
            let mut session = ctx.db.acquire().await?;
            Some(user_key(&mut session, ctx, user_id).await?)
        }
        false => None,
    };
    loop {
        let page = store::list_rows(&ctx.db, area, user_id, after.as_deref(), PAGE).await?;
        let count = page.len() as i64;
        for store::Line { row, place } in page {
            match area.open {
                [] => list.push(archive, row.as_bytes()).await?,
                _ => list.push(archive, &open(ctx, area, key.as_ref(), &row)?).await?,
            }
            after = Some(place);
        }
        if count < PAGE {
            return list.end(archive).await;
        }
    }
}

/// A row, with what is sealed in it opened; what no key opens any more is null. `key` is the person's own.
fn open(ctx: &Context, area: &Area, key: Option<&[u8; 32]>, row: &str) -> Result<Vec<u8>> {
    let mut fields: Map<String, Value> = serde_json::from_str(row).map_err(Error::internal)?;
    for sealed in area.open {
        let text = fields.get(sealed.column).and_then(Value::as_str).and_then(bytes);
        let opened = text.and_then(|text| match sealed.opens {
            Opens::House(purpose, owner) => {
                let owner: Uuid = fields.get(owner)?.as_str()?.parse().ok()?;
                let text = seal::open(&ctx.config.keys, purpose, owner.as_bytes(), &text)?;
                Some(String::from_utf8(text).ok()?.into())
            }
            Opens::Change => history::taken_out(key?, &text),
        });
        fields.remove(sealed.column);
        fields.insert(sealed.name.to_owned(), opened.unwrap_or_default());
    }
    for owner in area.open.iter().filter_map(Sealed::owner) {
        if !area.take.contains(&owner) {
            fields.remove(owner);
        }
    }
    serde_json::to_vec(&fields).map_err(Error::internal)
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
            list.push(archive, &serde_json::to_vec(line).map_err(Error::internal)?).await?;
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
