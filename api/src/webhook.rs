//! Status reports of message providers. What they mean is the messages' business.

use keryu_common::Context;
use keryu_common::notify::{self, webhook};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::limit::webhooks;
use crate::edge::problem::Answer;
use crate::edge::report::{Form, Report};
use crate::operation::{Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "twilio_status", security: Security::TwilioSignature, refusals: REFUSALS },
    Note { operation: "sms_status", security: Security::SecretPath, refusals: REFUSALS },
];
const REFUSALS: &[keryu_common::error::Code] = &[notify::FORGED, notify::NOT_FOUND];

/// The report was taken.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ReportOut {
    /// Always true.
    received: bool,
}

impl Example for ReportOut {
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
    ///
    /// The signature is checked over `KERYU_PUBLIC_URL`, the path and the form.
    #[oai(
        path = "/twilio/:delivery_id",
        method = "post",
        operation_id = "twilio_status",
        transform = "webhooks"
    )]
    async fn twilio(
        &self,
        ctx: Data<&Context>,
        /// The message the status is of.
        delivery_id: Path<Uuid>,
        form: Form,
    ) -> Answer<Json<ReportOut>> {
        webhook::twilio_status(&ctx, delivery_id.0, &form.url, &form.signature, &form.fields).await?;
        Ok(Json(ReportOut { received: true }))
    }

    /// Take a status from an SMS gateway
    ///
    /// The secret in the path stands for a signature.
    #[oai(
        path = "/sms/:provider/:secret",
        method = "post",
        operation_id = "sms_status",
        transform = "webhooks"
    )]
    async fn gateway(
        &self,
        ctx: Data<&Context>,
        /// Which gateway: `http`.
        provider: Path<String>,
        /// `SMS_HTTP_WEBHOOK_SECRET`.
        secret: Path<String>,
        /// The message the status is of, if the body does not name it.
        id: Query<Option<Uuid>>,
        report: Report,
    ) -> Answer<Json<ReportOut>> {
        webhook::gateway_status(&ctx, &provider.0, &secret.0, id.0, &report.0).await?;
        Ok(Json(ReportOut { received: true }))
    }
}
