//! What people agreed to, and what they took back: a line each time with the version of the text and the moment
//! (what shows that a consent was given, GDPR article 7(1)), and for ninety days the address. No line is changed
//! otherwise; the newest of a kind is the present state. Lines go when their person is erased.

mod store;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{self, Client};
use crate::context::Context;
use crate::cursor::{self, Place};
use crate::error::{Code, Error, Result};
use crate::id;
use crate::idempotency::{self, Begun};
use crate::session::{FORBIDDEN, Person};
use crate::user;
use crate::user::audit::line;

/// More often than anybody changes their mind.
pub const TOO_MANY: Code = Code {
    code: "consent.too_many",
    status: 429,
    title: "Too many changes of consent",
    advice: "Come back after `Retry-After`.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[TOO_MANY];

/// Lines of one person in a day.
const PER_DAY: i64 = 50;
/// What its cursors are of.
const LIST: &str = "consents";

/// To what somebody agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The terms of use.
    Terms,
    /// Messages that advertise.
    Marketing,
    /// The use of one's face.
    Face,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Terms, Self::Marketing, Self::Face];

    /// As rows and answers say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terms => "terms",
            Self::Marketing => "marketing",
            Self::Face => "face",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| format!("{name} is nothing one agrees to"))
    }
}

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consent {
    /// Which.
    pub consent_id: Uuid,
    /// To what.
    pub kind: Kind,
    /// Which version of the text was shown.
    pub text_version: String,
    /// False: taken back, or refused.
    pub given: bool,
    /// When.
    pub at: DateTime<Utc>,
    /// From where; for ninety days.
    pub ip_address: Option<String>,
}

impl Consent {
    fn of(row: store::Row) -> Result<Self> {
        let store::Row { consent_id, kind, text_version, given, at, ip_address } = row;
        let kind = kind.parse().map_err(Error::internal)?;
        Ok(Self { consent_id, kind, text_version, given, at, ip_address })
    }
}

/// Somebody's consents.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The newest of each kind.
    pub present: Vec<Consent>,
    /// All lines, newest first.
    pub items: Vec<Consent>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// Writes that the caller agrees, or does not any more. Nobody does it for somebody else.
///
/// # Errors
/// `user.not_found`, `auth.forbidden`, `consent.too_many`, the refusals of [`idempotency::begin`].
pub async fn give(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    key: Option<&idempotency::Key>,
    (kind, text_version, given): (Kind, &str, bool),
) -> Result<Consent> {
    if person.user_id() != user_id {
        return Err(match person.has(crate::role::Permission::UsersRead) {
            true => FORBIDDEN.refuse("Nobody consents for somebody else.").into(),
            false => user::NOT_FOUND.refuse("There is no such user.").into(),
        });
    }
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, ctx.now(), key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    if !store::lock_owner(&mut tx, user_id).await? {
        return Err(user::NOT_FOUND.refuse("The account is gone.").into());
    }
    let last = store::find_last(&mut tx, user_id).await?;
    let now = last.map_or(ctx.now(), |last| ctx.now().max(last + TimeDelta::microseconds(1)));
    if store::count_since(&mut tx, user_id, now - TimeDelta::days(1), PER_DAY).await? >= PER_DAY {
        let told = format!("{PER_DAY} changes a day are the most there are.");
        return Err(TOO_MANY.refuse_for(told, Duration::from_secs(24 * 3600)).into());
    }
    let consent = Consent {
        consent_id: id::ordered(now),
        kind,
        text_version: text_version.to_owned(),
        given,
        at: now,
        ip_address: Some(client.ip.to_string()),
    };
    store::insert(&mut tx, user_id, &consent).await?;
    let details = json!({ "kind": kind.name(), "text_version": text_version, "given": given });
    audit::note(&mut tx, line(client, person, user_id, "consent.changed", details, now)).await?;
    if let Some(key) = key {
        idempotency::finish(&mut tx, key, &serde_json::to_vec(&consent).map_err(Error::internal)?).await?;
    }
    tx.commit().await?;
    Ok(consent)
}

/// Somebody's consents, for them or for staff with the right who do not stand below them; a look by staff
/// leaves an audit line.
///
/// # Errors
/// `user.not_found`, `auth.forbidden`; `request.invalid` for a cursor that is not one of this list.
pub async fn list(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    limit: u16,
    cursor: Option<&str>,
) -> Result<Listed> {
    let keys = &ctx.config.keys;
    let name = format!("{LIST}:{user_id}");
    let before = match cursor {
        Some(text) => cursor::read(keys, &name, person.user_id(), text)?,
        // lines of one person are at least a microsecond apart, and may run ahead by that
        None => Place { at: ctx.now() + TimeDelta::days(1), id: Uuid::max() },
    };
    if person.user_id() != user_id {
        let record = user::show(ctx, client, person, user_id).await?;
        if !person.reaches(record.rank, record.is_superuser) {
            return Err(FORBIDDEN.refuse("This person stands above you.").into());
        }
    }
    let kinds = Kind::ALL.map(|kind| kind.name().to_owned());
    let present = store::list_present(&ctx.db, user_id, &kinds).await?;
    let limit = usize::from(limit);
    // one more tells whether there is a next page
    let most = i64::try_from(limit + 1).map_err(Error::internal)?;
    let mut rows = store::list(&ctx.db, user_id, (before.at, before.id), most).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| Place { at: row.at, id: row.consent_id });
    Ok(Listed {
        present: present.into_iter().map(Consent::of).collect::<Result<_>>()?,
        items: rows.into_iter().map(Consent::of).collect::<Result<_>>()?,
        next_cursor: last.map(|place| cursor::write(keys, &name, person.user_id(), place)),
    })
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn kinds_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("name"), kind.name());
        }
    }
}
