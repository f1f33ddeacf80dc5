//! Made-up codes on their way, for `keryu-worker bench`: the rows a request writes, in bulk.

use chrono::TimeDelta;

use super::store;
use crate::context::Context;
use crate::error::Result;
use crate::notify::DeliverMessage;
use crate::{id, secret};

/// Inserts open deliveries of codes to made-up numbers, without their jobs. Answers with what their jobs would be.
///
/// # Errors
/// The database does not answer.
pub async fn deliveries(ctx: &Context, count: usize) -> Result<Vec<DeliverMessage>> {
    let now = ctx.now();
    let sample: Vec<store::Sample> = (0..count)
        .map(|n| store::Sample {
            delivery_id: id::unguessable(),
            challenge_id: id::unguessable(),
            number: format!("+2547{:08}", n % 100_000_000),
            nonce: secret::random::<16>().to_vec(),
        })
        .collect();
    let expires_at = now + TimeDelta::hours(1);
    store::insert_sample(&ctx.db, &sample, ctx.config.keys.current(), now, expires_at).await?;
    Ok(sample.iter().map(|row| DeliverMessage { delivery_id: row.delivery_id, created_at: now }).collect())
}
