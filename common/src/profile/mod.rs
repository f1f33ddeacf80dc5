//! What people say of themselves: their name in full, date of birth, whom to call in an emergency, in which
//! language and by which ways they want to be told, and a picture (`picture`). Every change is kept (`history`)
//! and can be taken back by staff. Address and language are one thing with those of the record.

mod edit;
pub mod history;
mod read;
mod store;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use edit::may_change;
pub use edit::{Edits, Switches, edit};
pub use history::restore;
pub use read::{Reads, own, show};

use crate::error::{Code, Fault};
use crate::user::completeness::{self, Known};

/// No such change of this person's profile.
pub const CHANGE_NOT_FOUND: Code = Code {
    code: "profile.change_not_found",
    status: 404,
    title: "No such change",
    advice: "List the history of the profile and use an id from there; the last 200 changes are kept.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[CHANGE_NOT_FOUND];

/// The language of who named none.
pub const LANGUAGE: &str = "en";
/// Nobody is older than this.
const OLDEST: TimeDelta = TimeDelta::days(130 * 366);

/// What a profile says that can be changed and put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// In any script.
    pub full_name: Option<String>,
    /// When they were born.
    pub date_of_birth: Option<NaiveDate>,
    /// Where they live.
    pub address: Option<String>,
    /// Whom to call.
    pub emergency_contact: Option<String>,
    /// Under which number, in E.164.
    pub emergency_phone: Option<String>,
    /// BCP 47.
    pub preferred_language: String,
    /// What they do not want to be told, by kind and way: `welcome.sms`.
    pub off: BTreeSet<String>,
}

/// A person's picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The upload that is shown, in its large size.
    pub large: Option<Uuid>,
    /// Another one is yet to be made ready.
    pub waiting: bool,
    /// The one sent last could not be read.
    pub failed: bool,
}

/// A person's profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Whose.
    pub user_id: Uuid,
    /// What it says.
    pub state: State,
    /// What they can be told of, by kind and way, and whether they want it.
    pub switches: Vec<(&'static str, &'static str, bool)>,
    /// Their picture.
    pub picture: Picture,
    /// What is known of them.
    pub known: Known,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it, or the record it shares fields with, last changed: its version.
    pub updated_at: DateTime<Utc>,
}

impl Profile {
    /// What it misses of a complete one, by the names of the fields.
    pub fn missing(&self) -> Vec<&'static str> {
        completeness::missing(self.known)
    }
}

/// Whether somebody can have been born on this day, by the calendar that is furthest ahead.
fn must_be_birthday(day: NaiveDate, now: DateTime<Utc>) -> Result<(), Fault> {
    let (first, last) = ((now - OLDEST).date_naive(), (now + TimeDelta::hours(14)).date_naive());
    if day > last {
        return Err(Fault::at("/date_of_birth", "field.range", "This day is yet to come."));
    }
    if day < first {
        return Err(Fault::at("/date_of_birth", "field.range", "Nobody who lives was born so long ago."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_born_tomorrow_or_in_1800() {
        let now = "2026-11-20T12:00:00Z".parse().expect("time");
        let day = |text: &str| must_be_birthday(text.parse().expect(text), now).is_ok();
        for text in ["2026-11-21", "2026-11-20", "2008-02-29", "1900-01-01"] {
            assert!(day(text), "{text}");
        }
        for text in ["2026-11-22", "2027-01-01", "9999-12-31", "1800-01-01", "1896-01-01", "0001-01-01"] {
            assert!(!day(text), "{text}");
        }
    }
}
