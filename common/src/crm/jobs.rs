//! What happens later: telling a target of everybody who is marked, a hundred a call.
//!
//! One run at a time for each target (`serial_key`), so no older state goes out after a newer one. A mark is struck
//! off under the number it was read with; a change during the call has another one and is told of again. What fails
//! for the whole target holds the whole target (`crm_targets.held_until`); what fails for one person waits or is set
//! aside with the reason, and the others go on. An erasure is never set aside.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store::{self, Missed, Open, Target};
use super::{TARGETS, ask, contact};
use crate::context::Context;
use crate::desk::rate::Turn;
use crate::error::Result;
use crate::job::{Backoff, Job, Lease, Queue, Verdict};
use crate::provider::crm::{BATCH, Contact, CrmProvider, Fate, Setback, Taking};
use crate::secret;

/// After a failure of the target as a whole.
const FAILED: Backoff = Backoff { base: Duration::from_secs(2), most: Duration::from_secs(600) };
/// After a refusal that somebody has to mend.
const MISCONFIGURED: Duration = Duration::from_secs(600);
/// After a failure of one person.
const MISSED: Backoff = Backoff { base: Duration::from_secs(30), most: Duration::from_secs(3600) };
/// Tries of one person before they are set aside.
const MOST_TRIES: i16 = 12;
/// An erasure is tried for good, every hour in the end.
const MOST_TRIES_OF_ERASURES: i16 = i16::MAX;
/// How long a target may fail before its job is a dead letter.
const PATIENCE: chrono::TimeDelta = chrono::TimeDelta::days(7);
/// A run gives way to the next one before its time is over.
const SHIFT: Duration = Duration::from_secs(480);
/// How many people are marked at a time when a target is to be told of everybody.
const FILL: i64 = 2_000;

/// Tells one target of everybody who is marked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncUsers {
    /// Which.
    pub target: String,
}

impl Job for SyncUsers {
    const KIND: &'static str = "crm.sync_users";
    const QUEUE: Queue = Queue::Default;
    // time ends the tries (`PATIENCE`)
    const MAX_ATTEMPTS: i16 = 5_000;
    const TIMEOUT: Duration = Duration::from_secs(600);
    const BACKOFF: Backoff = FAILED;

    async fn run(&self, ctx: &Context, lease: &Lease) -> Verdict {
        match sync(ctx, lease, &self.target).await {
            Ok(verdict) => verdict,
            Err(error) => error.into(),
        }
    }
}

async fn sync(ctx: &Context, lease: &Lease, name: &str) -> Result<Verdict> {
    let Some(name) = TARGETS.into_iter().find(|known| *known == name) else {
        return Ok(Verdict::GiveUp("there is no such target".to_owned()));
    };
    let target = store::find_target(&ctx.db, name).await?;
    let Some(target) = target.filter(|target| target.enabled) else { return Ok(Verdict::Done) };
    let Some(provider) = ctx.crm.find(name) else {
        let reason = format!("{name} is on, but this worker has no settings for it");
        return Ok(Verdict::Snooze { after: Duration::from_secs(60), reason });
    };
    let wait = target.held_until.and_then(|until| (until - ctx.now()).to_std().ok());
    if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
        let reason = target.reason.unwrap_or_default();
        return Ok(Verdict::Snooze { after: wait, reason: format!("{name} waits: {reason}") });
    }
    let mut tx = ctx.db.begin().await?;
    store::pass_marks(&mut tx).await?;
    tx.commit().await?;
    Run { ctx, lease, name, provider, began: Instant::now(), moved: false, left: false, doubtful: Vec::new() }
        .all(target)
        .await
}

/// One run of the job.
struct Run<'a> {
    ctx: &'a Context,
    lease: &'a Lease,
    name: &'static str,
    provider: &'a dyn CrmProvider,
    began: Instant,
    /// Whether the target took anything.
    moved: bool,
    /// Whether a mark could not be struck off because somebody was changing it.
    left: bool,
    /// Who was refused one by one, by answers that do not say whose fault it is, while nobody was taken.
    doubtful: Vec<Doubt>,
}

/// One person who was refused, for a reason that may not be theirs.
struct Doubt {
    number: (Uuid, i64),
    reason: String,
    tries: i16,
}

/// A batch on its way.
struct Part<'a> {
    people: &'a [Contact],
    tries: &'a [(Uuid, i16)],
    /// Whether the target understood anything of it.
    heard: bool,
    alone: Vec<Doubt>,
}

/// Why a run ends early.
enum Stop {
    /// The target as a whole.
    Target(Setback),
    /// Not now: somebody else may have the job soon, or the rate of the target is used up.
    Later(Duration, String),
    /// Of ours.
    Error(crate::Error),
}

impl From<crate::Error> for Stop {
    fn from(error: crate::Error) -> Self {
        Self::Error(error)
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.into())
    }
}

impl Run<'_> {
    async fn all(mut self, target: Target) -> Result<Verdict> {
        let mut fill_after = target.fill_after;
        let mut after = 0;
        loop {
            if self.began.elapsed() > SHIFT {
                if let Some(setback) = self.nobody_was_taken() {
                    return self.held(setback, &target).await;
                }
                let mut tx = self.ctx.db.begin().await?;
                ask(&mut tx, self.name, None, self.ctx.now(), self.ctx.now()).await?;
                tx.commit().await?;
                return Ok(Verdict::Done);
            }
            let most = i64::try_from(BATCH).unwrap_or(1);
            let open = store::list_open(&self.ctx.db, self.name, after, self.ctx.now(), most).await?;
            match (open.last(), fill_after) {
                (Some(last), _) => after = last.change,
                (None, Some(from)) => {
                    fill_after = self.fill(from).await?;
                    continue;
                }
                (None, None) => break,
            }
            if let Err(stop) = self.batch(open).await {
                return self.stopped(stop, &target).await;
            }
        }
        if let Some(setback) = self.nobody_was_taken() {
            return self.held(setback, &target).await;
        }
        self.come_back().await?;
        Ok(Verdict::Done)
    }

    async fn stopped(&self, stop: Stop, target: &Target) -> Result<Verdict> {
        match stop {
            Stop::Target(setback) => self.held(setback, target).await,
            Stop::Later(after, reason) => Ok(Verdict::Snooze { after, reason }),
            Stop::Error(error) => Err(error),
        }
    }

    /// Marks the next people of a target that is to be told of everybody.
    async fn fill(&self, after: Uuid) -> Result<Option<Uuid>> {
        let mut tx = self.ctx.db.begin().await?;
        let last = store::insert_fill(&mut tx, self.name, after, self.ctx.now(), FILL).await?;
        store::set_filled(&mut tx, self.name, last).await?;
        tx.commit().await?;
        Ok(last)
    }

    /// One call for all who are there, and one for each who is erased.
    async fn batch(&mut self, open: Vec<Open>) -> Result<(), Stop> {
        let tries: Vec<(Uuid, i16)> = open.iter().map(|one| (one.user_id, one.tries)).collect();
        let mut people: Vec<Contact> = Vec::new();
        let mut gone: Vec<(Uuid, i64)> = Vec::new();
        for Open { user_id, change, person, .. } in open {
            match person {
                Some(person) => people.push(contact(user_id, change, person)),
                None => gone.push((user_id, change)),
            }
        }
        // first: an address that somebody has now may still be theirs over there
        for one in gone {
            self.time_left()?;
            let now = self.turn().await?;
            // who cannot be erased holds nobody up, unless nothing can be told at all
            let fates = match self.ask(self.provider.erase(one.0, one.1, now)).await {
                Ok(Taking::Taken(fates)) => fates,
                Ok(Taking::Refused { fate, .. }) => vec![(one.0, fate)],
                Err(Stop::Target(Setback::Fail { reason } | Setback::Misconfigured { reason })) => {
                    vec![(one.0, Fate::Later(reason))]
                }
                Err(stop) => return Err(stop),
            };
            self.write_down(&[one], fates, &tries, MOST_TRIES_OF_ERASURES).await?;
        }
        match people.is_empty() {
            true => Ok(()),
            false => self.tell(&people, &tries).await,
        }
    }

    /// Tells of these, and where the answer does not say who is at fault, of each half by itself.
    async fn tell(&mut self, people: &[Contact], tries: &[(Uuid, i16)]) -> Result<(), Stop> {
        let mut part = Part { people, tries, heard: false, alone: Vec::new() };
        let end = self.halve(&mut part).await;
        let Part { heard, alone, .. } = part;
        if heard {
            let before = std::mem::take(&mut self.doubtful);
            self.set_aside(before.into_iter().chain(alone)).await?;
            return end;
        }
        if let Err(stop) = end {
            // others come first in the next run
            let before = std::mem::take(&mut self.doubtful);
            self.put_off(before.into_iter().chain(alone)).await?;
            return Err(stop);
        }
        let is_second = !self.doubtful.is_empty();
        match alone.len() {
            0 => Ok(()),
            1 if people.len() == 1 && !is_second => self.set_aside(alone.into_iter()).await,
            _ => {
                self.doubtful.extend(alone);
                match self.nobody_was_taken().filter(|_| is_second) {
                    Some(setback) => Err(Stop::Target(setback)),
                    None => Ok(()),
                }
            }
        }
    }

    /// Where each and every one is refused, and nobody of the next batch is taken either, it is not their doing.
    fn nobody_was_taken(&self) -> Option<Setback> {
        let Doubt { reason, .. } = self.doubtful.first()?;
        let reason = format!("{reason} for each of {} people by themselves", self.doubtful.len());
        Some(Setback::Misconfigured { reason })
    }

    async fn set_aside(&mut self, doubtful: impl Iterator<Item = Doubt>) -> Result<(), Stop> {
        for Doubt { number, reason, tries } in doubtful {
            let fates = vec![(number.0, Fate::Refused(reason))];
            self.write_down(&[number], fates, &[(number.0, tries)], MOST_TRIES).await?;
        }
        Ok(())
    }

    async fn put_off(&mut self, doubtful: impl Iterator<Item = Doubt>) -> Result<(), Stop> {
        for Doubt { number, reason, tries } in doubtful {
            let fates = vec![(number.0, Fate::Later(reason))];
            self.write_down(&[number], fates, &[(number.0, tries)], MOST_TRIES).await?;
        }
        Ok(())
    }

    /// A run gives way in the middle of a batch too.
    fn time_left(&self) -> Result<(), Stop> {
        match self.began.elapsed() > SHIFT {
            true => Err(Stop::Later(Duration::from_secs(1), "the rest follows in another run".to_owned())),
            false => Ok(()),
        }
    }

    /// Tells of these by halves. What is certain is written down at once.
    async fn halve(&mut self, all: &mut Part<'_>) -> Result<(), Stop> {
        let mut parts = vec![all.people];
        while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
            self.time_left()?;
            let now = self.turn().await?;
            match (self.ask(self.provider.tell(part, now)).await?, part) {
                (Taking::Taken(fates), _) => {
                    all.heard = true;
                    self.write_down(&numbers(part), fates, all.tries, MOST_TRIES).await?;
                }
                (Taking::Refused { fate: Fate::Refused(reason), certain: false }, [one]) => {
                    let tries = all.tries.iter().find(|(id, _)| *id == one.user_id);
                    let tries = tries.map_or(0, |(_, tries)| *tries);
                    all.alone.push(Doubt { number: (one.user_id, one.change), reason, tries });
                }
                (Taking::Refused { fate, certain }, [one]) => {
                    all.heard |= certain;
                    self.write_down(&numbers(part), vec![(one.user_id, fate)], all.tries, MOST_TRIES).await?;
                }
                (Taking::Refused { .. }, _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    /// Waits for the turn of the next call, and tells when that is.
    async fn turn(&self) -> Result<DateTime<Utc>, Stop> {
        match self.ctx.turns.of(self.ctx, self.name).await? {
            Turn::In(wait) => tokio::time::sleep(wait).await,
            Turn::Away(after) => {
                return Err(Stop::Later(after, format!("over the rate of {}: it waits its turn", self.name)));
            }
        }
        match self.lease.holds() {
            true => Ok(self.ctx.now()),
            false => {
                Err(Stop::Later(Duration::from_secs(1), "the worker could not renew its lease".to_owned()))
            }
        }
    }

    /// A call: counted, timed and part of the trace.
    async fn ask(&self, call: impl Future<Output = Result<Taking, Setback>>) -> Result<Taking, Stop> {
        let outcome = |answer: &Result<Taking, Setback>| match answer {
            Ok(Taking::Taken(_)) => "accepted",
            Ok(Taking::Refused { .. }) => "give_up",
            Err(setback) => setback.name(),
        };
        self.ctx.metrics.called(self.name, outcome, call).await.map_err(Stop::Target)
    }

    /// After a call that was answered: who was taken is struck off, who was not waits or is set aside.
    async fn write_down(
        &mut self,
        asked: &[(Uuid, i64)],
        fates: Vec<(Uuid, Fate)>,
        tries: &[(Uuid, i16)],
        most_tries: i16,
    ) -> Result<(), Stop> {
        let now = self.ctx.now();
        let missed = |id: &Uuid| fates.iter().any(|(missed, _)| missed == id);
        let (ids, changes): (Vec<Uuid>, Vec<i64>) =
            asked.iter().filter(|(id, _)| !missed(id)).copied().unzip();
        if !ids.is_empty() {
            let struck = store::delete_marks(&self.ctx.db, self.name, &ids, &changes).await?;
            self.left |= struck < ids.len() as u64;
            self.moved = true;
            store::set_synced(&self.ctx.db, self.name, now).await?;
        }
        for (user_id, fate) in fates {
            let Some((_, change)) = asked.iter().find(|(id, _)| *id == user_id) else { continue };
            let tried = tries.iter().find(|(id, _)| *id == user_id).map_or(0, |(_, tries)| *tries);
            let tried = tried.saturating_add(1);
            let (due_at, reason) = match fate {
                Fate::Refused(reason) if most_tries < i16::MAX => (None, reason),
                Fate::Later(reason) if tried >= most_tries && most_tries < i16::MAX => {
                    (None, format!("{reason}; {tried} tries"))
                }
                Fate::Later(reason) | Fate::Refused(reason) => {
                    let [luck] = secret::random::<1>();
                    (Some(now + MISSED.after(tried, luck)), reason)
                }
            };
            if due_at.is_none() {
                tracing::warn!(system = self.name, %user_id, reason, "set aside until they change");
            }
            let missed = Missed { user_id, change: *change, due_at, reason };
            store::set_missed(&self.ctx.db, self.name, &missed, now).await?;
        }
        Ok(())
    }

    /// The whole target waits. The time for it to get well has an end; what was marked stays marked.
    async fn held(&self, setback: Setback, target: &Target) -> Result<Verdict> {
        let now = self.ctx.now();
        let failures = if self.moved { 0 } else { target.failures };
        let [luck] = secret::random::<1>();
        let wait = match &setback {
            Setback::Wait { after, .. } => (*after).max(Duration::from_secs(1)),
            Setback::Fail { .. } => {
                FAILED.after(i16::try_from(failures).unwrap_or(i16::MAX).saturating_add(1), luck)
            }
            Setback::Denied { .. } | Setback::Misconfigured { .. } => MISCONFIGURED,
        };
        let reason = setback.reason().to_owned();
        if let Setback::Denied { reason } | Setback::Misconfigured { reason } = &setback {
            tracing::warn!(system = self.name, reason, "the sync is not set up right");
        }
        store::set_failed(&self.ctx.db, self.name, now, now + wait, &reason).await?;
        let since = target.failing_since.filter(|_| !self.moved);
        if let Some(since) = since.filter(|since| now - *since > PATIENCE) {
            store::set_given_up(&self.ctx.db, self.name).await?;
            return Ok(Verdict::GiveUp(format!("{reason}; nothing was taken since {since:?}")));
        }
        // an attempt that got somewhere is none that failed
        match self.moved || matches!(setback, Setback::Wait { .. }) {
            true => Ok(Verdict::Snooze { after: wait, reason }),
            false => Ok(Verdict::Retry { after: Some(wait), reason }),
        }
    }

    /// Asks for a run when the next retry of one person is due.
    async fn come_back(&self) -> Result<()> {
        let now = self.ctx.now();
        let soon = self.left.then(|| now + MISSED.base);
        let due = store::next_due(&self.ctx.db, self.name).await?;
        let Some(run_at) = [soon, due].into_iter().flatten().min() else { return Ok(()) };
        let mut tx = self.ctx.db.begin().await?;
        ask(&mut tx, self.name, Some("later"), now, run_at).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn numbers(people: &[Contact]) -> Vec<(Uuid, i64)> {
    people.iter().map(|person| (person.user_id, person.change)).collect()
}
