//! People: who they are to the product. Identifiers and names are normalised here, once, at the edge.

pub(crate) mod audit;
mod card;
pub mod common_word;
pub mod completeness;
mod config;
mod create;
pub mod edit;
pub mod erase;
pub mod identifier;
pub mod inactive;
mod list;
mod reach;
mod record;
mod search;
mod status;
mod store;
mod term;
pub mod unused;
pub mod username;
pub mod verification;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;
use uuid::Uuid;

pub(crate) use audit::{Changed, key as user_key, line, note_change};
pub use card::Card;
pub(crate) use card::list_cards;
pub use config::Config;
pub use create::{NewPerson, add, create};
pub use edit::{Change, Edits, edit};
pub use identifier::{Channel, Identifier};
pub use list::{Estimates, Filter, Order, Page, Row, Slice, Standing, list};
pub(crate) use reach::{lock_present, look};
pub(crate) use record::note_read;
pub use record::{Record, show, show_to};
pub(crate) use search::choose;
pub use status::{delete, delete_own, end_sessions, list_sessions, restore, set_status};
pub(crate) use status::{delete_in, restore_in, set_status_in, write_to_in};
pub use store::Found;
pub(crate) use term::literal;
pub use username::Username;

use crate::error::{Code, Refusal, Result};

/// Somebody else has proved the identifier.
pub const IDENTIFIER_TAKEN: Code = Code {
    code: "user.identifier_taken",
    status: 409,
    title: "The identifier belongs to another account",
    advice: "Sign in to that account, or use another identifier.",
};
/// The username, or one that looks like it, is taken.
pub const USERNAME_TAKEN: Code = Code {
    code: "user.username_taken",
    status: 409,
    title: "The username is taken",
    advice: "Choose another username.",
};
/// Nobody has this referral code.
pub const REFERRAL_UNKNOWN: Code = Code {
    code: "user.referral_unknown",
    status: 422,
    title: "Nobody has this referral code",
    advice: "Check the code, or leave it out.",
};
/// No such person, or not for this caller to see.
pub const NOT_FOUND: Code =
    Code { code: "user.not_found", status: 404, title: "No such user", advice: "Check the id." };
/// The account is set aside.
pub const INACTIVE: Code = Code {
    code: "account.inactive",
    status: 403,
    title: "The account is inactive",
    advice: "Ask support to activate it.",
};
/// The account is suspended.
pub const SUSPENDED: Code = Code {
    code: "account.suspended",
    status: 403,
    title: "The account is suspended",
    advice: "Ask support.",
};
/// The account is banned.
pub const BANNED: Code =
    Code { code: "account.banned", status: 403, title: "The account is banned", advice: "Ask support." };
/// The account is deleted, and within its grace time.
pub const DELETED: Code = Code {
    code: "account.deleted",
    status: 403,
    title: "The account is deleted",
    advice: "Staff can restore it until it is erased.",
};
/// Somebody changed the record since it was read.
pub const CHANGED: Code = Code {
    code: "user.changed",
    status: 412,
    title: "The record has changed",
    advice: "Read it again, and send the change with its new `ETag`.",
};
/// One of them stays.
pub const IDENTIFIER_NEEDED: Code = Code {
    code: "user.identifier_needed",
    status: 422,
    title: "An account keeps a phone number or an e-mail address",
    advice: "Set the other one, and prove it, before you clear this one.",
};
/// Not to one's own account.
pub const SELF: Code = Code {
    code: "user.self",
    status: 409,
    title: "Not to your own account",
    advice: "Ask another member of staff.",
};
/// Nobody would be left.
pub const LAST_SUPERUSER: Code = Code {
    code: "user.last_superuser",
    status: 409,
    title: "The last superuser stays",
    advice: "Make another superuser first.",
};
/// What is deleted is restored before anything else is done to it.
pub const IS_DELETED: Code = Code {
    code: "user.deleted",
    status: 409,
    title: "The account is deleted",
    advice: "Restore it first: `POST /api/admin/users/{id}/restore`.",
};
/// There is nothing to restore.
pub const NOT_DELETED: Code = Code {
    code: "user.not_deleted",
    status: 409,
    title: "The account is not deleted",
    advice: "Set its status instead.",
};
/// No message reaches them.
pub const UNREACHABLE: Code = Code {
    code: "user.unreachable",
    status: 409,
    title: "No message reaches this person",
    advice: "They have neither a proved address nor a device that is signed in, or have switched such messages off.",
};
/// Lists are narrowed rather than paged through.
pub const TOO_DEEP: Code = Code {
    code: "user.page_too_deep",
    status: 422,
    title: "No page lies so deep",
    advice: "Narrow the list by a filter, days of joining or a search; an export has everybody.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[
    TOO_DEEP,
    CHANGED,
    IDENTIFIER_NEEDED,
    SELF,
    LAST_SUPERUSER,
    IS_DELETED,
    NOT_DELETED,
    UNREACHABLE,
    IDENTIFIER_TAKEN,
    USERNAME_TAKEN,
    REFERRAL_UNKNOWN,
    NOT_FOUND,
    INACTIVE,
    SUSPENDED,
    BANNED,
    DELETED,
];

/// Whether somebody may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, Hash)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "user_status", rename_all = "snake_case")]
pub enum Status {
    /// May sign in.
    Active,
    /// Set aside, by staff or for want of activity.
    Inactive,
    /// For a time, by staff.
    Suspended,
    /// For good, by staff.
    Banned,
    /// In the grace time before erasure.
    Deleted,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Active, Self::Inactive, Self::Suspended, Self::Banned, Self::Deleted];

    /// The name on the wire and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Suspended => "suspended",
            Self::Banned => "banned",
            Self::Deleted => "deleted",
        }
    }

    /// Refuses a sign-in that has been proved, for an account that is not active.
    ///
    /// # Errors
    /// `account.inactive`, `account.suspended`, `account.banned`, `account.deleted`.
    pub fn must_be_active(self) -> Result<(), Refusal> {
        let code = match self {
            Self::Active => return Ok(()),
            Self::Inactive => INACTIVE,
            Self::Suspended => SUSPENDED,
            Self::Banned => BANNED,
            Self::Deleted => DELETED,
        };
        Err(code.refuse("Nobody can sign in to this account."))
    }
}

/// What every call of a person needs of their account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Which.
    pub user_id: Uuid,
    /// As chosen.
    pub username: String,
    /// Whether they may sign in.
    pub status: Status,
    /// `member`, ...
    pub role: String,
    /// Stands above all roles.
    pub is_superuser: bool,
    /// For others to name when they register.
    pub referral_code: Option<String>,
    /// With which they registered, if by one.
    pub social_provider: Option<String>,
    /// Of messages.
    pub language: String,
    /// Whether the e-mail address is proved.
    pub email_verified: bool,
    /// Whether the phone number is proved.
    pub phone_verified: bool,
    /// How far the check of their documents is.
    pub kyc_status: String,
    /// When they joined.
    pub created_at: DateTime<Utc>,
}

impl Account {
    /// `not_verified`, `phone_verified`, `email_verified` or `both_verified`.
    pub fn verification_status(&self) -> &'static str {
        verification_status(self.email_verified, self.phone_verified)
    }
}

/// Derived from which identifiers are proved.
pub fn verification_status(email: bool, phone: bool) -> &'static str {
    match (email, phone) {
        (false, false) => "not_verified",
        (false, true) => "phone_verified",
        (true, false) => "email_verified",
        (true, true) => "both_verified",
    }
}

/// Who has proved this identifier; else who holds it unproved: the account named by `bound_to` if it does,
/// or the newest that does. People whose account is deleted are not found.
///
/// # Errors
/// The database does not answer.
pub async fn find(
    db: impl PgExecutor<'_>,
    identifier: &Identifier,
    bound_to: Option<Uuid>,
) -> Result<Option<Found>> {
    Ok(store::find_by_identifier(db, identifier, bound_to).await?)
}
