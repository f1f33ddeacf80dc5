//! Status calls of message providers. What they mean is the messages' business.

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::document::{Note, Security, Tag};
use crate::edge::limit::webhooks;
use crate::edge::problem::{Answer, NOT_FOUND};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "twilio_status", security: Security::TwilioSignature, refusals: &[NOT_FOUND] },
    Note { operation: "sms_status", security: Security::SecretPath, refusals: &[NOT_FOUND] },
];

/// The status was taken.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ReceivedOut {
    /// Always true.
    received: bool,
}

impl Example for ReceivedOut {
    fn example() -> Self {
        Self { received: true }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Webhooks;

#[OpenApi(prefix_path = "/api/webhooks", tag = "Tag::Webhooks")]
impl Webhooks {
    /// Take a status from Twilio
    #[oai(
        path = "/twilio/:delivery_id",
        method = "post",
        operation_id = "twilio_status",
        transform = "webhooks"
    )]
    async fn twilio(&self, delivery_id: Path<Uuid>) -> Answer<Json<ReceivedOut>> {
        let _ = delivery_id;
        Err(NOT_FOUND.refuse("There is no such delivery.").into())
    }

    /// Take a status from an SMS gateway
    #[oai(
        path = "/sms/:provider/:secret",
        method = "post",
        operation_id = "sms_status",
        transform = "webhooks"
    )]
    async fn gateway(&self, provider: Path<String>, secret: Path<String>) -> Answer<Json<ReceivedOut>> {
        let _ = (provider, secret);
        Err(NOT_FOUND.refuse("There is no such gateway.").into())
    }
}
