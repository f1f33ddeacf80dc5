//! Receipts: what became of a message. Holding the id is the right to read it.

use keryu_common::Context;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::document::{Note, Security, Tag};
use crate::edge::limit::receipts;
use crate::edge::problem::{Answer, NOT_FOUND};

/// What the document says of the operations here.
pub const NOTES: &[Note] =
    &[Note { operation: "delivery_show", security: Security::Anonymous, refusals: &[NOT_FOUND] }];

/// What became of a message.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeliveryOut {
    /// `queued`, `sending`, `accepted`, `delivered`, `failed`, `expired` or `unknown`.
    state: String,
    /// `sms` or `email`; told once the code was verified, or where the purpose hides nothing.
    #[oai(skip_serializing_if_is_none)]
    channel: Option<String>,
    /// How often sending was tried.
    #[oai(skip_serializing_if_is_none)]
    tries: Option<u32>,
    /// What happens next, for a person.
    #[oai(skip_serializing_if_is_none)]
    next_step: Option<String>,
}

impl Example for DeliveryOut {
    fn example() -> Self {
        Self {
            state: "delivered".to_owned(),
            channel: Some("sms".to_owned()),
            tries: Some(1),
            next_step: Some("Enter the code.".to_owned()),
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
        let _ = (ctx, id);
        Err(NOT_FOUND.refuse("There is no such delivery.").into())
    }
}
