//! Schedules over HTTP, for staff.

use chrono::{DateTime, Utc};
use keryu_common::desk::schedule::{self, Change};
use keryu_common::desk::{self, Hand};
use keryu_common::role::Permission;
use keryu_common::{Context, idempotency};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::client::Caller;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "schedule_list", security: Security::Staff(Permission::JobsRead), refusals: &[] },
    Note {
        operation: "schedule_run",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[
            desk::SCHEDULE_NOT_FOUND,
            NOT_FOUND,
            desk::SCHEDULE_UNKNOWN,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
    Note {
        operation: "schedule_enable",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[desk::SCHEDULE_NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "schedule_disable",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[desk::SCHEDULE_NOT_FOUND, NOT_FOUND],
    },
];

/// A schedule.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ScheduleOut {
    /// Its name.
    name: String,
    /// The kind of job it asks for.
    kind: Option<String>,
    /// cron in UTC, with a field for seconds first where there are six.
    expression: String,
    /// As it was shipped.
    default_expression: Option<String>,
    /// What is asked for after an outage: `skip`, `one` (the latest missed tick) or `all`.
    catch_up: String,
    /// Whether it is on.
    enabled: bool,
    /// The next tick; null where it is off.
    next_at: Option<DateTime<Utc>>,
    /// The last tick that asked for a job.
    last_at: Option<DateTime<Utc>>,
    /// That job.
    last_job_id: Option<Uuid>,
    /// How far that job is; null once it is no longer kept.
    last_state: Option<String>,
    /// What that job's last attempt said.
    last_error: Option<String>,
}

impl From<schedule::Schedule> for ScheduleOut {
    fn from(one: schedule::Schedule) -> Self {
        Self {
            name: one.name,
            kind: one.kind,
            expression: one.expression,
            default_expression: one.default_expression,
            catch_up: one.catch_up,
            enabled: one.enabled,
            next_at: one.next_at,
            last_at: one.last_at,
            last_job_id: one.last_job_id,
            last_state: one.last_state,
            last_error: one.last_error,
        }
    }
}

impl Example for ScheduleOut {
    fn example() -> Self {
        Self {
            name: "cleanup_expired".to_owned(),
            kind: Some("retention.cleanup_expired".to_owned()),
            expression: "0 * * * * *".to_owned(),
            default_expression: Some("0 * * * * *".to_owned()),
            catch_up: "one".to_owned(),
            enabled: true,
            next_at: DateTime::from_timestamp(1_793_000_040, 0),
            last_at: DateTime::from_timestamp(1_792_999_980, 0),
            last_job_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174)),
            last_state: Some("completed".to_owned()),
            last_error: None,
        }
    }
}

/// All schedules.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SchedulesOut {
    /// By name.
    items: Vec<ScheduleOut>,
}

impl Example for SchedulesOut {
    fn example() -> Self {
        Self { items: vec![ScheduleOut::example()] }
    }
}

/// A job that was asked for by hand.
#[derive(Debug, Object)]
#[oai(example)]
pub struct JobAskedOut {
    /// The job.
    job_id: Uuid,
}

impl JobAskedOut {
    /// Of this job.
    pub fn of(job_id: Uuid) -> Self {
        Self { job_id }
    }
}

impl Example for JobAskedOut {
    fn example() -> Self {
        Self { job_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174) }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Schedules;

#[OpenApi(prefix_path = "/api/admin/schedules", tag = "Tag::Admin")]
impl Schedules {
    /// List schedules
    #[oai(path = "/", method = "get", operation_id = "schedule_list")]
    async fn list(&self, ctx: Data<&Context>, from: Caller, person: Signed) -> Answer<Json<SchedulesOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        let items = schedule::list(&ctx, hand).await?;
        Ok(Json(SchedulesOut { items: items.into_iter().map(Into::into).collect() }))
    }

    /// Ask for a schedule's job now
    ///
    /// Also where it is off; its ticks go on as before.
    #[oai(path = "/:name/run", method = "post", operation_id = "schedule_run")]
    async fn run(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        /// From the list.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$"))]
        name: Path<String>,
    ) -> Answer<Accepted<JobAskedOut>> {
        let key = key.bind_as(&ctx.config, &person, "schedule_run", name.0.as_bytes())?;
        let hand = Hand { client: &from, person: Some(&person) };
        let ran = schedule::run(&ctx, hand, &name.0, key.as_ref()).await?;
        Ok(Accepted(JobAskedOut::of(ran.job_id)))
    }

    /// Switch a schedule on
    ///
    /// It begins now: what lies before is not caught up.
    #[oai(path = "/:name/enable", method = "post", operation_id = "schedule_enable")]
    async fn enable(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$"))]
        name: Path<String>,
    ) -> Answer<Json<ScheduleOut>> {
        switch(&ctx, &from, &person, &name.0, true).await
    }

    /// Switch a schedule off
    #[oai(path = "/:name/disable", method = "post", operation_id = "schedule_disable")]
    async fn disable(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$"))]
        name: Path<String>,
    ) -> Answer<Json<ScheduleOut>> {
        switch(&ctx, &from, &person, &name.0, false).await
    }
}

async fn switch(
    ctx: &Context,
    from: &Caller,
    person: &Signed,
    name: &str,
    on: bool,
) -> Answer<Json<ScheduleOut>> {
    let hand = Hand { client: from, person: Some(person) };
    let change = Change { enabled: Some(on), ..Change::default() };
    Ok(Json(schedule::change(ctx, hand, name, change).await?.into()))
}
