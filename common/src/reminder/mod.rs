//! Reminders: who is to be reminded of what, and that nobody is twice. A row says what was sent, written with
//! the message; its key is what a body that starts twice runs into.

mod jobs;
mod store;

use chrono::{DateTime, TimeDelta, Utc};

use crate::kyc;
use crate::notify::Message;
use crate::user::completeness;

pub use jobs::{RemindKyc, RemindProfiles, SendReminders};

/// Days after joining at which somebody is reminded of one thing: never more often.
const STEPS: [i64; 3] = [3, 10, 30];
/// How late the last reminder may be: after an outage, or where the product learned to remind later than
/// somebody joined.
const LATE: TimeDelta = TimeDelta::days(7);

/// Of what people are reminded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The profile misses something.
    Profile,
    /// No document was handed in, or the last one was rejected.
    Kyc,
}

impl What {
    const ALL: [Self; 2] = [Self::Profile, Self::Kyc];

    fn message(self) -> Message {
        match self {
            Self::Profile => Message::ProfileCompletionReminder,
            Self::Kyc => Message::KycReminder,
        }
    }

    /// Which reminder of this somebody is due for now: none where nothing is missing, or they had it.
    fn due(self, person: &store::Person, now: DateTime<Utc>) -> Option<i16> {
        let (misses, reminded) = match self {
            Self::Profile => (!completeness::missing(person.known()).is_empty(), person.profile_reminded),
            Self::Kyc => {
                let rejected = kyc::State::Rejected.name();
                let misses = person.kyc_status == kyc::NOT_SUBMITTED || person.kyc_status == rejected;
                (misses, person.kyc_reminded)
            }
        };
        step(person.created_at, now).filter(|step| misses && *step > reminded)
    }
}

/// Which reminder of one thing somebody is due for who joined at this moment, from 1; one that was missed is
/// not made up for.
fn step(joined: DateTime<Utc>, now: DateTime<Utc>) -> Option<i16> {
    let since = now - joined;
    let passed = STEPS.iter().filter(|days| since >= TimeDelta::days(**days)).count();
    let over = passed == STEPS.len() && since >= TimeDelta::days(STEPS[STEPS.len() - 1]) + LATE;
    i16::try_from(passed).ok().filter(|step| *step > 0 && !over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_reminders_and_none_for_who_joined_long_ago() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("time");
        for (days, wanted) in [
            (0, None),
            (2, None),
            (3, Some(1)),
            (9, Some(1)),
            (10, Some(2)),
            (29, Some(2)),
            (30, Some(3)),
            (36, Some(3)),
            (37, None),
            (400, None),
        ] {
            assert_eq!(step(now - TimeDelta::days(days), now), wanted, "after {days} days");
        }
        assert_eq!(step(now + TimeDelta::days(1), now), None);
    }
}
