//! What operators see of the sync, and how they set it going again.

use serde::Serialize;
use serde_json::json;

use super::store::{self, Aside, Target};
use super::{TARGETS, ask};
use crate::context::Context;
use crate::desk::Hand;
use crate::error::Result;
use crate::job::Queue;
use crate::role::Permission;

/// How a target does.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// Whether it is on, and its last failure.
    #[serde(flatten)]
    pub target: Target,
    /// How many people it has yet to be told of.
    pub waiting: i64,
    /// How many it refused.
    pub set_aside: i64,
    /// The latest hundred of those, with the reasons.
    pub refused: Vec<Aside>,
}

/// How every target does that was ever on.
///
/// # Errors
/// `auth.forbidden`; the database does not answer.
pub async fn show(ctx: &Context, hand: Hand<'_>) -> Result<Vec<State>> {
    hand.may(Permission::JobsRead)?;
    let mut all = Vec::new();
    for target in store::list_targets(&ctx.db).await? {
        let (waiting, set_aside) = store::count(&ctx.db, &target.target).await?;
        let refused = store::list_aside(&ctx.db, &target.target).await?;
        all.push(State { target, waiting, set_aside, refused });
    }
    Ok(all)
}

/// Calls a target at once, or all of them, and takes up again whoever was set aside: once what was wrong is mended.
/// Answers with how many were.
///
/// # Errors
/// `auth.forbidden`; the database does not answer.
pub async fn retry(ctx: &Context, hand: Hand<'_>, only: Option<&str>) -> Result<u64> {
    hand.may(Permission::JobsWrite)?;
    let now = ctx.now();
    let mut all = 0;
    for target in TARGETS.into_iter().filter(|target| only.is_none_or(|only| only == *target)) {
        let mut tx = ctx.db.begin().await?;
        if store::set_free(&mut tx, target).await? {
            let taken_up = store::set_open(&mut tx, target, now).await?;
            ask(&mut tx, target, Some("start"), now, now).await?;
            let details = json!({ "taken_up": taken_up });
            hand.note(&mut tx, "crm.retried", ("crm_target", target.to_owned()), details, now).await?;
            all += taken_up;
        }
        tx.commit().await?;
    }
    ctx.wake.queue(Queue::Default);
    Ok(all)
}
