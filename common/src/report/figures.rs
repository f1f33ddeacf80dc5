//! What a report tells, section by section. A slice that gains figures gains a function here and a line in
//! [`gather`]; page and JSON take any section.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::plot::Bars;
use super::{store, usage};
use crate::context::Context;
use crate::error::Result;
use crate::user::{verification, verification_status};
use crate::{device, session};

/// How many months are looked back at: as long as audit lines are kept.
const MONTHS: u32 = 12;
/// As long as messages are kept.
const MESSAGES: TimeDelta = TimeDelta::days(90);

/// A part of a report.
#[derive(Debug)]
pub struct Section {
    /// In JSON.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// In JSON.
    pub figures: Value,
    /// What is told in a line each.
    pub facts: Vec<(&'static str, String)>,
    /// What is told in rows.
    pub table: Option<Table>,
    /// What is shown.
    pub bars: Option<Bars>,
}

/// Rows under a head.
#[derive(Debug)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Every section there is of somebody; none of a person who is gone.
///
/// # Errors
/// The database does not answer.
pub async fn gather(ctx: &Context, user_id: Uuid) -> Result<Option<Vec<Section>>> {
    let now = ctx.now();
    let Some(account) = store::find_account(&ctx.db, user_id, now).await? else { return Ok(None) };
    Ok(Some(vec![
        self::account(&account, now),
        sign_ins(ctx, user_id, now).await?,
        devices(ctx, user_id, &account).await?,
        messages(ctx, user_id, now).await?,
        verifications(ctx, user_id).await?,
        usage::section(ctx, user_id, now).await?,
        usage::wallet(ctx, user_id, now).await?,
    ]))
}

pub(super) fn day(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

fn account(account: &store::Account, now: DateTime<Utc>) -> Section {
    let verified = verification_status(account.email_verified, account.phone_verified);
    let days = (now - account.created_at).num_days();
    Section {
        name: "account",
        title: "Account",
        figures: json!({
            "username": account.username, "role": account.role, "member_since": account.created_at,
            "days_as_member": days, "last_activity_at": account.last_activity_at, "verification_status": verified,
        }),
        facts: vec![
            ("Username", account.username.clone()),
            ("Role", account.role.clone()),
            ("Member since", format!("{} ({days} days)", day(account.created_at))),
            ("Last activity", account.last_activity_at.map_or_else(|| "none yet".to_owned(), day)),
            ("Proved", verified.replace('_', " ")),
        ],
        table: None,
        bars: None,
    }
}

/// A way to sign in, in a word: from `amr` values (RFC 8176).
fn way(methods: &[String]) -> String {
    let has = |name: &str| methods.iter().any(|method| method == name);
    let first = match (has("hwk"), has("pwd")) {
        (_, true) => "password",
        (true, false) => "passkey",
        (false, false) => "code",
    };
    if has("mfa") { format!("{first} and second factor") } else { first.to_owned() }
}

/// The last months up to now, oldest first, as `2026-11`.
pub(super) fn months(now: DateTime<Utc>) -> Vec<String> {
    let first = now.date_naive().with_day(1).unwrap_or_default();
    let back = (0..MONTHS).rev().filter_map(|n| first.checked_sub_months(Months::new(n)));
    back.map(|month| month.format("%Y-%m").to_string()).collect()
}

/// The first day of those months.
pub(super) fn since(now: DateTime<Utc>) -> NaiveDate {
    let since = now.date_naive().with_day(1).and_then(|day| day.checked_sub_months(Months::new(MONTHS - 1)));
    since.unwrap_or_default()
}

async fn sign_ins(ctx: &Context, user_id: Uuid, now: DateTime<Utc>) -> Result<Section> {
    let months = months(now);
    let since = since(now).and_time(chrono::NaiveTime::MIN).and_utc();
    let mut ways: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in store::count_sign_ins(&ctx.db, &user_id.to_string(), since).await? {
        if let Some(at) = months.iter().position(|month| *month == row.month) {
            ways.entry(way(&row.methods)).or_insert_with(|| vec![0; months.len()])[at] += row.count;
        }
    }
    let total: i64 = ways.values().flatten().sum();
    let by_month: Vec<Value> = months
        .iter()
        .enumerate()
        .map(|(at, month)| {
            let of: BTreeMap<&str, i64> =
                ways.iter().filter(|(_, n)| n[at] > 0).map(|(way, n)| (way.as_str(), n[at])).collect();
            json!({ "month": month, "total": of.values().sum::<i64>(), "by_method": of })
        })
        .collect();
    let rows = months.iter().enumerate().map(|(at, month)| {
        [month.clone()].into_iter().chain(ways.values().map(|counts| counts[at].to_string())).collect()
    });
    Ok(Section {
        name: "sign_ins",
        title: "Sign-ins of the last twelve months",
        figures: json!({ "total": total, "by_month": by_month }),
        facts: vec![("In all", total.to_string())],
        table: Some(Table {
            head: ["Month".to_owned()].into_iter().chain(ways.keys().cloned()).collect(),
            rows: rows.collect(),
        }),
        bars: Some(Bars {
            title: "Sign-ins by month",
            labels: months.clone(),
            series: ways.into_iter().collect(),
        }),
    })
}

async fn devices(ctx: &Context, user_id: Uuid, account: &store::Account) -> Result<Section> {
    let sessions = session::list(ctx, user_id).await?.len();
    let devices = device::list(ctx, user_id).await?;
    let active = devices.iter().filter(|device| device.is_active).count();
    Ok(Section {
        name: "devices",
        title: "Sessions and devices",
        figures: json!({
            "open_sessions": sessions, "known_browsers_and_apps": account.devices_known,
            "devices": devices.len(), "devices_with_notifications": active,
        }),
        facts: vec![
            ("Open sessions", sessions.to_string()),
            ("Known browsers and apps", account.devices_known.to_string()),
            ("Registered devices", devices.len().to_string()),
            ("Of these with notifications", active.to_string()),
        ],
        table: None,
        bars: None,
    })
}

async fn messages(ctx: &Context, user_id: Uuid, now: DateTime<Utc>) -> Result<Section> {
    let counts = store::count_messages(&ctx.db, user_id, now - MESSAGES).await?;
    let mut kinds: BTreeMap<&str, i64> = BTreeMap::new();
    for row in &counts {
        *kinds.entry(row.kind.as_str()).or_default() += row.count;
    }
    let total: i64 = kinds.values().sum();
    let rows =
        counts.iter().map(|row| vec![row.kind.replace('_', " "), row.channel.clone(), row.count.to_string()]);
    let by_kind: Vec<Value> = counts
        .iter()
        .map(|row| json!({ "kind": row.kind, "channel": row.channel, "count": row.count }))
        .collect();
    Ok(Section {
        name: "notifications",
        title: "Messages of the last 90 days",
        figures: json!({ "total": total, "by_kind": by_kind }),
        facts: vec![("In all", total.to_string())],
        table: Some(Table {
            head: ["Kind", "Channel", "Messages"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }),
        bars: Some(Bars {
            title: "Messages by kind",
            labels: kinds.keys().map(|kind| kind.replace('_', " ")).collect(),
            series: vec![("messages".to_owned(), kinds.values().copied().collect())],
        }),
    })
}

async fn verifications(ctx: &Context, user_id: Uuid) -> Result<Section> {
    let events = verification::history(ctx, user_id).await?;
    let rows = events.iter().map(|event| {
        [day(event.at), event.channel.clone(), event.by.clone(), event.outcome.clone()].to_vec()
    });
    let history: Vec<Value> = events
        .iter()
        .map(|event| {
            json!({ "at": event.at, "channel": event.channel, "by": event.by, "outcome": event.outcome })
        })
        .collect();
    Ok(Section {
        name: "verifications",
        title: "Proofs of phone and e-mail",
        figures: json!({ "history": history }),
        facts: Vec::new(),
        table: Some(Table {
            head: ["Day", "Channel", "By", "Outcome"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }),
        bars: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_go_back_over_the_turn_of_a_year() {
        let months = months("2026-02-28T23:59:59Z".parse().expect("time"));
        assert_eq!((months.len(), months[0].as_str(), months[11].as_str()), (12, "2025-03", "2026-02"));
    }

    #[test]
    fn ways_to_sign_in_have_words() {
        for (methods, wanted) in [
            (vec!["otp"], "code"),
            (vec!["pwd"], "password"),
            (vec!["pwd", "otp", "mfa"], "password and second factor"),
            (vec!["hwk", "user", "mfa"], "passkey and second factor"),
            (vec!["hwk"], "passkey"),
        ] {
            let methods: Vec<String> = methods.into_iter().map(str::to_owned).collect();
            assert_eq!(way(&methods), wanted);
        }
    }
}
