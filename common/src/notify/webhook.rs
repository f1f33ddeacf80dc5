//! What providers report about messages they took. A report moves a delivery forward only.

use serde_json::Value;
use uuid::Uuid;

use super::{FORGED, NOT_FOUND, fallback, store};
use crate::context::Context;
use crate::error::Result;
use crate::provider::gateway::{self, Report};
use crate::provider::twilio;
use crate::secret::{equal, sha256};

/// The longest reason taken over from a report.
const MOST_REASON: usize = 60;

/// A status report of Twilio's. `url` is the address Twilio called: `KERYU_PUBLIC_URL` with the
/// request's path and query.
///
/// # Errors
/// `webhook.forged`, `delivery.not_found`.
pub async fn twilio_status(
    ctx: &Context,
    delivery_id: Uuid,
    url: &str,
    signature: &str,
    form: &[(String, String)],
) -> Result<()> {
    let settings = ctx.config.notify.twilio.as_ref();
    if !settings.is_some_and(|twilio| twilio::is_signed(&twilio.auth_token, url, form, signature)) {
        return Err(FORGED.refuse("The signature does not fit.").into());
    }
    let field = |name: &str| form.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let report = twilio::reported(field("MessageStatus").or(field("SmsStatus")).unwrap_or_default());
    take(ctx, delivery_id, report, field("ErrorCode").map(|code| format!("error {code}"))).await
}

/// A status report of the HTTP gateway's, on its secret path. The delivery is named by the address
/// (`?id=`, as in the callback we gave) or by the body; the body's `status` says how far it is.
///
/// # Errors
/// `webhook.forged`, `delivery.not_found`.
pub async fn gateway_status(
    ctx: &Context,
    provider: &str,
    secret: &str,
    id: Option<Uuid>,
    body: &Value,
) -> Result<()> {
    let wanted = ctx.config.notify.gateway_secret.as_ref();
    // hashed first: a comparison in constant time wants equal lengths
    let fits = |wanted: &str| equal(&sha256(wanted.as_bytes()), &sha256(secret.as_bytes()));
    if provider != gateway::NAME || !wanted.is_some_and(|wanted| fits(wanted.reveal())) {
        return Err(FORGED.refuse("The address is not one we gave out.").into());
    }
    let text = |names: &[&str]| names.iter().find_map(|name| body.get(name)).and_then(Value::as_str);
    let report = gateway::reported(text(&["status", "state", "event"]).unwrap_or_default());
    let id = id.or_else(|| named(body));
    let id = id.ok_or_else(|| NOT_FOUND.refuse("The report names no delivery of ours."))?;
    take(ctx, id, report, text(&["error", "error_code", "reason"]).map(str::to_owned)).await
}

/// Our name for the message, under the names gateways give it back.
fn named(body: &Value) -> Option<Uuid> {
    let names =
        ["delivery_id", "reference", "client_reference", "client_ref", "external_id", "custom_id", "id"];
    names.iter().filter_map(|name| body.get(name)?.as_str()).find_map(|text| text.parse().ok())
}

async fn take(ctx: &Context, delivery_id: Uuid, report: Report, reason: Option<String>) -> Result<()> {
    let known = match report {
        Report::Delivered => {
            store::set_reported(&ctx.db, delivery_id, true, None, ctx.now()).await?.is_some()
        }
        Report::Failed => {
            let reason = told(reason.as_deref());
            let mut tx = ctx.db.begin().await?;
            let moved = store::set_reported(&mut *tx, delivery_id, false, Some(&reason), ctx.now()).await?;
            let queue = match moved {
                Some(true) => fallback::ask_after_report(&mut tx, ctx, delivery_id).await?,
                _ => None,
            };
            tx.commit().await?;
            if let Some(queue) = queue {
                ctx.wake.queue(queue);
            }
            moved.is_some()
        }
        Report::UnderWay => store::find_receipt(&ctx.db, delivery_id).await?.is_some(),
    };
    if known { Ok(()) } else { Err(NOT_FOUND.refuse("There is no delivery with this id.").into()) }
}

/// A provider's reason, cut short; words with digits in a row might be the recipient and are left out.
fn told(reason: Option<&str>) -> String {
    let is_number = |word: &&str| word.chars().filter(char::is_ascii_digit).count() > 6 || word.contains('@');
    let words: Vec<&str> =
        reason.unwrap_or_default().split_whitespace().filter(|word| !is_number(word)).collect();
    let words: String = words.join(" ").chars().filter(|c| !c.is_control()).take(MOST_REASON).collect();
    match words.as_str() {
        "" => "the provider reported that it did not arrive".to_owned(),
        words => format!("the provider reported that it did not arrive: {words}"),
    }
}

#[cfg(test)]
mod tests;
