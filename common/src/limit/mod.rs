//! How many requests a client may make: settings of the HTTP edges and the [`Limiter`]. The maths is
//! in `window`, the counters shared through Redis in `shared`. What a refusal looks like over HTTP is
//! the API's business.

mod local;
pub mod lockout;
mod shared;
mod window;

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::audit::Client;
use crate::config::Source;
use crate::error::{Code, Result};
use crate::telemetry::Metrics;
use local::Local;
use redis::Script;
use shared::Shared;
pub use window::Decision;
use window::{Counts, LENGTH, Taken};

/// Counts as `Counts::take` does. Keys: the client's. Arguments: limit, window and now in milliseconds.
const TAKE: &str = r"
local limit, window, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local start, count, previous = now, 0, 0
local kept = redis.call('GET', KEYS[1])
if kept then
  local a, b, c = string.match(kept, '^(%d+):(%d+):(%d+)$')
  if a then start, count, previous = tonumber(a), tonumber(b), tonumber(c) end
end
local past = now - start
if past >= 2 * window then start, count, previous = now, 0, 0
elseif past >= window then start, count, previous = start + window, 0, count end
past = math.min(math.max(now - start, 0), window)
local used = math.floor(previous * (window - past) / window) + count
local allowed = 0
if used < limit then
  allowed, count = 1, count + 1
  redis.call('SET', KEYS[1], string.format('%.0f:%.0f:%.0f', start, count, previous), 'PX', 2 * window)
end
return {allowed, start, count, previous}
";

/// The window every bucket counts over.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Over a rate limit.
pub const LIMITED: Code = Code {
    code: "request.rate_limited",
    status: 429,
    title: "Too many requests",
    advice: "Wait as long as `Retry-After` says. The `RateLimit` fields tell how much is left.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[LIMITED];

/// Settings of the API's edges.
#[derive(Clone, Debug)]
pub struct Config {
    /// `KERYU_LISTEN`; without it all addresses in production, loopback in development.
    pub listen: Option<IpAddr>,
    /// `PORT`.
    pub port: u16,
    /// `KERYU_TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `KERYU_CORS_ORIGINS`: web origins that may read answers.
    pub cors_origins: Vec<String>,
    /// `HTTP_SHUTDOWN_DELAY`: how long requests are taken after the signal to stop, while `/readyz` says 503.
    pub shutdown_delay: Duration,
    /// `HTTP_BODY_LIMIT`: bytes of a JSON body.
    pub body_limit: usize,
    /// `RATE_LIMIT_ALLOW`: networks that are not limited (a school behind one address).
    pub allow: Vec<IpNet>,
    /// `RATE_LIMIT_ANONYMOUS`: calls a minute that act on an identifier.
    pub anonymous: u32,
    /// `RATE_LIMIT_RECEIPTS`: receipts a minute.
    pub receipts: u32,
    /// `RATE_LIMIT_DOCUMENTS`: reads of the API's documents a minute.
    pub documents: u32,
    /// `RATE_LIMIT_HEALTH`: health and metrics calls a minute.
    pub health: u32,
    /// `RATE_LIMIT_REFRESH`: refreshes a minute.
    pub refresh: u32,
    /// `RATE_LIMIT_JWKS`: reads of the public keys a minute.
    pub jwks: u32,
    /// `RATE_LIMIT_WEBHOOKS`: provider status calls a minute.
    pub webhooks: u32,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        let mut limit = |name, default: u32| {
            let limit = source.get(name, default);
            if limit == 0 {
                source.fault(format!("{name}: 0 would refuse everyone"));
            }
            limit
        };
        let [anonymous, receipts, documents, health, refresh, jwks, webhooks] = [
            limit("RATE_LIMIT_ANONYMOUS", 20),
            limit("RATE_LIMIT_RECEIPTS", 600),
            limit("RATE_LIMIT_DOCUMENTS", 120),
            limit("RATE_LIMIT_HEALTH", 600),
            limit("RATE_LIMIT_REFRESH", 600),
            limit("RATE_LIMIT_JWKS", 600),
            limit("RATE_LIMIT_WEBHOOKS", 6_000),
        ];
        Self {
            listen: source.find("KERYU_LISTEN"),
            port: source.get("PORT", 8080),
            trusted_proxies: source.networks("KERYU_TRUSTED_PROXIES"),
            cors_origins: origins(source),
            shutdown_delay: source.span("HTTP_SHUTDOWN_DELAY", Duration::from_secs(5)),
            body_limit: source.get("HTTP_BODY_LIMIT", 16_384),
            allow: source.networks("RATE_LIMIT_ALLOW"),
            anonymous,
            receipts,
            documents,
            health,
            refresh,
            jwks,
            webhooks,
        }
    }

    /// How many calls a minute a bucket holds.
    pub fn of(&self, bucket: Bucket) -> u32 {
        match bucket {
            Bucket::Anonymous => self.anonymous,
            Bucket::Receipts => self.receipts,
            Bucket::Documents => self.documents,
            Bucket::Health => self.health,
            Bucket::Refresh => self.refresh,
            Bucket::Jwks => self.jwks,
            Bucket::Webhooks => self.webhooks,
        }
    }
}

fn origins(source: &mut Source) -> Vec<String> {
    let text: Option<String> = source.find("KERYU_CORS_ORIGINS");
    let parts = text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty());
    let mut origins = Vec::new();
    for part in parts {
        match part.parse::<url::Url>() {
            Ok(url) if url.origin().is_tuple() && url.origin().ascii_serialization() == part => {
                origins.push(part.to_owned());
            }
            _ => source.fault(format!(
                "KERYU_CORS_ORIGINS: {part} is not an origin such as https://app.example.org"
            )),
        }
    }
    origins
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Calls without sign-in that act on an identifier.
    Anonymous,
    /// Receipts of deliveries.
    Receipts,
    /// The OpenAPI document and its page.
    Documents,
    /// Health and metrics.
    Health,
    /// Refreshes of tokens.
    Refresh,
    /// The public keys of access tokens.
    Jwks,
    /// Status calls of providers.
    Webhooks,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Anonymous,
        Self::Receipts,
        Self::Documents,
        Self::Health,
        Self::Refresh,
        Self::Jwks,
        Self::Webhooks,
    ];

    /// As counters, header fields and metrics say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Receipts => "receipts",
            Self::Documents => "documents",
            Self::Health => "health",
            Self::Refresh => "refresh",
            Self::Jwks => "jwks",
            Self::Webhooks => "webhooks",
        }
    }
}

/// Counts requests: in Redis, or without an answer from it in 100 ms in this process. Never open,
/// never closed.
pub struct Limiter {
    config: Config,
    shared: Shared,
    script: Script,
    local: Local<(Bucket, Box<str>), Counts>,
    metrics: Metrics,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Limiter {
    /// Connects lazily; Redis need not be there.
    ///
    /// # Errors
    /// `REDIS_URL` is malformed.
    pub fn open(config: &Config, redis_url: &str, prefix: &str, metrics: Metrics) -> Result<Self> {
        let shared = Shared::open(redis_url, format!("{prefix}:limit"))?;
        let script = Script::new(TAKE);
        metrics.expect_buckets(Bucket::ALL.map(Bucket::name));
        Ok(Self { config: config.clone(), shared, script, local: Local::default(), metrics })
    }

    /// Counts one call of `client`. None: its network is not limited.
    pub async fn take(&self, now: DateTime<Utc>, bucket: Bucket, client: &Client) -> Option<Decision> {
        if self.config.allow.iter().any(|network| network.contains(&client.ip.to_canonical())) {
            return None;
        }
        let (limit, now, key) = (self.config.of(bucket), now.timestamp_millis(), client.key());
        let name = format!("{}:{key}", bucket.name());
        let asked: Option<(i64, i64, i64, i64)> = self
            .shared
            .ask(&self.script, std::slice::from_ref(&name), &[i64::from(limit), LENGTH, now])
            .await;
        let taken = match asked {
            Some((allowed, start, count, previous)) => {
                Taken { allowed: allowed == 1, counts: Counts { start, count, previous } }
            }
            None => {
                self.metrics.limiter_fallbacks.inc();
                let empty = Counts { start: now, count: 0, previous: 0 };
                self.local.change((bucket, key.into()), empty, now - 2 * LENGTH, |counts| {
                    let taken = counts.take(now, limit);
                    *counts = taken.counts;
                    taken
                })
            }
        };
        let decision = taken.decide(now, limit);
        self.metrics.limited(bucket.name(), decision.allowed);
        Some(decision)
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> bool {
        self.shared.ping().await
    }
}

impl local::Since for Counts {
    fn since(&self) -> i64 {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_800_000_000_000;

    #[test]
    fn one_client_stays_limited_in_a_flood() {
        let local = Local::default();
        let take = |name: String| {
            let empty = Counts { start: T, count: 0, previous: 0 };
            local.change(name, empty, T - 2 * LENGTH, |counts| {
                let taken = counts.take(T, 20);
                *counts = taken.counts;
                taken.allowed
            })
        };
        for n in 0..60_000 {
            take(format!("client {n}"));
        }
        assert_eq!((0..40).filter(|_| take("one".to_owned())).count(), 20);
    }

    #[test]
    fn origins_are_origins() {
        let pairs = [("KERYU_CORS_ORIGINS", "https://a.example, http://localhost:3000,https://b.example/,*")];
        let mut source = Source::of(pairs);
        assert_eq!(origins(&mut source), ["https://a.example", "http://localhost:3000"]);
    }
}
