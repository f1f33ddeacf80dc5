//! How many codes an identifier may ask for and how many wrong ones it may be tried with. Pure:
//! counters in, verdict out. Limits follow NIST SP 800-63B 5.2.2 and ASVS 5.0 6.6.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{BUDGET, COOLDOWN, LOCKED, Purpose};
use crate::config::{Source, Stage};
use crate::error::Refusal;

/// How long a link works.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Settings of codes.
#[derive(Clone, Debug)]
pub struct Config {
    /// `OTP_DIGITS`.
    pub digits: u8,
    /// `OTP_LIFE`.
    pub life: Duration,
    /// `OTP_RESET_LIFE`: life of a code for a new password.
    pub reset_life: Duration,
    /// `OTP_TRIES`: wrong tries per challenge.
    pub tries: u8,
    /// `OTP_COOLDOWN`: between sends.
    pub cooldown: Duration,
    /// `OTP_PER_HOUR`.
    pub per_hour: i32,
    /// `OTP_PER_DAY`.
    pub per_day: i32,
    /// `OTP_TRIES_PER_HOUR`: wrong tries per identifier and client address.
    pub tries_per_hour: i32,
    /// `OTP_TRIES_IN_A_ROW`: wrong tries per identifier before only another channel helps.
    pub tries_in_a_row: i32,
    /// Off in development.
    pub sms: Option<SmsLimits>,
}

/// Text messages of a day over the whole deployment.
#[derive(Clone, Debug)]
pub struct SmsLimits {
    /// `OTP_SMS_PER_DAY`.
    pub per_day: i64,
    /// `OTP_SMS_PER_PREFIX_PER_DAY`: country code and two digits.
    pub per_prefix: i64,
}

/// How many text messages there may be today.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmsCaps {
    /// To all.
    pub all: i64,
    /// To one prefix.
    pub prefix: i64,
}

impl SmsLimits {
    /// Verified users have it all; a fifth of both budgets is kept for them.
    pub(super) fn caps(&self, verified: bool) -> SmsCaps {
        let share = |limit: i64| if verified { limit } else { limit * 4 / 5 };
        SmsCaps { all: share(self.per_day), prefix: share(self.per_prefix) }
    }
}

impl Config {
    pub(crate) fn read(source: &mut Source, stage: Stage) -> Self {
        let seconds = Duration::from_secs;
        let limits = SmsLimits {
            per_day: source.get("OTP_SMS_PER_DAY", 10_000),
            per_prefix: source.get("OTP_SMS_PER_PREFIX_PER_DAY", 2_000),
        };
        let config = Self {
            digits: source.get("OTP_DIGITS", 6),
            life: source.span("OTP_LIFE", seconds(300)),
            reset_life: source.span("OTP_RESET_LIFE", seconds(600)),
            tries: source.get("OTP_TRIES", 3),
            cooldown: source.span("OTP_COOLDOWN", seconds(60)),
            per_hour: source.get("OTP_PER_HOUR", 5),
            per_day: source.get("OTP_PER_DAY", 20),
            tries_per_hour: source.get("OTP_TRIES_PER_HOUR", 10),
            tries_in_a_row: source.get("OTP_TRIES_IN_A_ROW", 100),
            sms: (stage == Stage::Production).then_some(limits),
        };
        for (name, holds, range) in [
            ("OTP_DIGITS", (4..=9).contains(&config.digits), "4 to 9"),
            ("OTP_TRIES", (1..=10).contains(&config.tries), "1 to 10"),
            ("OTP_LIFE", (seconds(30)..=seconds(3600)).contains(&config.life), "30s to 1h"),
            ("OTP_RESET_LIFE", (seconds(30)..=seconds(3600)).contains(&config.reset_life), "30s to 1h"),
        ] {
            if !holds {
                source.fault(format!("{name}: out of range ({range})"));
            }
        }
        config
    }

    /// How long a code or link for this purpose works.
    pub fn life_of(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::ResetPassword => self.reset_life,
            Purpose::VerifyEmailLink => LINK_LIFE,
            _ => self.life,
        }
    }
}

/// The sends of one identifier, as locked.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The last one.
    pub last_sent_at: Option<DateTime<Utc>>,
    /// When the hour that is counted began.
    pub hour_started_at: DateTime<Utc>,
    /// Sends since then.
    pub hour_sent: i32,
    /// When the day that is counted began.
    pub day_started_at: DateTime<Utc>,
    /// Sends since then.
    pub day_sent: i32,
}

/// The counters after one more send.
#[derive(Clone, Debug, PartialEq)]
pub struct Spent {
    /// Now.
    pub sent_at: DateTime<Utc>,
    /// The hour's beginning.
    pub hour_started_at: DateTime<Utc>,
    /// Its sends.
    pub hour_sent: i32,
    /// The day's beginning.
    pub day_started_at: DateTime<Utc>,
    /// Its sends.
    pub day_sent: i32,
}

impl Budget {
    /// One more send, or why not.
    pub(super) fn spend(&self, now: DateTime<Utc>, config: &Config) -> Result<Spent, Refusal> {
        let cooldown = TimeDelta::from_std(config.cooldown).unwrap_or_default();
        if let Some(last) = self.last_sent_at
            && now < last + cooldown
        {
            return Err(COOLDOWN.refuse_for("A code was sent a moment ago.", until(now, last + cooldown)));
        }
        let (hour_started_at, hour_sent) =
            window(self.hour_started_at, self.hour_sent, TimeDelta::hours(1), now);
        let (day_started_at, day_sent) = window(self.day_started_at, self.day_sent, TimeDelta::days(1), now);
        if day_sent >= config.per_day {
            let end = day_started_at + TimeDelta::days(1);
            return Err(BUDGET.refuse_for("The codes of the day are used up.", until(now, end)));
        }
        if hour_sent >= config.per_hour {
            let end = hour_started_at + TimeDelta::hours(1);
            return Err(BUDGET.refuse_for("The codes of the hour are used up.", until(now, end)));
        }
        Ok(Spent {
            sent_at: now,
            hour_started_at,
            hour_sent: hour_sent + 1,
            day_started_at,
            day_sent: day_sent + 1,
        })
    }
}

/// The wrong tries on one identifier, as locked.
#[derive(Clone, Debug)]
pub struct Tries {
    /// In a row, from anywhere.
    pub wrong_in_row: i32,
    /// When the hour that is counted began, from this client.
    pub hour_started_at: Option<DateTime<Utc>>,
    /// Wrong tries since then, from this client.
    pub hour_tries: Option<i32>,
}

impl Tries {
    /// Why no code is compared any more.
    pub(super) fn refuse(&self, now: DateTime<Utc>, config: &Config) -> Option<Refusal> {
        if self.wrong_in_row >= config.tries_in_a_row {
            return Some(LOCKED.refuse_for(
                "Too many wrong codes in a row for this identifier.",
                Duration::from_secs(3600),
            ));
        }
        let (started, tries) = self.window(now);
        (tries >= config.tries_per_hour).then(|| {
            let end = started + TimeDelta::hours(1);
            LOCKED.refuse_for("Too many wrong codes from here.", until(now, end))
        })
    }

    /// The beginning of the hour that a wrong try counts in.
    pub(super) fn hour(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.window(now).0
    }

    fn window(&self, now: DateTime<Utc>) -> (DateTime<Utc>, i32) {
        window(self.hour_started_at.unwrap_or(now), self.hour_tries.unwrap_or(0), TimeDelta::hours(1), now)
    }
}

fn window(started: DateTime<Utc>, count: i32, length: TimeDelta, now: DateTime<Utc>) -> (DateTime<Utc>, i32) {
    if now >= started + length { (now, 0) } else { (started, count) }
}

/// Whole seconds, rounded up: coming back then is not too soon.
fn until(now: DateTime<Utc>, then: DateTime<Utc>) -> Duration {
    let millis = (then - now).num_milliseconds().max(1).unsigned_abs();
    Duration::from_secs(millis.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::read(&mut Source::default(), Stage::Production)
    }

    /// Asks whenever the answer to the last refusal said to, for a simulated time.
    #[test]
    fn the_limits_hold_over_a_day_of_asking_as_soon_as_allowed() {
        let config = config();
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("time");
        let mut budget = Budget {
            last_sent_at: None,
            hour_started_at: start,
            hour_sent: 0,
            day_started_at: start,
            day_sent: 0,
        };
        let (mut now, mut sent) = (start, Vec::new());
        while now < start + TimeDelta::hours(23) {
            match budget.spend(now, &config) {
                Ok(spent) => {
                    sent.push(now);
                    budget = Budget {
                        last_sent_at: Some(spent.sent_at),
                        hour_started_at: spent.hour_started_at,
                        hour_sent: spent.hour_sent,
                        day_started_at: spent.day_started_at,
                        day_sent: spent.day_sent,
                    };
                }
                Err(refusal) => {
                    now += TimeDelta::from_std(refusal.retry_after.expect("when")).expect("delta")
                }
            }
        }
        assert_eq!(sent.len(), 20);
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= TimeDelta::seconds(60)));
        assert!(sent.windows(6).all(|six| six[5] - six[0] >= TimeDelta::minutes(55)));
    }

    #[test]
    fn a_fifth_of_the_text_messages_is_kept_for_verified_users() {
        let limits = SmsLimits { per_day: 10, per_prefix: 5 };
        assert_eq!(limits.caps(false), SmsCaps { all: 8, prefix: 4 });
        assert_eq!(limits.caps(true), SmsCaps { all: 10, prefix: 5 });
    }
}
