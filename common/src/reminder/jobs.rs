//! The daily look at who is due, and the reminders of one batch of people.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LATE, STEPS, step, store};
use crate::context::Context;
use crate::error::Result;
use crate::job::{self, Job, Lease, Queue, Terms, Verdict};
use crate::notify::{self, Facts, Message, Told};
use crate::user::completeness;

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
        let due: Vec<Uuid> = joined
            .iter()
            .filter(|person| !completeness::missing(person.known()).is_empty())
            .filter(|person| step(person.created_at, now).is_some_and(|step| step > person.reminded))
            .map(|person| person.user_id)
            .collect();
        if let Some(one) = due.first() {
            // a second body finds the same batches, and they wait once
            let key = Some(format!("{}:{one}", now.date_naive()));
            let terms = Terms { expires_at: Some(now + LIFE), unique_key: key, ..Terms::default() };
            job::enqueue(&mut tx, now, &RemindProfiles { people: due }, terms).await?;
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
        match remind(ctx, &self.people).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

async fn remind(ctx: &Context, people: &[Uuid]) -> Result<()> {
    let (now, message) = (ctx.now(), Message::ProfileCompletionReminder);
    let mut tx = ctx.db.begin().await?;
    for person in store::list_people(&mut *tx, people).await? {
        let Some(step) = step(person.created_at, now).filter(|step| *step > person.reminded) else {
            continue;
        };
        if completeness::missing(person.known()).is_empty() {
            continue;
        }
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
