//! Addresses nobody is served from: blocked by staff, or by themselves after too many lockouts. Each
//! process of the API holds the list in memory (`shield`).

mod shield;
mod store;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, Utc};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub use shield::{Shield, follow, refresh};

use crate::audit::{self, Client, Line};
use crate::config::Config;
use crate::context::Context;
use crate::error::{Code, Error, Fault, Result, invalid};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::limit::lockout;
use crate::role::Permission;
use crate::session::Person;

/// The caller's address is blocked.
pub const BLOCKED: Code = Code {
    code: "request.blocked",
    status: 403,
    title: "This address is blocked",
    advice: "Ask support, from another address.",
};

/// The network holds addresses that must be served.
pub const PROTECTED: Code = Code {
    code: "ip_block.protected",
    status: 422,
    title: "This network cannot be blocked",
    advice: "Name a network without this machine, a trusted proxy or your own address.",
};
/// No such block.
pub const NOT_FOUND: Code = Code {
    code: "ip_block.not_found",
    status: 404,
    title: "No such block",
    advice: "List the blocks and use an id from there.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[BLOCKED, PROTECTED, NOT_FOUND];

/// A block.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// A block to make.
#[derive(Clone, Debug)]
pub struct Ask {
    /// From where nobody shall be served.
    pub network: IpNet,
    /// Why.
    pub reason: String,
    /// When it ends; none: when it is lifted.
    pub until: Option<DateTime<Utc>>,
}

/// Reads an address or a network: `203.0.113.7`, `203.0.113.0/24`, `2001:db8::/48`. An IPv4 network written
/// as IPv6 is IPv4; what lies beyond the prefix is cut off.
pub fn parse(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))?;
    let IpNet::V6(six) = network else { return Some(network.trunc()) };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    let four = four.and_then(|(ip, prefix)| Ipv4Net::new(ip, prefix).ok());
    Some(four.map_or(IpNet::V6(six), IpNet::V4).trunc())
}

/// Every block that is not over, newest first.
///
/// # Errors
/// `auth.forbidden`.
pub async fn list(ctx: &Context, person: &Person) -> Result<Vec<IpBlock>> {
    person.may(Permission::IpBlocksRead)?;
    Ok(store::list_blocks(&ctx.db, ctx.now()).await?)
}

/// Blocks a network: every process refuses it within two seconds, this one at once.
///
/// # Errors
/// `auth.forbidden`, `ip_block.protected`, a fault of `until`, and the refusals of [`idempotency::begin`].
pub async fn create(
    ctx: &Context,
    client: &Client,
    person: &Person,
    ask: Ask,
    key: Option<&idempotency::Key>,
) -> Result<IpBlock> {
    person.may(Permission::IpBlocksWrite)?;
    let now = ctx.now();
    if is_protected(&ctx.config, &ask.network) {
        return Err(PROTECTED.refuse("The network holds this machine or a trusted proxy.").into());
    }
    if ask.network.contains(&client.ip.to_canonical()) {
        return Err(PROTECTED.refuse("The network holds the address you call from.").into());
    }
    if ask.until.is_some_and(|until| until <= now) {
        let fault = Fault::at("/until", "ip_block.until", "This moment has passed.");
        return Err(invalid(vec![fault]).into());
    }
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, now, key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let block = IpBlock {
        ip_block_id: id::ordered(now),
        network: ask.network,
        reason: ask.reason,
        until: ask.until,
        created_by: Some(person.user_id()),
        created_at: now,
    };
    insert(&mut tx, client, Some(person.session_id), &block).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&block).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    tx.commit().await?;
    refresh(ctx).await?;
    Ok(block)
}

/// Lifts a block.
///
/// # Errors
/// `auth.forbidden`, `ip_block.not_found`.
pub async fn delete(ctx: &Context, client: &Client, person: &Person, ip_block_id: Uuid) -> Result<()> {
    person.may(Permission::IpBlocksWrite)?;
    let mut tx = ctx.db.begin().await?;
    let network = store::delete_block(&mut tx, ip_block_id).await?;
    let network = network.ok_or_else(|| NOT_FOUND.refuse("There is no block with this id."))?;
    let line = Line {
        action: "ip_block.deleted",
        entity_type: "ip_block",
        entity_id: ip_block_id.to_string(),
        actor: Some(person.user_id()),
        session_id: Some(person.session_id),
        details: json!({ "network": network }),
        client,
        at: ctx.now(),
    };
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    refresh(ctx).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[test]
    fn networks_are_read_in_one_form() {
        for (text, want) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("2001:db8::7/48", "2001:db8::/48"),
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:0:0/64", "::/64"),
        ] {
            assert_eq!(parse(text).map(|network| network.to_string()).as_deref(), Some(want), "{text}");
        }
        for text in ["", "203.0.113", "203.0.113.7/33", "localhost", "1", "::1%eth0", "203.0.113.7/-1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_must_be_served_is_never_blocked() {
        let pairs = [
            ("KERYU_ENV", "development"),
            ("DATABASE_URL", "postgres:///x"),
            ("REDIS_URL", "redis://x"),
            ("KERYU_TRUSTED_PROXIES", "10.1.0.0/16"),
        ];
        let config = Config::read(&mut Source::of(pairs)).expect("settings");
        for (network, protected) in [
            ("10.1.2.3", true),
            ("10.0.0.0/8", true),
            ("10.2.0.0/16", false),
            ("127.0.0.1", true),
            ("0.0.0.0/0", true),
            ("::1", true),
            ("::/0", true),
            ("2001:db8::/32", false),
        ] {
            assert_eq!(is_protected(&config, &parse(network).expect(network)), protected, "{network}");
        }
    }
}
