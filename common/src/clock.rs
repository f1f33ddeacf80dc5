//! The one source of time. Production follows Postgres, tests set it; nothing else reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Tells the time, in UTC with microseconds (what Postgres keeps).
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Microseconds to add to the monotonic reading since `start`.
    Following {
        start: Instant,
        offset: AtomicI64,
        led: AtomicBool,
    },
    Fixed(AtomicI64),
}

impl Clock {
    /// A clock that starts from the machine's time and is led by [`Clock::follow`].
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn system() -> Self {
        let now = Utc::now().timestamp_micros();
        Self(Arc::new(Kind::Following {
            start: Instant::now(),
            offset: AtomicI64::new(now),
            led: AtomicBool::new(false),
        }))
    }

    /// A clock that stands still until [`Clock::advance`], for tests.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self(Arc::new(Kind::Fixed(AtomicI64::new(at.timestamp_micros()))))
    }

    /// The present moment.
    pub fn now(&self) -> DateTime<Utc> {
        let micros = match &*self.0 {
            Kind::Following { start, offset, .. } => {
                offset.load(Ordering::Relaxed).saturating_add(micros(start.elapsed()))
            }
            Kind::Fixed(at) => at.load(Ordering::Relaxed),
        };
        DateTime::from_timestamp_micros(micros).unwrap_or_default()
    }

    /// Takes over a reading of Postgres' clock that is right within `error`: a difference no larger is
    /// none. Steps of up to a second back are let be (time never runs backwards by them); a larger one
    /// is a corrected clock and is followed.
    pub fn follow(&self, database: DateTime<Utc>, error: Duration) {
        if let Kind::Following { start, offset, led } = &*self.0 {
            let wanted = database.timestamp_micros().saturating_sub(micros(start.elapsed()));
            let ahead = wanted.saturating_sub(offset.load(Ordering::Relaxed));
            if ahead > micros(error) || ahead < -1_000_000 {
                offset.store(wanted, Ordering::Relaxed);
            }
            led.store(true, Ordering::Release);
        }
    }

    /// Whether it tells the database's time: what acts on times of rows waits for that.
    pub fn is_led(&self) -> bool {
        match &*self.0 {
            Kind::Following { led, .. } => led.load(Ordering::Acquire),
            Kind::Fixed(_) => true,
        }
    }

    /// Moves a fixed clock; does nothing to a following one.
    pub fn advance(&self, by: Duration) {
        if let Kind::Fixed(at) = &*self.0 {
            at.fetch_add(micros(by), Ordering::Relaxed);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_follows_what_is_certain_and_never_runs_back_by_a_little() {
        let clock = Clock::system();
        let second = Duration::from_secs(1);
        let before = clock.now();
        clock.follow(before + second, second * 2);
        assert!(clock.now() < before + second, "within the error of the reading");
        clock.follow(before + second * 10, second);
        assert!(clock.now() >= before + second * 10, "the database is ahead");
        clock.follow(clock.now() - second / 2, Duration::ZERO);
        assert!(clock.now() >= before + second * 10, "half a second back is let be");
        clock.follow(before, Duration::ZERO);
        assert!(clock.now() < before + second, "a corrected clock is followed");
    }
}
