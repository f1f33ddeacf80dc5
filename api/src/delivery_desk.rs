//! Deliveries over HTTP, for staff: why a message did or did not arrive, and sending it again.

use chrono::{DateTime, Utc};
use keryu_common::desk::Hand;
use keryu_common::error::VALIDATION;
use keryu_common::notify::desk;
use keryu_common::role::Permission;
use keryu_common::user::Identifier;
use keryu_common::{Context, Fault, error, idempotency, notify};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::delivery::StateOut;
use crate::edge::client::Caller;
use crate::edge::field::{TextIn, TimeIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Accepted, Note, Security, Tag};
use crate::schedule::JobAskedOut;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "delivery_list",
        security: Security::Staff(Permission::DeliveriesRead),
        refusals: &[VALIDATION],
    },
    Note {
        operation: "delivery_detail",
        security: Security::Staff(Permission::DeliveriesRead),
        refusals: &[notify::NOT_FOUND, NOT_FOUND],
    },
    Note {
        operation: "delivery_resend",
        security: Security::Staff(Permission::DeliveriesWrite),
        refusals: &[
            notify::NOT_FOUND,
            NOT_FOUND,
            notify::NOT_RESENDABLE,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
];

/// A delivery in the list.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeliveryLineOut {
    /// Which.
    id: Uuid,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// `otp_code`, ...
    kind: String,
    /// By which way.
    channel: String,
    /// Masked.
    recipient: String,
    /// What a code is for.
    purpose: Option<String>,
    /// How far it is.
    state: StateOut,
    /// How often a provider was asked.
    tries: i16,
    /// The last one asked.
    provider: Option<String>,
    /// Its name for the message.
    provider_id: Option<String>,
    /// What the last try said.
    reason: Option<String>,
    /// Of no use after.
    expires_at: DateTime<Utc>,
    /// When a provider took it.
    accepted_at: Option<DateTime<Utc>>,
    /// The request that asked for it.
    request_id: Option<String>,
}

impl From<desk::Line> for DeliveryLineOut {
    fn from(line: desk::Line) -> Self {
        Self {
            id: line.id,
            created_at: line.created_at,
            kind: line.kind,
            channel: line.channel,
            recipient: line.recipient,
            purpose: line.purpose,
            state: line.state.into(),
            tries: line.tries,
            provider: line.provider,
            provider_id: line.provider_id,
            reason: line.reason,
            expires_at: line.expires_at,
            accepted_at: line.accepted_at,
            request_id: line.request_id,
        }
    }
}

impl Example for DeliveryLineOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x0b9f_7c1e_63a5_4d28_8f10_7c2e_9d4b_6a53),
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            kind: "otp_code".to_owned(),
            channel: "sms".to_owned(),
            recipient: "+25***78".to_owned(),
            purpose: Some("login".to_owned()),
            state: StateOut::Queued,
            tries: 1,
            provider: Some("twilio".to_owned()),
            provider_id: None,
            reason: Some("twilio answered 401".to_owned()),
            expires_at: DateTime::from_timestamp(1_793_000_300, 0).unwrap_or_default(),
            accepted_at: None,
            request_id: Some("019a9f31-7cf2-7b0a-9e1c-2d3e4f506170".to_owned()),
        }
    }
}

/// A piece of the list.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeliveryPageOut {
    /// Newest first.
    items: Vec<DeliveryLineOut>,
    /// For `cursor`; null: this was the last.
    next_cursor: Option<String>,
}

impl Example for DeliveryPageOut {
    fn example() -> Self {
        Self { items: vec![DeliveryLineOut::example()], next_cursor: None }
    }
}

/// One call of a provider.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeliveryTryOut {
    /// Which try of the delivery, from 1.
    attempt: i16,
    /// Which was called.
    provider: String,
    /// Before the call.
    started_at: DateTime<Utc>,
    /// After it; null: its outcome is not known.
    finished_at: Option<DateTime<Utc>>,
    /// `accepted`, `retry`, `unknown`, `give_up` or `misconfigured`.
    outcome: Option<String>,
    /// Why it was not accepted.
    reason: Option<String>,
}

impl Example for DeliveryTryOut {
    fn example() -> Self {
        Self {
            attempt: 1,
            provider: "twilio".to_owned(),
            started_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            finished_at: DateTime::from_timestamp(1_793_000_001, 0),
            outcome: Some("misconfigured".to_owned()),
            reason: Some("twilio answered 401".to_owned()),
        }
    }
}

/// A job that sends, or sent, a delivery.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SenderOut {
    /// Which.
    id: Uuid,
    /// How far.
    state: String,
    /// What its last attempt said.
    error: Option<String>,
}

impl Example for SenderOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174),
            state: "retryable".to_owned(),
            error: Some("twilio answered 401".to_owned()),
        }
    }
}

/// A delivery with everything that was tried.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeliveryDetailOut {
    /// The delivery.
    #[oai(flatten)]
    line: DeliveryLineOut,
    /// Why it is where it is.
    cause: String,
    /// What happens next, or what to do.
    next_step: String,
    /// Every call of a provider, in order.
    attempts: Vec<DeliveryTryOut>,
    /// The jobs that send it, newest first.
    jobs: Vec<SenderOut>,
}

impl From<desk::Detail> for DeliveryDetailOut {
    fn from(detail: desk::Detail) -> Self {
        let desk::Detail { line, attempts, jobs, cause, next_step } = detail;
        let tried = |one: desk::Try| DeliveryTryOut {
            attempt: one.attempt,
            provider: one.provider,
            started_at: one.started_at,
            finished_at: one.finished_at,
            outcome: one.outcome,
            reason: one.reason,
        };
        let sender = |job: desk::Sender| SenderOut { id: job.id, state: job.state, error: job.error };
        Self {
            line: line.into(),
            cause,
            next_step,
            attempts: attempts.into_iter().map(tried).collect(),
            jobs: jobs.into_iter().map(sender).collect(),
        }
    }
}

impl Example for DeliveryDetailOut {
    fn example() -> Self {
        Self {
            line: DeliveryLineOut::example(),
            cause: "twilio at 2026-10-26 06:13:21 UTC: twilio answered 401".to_owned(),
            next_step: "Mend the provider's settings. Its next try is at 2026-10-26 06:13:27 UTC.".to_owned(),
            attempts: vec![DeliveryTryOut::example()],
            jobs: vec![SenderOut::example()],
        }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryDesk;

#[OpenApi(prefix_path = "/api/admin/deliveries", tag = "Tag::Admin")]
impl DeliveryDesk {
    /// List deliveries
    ///
    /// Newest first. Unless `since` says otherwise: by recipient or person those of the last 7 days, else by state,
    /// kind or channel those of the last 24 hours.
    #[oai(path = "/", method = "get", operation_id = "delivery_list")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// In this state.
        state: Query<Option<StateOut>>,
        /// Of this kind.
        #[oai(validator(min_length = 1, max_length = 100))]
        kind: Query<Option<TextIn>>,
        /// By this way.
        #[oai(validator(min_length = 1, max_length = 20))]
        channel: Query<Option<TextIn>>,
        /// To this address or number.
        #[oai(validator(min_length = 1, max_length = 320))]
        to: Query<Option<TextIn>>,
        /// About this account.
        user_id: Query<Option<Uuid>>,
        /// Asked for at this moment or later.
        since: Query<Option<TimeIn>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// What the piece before said as `next_cursor`.
        #[oai(validator(min_length = 1, max_length = 100))]
        cursor: Query<Option<TextIn>>,
    ) -> Answer<Json<DeliveryPageOut>> {
        person.may(Permission::DeliveriesRead)?;
        let region = ctx.config.default_region.as_deref();
        let to = to.0.map(|text| Identifier::parse(&text.0, region)).transpose();
        let to = to.map_err(|(code, detail)| error::invalid(vec![Fault::at("/to", code, detail)]))?;
        let filter = desk::Filter {
            state: state.0.map(Into::into),
            kind: kind.0.map(|text| text.0),
            channel: channel.0.map(|text| text.0),
            to: to.map(|identifier| identifier.as_str().to_owned()),
            user_id: user_id.0,
            since: since.0.map(|time| time.0),
            cursor: cursor.0.map(|text| text.0),
        };
        let hand = Hand { client: &from, person: Some(&person) };
        let page = desk::list(&ctx, hand, &filter, limit.0.unwrap_or(50)).await?;
        Ok(Json(DeliveryPageOut {
            items: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        }))
    }

    /// See why a message did or did not arrive
    #[oai(path = "/:id", method = "get", operation_id = "delivery_detail")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list, or from a receipt.
        id: Path<Uuid>,
    ) -> Answer<Json<DeliveryDetailOut>> {
        let hand = Hand { client: &from, person: Some(&person) };
        Ok(Json(desk::show(&ctx, hand, id.0).await?.into()))
    }

    /// Send a message again
    ///
    /// While its time lasts; a code is the same one.
    #[oai(path = "/:id/resend", method = "post", operation_id = "delivery_resend")]
    async fn resend(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Accepted<JobAskedOut>> {
        let key = key.bind_as(&ctx.config, &person, "delivery_resend", id.0.as_bytes())?;
        let hand = Hand { client: &from, person: Some(&person) };
        let resent = desk::resend(&ctx, hand, id.0, key.as_ref()).await?;
        Ok(Accepted(JobAskedOut::of(resent.job_id)))
    }
}
