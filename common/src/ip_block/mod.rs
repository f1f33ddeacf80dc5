//! Addresses nobody is served from: blocked by staff, or by themselves after too many lockouts. Each
//! process of the API holds the list in memory (`shield`).

mod shield;
mod store;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Utc};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub use shield::{Shield, follow, refresh};

use crate::audit::{self, Client, Line};
use crate::config::Config;
use crate::context::Context;
use crate::error::{Code, Result};
use crate::id;
use crate::limit::lockout;

/// The caller's address is blocked.
pub const BLOCKED: Code = Code {
    code: "request.blocked",
    status: 403,
    title: "This address is blocked",
    advice: "Ask support, from another address.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[BLOCKED];

/// A block.
#[derive(Clone, Debug)]
pub struct IpBlock {
    /// Which.
    pub ip_block_id: Uuid,
    /// From where nobody is served.
    pub network: IpNet,
    /// Why, for staff.
    pub reason: String,
    /// When it ends; none: when it is lifted.
    pub until: Option<DateTime<Utc>>,
    /// By whom; none: by itself.
    pub created_by: Option<Uuid>,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// Blocks a client's address for an hour, after too many lockouts. Those that must be served stay: trusted
/// proxies, this machine, and networks that are not limited.
///
/// # Errors
/// The database does not answer.
pub async fn block_by_itself(ctx: &Context, client: &Client) -> Result<()> {
    let network = match client.ip.to_canonical() {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::from(ip)),
        IpAddr::V6(ip) => IpNet::V6(Ipv6Net::new_assert(ip, 64).trunc()),
    };
    if is_protected(&ctx.config, &network)
        || ctx.config.http.allow.iter().any(|known| overlap(known, &network))
    {
        tracing::warn!("many lockouts of an address that is not to be blocked");
        return Ok(());
    }
    let now = ctx.now();
    let block = IpBlock {
        ip_block_id: id::ordered(now),
        network,
        reason: format!("{} lockouts in an hour", lockout::ADDRESS_LOCKOUTS),
        until: Some(now + lockout::ADDRESS_SPAN),
        created_by: None,
        created_at: now,
    };
    let mut tx = ctx.db.begin().await?;
    insert(&mut tx, client, None, &block).await?;
    tx.commit().await?;
    // this process need not wait for its next look
    refresh(ctx).await
}

/// Inserts a block with its audit line.
async fn insert(
    tx: &mut PgConnection,
    client: &Client,
    session_id: Option<Uuid>,
    block: &IpBlock,
) -> Result<()> {
    store::insert_block(tx, block).await?;
    let line = Line {
        action: "ip_block.created",
        entity_type: "ip_block",
        entity_id: block.ip_block_id.to_string(),
        actor: block.created_by,
        session_id,
        details: json!({ "network": block.network, "reason": block.reason, "until": block.until }),
        client,
        at: block.created_at,
    };
    Ok(audit::note(tx, line).await?)
}

/// Whether a network holds a trusted proxy or this machine: blocking it would shut out everybody.
fn is_protected(config: &Config, network: &IpNet) -> bool {
    let loopback = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).trunc()),
        IpNet::V6(Ipv6Net::from(Ipv6Addr::LOCALHOST)),
    ];
    config.http.trusted_proxies.iter().chain(&loopback).any(|known| overlap(known, network))
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}
