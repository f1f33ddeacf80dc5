//! What is asked of profiles: what is to change, and what is to be as it was.

use std::collections::BTreeMap;

use keryu_common::config::Config;
use keryu_common::profile::{Edits, Switches};
use keryu_common::user::Change;
use poem_openapi::Object;
use poem_openapi::types::{Example, MaybeUndefined};
use uuid::Uuid;

use crate::edge::body::Input;
use crate::edge::field::{BirthdayIn, FullNameIn, LanguageIn, LineIn, PhoneIn};
use crate::user::ask::change;

/// As on the wire.
pub(super) type SwitchMap = BTreeMap<String, BTreeMap<String, bool>>;

/// A profile's new state: what is left out is cleared, the language English, and all messages wanted.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfilePutIn {
    /// In any script.
    full_name: Option<FullNameIn>,
    /// Not in the future, and of the last 130 years.
    date_of_birth: Option<BirthdayIn>,
    /// Where they live; the record's too.
    address: Option<LineIn>,
    /// Whom to call in an emergency.
    emergency_contact: Option<LineIn>,
    /// Under which number.
    emergency_phone: Option<PhoneIn>,
    /// BCP 47.
    preferred_language: Option<LanguageIn>,
    /// By kind and way (`sms`, `email`, `push`). What is of the account's safety cannot be switched off.
    notification_preferences: Option<SwitchMap>,
}

impl Example for ProfilePutIn {
    fn example() -> Self {
        Self {
            full_name: Some(FullNameIn("Augusta Ada King".to_owned())),
            date_of_birth: Some(BirthdayIn("1990-12-10".to_owned())),
            address: Some(LineIn("12 Moi Avenue, Nairobi".to_owned())),
            emergency_contact: Some(LineIn("William King".to_owned())),
            emergency_phone: Some(PhoneIn("+254712345678".to_owned())),
            preferred_language: Some(LanguageIn("sw".to_owned())),
            notification_preferences: None,
        }
    }
}

/// A field's new value; cleared where it was left out. None: it does not read.
fn set<T, V>(field: Option<T>, read: impl Fn(&T) -> Option<V>) -> Option<Change<V>> {
    Some(match field {
        None => Change::Set(None),
        Some(given) => Change::Set(Some(read(&given)?)),
    })
}

impl Input for ProfilePutIn {
    type Ask = Edits;
    fn ask(self, config: &Config) -> Option<Edits> {
        let phone = |given: &PhoneIn| given.parse(config).map(|phone| phone.as_str().to_owned());
        Some(Edits {
            full_name: set(self.full_name, FullNameIn::parse)?,
            date_of_birth: set(self.date_of_birth, BirthdayIn::parse)?,
            address: set(self.address, LineIn::parse)?,
            emergency_contact: set(self.emergency_contact, LineIn::parse)?,
            emergency_phone: set(self.emergency_phone, phone)?,
            preferred_language: set(self.preferred_language, LanguageIn::parse)?,
            notification_preferences: self.notification_preferences.unwrap_or_default(),
            others_on: true,
        })
    }
}

/// A change: fields that are left out stay, `null` clears.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfilePatchIn {
    /// In any script.
    full_name: MaybeUndefined<FullNameIn>,
    /// Not in the future, and of the last 130 years.
    date_of_birth: MaybeUndefined<BirthdayIn>,
    /// Where they live; the record's too.
    address: MaybeUndefined<LineIn>,
    /// Whom to call in an emergency.
    emergency_contact: MaybeUndefined<LineIn>,
    /// Under which number.
    emergency_phone: MaybeUndefined<PhoneIn>,
    /// BCP 47; cleared: English.
    preferred_language: MaybeUndefined<LanguageIn>,
    /// By kind and way (`sms`, `email`, `push`): those that are named change; `null`: all are wanted. What is of
    /// the account's safety cannot be switched off.
    notification_preferences: MaybeUndefined<SwitchMap>,
}

impl Example for ProfilePatchIn {
    fn example() -> Self {
        let off: Switches = BTreeMap::from([("welcome".to_owned(), [("sms".to_owned(), false)].into())]);
        Self {
            full_name: MaybeUndefined::Value(FullNameIn("Augusta Ada King".to_owned())),
            date_of_birth: MaybeUndefined::Undefined,
            address: MaybeUndefined::Null,
            emergency_contact: MaybeUndefined::Undefined,
            emergency_phone: MaybeUndefined::Undefined,
            preferred_language: MaybeUndefined::Undefined,
            notification_preferences: MaybeUndefined::Value(off),
        }
    }
}

impl Input for ProfilePatchIn {
    type Ask = Edits;
    fn ask(self, config: &Config) -> Option<Edits> {
        let phone = |given: &PhoneIn| given.parse(config).map(|phone| phone.as_str().to_owned());
        let others_on = self.notification_preferences.is_null();
        Some(Edits {
            full_name: change(&self.full_name, Change::Keep, FullNameIn::parse)?,
            date_of_birth: change(&self.date_of_birth, Change::Keep, BirthdayIn::parse)?,
            address: change(&self.address, Change::Keep, LineIn::parse)?,
            emergency_contact: change(&self.emergency_contact, Change::Keep, LineIn::parse)?,
            emergency_phone: change(&self.emergency_phone, Change::Keep, phone)?,
            preferred_language: change(&self.preferred_language, Change::Keep, LanguageIn::parse)?,
            notification_preferences: self.notification_preferences.take().unwrap_or_default(),
            others_on,
        })
    }
}

/// Which change is taken back.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfileRestoreIn {
    /// From the history: this change and all after it.
    change_id: Uuid,
}

impl Example for ProfileRestoreIn {
    fn example() -> Self {
        Self { change_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_617a) }
    }
}

impl Input for ProfileRestoreIn {
    type Ask = Uuid;
    fn ask(self, _: &Config) -> Option<Uuid> {
        Some(self.change_id)
    }
}
