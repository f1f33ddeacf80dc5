//! The sliding window: two fixed windows of one client, the earlier one weighted by how much of it
//! still lies within the last minute. The script in `shared` counts alike. No input or output here.

use std::time::Duration;

use super::WINDOW;

/// A window in milliseconds.
pub(super) const LENGTH: i64 = WINDOW.as_millis() as i64;

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whether the call may go on.
    pub allowed: bool,
    /// Calls a window holds.
    pub limit: u32,
    /// Calls left now.
    pub remaining: u32,
    /// Until the window ends.
    pub reset: Duration,
    /// Until a call would be let through; none if one would be now.
    pub retry_after: Option<Duration>,
}

/// The two windows of one client, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub start: i64,
    pub count: i64,
    pub previous: i64,
}

/// A counted call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Taken {
    pub allowed: bool,
    pub counts: Counts,
}

impl Counts {
    /// Moves on to the window that holds `now`.
    fn roll(self, now: i64) -> Self {
        match now - self.start {
            past if past >= 2 * LENGTH => Self { start: now, count: 0, previous: 0 },
            past if past >= LENGTH => Self { start: self.start + LENGTH, count: 0, previous: self.count },
            _ => self,
        }
    }

    /// Calls within the last window. A clock set back counts as no time passed.
    fn used(self, now: i64) -> i64 {
        let past = (now - self.start).clamp(0, LENGTH);
        self.previous * (LENGTH - past) / LENGTH + self.count
    }

    /// Counts a call if there is room.
    pub fn take(self, now: i64, limit: u32) -> Taken {
        let mut counts = self.roll(now);
        let allowed = counts.used(now) < i64::from(limit);
        if allowed {
            counts.count += 1;
        }
        Taken { allowed, counts }
    }

    /// Milliseconds until a call would be let through.
    fn wait(self, now: i64, limit: i64) -> i64 {
        let past = (now - self.start).clamp(0, LENGTH);
        // after how much of a window with `before` calls ahead of it there is room beside `beside`
        let room = |before: i64, beside: i64| LENGTH - ceil_div((limit - beside) * LENGTH, before.max(1)) + 1;
        if self.count >= limit {
            LENGTH - past + room(self.count, 0)
        } else {
            room(self.previous, self.count) - past
        }
    }
}

impl Taken {
    /// What to tell the caller.
    pub fn decide(self, now: i64, limit: u32) -> Decision {
        let counts = self.counts;
        let wait = (!self.allowed).then(|| counts.wait(now, i64::from(limit)).max(1));
        let left = (counts.start + LENGTH - now).clamp(0, LENGTH);
        Decision {
            allowed: self.allowed,
            limit,
            remaining: u32::try_from(i64::from(limit) - counts.used(now)).unwrap_or(0),
            reset: millis(left),
            retry_after: wait.map(millis),
        }
    }
}

fn ceil_div(a: i64, b: i64) -> i64 {
    (a + b - 1) / b
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_800_000_000_000;

    /// Calls at these moments (milliseconds after T): which were let through?
    fn run(limit: u32, moments: impl IntoIterator<Item = i64>) -> Vec<bool> {
        let mut counts = Counts { start: T, count: 0, previous: 0 };
        moments
            .into_iter()
            .map(|at| {
                let taken = counts.take(T + at, limit);
                counts = taken.counts;
                taken.allowed
            })
            .collect()
    }

    #[test]
    fn no_more_than_the_limit_within_the_first_minute() {
        for gap in [0, 1, 100, 1_000, 2_500] {
            let passed = run(20, (0..24).map(|n| n * gap));
            let want: Vec<bool> = (0..24).map(|n| n < 20).collect();
            assert_eq!(passed, want, "every {gap} ms");
        }
    }

    #[test]
    fn a_steady_caller_below_the_limit_is_never_refused() {
        for (limit, gap) in [(1, 120_000), (20, 3_100), (60, 1_020), (600, 101)] {
            assert!(run(limit, (0..500).map(|n| n * gap)).into_iter().all(|ok| ok), "{limit} every {gap} ms");
        }
    }

    #[test]
    fn retry_after_is_true_to_the_millisecond() {
        for limit in [1, 2, 3, 20, 600] {
            for gap in [0, 7, 450, 2_900, 45_000] {
                let mut counts = Counts { start: T, count: 0, previous: 0 };
                let mut now = T;
                for _ in 0..3 * limit {
                    let taken = counts.take(now, limit);
                    counts = taken.counts;
                    if let Some(wait) = taken.decide(now, limit).retry_after {
                        let wait = i64::try_from(wait.as_millis()).expect("small");
                        assert!(
                            !counts.take(now + wait - 2, limit).allowed,
                            "{limit}/{gap}: too late by 2 ms"
                        );
                        assert!(counts.take(now + wait, limit).allowed, "{limit}/{gap}: too early");
                    }
                    now += gap;
                }
            }
        }
    }

    #[test]
    fn a_clock_set_back_neither_opens_nor_closes() {
        let mut counts = Counts { start: T, count: 0, previous: 0 };
        for _ in 0..20 {
            counts = counts.take(T - 30_000, 20).counts;
        }
        assert!(!counts.take(T - 30_000, 20).allowed);
        assert!(counts.take(T + 2 * LENGTH, 20).allowed);
    }
}
