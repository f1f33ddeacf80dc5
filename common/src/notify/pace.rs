//! Providers with a rate: a delivery waits for its turn before it is taken up, so that being sent away is
//! no try. Who has no account waits as those who have.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Via;
use super::desk::{find_channel, is_notice};
use crate::context::Context;
use crate::desk::rate::Turn;
use crate::error::Result;
use crate::job::Verdict;
use crate::provider::Answer;

/// Waits for the turn of the first provider of a delivery's channel. A verdict: not now, and when.
///
/// # Errors
/// The database does not answer.
pub(super) async fn turn(
    ctx: &Context,
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
) -> Result<Option<(Duration, Verdict)>> {
    if !ctx.turns.any(ctx).await? {
        return Ok(None);
    }
    let Some((channel, kind)) = find_channel(&ctx.db, delivery_id, created_at).await? else {
        return Ok(None);
    };
    let names = Via::named(&channel).map(|via| ctx.notify.names(via));
    let Some(provider) = names.and_then(|names| names.first().copied()) else {
        return Ok(None);
    };
    Ok(match of(ctx, provider, !is_notice(&kind)).await? {
        Turn::In(wait) => {
            tokio::time::sleep(wait).await;
            None
        }
        Turn::Away(after) => {
            let reason = format!("over the rate of {provider}: it waits its turn");
            Some((after, Verdict::Snooze { after, reason }))
        }
    })
}

async fn of(ctx: &Context, provider: &'static str, urgent: bool) -> Result<Turn> {
    match urgent {
        true => ctx.turns.urgent(ctx, provider).await,
        false => ctx.turns.of(ctx, provider).await,
    }
}

/// Waits for the turn of a provider that is called after another failed; `urgent`: with a code. An answer: it is
/// not called now.
pub(super) async fn failover(
    ctx: &Context,
    step: usize,
    provider: &'static str,
    urgent: bool,
) -> Option<Answer> {
    if step == 0 {
        return None;
    }
    match of(ctx, provider, urgent).await {
        Ok(Turn::In(wait)) => {
            tokio::time::sleep(wait).await;
            None
        }
        Ok(Turn::Away(after)) => Some(Answer::Retry {
            after: Some(after),
            reason: format!("not called: over the rate of {provider}"),
        }),
        Err(error) => Some(Answer::retry(format!("not called: {error}"))),
    }
}
