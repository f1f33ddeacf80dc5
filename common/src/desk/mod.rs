//! The operators' desk: jobs, queues, schedules, provider rates; looked at and steered by staff over HTTP
//! and by operators at the command line. Deliveries have a desk of their own, in `notify`.

pub mod job;
pub mod queue;
pub mod rate;
pub mod schedule;
pub(crate) mod store;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::audit::{self, Client, Line};
use crate::error::{Code, Result};
use crate::role::Permission;
use crate::session::Person;

/// No job has this id.
pub const JOB_NOT_FOUND: Code = Code {
    code: "job.not_found",
    status: 404,
    title: "No such job",
    advice: "Check the id; completed and cancelled jobs are kept for JOB_KEEP, dead letters for 30 days.",
};
/// A running job is left alone.
pub const JOB_RUNNING: Code = Code {
    code: "job.running",
    status: 409,
    title: "The job is running",
    advice: "Wait for its end: a running job is neither cancelled nor started twice.",
};
/// A completed or cancelled job stays so.
pub const JOB_FINISHED: Code = Code {
    code: "job.finished",
    status: 409,
    title: "The job is finished",
    advice: "Nothing is left to do; ask for the work anew where it is wanted again.",
};
/// A job that waits for its first try needs no retry.
pub const JOB_WAITING: Code = Code {
    code: "job.waiting",
    status: 409,
    title: "The job waits to run",
    advice: "Nothing: it runs by itself. See `next_step` of the job.",
};
/// A job is not run after its time.
pub const JOB_EXPIRED: Code = Code {
    code: "job.expired",
    status: 409,
    title: "The job's time is over",
    advice: "Ask for the work anew.",
};
/// Another job with the same unique key waits.
pub const JOB_SUPERSEDED: Code = Code {
    code: "job.superseded",
    status: 409,
    title: "A later job does this work",
    advice: "See the job that `detail` names.",
};
/// No queue has this name.
pub const QUEUE_NOT_FOUND: Code = Code {
    code: "queue.not_found",
    status: 404,
    title: "No such queue",
    advice: "Name one of critical, default, low, media, bulk.",
};
/// No schedule has this name.
pub const SCHEDULE_NOT_FOUND: Code = Code {
    code: "schedule.not_found",
    status: 404,
    title: "No such schedule",
    advice: "List the schedules and use a name from there.",
};
/// A schedule that no worker has registered cannot be run.
pub const SCHEDULE_UNKNOWN: Code = Code {
    code: "schedule.unregistered",
    status: 409,
    title: "No worker knows this schedule",
    advice: "Start a worker of a build that has it.",
};
/// An expression that is none, or never comes due.
pub const SCHEDULE_EXPRESSION: Code = Code {
    code: "schedule.expression",
    status: 422,
    title: "The expression cannot be used",
    advice: "Give a cron expression of 5 or 6 fields (seconds first) that comes due again, in UTC.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[
    JOB_NOT_FOUND,
    JOB_RUNNING,
    JOB_FINISHED,
    JOB_WAITING,
    JOB_EXPIRED,
    JOB_SUPERSEDED,
    QUEUE_NOT_FOUND,
    SCHEDULE_NOT_FOUND,
    SCHEDULE_UNKNOWN,
    SCHEDULE_EXPRESSION,
];

/// Who acts: somebody of staff, or an operator at the command line, who has the database in hand anyway.
#[derive(Clone, Copy, Debug)]
pub struct Hand<'a> {
    /// From where.
    pub client: &'a Client,
    /// None: an operator.
    pub person: Option<&'a Person>,
}

impl Hand<'_> {
    /// Refuses staff without the right.
    ///
    /// # Errors
    /// `auth.forbidden`.
    pub fn may(&self, permission: Permission) -> Result<()> {
        self.person.map_or(Ok(()), |person| person.may(permission))
    }

    /// Writes the audit line of what was done, with the caller's transaction.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn note(
        &self,
        tx: &mut PgConnection,
        action: &'static str,
        (entity_type, entity_id): (&'static str, String),
        mut details: Value,
        at: DateTime<Utc>,
    ) -> Result<()> {
        if self.person.is_none() {
            details["by"] = json!("operator");
        }
        let line = Line {
            action,
            entity_type,
            entity_id,
            actor: self.person.map(Person::user_id),
            session_id: self.person.map(|person| person.session_id),
            details,
            client: self.client,
            at,
        };
        Ok(audit::note(tx, line).await?)
    }
}
