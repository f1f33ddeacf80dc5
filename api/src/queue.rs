//! Queues over HTTP, for staff.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::desk::{self, Hand, queue};
use keryu_common::role::Permission;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use crate::edge::client::Caller;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "queue_list", security: Security::Staff(Permission::JobsRead), refusals: &[] },
    Note {
        operation: "queue_pause",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[desk::QUEUE_NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "queue_resume",
        security: Security::Staff(Permission::JobsWrite),
        refusals: &[desk::QUEUE_NOT_FOUND, NOT_FOUND],
    },
];

/// A queue. Jobs are counted up to 100,000; null: they could not be counted just now.
#[derive(Debug, Object)]
#[oai(example)]
pub struct QueueOut {
    /// `critical`, `default`, `low`, `media` or `bulk`.
    queue: String,
    /// Since when it is paused; null: it is worked.
    paused_at: Option<DateTime<Utc>>,
    /// Jobs whose time has not come.
    scheduled: Option<i64>,
    /// Jobs that are due.
    available: Option<i64>,
    /// Of them handed to workers: at most 2,000.
    pushed: Option<i64>,
    /// Jobs that run.
    running: Option<i64>,
    /// Jobs that wait for their next try.
    retryable: Option<i64>,
    /// Dead letters.
    discarded: Option<i64>,
    /// How long the oldest due job has waited.
    oldest_seconds: Option<i64>,
    /// Workers that work it and are alive.
    workers: Option<i64>,
}

impl From<queue::QueueState> for QueueOut {
    fn from(state: queue::QueueState) -> Self {
        Self {
            queue: state.queue,
            paused_at: state.paused_at,
            scheduled: state.scheduled,
            available: state.available,
            pushed: state.pushed,
            running: state.running,
            retryable: state.retryable,
            discarded: state.discarded,
            oldest_seconds: state.oldest_seconds,
            workers: state.workers,
        }
    }
}

impl Example for QueueOut {
    fn example() -> Self {
        Self {
            queue: "critical".to_owned(),
            paused_at: None,
            scheduled: Some(0),
            available: Some(12),
            pushed: Some(12),
            running: Some(50),
            retryable: Some(3),
            discarded: Some(1),
            oldest_seconds: Some(2),
            workers: Some(4),
        }
    }
}

/// All queues.
#[derive(Debug, Object)]
#[oai(example)]
pub struct QueuesOut {
    /// Most urgent first.
    items: Vec<QueueOut>,
}

impl Example for QueuesOut {
    fn example() -> Self {
        Self { items: vec![QueueOut::example()] }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Queues;

#[OpenApi(prefix_path = "/api/admin/queues", tag = "Tag::Admin")]
impl Queues {
    /// List queues
    #[oai(path = "/", method = "get", operation_id = "queue_list")]
    async fn list(&self, ctx: Data<&Context>, from: Caller, person: Signed) -> Answer<Json<QueuesOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        let items = queue::list(&ctx, hand).await?;
        Ok(Json(QueuesOut { items: items.into_iter().map(Into::into).collect() }))
    }

    /// Pause a queue
    ///
    /// No worker begins a job of it until it is resumed, also over restarts; what runs goes on.
    #[oai(path = "/:name/pause", method = "post", operation_id = "queue_pause")]
    async fn pause(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$"))]
        name: Path<String>,
    ) -> Answer<Json<QueueOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        Ok(Json(queue::pause(&ctx, hand, &name.0).await?.into()))
    }

    /// Let a paused queue go on
    #[oai(path = "/:name/resume", method = "post", operation_id = "queue_resume")]
    async fn resume(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        #[oai(validator(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$"))]
        name: Path<String>,
    ) -> Answer<Json<QueueOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        Ok(Json(queue::resume(&ctx, hand, &name.0).await?.into()))
    }
}
