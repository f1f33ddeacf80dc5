//! Building a report. Its content and the notice that it is ready are of one transaction, so that a body that
//! starts twice builds twice and tells once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LIFE, MOST, figures, page, store};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::{self, Facts, Message, Told};

/// Builds a report and tells its owner.
#[derive(Debug, Deserialize, Serialize)]
pub struct BuildReport {
    /// Which.
    pub report_id: Uuid,
}

impl Job for BuildReport {
    const KIND: &'static str = "report.build_report";
    const QUEUE: Queue = Queue::Low;
    // as often as it takes until it expires: at the longest wait these are more than a day
    const MAX_ATTEMPTS: i16 = 500;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match build(ctx, self.report_id).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn build(ctx: &Context, report_id: Uuid) -> Result<()> {
    let now = ctx.now();
    // built before, erased or too old
    let Some(user_id) = store::find_owner(&ctx.db, report_id).await? else { return Ok(()) };
    let Some(sections) = figures::gather(ctx, user_id).await? else { return Ok(()) };
    let name = ctx.config.notify.name.clone();
    // drawing takes a while of a whole core
    let drawn = tokio::task::spawn_blocking(move || draw(&name, &sections, now));
    let (json, html) = drawn.await.map_err(Error::internal)??;
    let (mut tx, expires_at) = (ctx.db.begin().await?, now + LIFE);
    if store::set_finished(&mut tx, report_id, (&json, &html), now, expires_at).await? {
        store::delete_older(&mut tx, user_id, MOST).await?;
        let facts = Facts { date: Some(expires_at.date_naive()), ..Facts::at(now) };
        notify::tell(&mut tx, ctx, None, &Told { user_id, message: Message::ReportReady, facts }).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

fn draw(name: &str, sections: &[figures::Section], at: DateTime<Utc>) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((page::json(sections, at)?, page::html(name, sections, at)?))
}
