//! Documents in every state, without the files that they show, and consents.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::derived;
use super::life::{Life, ago};
use super::person::{Dice, SeedPerson};
use super::store::{self, Agreed, Papers};
use crate::consent;
use crate::context::Context;
use crate::error::Result;
use crate::kyc::{self, State};

/// A document that somebody handed in.
pub struct Paper {
    pub kind: &'static str,
    pub number: String,
    pub two_sided: bool,
    pub state: State,
    pub reason: Option<&'static str>,
    pub created_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    /// Of what has expired.
    pub expired_at: Option<DateTime<Utc>>,
}

const REASONS: [&str; 3] =
    ["The picture is not sharp enough.", "The document has expired.", "The name is another one."];

/// The documents of somebody: of every third one at least one.
pub fn papers(one: &SeedPerson, dice: &mut Dice, now: DateTime<Utc>) -> Vec<Paper> {
    match dice.below(100) {
        0..8 => vec![paper(one, State::Pending, 1 + dice.below(30), dice, now)],
        8..22 => vec![paper(one, State::Approved, 40 + dice.below(400), dice, now)],
        22..27 => vec![paper(one, State::Rejected, 10 + dice.below(60), dice, now)],
        27..31 => vec![paper(one, State::Expired, 40 + dice.below(400), dice, now)],
        31..33 => {
            let first = paper(one, State::Rejected, 40 + dice.below(60), dice, now);
            vec![first, paper(one, State::Pending, 1 + dice.below(30), dice, now)]
        }
        _ => Vec::new(),
    }
}

fn paper(one: &SeedPerson, state: State, days: u64, dice: &mut Dice, now: DateTime<Utc>) -> Paper {
    let digits = dice.below(9_000_000) + 1_000_000;
    let (kind, number, two_sided) = match dice.below(5) {
        0..3 => ("national_id", format!("2{digits}"), true),
        3 => ("passport", format!("AK{digits}"), false),
        _ => ("driving_licence", format!("DL-{digits}"), true),
    };
    let created_at = ago(one, days, now);
    let decided_at = (created_at + TimeDelta::hours(20)).min(now);
    Paper {
        kind,
        number,
        two_sided,
        state,
        reason: (state == State::Rejected).then(|| dice.one(&REASONS)),
        created_at,
        decided_at: (state != State::Pending).then_some(decided_at),
        expired_at: (state == State::Expired).then(|| decided_at.max(now - TimeDelta::days(5))),
    }
}

/// That somebody agreed to something, or took it back.
pub struct Consent {
    pub kind: consent::Kind,
    pub version: &'static str,
    pub given: bool,
    pub at: DateTime<Utc>,
}

/// The consents of somebody: to the terms as they registered, to messages that advertise some time later.
pub fn consents(one: &SeedPerson, dice: &mut Dice, now: DateTime<Utc>) -> Vec<Consent> {
    let terms =
        Consent { kind: consent::Kind::Terms, version: "2024-01", given: true, at: one.created_at.min(now) };
    let mut all = vec![terms];
    if dice.below(10) < 4 {
        let (version, days) = ("2026-01", 1 + dice.below(200));
        let at = ago(one, days, now).max(one.created_at + TimeDelta::minutes(1));
        all.push(Consent { kind: consent::Kind::Marketing, version, given: true, at });
        if dice.below(4) == 0 {
            let at = (at + TimeDelta::hours(20)).min(now).max(at + TimeDelta::seconds(1));
            all.push(Consent { kind: consent::Kind::Marketing, version, given: false, at });
        }
    }
    all
}

/// Plants both.
pub async fn plant(
    tx: &mut PgConnection,
    ctx: &Context,
    lives: &[(Uuid, Life)],
    now: DateTime<Utc>,
) -> Result<()> {
    let (mut papers, mut agreed) = (Papers::default(), Agreed::default());
    for (user_id, life) in lives {
        for (paper, number) in life.papers.iter().zip(0x10u8..) {
            let submission_id = derived(*user_id, number);
            let (sealed, hash) = kyc::seal_number(&ctx.config.keys, submission_id, &paper.number)?;
            papers.ids.push(submission_id);
            papers.people.push(*user_id);
            papers.kinds.push(paper.kind);
            papers.sealed.push(sealed);
            papers.hashes.push(hash.to_vec());
            papers.fronts.push(derived(*user_id, number + 0x10));
            papers.backs.push(paper.two_sided.then(|| derived(*user_id, number + 0x20)));
            papers.states.push(paper.state.name());
            papers.reasons.push(paper.reason);
            papers.created.push(paper.created_at);
            papers.decided.push(paper.decided_at);
            papers.expired.push(paper.expired_at);
        }
        for (consent, number) in life.consents.iter().zip(0x40u8..) {
            agreed.ids.push(derived(*user_id, number));
            agreed.people.push(*user_id);
            agreed.kinds.push(consent.kind.name());
            agreed.versions.push(consent.version);
            agreed.given.push(consent.given);
            agreed.at.push(consent.at);
        }
    }
    store::insert_papers(&mut *tx, &papers).await?;
    store::set_statuses(&mut *tx, &papers.people).await?;
    Ok(store::insert_consents(tx, &agreed, now - ADDRESSES).await?)
}

/// From where somebody agreed is known for so long.
const ADDRESSES: TimeDelta = TimeDelta::days(90);
