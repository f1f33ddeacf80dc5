//! Receipts: how far a message is, for whoever holds its id.
//!
//! # What an anonymous holder sees of a `login` or `reset_password` code
//! Such a receipt must look the same, and change at the same moments, whether or not the identifier
//! belongs to somebody. So what it shows rests only on facts that both kinds of delivery share, and on
//! nothing a provider said:
//!
//! - `queued` from the request until a worker takes the job up. Both kinds wait in the same queue with
//!   the same priority, and the moment is written (`opened_at`, once, never moved by a retry) by the
//!   same batched statement, before any provider is called.
//! - `accepted` from then until the code's end.
//! - `expired` from the code's end (`expires_at`, read against the clock at each look).
//!
//! Tries, provider, failure and arrival are kept back, and so is the channel of a fallback. All of it
//! is shown once the code was proved, for who proved it knows. Other purposes are open to the holder:
//! there a known identifier is sent `account_exists` in place of a code, through the same provider, so
//! the state tells nothing; the kind of the message is never part of a receipt.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::{self, Receipted};
use super::{NOT_FOUND, State};
use crate::context::Context;
use crate::error::Result;

/// How far a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which.
    pub delivery_id: Uuid,
    /// How far.
    pub state: State,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// How often a provider was asked.
    pub tries: i16,
    /// What happens next, or what the person can do.
    pub next_step: &'static str,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// The receipt of a delivery.
///
/// # Errors
/// `delivery.not_found`.
pub async fn receipt(ctx: &Context, delivery_id: Uuid) -> Result<Receipt> {
    let row = store::find_receipt(&ctx.db, delivery_id).await?;
    let row = row.ok_or_else(|| NOT_FOUND.refuse("There is no delivery with this id."))?;
    show(delivery_id, row, ctx.now())
}

/// Whether a receipt must not tell a known identifier from an unknown one.
fn is_guarded(row: &Receipted) -> bool {
    matches!(row.purpose.as_deref(), Some("login" | "reset_password")) && !row.proved
}

/// What is shown of a row, at a moment.
fn show(delivery_id: Uuid, row: Receipted, now: DateTime<Utc>) -> Result<Receipt> {
    let guarded = is_guarded(&row);
    let state = match (guarded, row.opened_at) {
        (true, _) if now >= row.expires_at => State::Expired,
        (true, Some(_)) => State::Accepted,
        (true, None) => State::Queued,
        (false, _) => row.state.parse::<State>().map_err(crate::Error::internal)?.at(now, row.expires_at),
    };
    let tries = if guarded { i16::from(row.opened_at.is_some()) } else { row.attempts };
    let channel = if guarded { row.asked_channel.unwrap_or(row.channel) } else { row.channel };
    Ok(Receipt {
        delivery_id,
        state,
        channel,
        tries,
        next_step: next_step(state),
        expires_at: row.expires_at,
    })
}

/// What comes next, in words for a person.
pub fn next_step(state: State) -> &'static str {
    match state {
        State::Queued => "It waits to be sent; nothing needs to be done.",
        State::Sending => "It is being sent.",
        State::Accepted => "It is on its way; it can take a moment to arrive.",
        State::Delivered => "It has arrived.",
        State::Failed => "It cannot be delivered; check the address or ask for another one.",
        State::Expired => "Its time is over; ask for another one.",
        State::Unknown => "It may have arrived; it is being sent again.",
    }
}

#[cfg(test)]
mod tests;
