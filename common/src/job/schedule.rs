//! Schedules: one job row per tick. The tick and its job are one statement under a unique key, so any
//! number of schedulers, a clock that jumps and a crash in the middle all give one row.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Job, Queue, Terms, row, store};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::secret;

/// How far ahead of now the last tick may lie: clocks of a deployment differ by less.
const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// What is asked for when ticks were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Only a tick less than a minute old.
    Skip,
    /// The latest missed tick.
    One,
    /// Every missed tick, oldest first, up to a thousand a round.
    All,
}

impl CatchUp {
    /// As rows and commands say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::One => "one",
            Self::All => "all",
        }
    }
}

impl FromStr for CatchUp {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = [Self::Skip, Self::One, Self::All].into_iter().find(|policy| policy.name() == name);
        known.ok_or_else(|| format!("{name} is none of skip, one, all"))
    }
}

/// A schedule as the registry has it. The row in the database may say another expression or be off.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// cron with seconds, UTC.
    pub expression: &'static str,
    /// After an outage.
    pub catch_up: CatchUp,
    /// A job is due at its tick or up to this long after, by chance: so that heavy ones of many deployments,
    /// and of one, do not all begin at the same second.
    pub spread: Duration,
    job: fn(DateTime<Utc>) -> Result<store::NewJob>,
}

impl Plan {
    /// A schedule for a job without arguments.
    pub fn of<J: Job + Default>(name: &'static str, expression: &'static str, catch_up: CatchUp) -> Self {
        let job = |now| row(now, &J::default(), Terms::default());
        Self { name, expression, catch_up, spread: Duration::ZERO, job }
    }

    /// With another spread.
    pub fn spread(&mut self, spread: Duration) {
        self.spread = spread;
    }

    /// The job of a tick.
    fn job(&self, at: DateTime<Utc>, now: DateTime<Utc>, luck: u8) -> Result<store::NewJob> {
        let due = at + self.spread.mul_f64(f64::from(luck) / 255.0);
        Ok(store::NewJob { run_at: due.max(now), ..(self.job)(now)? })
    }
}

/// Tells the database what the registry's schedules ask for, and inserts those it does not know yet; what
/// operators changed stays.
///
/// # Errors
/// The database does not answer.
pub async fn register(ctx: &Context, plans: &[Plan]) -> Result<()> {
    for plan in plans {
        let job = (plan.job)(ctx.now())?;
        store::upsert_schedule(&ctx.db, plan.name, plan.expression, plan.catch_up.name(), &job).await?;
    }
    Ok(())
}

/// Asks for every job whose tick is due. Answers with the queues that have new rows.
///
/// # Errors
/// The database does not answer.
pub async fn tick(ctx: &Context, plans: &[Plan]) -> Result<Vec<Queue>> {
    let now = ctx.now();
    let mut queues = Vec::new();
    for schedule in store::list_schedules(&ctx.db).await? {
        let Some(plan) = plans.iter().find(|plan| plan.name == schedule.schedule) else { continue };
        if schedule.ticked_at > now + AHEAD {
            // a clock was ahead, and is right again: ticks go on, and those that have their row stay one
            store::set_ticked_back(&ctx.db, plan.name, now).await?;
            continue;
        }
        let due = match due(&schedule, now) {
            Ok(due) => due,
            // one that cannot be read must not stop the others
            Err(error) => {
                tracing::error!(%error, "the schedule stands still");
                continue;
            }
        };
        let Some(&last) = due.last() else { continue };
        let mut tx = ctx.db.begin().await?;
        // switched off, changed or ticked since it was read: the next round knows
        if !store::lock_schedule(&mut tx, &schedule).await? {
            continue;
        }
        for at in due {
            let [luck] = secret::random::<1>();
            let job = plan.job(at, now, luck)?;
            if store::insert_tick(&mut tx, plan.name, at, &job).await? > 0 {
                queues.push(job.queue);
            }
        }
        store::set_ticked(&mut tx, plan.name, last).await?;
        tx.commit().await?;
    }
    Ok(queues)
}

/// The ticks to ask for between the last one and now.
fn due(schedule: &store::Schedule, now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>> {
    const MOST: usize = 1_000;
    let cron = parse(&schedule.expression)
        .map_err(|error| Error::internal(format!("schedule {}: {error}", schedule.schedule)))?;
    let missed = cron.after(&schedule.ticked_at).take_while(|at| *at <= now);
    Ok(match schedule.catch_up.as_str() {
        "all" => missed.take(MOST).collect(),
        policy => {
            let latest = latest(&cron, schedule.ticked_at, now);
            let young = |at: &DateTime<Utc>| now - *at < TimeDelta::minutes(1);
            latest.filter(|at| policy != "skip" || young(at)).into_iter().collect()
        }
    })
}

/// The last tick after `after` and not after `now`, looked for from the near side: far behind, counting
/// up to it would take long.
fn latest(cron: &cron::Schedule, after: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut back = TimeDelta::minutes(1);
    loop {
        let from = after.max(now - back);
        let found = cron.after(&from).take_while(|at| *at <= now).last();
        if found.is_some() || from <= after {
            return found;
        }
        back = back * 4;
    }
}

/// Reads a cron expression with or without a seconds field.
///
/// # Errors
/// What is wrong with it.
pub fn parse(expression: &str) -> Result<cron::Schedule, String> {
    let fields = expression.split_whitespace().count();
    let text = if fields == 5 { format!("0 {expression}") } else { expression.to_owned() };
    cron::Schedule::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect(text)
    }

    fn ticks(catch_up: CatchUp, last: &str, now: &str) -> Vec<String> {
        let schedule = store::Schedule {
            schedule: "s".into(),
            expression: "0 * * * * *".into(),
            catch_up: catch_up.name().into(),
            ticked_at: at(last),
        };
        due(&schedule, at(now)).expect("due").iter().map(|at| at.format("%H:%M").to_string()).collect()
    }

    #[test]
    fn an_outage_is_caught_up_as_the_schedule_says() {
        let (last, now) = ("2026-01-01T10:00:00Z", "2026-01-01T10:03:30Z");
        assert_eq!(ticks(CatchUp::All, last, now), ["10:01", "10:02", "10:03"]);
        assert_eq!(ticks(CatchUp::One, last, now), ["10:03"]);
        assert_eq!(ticks(CatchUp::Skip, last, now), ["10:03"]);
        assert_eq!(ticks(CatchUp::One, last, "2026-03-01T00:00:10Z"), ["00:00"]);
        assert!(ticks(CatchUp::All, now, now).is_empty());
    }

    #[test]
    fn far_behind_a_monthly_schedule_asks_for_its_latest_tick_alone() {
        let schedule = store::Schedule {
            schedule: "s".into(),
            expression: "0 0 5 1 * *".into(),
            catch_up: CatchUp::One.name().into(),
            ticked_at: at("2025-01-01T05:00:00Z"),
        };
        let due = due(&schedule, at("2026-01-20T10:00:00Z")).expect("due");
        assert_eq!(due, [at("2026-01-01T05:00:00Z")]);
    }

    #[test]
    fn a_spread_job_is_due_within_it_and_never_before_now() {
        let mut plan = Plan::of::<crate::job::Noop>("s", "0 * * * * *", CatchUp::One);
        plan.spread(Duration::from_secs(600));
        let (tick, now) = (at("2026-01-01T10:00:00Z"), at("2026-01-01T10:00:30Z"));
        let due = |luck| plan.job(tick, now, luck).expect("job").run_at;
        assert_eq!((due(0), due(255)), (now, tick + Duration::from_secs(600)));
        assert!(due(128) > tick + Duration::from_secs(290) && due(128) < tick + Duration::from_secs(310));
    }

    #[test]
    fn a_clock_that_jumps_back_asks_for_nothing() {
        assert!(ticks(CatchUp::All, "2026-01-01T10:00:00Z", "2025-06-01T00:00:00Z").is_empty());
    }
}
