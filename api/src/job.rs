//! Jobs over HTTP, for staff.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::config::Config;
use keryu_common::desk::{self, Hand, job};
use keryu_common::error::VALIDATION;
use keryu_common::job::Queue;
use keryu_common::role::Permission;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{LineIn, TextIn, TimeIn};
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "job_list", security: Security::Staff(Permission::JobsRead), refusals: &[VALIDATION] },
    Note {
        operation: "job_show",
        security: Security::Staff(Permission::JobsRead),
        refusals: &[desk::JOB_NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "job_retry",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[
            desk::JOB_NOT_FOUND,
            NOT_FOUND,
            desk::JOB_RUNNING,
            desk::JOB_FINISHED,
            desk::JOB_WAITING,
            desk::JOB_EXPIRED,
            desk::JOB_SUPERSEDED,
        ],
    },
    Note {
        operation: "job_cancel",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[desk::JOB_NOT_FOUND, NOT_FOUND, desk::JOB_RUNNING, desk::JOB_FINISHED],
    },
    Note { operation: "job_retry_many", security: Security::Staff(Permission::JobsWrite), refusals: &[] },
];

/// The most dead letters one call tries again.
const MOST: u64 = 10_000;

/// How far a job is.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum JobStateIn {
    /// Its time has not come.
    Scheduled,
    /// It is due.
    Available,
    /// A worker runs it.
    Running,
    /// It waits for its next try.
    Retryable,
    /// Done.
    Completed,
    /// A dead letter.
    Discarded,
    /// Taken back.
    Cancelled,
}

impl JobStateIn {
    fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where jobs wait.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum QueueIn {
    /// Codes.
    Critical,
    /// Messages, synchronisation.
    Default,
    /// Reminders, reports, bookkeeping.
    Low,
    /// Pictures.
    Media,
    /// Imports, exports, bulk actions.
    Bulk,
}

impl From<QueueIn> for Queue {
    fn from(queue: QueueIn) -> Self {
        match queue {
            QueueIn::Critical => Self::Critical,
            QueueIn::Default => Self::Default,
            QueueIn::Low => Self::Low,
            QueueIn::Media => Self::Media,
            QueueIn::Bulk => Self::Bulk,
        }
    }
}

/// A job.
#[derive(Debug, Object)]
#[oai(example)]
pub struct JobOut {
    /// Which.
    id: Uuid,
    /// `slice.verb_noun`.
    kind: String,
    /// `critical`, `default`, `low`, `media` or `bulk`.
    queue: String,
    /// `scheduled`, `available`, `running`, `retryable`, `completed`, `discarded` or `cancelled`.
    state: String,
    /// 0 goes first, 9 last.
    priority: i16,
    /// Attempts so far.
    attempts: i16,
    /// Before it is a dead letter; null once it is finished.
    max_attempts: Option<i16>,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// Not before; null once it is dead or finished.
    run_at: Option<DateTime<Utc>>,
    /// When its last attempt began.
    started_at: Option<DateTime<Utc>>,
    /// When it became a dead letter, or finished.
    ended_at: Option<DateTime<Utc>>,
    /// Dead after.
    expires_at: Option<DateTime<Utc>>,
    /// What its last attempt said.
    error: Option<String>,
    /// The request that asked for it.
    request_id: Option<String>,
}

impl From<job::Job> for JobOut {
    fn from(job: job::Job) -> Self {
        Self {
            id: job.id,
            kind: job.kind,
            queue: job.queue,
            state: job.state,
            priority: job.priority,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            created_at: job.created_at,
            run_at: job.run_at,
            started_at: job.started_at,
            ended_at: job.ended_at,
            expires_at: job.expires_at,
            error: job.error,
            request_id: job.request_id,
        }
    }
}

impl Example for JobOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174),
            kind: "notify.deliver_message".to_owned(),
            queue: "critical".to_owned(),
            state: "retryable".to_owned(),
            priority: 0,
            attempts: 2,
            max_attempts: Some(200),
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            run_at: DateTime::from_timestamp(1_793_000_007, 0),
            started_at: DateTime::from_timestamp(1_793_000_003, 0),
            ended_at: None,
            expires_at: DateTime::from_timestamp(1_793_000_300, 0),
            error: Some("twilio answered 503".to_owned()),
            request_id: Some("019a9f31-7cf2-7b0a-9e1c-2d3e4f506170".to_owned()),
        }
    }
}

/// A piece of the list.
#[derive(Debug, Object)]
#[oai(example)]
pub struct JobPageOut {
    /// Newest first.
    items: Vec<JobOut>,
    /// For `cursor`; null: this was the last.
    next_cursor: Option<String>,
}

impl Example for JobPageOut {
    fn example() -> Self {
        Self { items: vec![JobOut::example()], next_cursor: None }
    }
}

/// A job with all there is to know of it.
#[derive(Debug, Object)]
#[oai(example)]
pub struct JobDetailOut {
    /// The job.
    #[oai(flatten)]
    job: JobOut,
    /// What it was asked to do: ids.
    payload: Value,
    /// Of the payload.
    version: i16,
    /// One waiting job for each.
    unique_key: Option<String>,
    /// Never two running with one.
    serial_key: Option<String>,
    /// The message it delivers.
    delivery_id: Option<Uuid>,
    /// What happens next, or what to do.
    next_step: String,
}

impl From<job::Detail> for JobDetailOut {
    fn from(detail: job::Detail) -> Self {
        let job::Detail { job, payload, version, unique_key, serial_key, delivery_id, next_step } = detail;
        Self { job: job.into(), payload, version, unique_key, serial_key, delivery_id, next_step }
    }
}

impl Example for JobDetailOut {
    fn example() -> Self {
        let delivery_id = Uuid::from_u128(0x0b9f_7c1e_63a5_4d28_8f10_7c2e_9d4b_6a53);
        Self {
            job: JobOut::example(),
            payload: serde_json::json!({ "delivery_id": delivery_id, "created_at": "2026-10-26T06:13:20Z" }),
            version: 1,
            unique_key: None,
            serial_key: None,
            delivery_id: Some(delivery_id),
            next_step: "Its next try is at 2026-10-26 06:13:27 UTC.".to_owned(),
        }
    }
}

/// Which dead letters are to be tried again: every field narrows, none means all.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RetryManyIn {
    /// Of this kind.
    kind: Option<LineIn>,
    /// Of this queue.
    queue: Option<QueueIn>,
    /// Whose error holds this text, in any case.
    error: Option<LineIn>,
    /// Dead since this moment or later.
    since: Option<DateTime<Utc>>,
}

impl Example for RetryManyIn {
    fn example() -> Self {
        Self {
            kind: Some(LineIn("notify.deliver_notice".to_owned())),
            queue: Some(QueueIn::Default),
            error: Some(LineIn("answered 503".to_owned())),
            since: DateTime::from_timestamp(1_793_000_000, 0),
        }
    }
}

impl Input for RetryManyIn {
    type Ask = job::DeadFilter;
    fn ask(self, _: &Config) -> Option<job::DeadFilter> {
        Some(job::DeadFilter {
            kind: self.kind.as_ref().and_then(LineIn::parse),
            queue: self.queue.map(Into::into),
            error: self.error.as_ref().and_then(LineIn::parse),
            since: self.since,
        })
    }
}

/// What a retry of many did.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RetriedOut {
    /// So many run again.
    retried: u64,
    /// Whether there may be more: one call tries about 10,000.
    more: bool,
}

impl Example for RetriedOut {
    fn example() -> Self {
        Self { retried: 312, more: false }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Jobs;

#[OpenApi(prefix_path = "/api/admin/jobs", tag = "Tag::Admin")]
impl Jobs {
    /// List jobs
    ///
    /// Live and finished, newest first. By kind, queue or error, completed ones are those asked for in the last hour,
    /// unless `since` (or eight characters of an `id`) says otherwise.
    #[oai(path = "/", method = "get", operation_id = "job_list")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// In this state.
        state: Query<Option<JobStateIn>>,
        /// Of this kind.
        #[oai(validator(min_length = 1, max_length = 100))]
        kind: Query<Option<TextIn>>,
        /// Of this queue.
        queue: Query<Option<QueueIn>>,
        /// Whose error holds this text, in any case.
        #[oai(validator(min_length = 1, max_length = 100))]
        error: Query<Option<TextIn>>,
        /// Whose id begins so.
        #[oai(validator(pattern = "^[0-9a-fA-F-]{1,36}$"))]
        id: Query<Option<String>>,
        /// Asked for at this moment or later.
        since: Query<Option<TimeIn>>,
        /// Asked for before this moment.
        before: Query<Option<TimeIn>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// What the piece before said as `next_cursor`.
        cursor: Query<Option<Uuid>>,
    ) -> Answer<Json<JobPageOut>> {
        let filter = job::Filter {
            state: state.0.map(|state| state.name().to_owned()),
            kind: kind.0.map(|text| text.0),
            queue: queue.0.map(Into::into),
            error: error.0.map(|text| text.0),
            id: id.0,
            since: since.0.map(|time| time.0),
            before: before.0.map(|time| time.0),
            cursor: cursor.0,
        };
        let hand = Hand { client: &from, person: Some(&person) };
        let page = job::list(&ctx, hand, &filter, limit.0.unwrap_or(50)).await?;
        Ok(Json(JobPageOut {
            items: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        }))
    }

    /// See a job
    #[oai(path = "/:id", method = "get", operation_id = "job_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Json<JobDetailOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        Ok(Json(job::show(&ctx, hand, id.0).await?.into()))
    }

    /// Try a job again now
    ///
    /// A dead letter, or one that waits for its next try.
    #[oai(path = "/:id/retry", method = "post", operation_id = "job_retry")]
    async fn retry(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Json<JobDetailOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        Ok(Json(job::retry(&ctx, hand, id.0).await?.into()))
    }

    /// Cancel a job
    ///
    /// One that waits, or a dead letter to be put away. A running job is left alone.
    #[oai(path = "/:id/cancel", method = "post", operation_id = "job_cancel")]
    async fn cancel(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Json<JobDetailOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        Ok(Json(job::cancel(&ctx, hand, id.0).await?.into()))
    }

    /// Try dead letters again
    ///
    /// Left out: what is past its time, and what a waiting job already does.
    #[oai(path = "/retry", method = "post", operation_id = "job_retry_many")]
    async fn retry_many(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        body: Body<RetryManyIn>,
    ) -> Answer<Json<RetriedOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        let job::Retried { retried, more } = job::retry_dead(&ctx, hand, &body.ask, MOST).await?;
        Ok(Json(RetriedOut { retried, more }))
    }
}
