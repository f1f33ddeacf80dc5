//! The blocks as a process of the API holds them: asked at every request, read anew every second.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::{IpBlock, store};
use crate::context::Context;
use crate::error::Result;

/// How often the list is read: everybody sees a change within two seconds.
const EVERY: Duration = Duration::from_secs(1);

/// Networks by the length of their prefix, with when each block ends.
type Networks = BTreeMap<u8, HashMap<IpNet, Option<DateTime<Utc>>>>;

/// The list in memory. While Postgres is away the last one stays.
#[derive(Debug, Default)]
pub struct Shield(RwLock<Arc<Networks>>);

impl Shield {
    /// Whether nobody is served from this address.
    pub fn covers(&self, ip: IpAddr, now: DateTime<Utc>) -> bool {
        let networks = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let ip = ip.to_canonical();
        networks.iter().any(|(prefix, blocks)| {
            let network = IpNet::new(ip, *prefix).ok().map(|network| network.trunc());
            let until = network.and_then(|network| blocks.get(&network));
            until.is_some_and(|until| until.is_none_or(|until| until > now))
        })
    }

    /// Takes over a list.
    pub fn set(&self, blocks: &[IpBlock]) {
        let mut networks = Networks::new();
        for block in blocks {
            let of_prefix = networks.entry(block.network.prefix_len()).or_default();
            let until = of_prefix.entry(block.network.trunc()).or_insert(block.until);
            // of two blocks of one network the longer holds
            *until = until.zip(block.until).map(|(a, b)| a.max(b));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(networks);
    }
}

/// Reads the list once.
///
/// # Errors
/// The database does not answer.
pub async fn refresh(ctx: &Context) -> Result<()> {
    let blocks = store::list_blocks(&ctx.db, ctx.now()).await?;
    ctx.shield.set(&blocks);
    Ok(())
}

/// Reads the list every second, for as long as the process lives.
pub async fn follow(ctx: Context) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = refresh(&ctx).await {
            tracing::debug!(%error, "the list of blocked addresses stays as it was");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(network: &str, until: Option<i64>) -> IpBlock {
        IpBlock {
            ip_block_id: uuid::Uuid::nil(),
            network: network.parse().expect("network"),
            reason: String::new(),
            until: until.and_then(|at| DateTime::from_timestamp(at, 0)),
            created_by: None,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn addresses_in_blocked_networks_are_found() {
        let shield = Shield::default();
        let now = DateTime::from_timestamp(1_000, 0).expect("time");
        let covers = |ip: &str| shield.covers(ip.parse().expect("address"), now);
        assert!(!covers("192.0.2.1"));
        shield.set(&[
            block("192.0.2.0/28", None),
            block("198.51.100.7/32", Some(1_001)),
            block("203.0.113.7/32", Some(1_000)),
            block("2001:db8:1:2::/64", None),
        ]);
        for ip in ["192.0.2.0", "192.0.2.15", "::ffff:192.0.2.3", "198.51.100.7", "2001:db8:1:2:ffff::1"] {
            assert!(covers(ip), "{ip}");
        }
        for ip in ["192.0.2.16", "198.51.100.8", "203.0.113.7", "2001:db8:1:3::1", "::1", "::c000:201"] {
            assert!(!covers(ip), "{ip}");
        }
        shield.set(&[]);
        assert!(!covers("192.0.2.0"));
    }

    #[test]
    fn of_two_blocks_of_one_network_the_longer_holds() {
        let at = |at: i64| DateTime::from_timestamp(at, 0).expect("time");
        let ip: IpAddr = "192.0.2.1".parse().expect("address");
        for (a, b, held_at_150) in [
            (Some(100), Some(200), true),
            (Some(200), Some(100), true),
            (None, Some(100), true),
            (Some(100), None, true),
            (Some(100), Some(120), false),
        ] {
            let shield = Shield::default();
            shield.set(&[block("192.0.2.1/32", a), block("192.0.2.1/32", b)]);
            assert!(shield.covers(ip, at(50)));
            assert_eq!(shield.covers(ip, at(150)), held_at_150, "{a:?} {b:?}");
        }
    }
}
