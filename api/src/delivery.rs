//! Receipts: what became of a message. Holding the id is the right to read it.

use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::notify::{self, Receipt};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::limit::receipts;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[Note {
    operation: "delivery_show",
    security: Security::Anonymous,
    refusals: &[notify::NOT_FOUND, NOT_FOUND],
}];

/// How far a message is.
#[derive(Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum StateOut {
    /// It waits.
    Queued,
    /// With a provider just now.
    Sending,
    /// A provider has it.
    Accepted,
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed,
    /// Its time went by.
    Expired,
    /// It may have arrived; it is sent again.
    Unknown,
}

impl From<notify::State> for StateOut {
    fn from(state: notify::State) -> Self {
        match state {
            notify::State::Queued => Self::Queued,
            notify::State::Sending => Self::Sending,
            notify::State::Accepted => Self::Accepted,
            notify::State::Delivered => Self::Delivered,
            notify::State::Failed => Self::Failed,
            notify::State::Expired => Self::Expired,
            notify::State::Unknown => Self::Unknown,
        }
    }
}

impl From<StateOut> for notify::State {
    fn from(state: StateOut) -> Self {
        match state {
            StateOut::Queued => Self::Queued,
            StateOut::Sending => Self::Sending,
            StateOut::Accepted => Self::Accepted,
            StateOut::Delivered => Self::Delivered,
            StateOut::Failed => Self::Failed,
            StateOut::Expired => Self::Expired,
            StateOut::Unknown => Self::Unknown,
        }
    }
}

/// What became of a message.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeliveryOut {
    /// Which.
    id: Uuid,
    /// How far it is.
    state: StateOut,
    /// `sms` or `email`.
    channel: String,
    /// How often a provider was asked.
    tries: u16,
    /// What happens next, or what the person can do.
    next_step: String,
    /// Of no use after.
    expires_at: DateTime<Utc>,
}

impl From<Receipt> for DeliveryOut {
    fn from(receipt: Receipt) -> Self {
        Self {
            id: receipt.delivery_id,
            state: receipt.state.into(),
            channel: receipt.channel,
            tries: u16::try_from(receipt.tries).unwrap_or(0),
            next_step: receipt.next_step.to_owned(),
            expires_at: receipt.expires_at,
        }
    }
}

impl Example for DeliveryOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x0b9f_7c1e_63a5_4d28_8f10_7c2e_9d4b_6a53),
            state: StateOut::Delivered,
            channel: "sms".to_owned(),
            tries: 1,
            next_step: "It has arrived.".to_owned(),
            expires_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Deliveries;

#[OpenApi(prefix_path = "/api/deliveries", tag = "Tag::Deliveries")]
impl Deliveries {
    /// Read a receipt
    ///
    /// For `login` and `reset_password` only `queued`, `accepted` and `expired` are told before the code
    /// is verified.
    #[oai(path = "/:id", method = "get", operation_id = "delivery_show", transform = "receipts")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        /// From `delivery_url`.
        id: Path<Uuid>,
    ) -> Answer<Json<DeliveryOut>> {
        Ok(Json(notify::receipt(&ctx, id.0).await?.into()))
    }
}
