//! A code of a factor that somebody typed: counted first, then compared, then used up. Counting and hashing
//! happen before the transaction that the code is for, so that nothing is hashed while one is open.

use std::fmt;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{INVALID, LOCKED, recovery, store, totp};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::notify::{Change, Facts};

/// Tries at one kind of code in an hour, but for right ones (NIST SP 800-63B, 3.2.2).
const TRIES: i32 = 10;
const HOUR: TimeDelta = TimeDelta::hours(1);

/// A code as typed.
#[derive(Clone)]
pub enum Typed {
    /// From an authenticator app.
    Totp(String),
    /// A recovery code.
    RecoveryCode(String),
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Typed {
    /// As rows and the API say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Totp(_) => "totp",
            Self::RecoveryCode(_) => "recovery_code",
        }
    }
}

/// A code that was counted, and compared where that takes long.
pub(super) enum Checked {
    /// To be compared under the app's lock.
    Totp(String),
    /// It is this one, if nobody uses it first.
    RecoveryCode { number: i16, hash: String },
    /// Not to be looked at, or wrong.
    Refused(Refusal),
}

/// Counts a try for good; the refusal, if it is one too many.
pub(super) async fn count(ctx: &Context, user_id: Uuid, kind: &str) -> Result<Option<Refusal>> {
    let now = ctx.now();
    let counted = store::count_try(&ctx.db, user_id, kind, now, now - HOUR).await?;
    let left = (counted.hour_started_at + HOUR - now).to_std().unwrap_or(Duration::ZERO);
    Ok((counted.tries > TRIES).then(|| LOCKED.refuse_for("There were ten wrong tries within an hour.", left)))
}

/// Counts a code for good and compares it, if that takes long.
pub(super) async fn check(ctx: &Context, user_id: Uuid, typed: &Typed) -> Result<Checked> {
    if let Some(refusal) = count(ctx, user_id, typed.kind()).await? {
        return Ok(Checked::Refused(refusal));
    }
    let text = match typed {
        Typed::Totp(text) => return Ok(Checked::Totp(text.clone())),
        Typed::RecoveryCode(text) => text,
    };
    let Some(code) = recovery::read(text) else { return Ok(Checked::Refused(wrong())) };
    let hash = store::find_recovery_code(&ctx.db, user_id, code.number).await?;
    let right = ctx.hasher.verify(hash.as_deref(), &code.text).await?;
    Ok(match hash.filter(|_| right) {
        Some(hash) => Checked::RecoveryCode { number: code.number, hash },
        None => Checked::Refused(wrong()),
    })
}

/// Uses a code up with the caller's transaction. A refusal is an answer: the caller notes it, commits and
/// then refuses.
pub(super) async fn accept(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    user_id: Uuid,
    checked: Checked,
) -> Result<Result<(), Refusal>> {
    let now = ctx.now();
    let kind = match checked {
        Checked::Refused(refusal) => return Ok(Err(refusal)),
        Checked::Totp(text) => {
            let Some(app) = store::lock_totp(tx, user_id).await?.filter(|app| app.confirmed_at.is_some())
            else {
                return Ok(Err(wrong()));
            };
            if !totp::accept(tx, ctx, &app, &text).await? {
                return Ok(Err(wrong()));
            }
            "totp"
        }
        Checked::RecoveryCode { number, hash } => {
            if !store::set_recovery_code_used(tx, user_id, number, &hash, now).await? {
                return Ok(Err(wrong()));
            }
            let details = json!({ "number": number });
            super::note(tx, (client, None), user_id, "mfa.recovery_code_used", details, now).await?;
            let facts = Facts { what: Some(Change::RecoveryCodeUsed), ..Facts::of(client, now) };
            super::tell(tx, ctx, user_id, facts).await?;
            "recovery_code"
        }
    };
    store::give_back_try(&mut *tx, user_id, kind).await?;
    Ok(Ok(()))
}

pub(super) fn wrong() -> Refusal {
    INVALID.refuse("This is not the code wanted, or it was used.")
}
