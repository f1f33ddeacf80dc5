//! Lockout: wrong passwords in a row by subject and client address (NIST SP 800-63B 3.2.2, ASVS 5.0
//! 6.3.1), in Redis or, without an answer from it in 100 ms, in this process; and the lockouts of an
//! address. A try is counted before the password is looked at, so that parallel ones all count, and the
//! count ends with a success.

use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::metrics::counter::Counter;
use redis::Script;

use super::local::{Local, Since};
use super::shared::Shared;
use crate::audit::Client;
use crate::config::Source;
use crate::error::{Code, Refusal, Result};
use crate::telemetry::Metrics;

/// Too many wrong passwords.
pub const LOCKED: Code = Code {
    code: "auth.locked",
    status: 429,
    title: "Too many failed sign-ins",
    advice: "Wait for `Retry-After`, or sign in with a code sent to a verified phone or e-mail.",
};

/// Every code of lockouts.
pub const CODES: &[Code] = &[LOCKED];

/// How long failures are remembered that led to no lockout.
const MEMORY: i64 = 24 * 3600 * 1000;
/// How many lockouts of one address in an hour are too many.
pub const ADDRESS_LOCKOUTS: i64 = 20;
/// The hour they are counted over, and how long the address is then blocked.
pub const ADDRESS_SPAN: Duration = Duration::from_secs(3600);

/// Settings of lockouts.
#[derive(Clone, Debug)]
pub struct Config {
    /// `LOCKOUT_FAILURES`: wrong passwords in a row.
    pub failures: u32,
    /// `LOCKOUT_SECONDS`: how long nobody signs in then.
    pub length: Duration,
    /// `LOCKOUT_IN_A_ROW`: wrong passwords in a row from all addresses.
    pub in_a_row: i32,
}

impl Config {
    pub(crate) fn read(source: &mut Source) -> Self {
        let config = Self {
            failures: source.get("LOCKOUT_FAILURES", 5),
            length: Duration::from_secs(source.get("LOCKOUT_SECONDS", 300)),
            in_a_row: source.get("LOCKOUT_IN_A_ROW", 100),
        };
        for (name, holds, range) in [
            ("LOCKOUT_FAILURES", (1..=100).contains(&config.failures), "1 to 100"),
            ("LOCKOUT_SECONDS", (1..=86_400).contains(&config.length.as_secs()), "1 to 86400"),
            ("LOCKOUT_IN_A_ROW", (10..=1_000).contains(&config.in_a_row), "10 to 1000"),
        ] {
            if !holds {
                source.fault(format!("{name}: out of range ({range})"));
            }
        }
        config
    }
}

/// Counts as `Failures::take` does, at one key after the other, to the first that refuses. Arguments: limit,
/// length, memory and now in milliseconds.
const TAKE: &str = r"
local limit, length, memory, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answer = {}
for _, key in ipairs(KEYS) do
  local count, since = 0, now
  local kept = redis.call('GET', key)
  if kept then
    local a, b = string.match(kept, '^(%d+):(%d+)$')
    if a then count, since = tonumber(a), tonumber(b) end
  end
  if count >= limit then
    if now < since + length then
      table.insert(answer, {0, since + length - now})
      return answer
    end
    count = 0
  end
  count = count + 1
  local keep = memory
  if count >= limit then keep = length end
  redis.call('SET', key, string.format('%.0f:%.0f', count, now), 'PX', keep)
  table.insert(answer, {count, 0})
end
return answer
";

/// One try less at each key, if it was counted.
const RELEASE: &str = r"
for _, key in ipairs(KEYS) do
  local kept = redis.call('GET', key)
  if kept then
    local a, b = string.match(kept, '^(%d+):(%d+)$')
    if a and tonumber(a) > 1 then redis.call('SET', key, string.format('%.0f:%s', tonumber(a) - 1, b), 'KEEPTTL')
    else redis.call('DEL', key) end
  end
end
return 1
";

const FORGET: &str = "return redis.call('DEL', unpack(KEYS))";

/// One more within the span; the span begins with the first. Arguments: span and now in milliseconds.
const ANOTHER: &str = r"
local span, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local count, since = 0, now
local kept = redis.call('GET', KEYS[1])
if kept then
  local a, b = string.match(kept, '^(%d+):(%d+)$')
  if a and now < tonumber(b) + span then count, since = tonumber(a), tonumber(b) end
end
count = count + 1
redis.call('SET', KEYS[1], string.format('%.0f:%.0f', count, since), 'PX', span)
return count
";

/// Who is signed in to: an account, a name nobody has, or a known device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// By account or name, for each client address.
    Name([u8; 32]),
    /// A device that signed in before, wherever it is.
    Device([u8; 32]),
}

impl Subject {
    /// The keyed hash that stands for it.
    pub fn hash(&self) -> &[u8; 32] {
        match self {
            Self::Name(hash) | Self::Device(hash) => hash,
        }
    }

    fn key(&self, client: &Client) -> String {
        let hash = crate::secret::hex(&self.hash()[..16]);
        match self {
            Self::Name(_) => format!("try:{hash}:{}", client.key()),
            Self::Device(_) => format!("try:{hash}"),
        }
    }
}

/// A try that was let through and counted. It ends as [`Lockout::forget`] (right), [`Lockout::release`]
/// (nothing was found out) or not at all (wrong).
#[derive(Debug)]
pub struct Try {
    key: String,
    /// Whether it is the last before the lock: if wrong, the subject is locked from now on.
    pub last: bool,
}

/// Failures in a row, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Failures {
    count: i64,
    since: i64,
}

impl Since for Failures {
    fn since(&self) -> i64 {
        self.since
    }
}

impl Failures {
    /// Counts a try: its number in the row, or how long nobody may try.
    fn take(&mut self, limit: i64, length: i64, now: i64) -> (i64, i64) {
        if self.count >= limit {
            if now < self.since + length {
                return (0, self.since + length - now);
            }
            self.count = 0;
        }
        *self = Self { count: self.count + 1, since: now };
        (self.count, 0)
    }
}

/// Counts tries and lockouts.
pub struct Lockout {
    config: Config,
    shared: Shared,
    scripts: [Script; 4],
    local: Local<String, Failures>,
    lockouts: Counter,
    metrics: Metrics,
}

impl std::fmt::Debug for Lockout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lockout").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Lockout {
    /// Connects lazily; Redis need not be there.
    ///
    /// # Errors
    /// `REDIS_URL` is malformed.
    pub fn open(config: &Config, redis_url: &str, prefix: &str, metrics: &Metrics) -> Result<Self> {
        let lockouts = Counter::default();
        metrics.register(|registry| {
            registry.register("lockouts", "Subjects locked after wrong passwords", lockouts.clone());
        });
        Ok(Self {
            config: config.clone(),
            shared: Shared::open(redis_url, format!("{prefix}:lockout"))?,
            scripts: [TAKE, RELEASE, FORGET, ANOTHER].map(Script::new),
            local: Local::default(),
            lockouts,
            metrics: metrics.clone(),
        })
    }

    /// Counts a try at each subject, one after the other, to the first that is locked: with fewer tries than
    /// subjects, the next one is.
    ///
    /// # Errors
    /// `auth.locked`: the first one is.
    pub async fn take(
        &self,
        now: DateTime<Utc>,
        subjects: &[&Subject],
        client: &Client,
    ) -> Result<Vec<Try>, Refusal> {
        let keys: Vec<String> = subjects.iter().map(|subject| subject.key(client)).collect();
        let (now, limit, length) =
            (now.timestamp_millis(), i64::from(self.config.failures), millis(self.config.length));
        let [take, ..] = &self.scripts;
        let counted = match self.shared.ask(take, &keys, &[limit, length, MEMORY, now]).await {
            Some(counted) => counted,
            None => {
                self.metrics.limiter_fallbacks.inc();
                let empty = Failures { count: 0, since: now };
                let take = |key: &String| {
                    self.local.change(key.clone(), empty, now - MEMORY, |kept| kept.take(limit, length, now))
                };
                let mut counted: Vec<(i64, i64)> = Vec::new();
                for key in &keys {
                    counted.push(take(key));
                    if counted.last().is_some_and(|(count, _)| *count == 0) {
                        break;
                    }
                }
                counted
            }
        };
        if let Some((0, wait)) = counted.first() {
            return Err(refuse(Duration::from_millis(u64::try_from(*wait).unwrap_or(1).max(1))));
        }
        let tries = keys.into_iter().zip(counted).filter(|(_, (count, _))| *count > 0);
        Ok(tries.map(|(key, (count, _))| Try { key, last: count >= limit }).collect())
    }

    /// The password was right: the rows of failures end, those of these subjects too.
    pub async fn forget(&self, tries: Vec<Try>, also: &[Subject], client: &Client) {
        let mut keys: Vec<String> = tries.into_iter().map(|one| one.key).collect();
        keys.extend(also.iter().map(|subject| subject.key(client)));
        for key in &keys {
            self.local.forget(key);
        }
        let [_, _, forget, _] = &self.scripts;
        let _: Option<i64> = self.shared.ask(forget, &keys, &[]).await;
    }

    /// Nobody looked at the password: it was no try.
    pub async fn release(&self, tries: Vec<Try>) {
        let keys: Vec<String> = tries.into_iter().map(|one| one.key).collect();
        let [_, release, ..] = &self.scripts;
        if self.shared.ask::<i64>(release, &keys, &[]).await.is_none() {
            let empty = Failures { count: 0, since: 0 };
            for key in keys {
                self.local.change(key, empty, 0, |kept| kept.count = (kept.count - 1).max(0));
            }
        }
    }

    /// A subject was locked from this address. True when that is once too often within the hour.
    pub async fn locked(&self, now: DateTime<Utc>, client: &Client) -> bool {
        self.lockouts.inc();
        let (key, now, span) =
            (format!("address:{}", client.key()), now.timestamp_millis(), millis(ADDRESS_SPAN));
        let [.., another] = &self.scripts;
        let count = match self.shared.ask(another, std::slice::from_ref(&key), &[span, now]).await {
            Some(count) => count,
            None => self.local.change(key, Failures { count: 0, since: now }, now - span, |kept| {
                if now >= kept.since + span {
                    *kept = Failures { count: 0, since: now };
                }
                kept.count += 1;
                kept.count
            }),
        };
        count >= ADDRESS_LOCKOUTS
    }
}

/// The refusal; the same for accounts, names nobody has, and rows of failures from all addresses.
pub fn refuse(after: Duration) -> Refusal {
    LOCKED.refuse_for("Too many failed sign-ins. Try again later, or sign in with a code.", after)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_800_000_000_000;

    #[test]
    fn five_in_a_row_lock_for_five_minutes_and_then_there_are_five_more() {
        let mut failures = Failures { count: 0, since: T };
        for round in 0..3 {
            let start = T + round * 300_000;
            let counts: Vec<_> = (0..5).map(|n| failures.take(5, 300_000, start + n * 1_000).0).collect();
            assert_eq!(counts, [1, 2, 3, 4, 5], "round {round}");
            assert_eq!(failures.take(5, 300_000, start + 4_000), (0, 300_000));
            assert_eq!(failures.take(5, 300_000, start + 299_999), (0, 4_001));
            failures.since = start;
        }
    }
}
