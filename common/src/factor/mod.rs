//! Second factors: authenticator apps (`totp`), recovery codes (`recovery`) and passkeys (`passkey`), the
//! sign-in that waits for one (`challenge`), the proof anew of somebody signed in (`step_up`), and what
//! staff may do (`reset`). A code that was typed is counted and compared in `typed`; SQL in `store`.
//!
//! Whoever has a confirmed app or a passkey has a factor, and is asked for one at every sign-in that did
//! not use one. Recovery codes stand in for a lost factor; alone they are none.

mod base32;
pub mod challenge;
pub mod passkey;
pub mod recovery;
mod reset;
mod step_up;
mod store;
pub mod totp;
mod typed;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

pub use reset::reset;
pub use step_up::{Proof, step_up};
pub use typed::Typed;

use crate::audit::{self, Client, Line};
use crate::config::Source;
use crate::context::Context;
use crate::error::{Code, Result};
use crate::notify::{self, Change, Facts, Message, Told};
use crate::session::Person;

/// A second factor is needed.
pub const REQUIRED: Code = Code {
    code: "mfa.required",
    status: 401,
    title: "A second factor is needed",
    advice: "Hand in `mfa_token` with one of `methods` within `expires_in` seconds: `POST /api/auth/mfa/verify`, or a passkey.",
};
/// The sign-in that waited for a factor is over.
pub const EXPIRED: Code = Code {
    code: "mfa.expired",
    status: 401,
    title: "The sign-in waits no longer",
    advice: "Sign in again: the `mfa_token` was used, is older than five minutes, or had five wrong tries.",
};
/// The code is not right.
pub const INVALID: Code = Code {
    code: "mfa.invalid",
    status: 422,
    title: "The code is not right",
    advice: "Type the code the app shows now (each works once), or a recovery code that was not used.",
};
/// Too many tries at one kind of code.
pub const LOCKED: Code = Code {
    code: "mfa.locked",
    status: 429,
    title: "Too many wrong codes",
    advice: "Wait for Retry-After, or use another factor.",
};
/// There is an authenticator app already.
pub const TOTP_ON: Code = Code {
    code: "mfa.totp_on",
    status: 409,
    title: "An authenticator app is set up already",
    advice: "Remove it before setting up another.",
};
/// There is no authenticator app, or none that waits to be confirmed.
pub const TOTP_OFF: Code = Code {
    code: "mfa.totp_off",
    status: 409,
    title: "No authenticator app is set up",
    advice: "Start with `POST /api/auth/mfa/totp`.",
};
/// Recovery codes stand in for a factor, and there is none.
pub const NO_FACTOR: Code = Code {
    code: "mfa.no_factor",
    status: 409,
    title: "There is no second factor",
    advice: "Set up an authenticator app or a passkey first.",
};
/// Too many sets of recovery codes.
pub const SETS: Code = Code {
    code: "mfa.too_many_sets",
    status: 429,
    title: "Too many sets of recovery codes",
    advice: "Wait for Retry-After; the codes made last work.",
};
/// A person with a factor proves who they are with one.
pub const FACTOR_NEEDED: Code = Code {
    code: "mfa.factor_needed",
    status: 403,
    title: "A second factor is needed for this",
    advice: "Hand in `totp`, `recovery_code` or `passkey`.",
};
/// Not the password.
pub const WRONG_PASSWORD: Code = Code {
    code: "auth.wrong_password",
    status: 422,
    title: "The password is not right",
    advice: "Check it; ten wrong ones an hour are the most.",
};
/// No such factor of this person.
pub const NOT_FOUND: Code = Code {
    code: "mfa.not_found",
    status: 404,
    title: "No such factor",
    advice: "List the factors and use an id from there.",
};
/// All refusals of this slice but those of passkeys.
pub const CODES: &[Code] = &[
    REQUIRED,
    EXPIRED,
    INVALID,
    LOCKED,
    TOTP_ON,
    TOTP_OFF,
    NO_FACTOR,
    SETS,
    FACTOR_NEEDED,
    WRONG_PASSWORD,
    NOT_FOUND,
];

/// Settings of factors.
#[derive(Clone, Debug)]
pub struct Config {
    /// Passkeys.
    pub passkey: passkey::Config,
}

impl Config {
    pub(crate) fn read(source: &mut Source, public_url: &str) -> Self {
        Self { passkey: passkey::Config::read(source, public_url) }
    }
}

/// What somebody has.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The authenticator app, once confirmed.
    pub totp: Option<App>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: i64,
    /// Passkeys, oldest first.
    pub passkeys: Vec<passkey::Listed>,
}

/// A confirmed authenticator app.
#[derive(Clone, Copy, Debug)]
pub struct App {
    /// Names it.
    pub factor_id: Uuid,
    /// When it was confirmed.
    pub confirmed_at: DateTime<Utc>,
    /// When a code of it was accepted last.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What somebody has enrolled.
///
/// # Errors
/// The database does not answer.
pub async fn list(ctx: &Context, user_id: Uuid) -> Result<Enrolled> {
    let totp = store::find_totp(&ctx.db, user_id).await?.and_then(|totp| {
        let confirmed_at = totp.confirmed_at?;
        Some(App { factor_id: totp.factor_id, confirmed_at, last_used_at: totp.last_used_at })
    });
    let held = store::count_held(&ctx.db, user_id).await?;
    let passkeys = passkey::list(ctx, user_id).await?;
    Ok(Enrolled { totp, recovery_codes_left: held.recovery_codes_left, passkeys })
}

impl store::Held {
    /// Whether a sign-in asks for a factor.
    fn has_factor(&self) -> bool {
        self.totp || self.passkeys > 0
    }
}

/// With the last factor go the codes that stand in for it, and the sign-ins that wait for one.
async fn tidy(tx: &mut PgConnection, user_id: Uuid) -> Result<()> {
    if !store::count_held(&mut *tx, user_id).await?.has_factor() {
        store::delete_recovery_codes(tx, user_id).await?;
        store::delete_challenges(tx, user_id).await?;
    }
    Ok(())
}

/// The audit line of something that happened to somebody's factors. `by`: who did it, signed in.
async fn note(
    tx: &mut PgConnection,
    (client, by): (&Client, Option<&Person>),
    user_id: Uuid,
    action: &'static str,
    details: Value,
    at: DateTime<Utc>,
) -> Result<()> {
    let line = Line {
        action,
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: by.map(Person::user_id),
        session_id: by.map(|person| person.session_id),
        details,
        client,
        at,
    };
    Ok(audit::note(tx, line).await?)
}

/// The audit line of something about a thing that belongs to nobody known: its kind, and what names it.
async fn note_of_nobody(
    tx: &mut PgConnection,
    client: &Client,
    (entity_type, entity_id): (&'static str, String),
    action: &'static str,
    details: Value,
    at: DateTime<Utc>,
) -> Result<()> {
    let line = Line { action, entity_type, entity_id, actor: None, session_id: None, details, client, at };
    Ok(audit::note(tx, line).await?)
}

/// Notes a person's own change of a factor and tells them of it.
async fn changed(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: &Person,
    (change, factor_id): (Change, Option<Uuid>),
) -> Result<()> {
    let (user_id, now) = (person.user_id(), ctx.now());
    let action = match change {
        Change::TotpAdded => "mfa.totp_added",
        Change::TotpRemoved => "mfa.totp_removed",
        Change::PasskeyAdded => "mfa.passkey_added",
        Change::PasskeyRemoved => "mfa.passkey_removed",
        _ => "mfa.recovery_codes_made",
    };
    note(tx, (client, Some(person)), user_id, action, json!({ "factor": factor_id }), now).await?;
    tell(tx, ctx, user_id, Facts { what: Some(change), ..Facts::of(client, now) }).await
}

/// Tells somebody of a change of their factors.
async fn tell(tx: &mut PgConnection, ctx: &Context, user_id: Uuid, facts: Facts) -> Result<()> {
    notify::tell(tx, ctx, None, &Told { user_id, message: Message::MfaChanged, facts }).await?;
    Ok(())
}
