//! Schedules: one job row per tick. The tick and its job are one statement under a unique key, so any
//! number of schedulers, a clock that jumps and a crash in the middle all give one row.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::{Job, Queue, Terms, row, store};
use crate::context::Context;
use crate::error::{Error, Result};

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
    fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::One => "one",
            Self::All => "all",
        }
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
    job: fn(DateTime<Utc>) -> Result<store::NewJob>,
}

impl Plan {
    /// A schedule for a job without arguments.
    pub fn of<J: Job + Default>(name: &'static str, expression: &'static str, catch_up: CatchUp) -> Self {
        Self { name, expression, catch_up, job: |now| row(now, &J::default(), Terms::default()) }
    }
}

/// Inserts schedules the database does not know yet; what operators changed stays.
///
/// # Errors
/// The database does not answer.
pub async fn register(ctx: &Context, plans: &[Plan]) -> Result<()> {
    for plan in plans {
        store::insert_schedule(&ctx.db, plan.name, plan.expression, plan.catch_up.name(), ctx.now()).await?;
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
        for at in due {
            let job = (plan.job)(now)?;
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
        "skip" => missed.last().filter(|at| now - *at < chrono::TimeDelta::minutes(1)).into_iter().collect(),
        _ => latest(&cron, schedule.ticked_at, now).into_iter().collect(),
    })
}

/// The last tick after `after` and not after `now`, looked for from the near side: far behind, counting
/// up to it would take long.
fn latest(cron: &cron::Schedule, after: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut back = chrono::TimeDelta::minutes(1);
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
    fn a_clock_that_jumps_back_asks_for_nothing() {
        assert!(ticks(CatchUp::All, "2026-01-01T10:00:00Z", "2025-06-01T00:00:00Z").is_empty());
    }
}
