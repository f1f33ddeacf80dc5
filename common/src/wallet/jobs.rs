//! What happens later to wallets: the reward of a referral, and the daily look whether the ledger adds up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Ask, Kind, New, Posting, Put, Unit, details, put, store, unit};
use crate::audit;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::job::{Job, Lease, Queue, Verdict};
use crate::notify::{self, Facts, Message, Told};
use crate::user;

/// Rewards both sides of a referral, and tells them. One transaction under references of its own, so that a body
/// that starts twice rewards once.
#[derive(Debug, Deserialize, Serialize)]
pub struct RewardReferral {
    /// Who was referred.
    pub user_id: Uuid,
}

impl Job for RewardReferral {
    const KIND: &'static str = "wallet.reward_referral";
    const QUEUE: Queue = Queue::Default;

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match reward(ctx, self.user_id).await {
            Ok(()) => Verdict::Done,
            Err(error) => error.into(),
        }
    }
}

/// Who posts what nobody asked for.
const SOURCE: &str = "house";
/// By this name.
const POSTER: &str = "keryu";

async fn reward(ctx: &Context, user_id: Uuid) -> Result<()> {
    let (now, points) = (ctx.now(), ctx.config.wallet.referral_points);
    if points == 0 {
        return Ok(());
    }
    let mut tx = ctx.db.begin().await?;
    let Some(referrer) = store::find_referrer(&mut tx, user_id).await? else { return Ok(()) };
    let given = match give(&mut tx, user_id, referrer, points, now).await {
        Ok(Some(given)) => given,
        // rewarded before, and told
        Ok(None) => return Ok(()),
        // deleted just now; taken back, it is asked for anew
        Err(Error::Refusal(refusal)) if refusal.code == user::NOT_FOUND.code => return Ok(()),
        Err(error) => return Err(error),
    };
    for (side, posting) in given {
        audit::note_own(&mut tx, "wallet.posted", "user", side, details(&posting, None), now).await?;
        let facts = Facts { points: Some(points), ..Facts::at(now) };
        let told = Told { user_id: side, message: Message::ReferralRewarded, facts };
        notify::tell(&mut tx, ctx, None, &told).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}

/// Posts the reward of a referral to both sides with the caller's transaction. None: it was given before, with as
/// many points as it was then.
///
/// # Errors
/// `user.not_found`, where either account is deleted; the transaction must not commit.
pub(crate) async fn give(
    tx: &mut PgConnection,
    user_id: Uuid,
    referrer: Uuid,
    points: u32,
    now: DateTime<Utc>,
) -> Result<Option<[(Uuid, Posting); 2]>> {
    let reference = format!("referral:{user_id}");
    if store::find_posting(&mut *tx, SOURCE, POSTER, &reference).await?.is_some() {
        return Ok(None);
    }
    let mut sides = [
        (user_id, reference, "For registering with a referral code"),
        (referrer, format!("referral:{user_id}:referrer"), "For a person you referred"),
    ];
    // whoever locks two wallets locks them in this order
    sides.sort_by_key(|(side, ..)| *side);
    let [first, second] = sides;
    let Some(first) = give_one(&mut *tx, first, points, now).await? else { return Ok(None) };
    let Some(second) = give_one(tx, second, points, now).await? else { return Ok(None) };
    Ok(Some([first, second]))
}

/// One side of a reward. None: a body that runs at the same time gave it.
async fn give_one(
    tx: &mut PgConnection,
    (user_id, reference, reason): (Uuid, String, &str),
    points: u32,
    now: DateTime<Utc>,
) -> Result<Option<(Uuid, Posting)>> {
    let ask = Ask {
        reference,
        kind: Kind::Referral,
        unit: Unit::Points,
        amount: Decimal::from(points),
        reason: reason.to_owned(),
    };
    let new = New { source: SOURCE, poster: POSTER, actor: None, user_id, unit: unit::POINTS, ask: &ask };
    Ok(match put(tx, &new, now, |_| Ok(())).await? {
        Put::New(posting) => Some((user_id, posting)),
        Put::Known(_) => None,
        Put::Refused(refused) => return Err(refused),
    })
}

/// Looks whether every posting sums to zero and every balance is the sum of its entries. What does not is
/// counted, logged, and leaves a dead letter: nothing is mended by itself.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct CheckLedger {}

/// Accounts of one statement.
const ACCOUNTS: i64 = 200;
/// Postings of one statement.
const POSTINGS: i64 = 2_000;

impl Job for CheckLedger {
    const KIND: &'static str = "wallet.check_ledger";
    const QUEUE: Queue = Queue::Low;
    const MAX_ATTEMPTS: i16 = 5;
    const TIMEOUT: Duration = Duration::from_secs(4 * 3600);

    async fn run(&self, ctx: &Context, _: &Lease) -> Verdict {
        match check(ctx).await {
            Ok((0, 0)) => Verdict::Done,
            Ok((accounts, postings)) => Verdict::GiveUp(format!(
                "the ledger does not add up: {accounts} balances, {postings} postings; the log names them"
            )),
            Err(error) => error.into(),
        }
    }
}

/// Balances and postings that do not add up.
async fn check(ctx: &Context) -> Result<(u64, u64)> {
    let (mut accounts, mut postings) = (0, 0);
    let mut after = Uuid::nil();
    loop {
        let seen = store::list_balances(&ctx.db, after, ACCOUNTS).await?;
        accounts += tell(ctx, "account", &seen);
        match seen.last() {
            Some(last) if seen.len() == ACCOUNTS as usize => after = last.id,
            _ => break,
        }
    }
    after = Uuid::nil();
    loop {
        let seen = store::list_sums(&ctx.db, after, POSTINGS).await?;
        postings += tell(ctx, "posting", &seen);
        match seen.last() {
            Some(last) if seen.len() == POSTINGS as usize => after = last.id,
            _ => break,
        }
    }
    Ok((accounts, postings))
}

/// Counts and logs what does not add up.
fn tell(ctx: &Context, what: &'static str, seen: &[store::Checked]) -> u64 {
    let mut wrong = 0;
    for one in seen.iter().filter(|one| one.is_wrong) {
        tracing::error!(what, id = %one.id, "the ledger does not add up");
        wrong += 1;
    }
    ctx.metrics.ledger_faults.inc_by(wrong);
    wrong
}
