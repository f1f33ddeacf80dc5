//! The reports of a month: at its end, for everybody who used something in it and wants to hear of it.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BuildReport, PATIENCE, store};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::id;
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::notify::{Message, Preferences, Via};

/// People of one transaction.
const BATCH: i64 = 500;

/// Asks for the reports of the month before this one: a job a person. A body that starts again goes on with
/// those whose report was not asked for.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct RequestMonthly {}

impl Job for RequestMonthly {
    const KIND: &'static str = "report.request_monthly";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1_800);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match request(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn request(ctx: &Context) -> Result<()> {
    let now = ctx.now();
    let month = before(now);
    let mut after = Uuid::nil();
    loop {
        let mut tx = ctx.db.begin().await?;
        let people = store::list_users(&mut *tx, month, after, BATCH).await?;
        let due: Vec<Uuid> = people
            .iter()
            .filter(|one| !one.is_asked && is_wanted(&Preferences::read(&one.preferences)))
            .map(|one| one.user_id)
            .collect();
        store::delete_stale(&mut tx, &due, now).await?;
        let ids: Vec<Uuid> = due.iter().map(|_| id::ordered(now)).collect();
        let expires_at = now + PATIENCE;
        let reports = store::insert_monthly(&mut tx, (&ids, &due), month, now, expires_at).await?;
        if let Some(first) = reports.first() {
            let terms = Terms { expires_at: Some(expires_at), ..Terms::default() };
            let like = job::row(now, &BuildReport { report_id: *first }, terms)?;
            let jobs: Vec<Uuid> = reports.iter().map(|_| id::ordered(now)).collect();
            let payloads =
                reports.iter().map(|report_id| serde_json::to_value(BuildReport { report_id: *report_id }));
            let payloads: Vec<_> = payloads.collect::<Result<_, _>>().map_err(Error::internal)?;
            job::store::insert_many(&mut *tx, &like, &jobs, &payloads).await?;
        }
        tx.commit().await?;
        match people.last() {
            Some(last) if people.len() == BATCH as usize => after = last.user_id,
            _ => break,
        }
    }
    ctx.wake.queue(Queue::Low);
    Ok(())
}

/// The first day of the month before a moment's.
fn before(now: DateTime<Utc>) -> NaiveDate {
    let first = now.date_naive().with_day(1).unwrap_or_default();
    first.checked_sub_months(Months::new(1)).unwrap_or(first)
}

/// Whoever switched off every way to hear that a report is ready wants none.
fn is_wanted(preferences: &Preferences) -> bool {
    let message = Message::ReportReady;
    Via::ALL.into_iter().any(|via| message.goes_by(via) && preferences.allows(message, via))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_before_goes_over_the_turn_of_a_year() {
        for (now, wanted) in [("2026-01-01T05:00:00Z", "2025-12-01"), ("2026-03-31T23:00:00Z", "2026-02-01")]
        {
            assert_eq!(before(now.parse().expect("time")).to_string(), wanted);
        }
    }

    #[test]
    fn who_switched_off_all_ways_wants_none() {
        let mut preferences = Preferences::default();
        assert!(is_wanted(&preferences));
        assert!(preferences.switch(Message::ReportReady, Via::Email, false));
        assert!(is_wanted(&preferences));
        assert!(preferences.switch(Message::ReportReady, Via::Push, false));
        assert!(!is_wanted(&preferences));
    }
}
