//! What a report tells of rentals, payments and the wallet.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::figures::{Section, Table, day, months, since};
use super::plot::Bars;
use crate::context::Context;
use crate::error::Result;
use crate::wallet::unit;
use crate::{usage, wallet};

/// What somebody used.
///
/// # Errors
/// The database does not answer.
pub async fn section(ctx: &Context, user_id: Uuid, now: DateTime<Utc>) -> Result<Section> {
    let currency = &ctx.config.wallet.currency;
    let stats = usage::stats(ctx, user_id).await?;
    let found = usage::months(ctx, user_id, since(now)).await?;
    let labels = months(now);
    let of = |label: &String| found.iter().find(|one| one.month.format("%Y-%m").to_string() == *label);
    let rentals: Vec<i64> = labels.iter().map(|label| of(label).map_or(0, |one| one.rentals)).collect();
    let by_month = labels.iter().map(|label| {
        let (rentals, timely, late) = of(label).map_or((0, 0, 0), |one| (one.rentals, one.timely, one.late));
        let spent = unit::text(of(label).map_or(Decimal::ZERO, |one| one.spent), currency);
        (label.clone(), rentals, timely, late, spent)
    });
    let by_month: Vec<_> = by_month.collect();
    let rows = by_month.iter().map(|(label, rentals, timely, late, spent)| {
        vec![label.clone(), rentals.to_string(), timely.to_string(), late.to_string(), spent.clone()]
    });
    let listed: Vec<Value> = by_month
        .iter()
        .map(|(month, rentals, timely, late, spent)| {
            json!({ "month": month, "rentals": rentals, "timely_returns": timely, "late_returns": late,
                    "spent": spent })
        })
        .collect();
    let (mut figures, mut facts) = (json!({ "currency": currency, "by_month": listed }), Vec::new());
    if let Some(stats) = stats {
        figures["total_rentals"] = json!(stats.rentals);
        figures["total_spent"] = json!(stats.spent);
        figures["timely_returns"] = json!(stats.timely);
        figures["late_returns"] = json!(stats.late);
        figures["favorite_stations_count"] = json!(stats.favourites);
        figures["total_referrals"] = json!(stats.referrals);
        figures["last_rental_date"] = json!(stats.last_rental_at);
        facts = vec![
            ("Rentals in all", stats.rentals.to_string()),
            ("Spent in all", format!("{} {currency}", stats.spent)),
            ("Returned in time", stats.timely.to_string()),
            ("Returned late", stats.late.to_string()),
            ("Favourite stations", stats.favourites.to_string()),
            ("Last rental", stats.last_rental_at.map_or_else(|| "none yet".to_owned(), day)),
            ("People referred", stats.referrals.to_string()),
        ];
    }
    Ok(Section {
        name: "usage",
        title: "Rentals of the last twelve months",
        figures,
        facts,
        table: Some(Table {
            head: ["Month", "Rentals", "In time", "Late", "Spent"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }),
        bars: Some(Bars { title: "Rentals by month", labels, series: vec![("rentals".to_owned(), rentals)] }),
    })
}

/// What somebody has, and what came and went.
///
/// # Errors
/// The database does not answer.
pub async fn wallet(ctx: &Context, user_id: Uuid, now: DateTime<Utc>) -> Result<Section> {
    let wallet = wallet::show(ctx, user_id).await?;
    let since = since(now).and_time(chrono::NaiveTime::MIN).and_utc();
    let months = wallet::months(ctx, user_id, since).await?;
    let money = |amount| unit::text(amount, &wallet.currency);
    let by_month: Vec<Value> = months
        .iter()
        .map(|one| {
            json!({ "month": one.month, "credited": money(one.credited), "debited": money(one.debited),
                    "points_earned": unit::text(one.points, unit::POINTS) })
        })
        .collect();
    let rows = months.iter().map(|one| {
        let points = unit::text(one.points, unit::POINTS);
        vec![one.month.clone(), money(one.credited), money(one.debited), points]
    });
    Ok(Section {
        name: "wallet",
        title: "Wallet and points",
        figures: json!({
            "balance": wallet.balance, "currency": wallet.currency,
            "points": { "current": wallet.points, "total": wallet.points_total }, "by_month": by_month,
        }),
        facts: vec![
            ("Balance", format!("{} {}", wallet.balance, wallet.currency)),
            ("Points", wallet.points.clone()),
            ("Points ever earned", wallet.points_total.clone()),
        ],
        table: Some(Table {
            head: ["Month", "In", "Out", "Points earned"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }),
        bars: None,
    })
}
