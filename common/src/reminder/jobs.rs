//! The daily look at who is due, and the reminders of one batch of people.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LATE, STEPS, What, store};
use crate::context::Context;
use crate::error::Result;
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::notify::{self, Facts, Told};

/// People of one job, and of one transaction.
const BATCH: i64 = 100;
/// How long a reminder of today is of use.
const LIFE: TimeDelta = TimeDelta::hours(24);

/// Asks for the reminders that are due today: a job for each batch of people.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct SendReminders {}

impl Job for SendReminders {
    const KIND: &'static str = "reminder.send_reminders";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(600);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match ask(ctx).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn ask(ctx: &Context) -> Result<()> {
    let now = ctx.now();
    let first = now - TimeDelta::days(STEPS[STEPS.len() - 1]) - LATE;
    let (mut after, until) = ((first, Uuid::nil()), now - TimeDelta::days(STEPS[0]));
    loop {
        let mut tx = ctx.db.begin().await?;
        let joined = store::list_joined(&mut *tx, after, until, BATCH).await?;
        for what in What::ALL {
            let due = joined.iter().filter(|person| what.due(person, now).is_some());
            let people: Vec<Uuid> = due.map(|person| person.user_id).collect();
            let Some(one) = people.first() else { continue };
            // a second body finds the same batches, and they wait once
            let key = Some(format!("{}:{one}", now.date_naive()));
            let terms = Terms { expires_at: Some(now + LIFE), unique_key: key, ..Terms::default() };
            match what {
                What::Profile => job::enqueue(&mut tx, now, &RemindProfiles { people }, terms).await?,
                What::Kyc => job::enqueue(&mut tx, now, &RemindKyc { people }, terms).await?,
            };
        }
        tx.commit().await?;
        match joined.last() {
            Some(last) if joined.len() == BATCH as usize => after = (last.created_at, last.user_id),
            _ => break,
        }
    }
    ctx.wake.queue(Queue::Low);
    Ok(())
}

/// Reminds these people of their profile: those who still miss something, are still due, and were not reminded
/// yet. One transaction, so that a body that starts twice reminds nobody twice.
#[derive(Debug, Deserialize, Serialize)]
pub struct RemindProfiles {
    /// Who was due when it was asked for.
    pub people: Vec<Uuid>,
}

impl Job for RemindProfiles {
    const KIND: &'static str = "reminder.remind_profiles";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match remind(ctx, What::Profile, &self.people).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// Reminds these people of handing in a document: those who still did not, or whose last one was rejected, as
/// [`RemindProfiles`] does.
#[derive(Debug, Deserialize, Serialize)]
pub struct RemindKyc {
    /// Who was due when it was asked for.
    pub people: Vec<Uuid>,
}

impl Job for RemindKyc {
    const KIND: &'static str = "reminder.remind_kyc";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 10;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match remind(ctx, What::Kyc, &self.people).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn remind(ctx: &Context, what: What, people: &[Uuid]) -> Result<()> {
    let (now, message) = (ctx.now(), what.message());
    let mut tx = ctx.db.begin().await?;
    for person in store::list_people(&mut *tx, people).await? {
        let Some(step) = what.due(&person, now) else { continue };
        if store::insert(&mut tx, person.user_id, message.name(), step, now).await? {
            let told = Told { user_id: person.user_id, message, facts: Facts::at(now) };
            notify::tell(&mut tx, ctx, None, &told).await?;
        }
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::RemindProfiles;

    #[test]
    fn payloads_that_were_asked_for_are_read_for_good() {
        let first = r#"{"people":["019a9f31-7cf2-7b0a-9e1c-2d3e4f506174"]}"#;
        let job: RemindProfiles = serde_json::from_str(first).expect("version 1");
        assert_eq!(serde_json::to_string(&job).expect("json"), first);
    }
}
