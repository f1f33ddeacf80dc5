//! What is asked of people's records: who is to be, what is to change, and whom a list is to show.

use keryu_common::config::Config;
use keryu_common::user::{Change, Edits, NewPerson, Standing, Status};
use poem_openapi::types::{Example, MaybeUndefined, ParseFromJSON, ToJSON, Type};
use poem_openapi::{Enum, Object};

use crate::edge::body::Input;
use crate::edge::field::{EmailIn, LineIn, NationalIdIn, PhoneIn, UsernameIn};

/// A person to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserIn {
    /// The name wanted.
    username: UsernameIn,
    /// Not proved until its owner proves it.
    email: Option<EmailIn>,
    /// As `email`.
    phone_number: Option<PhoneIn>,
    /// Given name.
    first_name: Option<LineIn>,
    /// Family name.
    last_name: Option<LineIn>,
}

impl Example for UserIn {
    fn example() -> Self {
        Self {
            username: UsernameIn("ada.lovelace".to_owned()),
            email: Some(EmailIn("ada@example.org".to_owned())),
            phone_number: None,
            first_name: Some(LineIn("Ada".to_owned())),
            last_name: Some(LineIn("Lovelace".to_owned())),
        }
    }
}

impl Input for UserIn {
    type Ask = NewPerson;
    fn ask(self, config: &Config) -> Option<NewPerson> {
        let username = self.username.parse()?;
        let mut identifiers = Vec::new();
        if let Some(given) = &self.email {
            identifiers.push(given.parse()?);
        }
        if let Some(given) = &self.phone_number {
            identifiers.push(given.parse(config)?);
        }
        Some(NewPerson {
            first_name: self.first_name.as_ref().and_then(LineIn::parse),
            last_name: self.last_name.as_ref().and_then(LineIn::parse),
            ..NewPerson::of(username, identifiers)
        })
    }
}

/// How somebody says their gender.
#[derive(Clone, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum GenderIn {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Another.
    Other,
    /// Not told.
    Undisclosed,
}

impl GenderIn {
    fn name(&self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
            Self::Other => "other",
            Self::Undisclosed => "undisclosed",
        }
    }
}

/// A change: fields that are left out stay, `null` clears.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserPatchIn {
    /// To another name.
    username: Option<UsernameIn>,
    /// Given name.
    first_name: MaybeUndefined<LineIn>,
    /// Family name.
    last_name: MaybeUndefined<LineIn>,
    /// As the person says.
    gender: MaybeUndefined<GenderIn>,
    /// Of the person.
    address: MaybeUndefined<LineIn>,
    /// Sealed at rest, shown masked.
    national_id: MaybeUndefined<NationalIdIn>,
    /// One's own: with a `verification_token`. By staff: not proved.
    email: MaybeUndefined<EmailIn>,
    /// As `email`.
    phone_number: MaybeUndefined<PhoneIn>,
    /// From `otp/verify` with the purpose `change_identifier`, for a new identifier of one's own.
    #[oai(validator(min_length = 1, max_length = 128))]
    verification_token: Option<String>,
}

impl Example for UserPatchIn {
    fn example() -> Self {
        Self {
            username: None,
            first_name: MaybeUndefined::Value(LineIn("Ada".to_owned())),
            last_name: MaybeUndefined::Undefined,
            gender: MaybeUndefined::Undefined,
            address: MaybeUndefined::Null,
            national_id: MaybeUndefined::Undefined,
            email: MaybeUndefined::Undefined,
            phone_number: MaybeUndefined::Undefined,
            verification_token: None,
        }
    }
}

/// A field's change; `left` where it was left out.
pub fn change<T: Type + ParseFromJSON + ToJSON, V>(
    field: &MaybeUndefined<T>,
    left: Change<V>,
    read: impl Fn(&T) -> Option<V>,
) -> Option<Change<V>> {
    Some(match field {
        MaybeUndefined::Undefined => left,
        MaybeUndefined::Null => Change::Set(None),
        MaybeUndefined::Value(value) => Change::Set(Some(read(value)?)),
    })
}

impl Input for UserPatchIn {
    type Ask = Edits;
    fn ask(self, config: &Config) -> Option<Edits> {
        Some(Edits {
            username: match &self.username {
                None => None,
                Some(given) => Some(given.parse()?),
            },
            first_name: change(&self.first_name, Change::Keep, LineIn::parse)?,
            last_name: change(&self.last_name, Change::Keep, LineIn::parse)?,
            gender: change(&self.gender, Change::Keep, |gender| Some(gender.name().to_owned()))?,
            address: change(&self.address, Change::Keep, LineIn::parse)?,
            national_id: change(&self.national_id, Change::Keep, NationalIdIn::parse)?,
            email: change(&self.email, Change::Keep, EmailIn::parse)?,
            phone_number: change(&self.phone_number, Change::Keep, |given| given.parse(config))?,
            verification_token: self.verification_token,
        })
    }
}

/// A record's new state: what is left out is cleared, but for identifiers, which are changed by PATCH.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserPutIn {
    /// The name.
    username: UsernameIn,
    /// Given name.
    first_name: Option<LineIn>,
    /// Family name.
    last_name: Option<LineIn>,
    /// As the person says.
    gender: Option<GenderIn>,
    /// Of the person.
    address: Option<LineIn>,
    /// Sealed at rest, shown masked.
    national_id: Option<NationalIdIn>,
}

impl Example for UserPutIn {
    fn example() -> Self {
        Self {
            username: UsernameIn("ada.lovelace".to_owned()),
            first_name: Some(LineIn("Ada".to_owned())),
            last_name: Some(LineIn("Lovelace".to_owned())),
            gender: Some(GenderIn::Female),
            address: None,
            national_id: None,
        }
    }
}

impl Input for UserPutIn {
    type Ask = Edits;
    fn ask(self, _: &Config) -> Option<Edits> {
        let line = |given: &Option<LineIn>| Change::Set(given.as_ref().and_then(LineIn::parse));
        Some(Edits {
            username: Some(self.username.parse()?),
            first_name: line(&self.first_name),
            last_name: line(&self.last_name),
            gender: Change::Set(self.gender.map(|gender| gender.name().to_owned())),
            address: line(&self.address),
            national_id: Change::Set(self.national_id.as_ref().and_then(NationalIdIn::parse)),
            ..Edits::default()
        })
    }
}

/// Which people.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum StatusIn {
    /// Who may sign in.
    Active,
    /// Set aside.
    Inactive,
    /// For a time.
    Suspended,
    /// For good.
    Banned,
    /// In the grace time before erasure.
    Deleted,
    /// All of them.
    All,
}

impl StatusIn {
    /// As the store wants it.
    pub fn standing(self) -> Standing {
        Standing::Only(match self {
            Self::Active => Status::Active,
            Self::Inactive => Status::Inactive,
            Self::Suspended => Status::Suspended,
            Self::Banned => Status::Banned,
            Self::Deleted => Status::Deleted,
            Self::All => return Standing::Any,
        })
    }
}
