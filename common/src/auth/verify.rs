//! Proving the identifiers of an account on routes of its own: a link to its e-mail address, a code to its
//! phone number. By the person, or by staff with the right to verify. What a proof changes is said in
//! `user::verification`; sends and wrong tries are counted with those of all codes.

use sqlx::PgConnection;
use uuid::Uuid;

use super::otp::{self, Ask, Bearer, Issued, Proof, Purpose, link};
use super::store;
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Code, Error, Refusal, Result};
use crate::idempotency::{self, Begun};
use crate::job::Queue;
use crate::role::Permission;
use crate::session::{FORBIDDEN, Person};
use crate::user::verification::{self, ALREADY, By, Event, NOT_HELD, Proving, Subject};
use crate::user::{self, Channel, Identifier, SELF};

/// No link of ours.
pub const LINK_INVALID: Code = Code {
    code: "verification.link_invalid",
    status: 404,
    title: "The link is not valid",
    advice: "Open the link as it is in the mail, or ask for a new one.",
};
/// It was right once.
pub const LINK_EXPIRED: Code = Code {
    code: "verification.link_expired",
    status: 410,
    title: "The link has expired or was used",
    advice: "Ask for a new link.",
};
/// All refusals of links.
pub const CODES: &[Code] = &[LINK_INVALID, LINK_EXPIRED];

/// How the identifiers of somebody stand.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The account.
    pub subject: Subject,
    /// The newest link or code that still works.
    pub open: Option<store::Open>,
    /// Newest first.
    pub history: Vec<Event>,
}

/// Whoever has this id, if the caller may act for them: themselves, or staff with the right who stand no
/// lower.
async fn subject(ctx: &Context, person: &Person, user_id: Uuid) -> Result<Subject> {
    if person.user_id() == user_id {
        return verification::find(ctx, user_id).await;
    }
    person.may(Permission::UsersVerify)?;
    let subject = verification::find(ctx, user_id).await?;
    if person.reaches(subject.rank, subject.is_superuser) {
        return Ok(subject);
    }
    Err(FORBIDDEN.refuse("This person stands above you.").into())
}

/// The identifier of a channel, and whether it is proved.
fn identifier(subject: &Subject, channel: Channel) -> Result<(Identifier, bool), Refusal> {
    let found = match channel {
        Channel::Email => (subject.email.clone().map(Identifier::Email), subject.email_verified_at),
        Channel::Sms => (subject.phone_number.clone().map(Identifier::Phone), subject.phone_verified_at),
    };
    let (identifier, proved_at) = found;
    let identifier = identifier.ok_or_else(|| NOT_HELD.refuse("The account has no identifier of this kind."));
    Ok((identifier?, proved_at.is_some()))
}

/// Sends a link to the account's e-mail address, or a code to its phone number.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.identifier_not_held`, `user.already_verified`, the refusals of
/// [`otp::request`].
pub async fn send(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    channel: Channel,
    key: Option<&idempotency::Key>,
) -> Result<Issued> {
    let subject = subject(ctx, person, user_id).await?;
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, ctx.now(), key).await?
    {
        return serde_json::from_slice(&outcome).map_err(Error::internal);
    }
    let (identifier, proved) = identifier(&subject, channel)?;
    if proved {
        return Err(ALREADY.refuse("This identifier is proved.").into());
    }
    let (purpose, by) = match channel {
        Channel::Email => (Purpose::VerifyEmailLink, By::Link),
        Channel::Sms => (Purpose::VerifyPhone, By::Code),
    };
    let bearer = Bearer { user_id, actor: person.user_id(), session_id: person.session_id };
    let ask = match purpose.wants_bearer() {
        true => Ask { bearer: Some(bearer), ..Ask::of(identifier.clone(), purpose) },
        false => Ask { bound_to: Some(user_id), ..Ask::of(identifier.clone(), purpose) },
    };
    let answer = otp::request_in(&mut tx, ctx, client, ask).await?;
    if let Ok(issued) = &answer {
        let asked = proving(&bearer, &identifier, by);
        verification::note_request(&mut tx, ctx, client, &asked).await?;
        if let Some(key) = key {
            let outcome = serde_json::to_vec(issued).map_err(Error::internal)?;
            idempotency::finish(&mut tx, key, &outcome).await?;
        }
    }
    // a refusal is committed too
    tx.commit().await?;
    ctx.wake.queue(Queue::Critical);
    Ok(answer?)
}

fn proving<'a>(bearer: &Bearer, identifier: &'a Identifier, by: By) -> Proving<'a> {
    Proving {
        user_id: bearer.user_id,
        identifier,
        by,
        actor: bearer.actor,
        session_id: Some(bearer.session_id),
        reason: None,
        // staff do not come from the account, and need not know who set it up
        keeps: bearer.actor == bearer.user_id,
    }
}

/// Proves the account's phone number by a code that was sent to it. Counts wrong tries with those of all
/// codes.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.identifier_not_held`, and the refusals of [`otp::verify`].
pub async fn confirm_phone(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    code: String,
    challenge_id: Option<Uuid>,
) -> Result<()> {
    let subject = subject(ctx, person, user_id).await?;
    let (identifier, _) = identifier(&subject, Channel::Sms)?;
    let bearer = Bearer { user_id, actor: person.user_id(), session_id: person.session_id };
    let proof = Proof {
        identifier,
        otp: code,
        purpose: Purpose::VerifyPhone,
        challenge_id,
        bearer: Some(bearer),
        device_token: None,
    };
    otp::verify(ctx, client, proof).await?;
    Ok(())
}

/// Counts the account's identifier of a channel as proved, on the word of staff with the right: never one's
/// own, and with a reason.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`, `user.self`, `user.identifier_not_held`, `user.already_verified`,
/// `user.identifier_taken`.
pub async fn by_hand(
    ctx: &Context,
    client: &Client,
    person: &Person,
    user_id: Uuid,
    channel: Channel,
    reason: &str,
) -> Result<()> {
    person.may(Permission::UsersVerify)?;
    if person.user_id() == user_id {
        return Err(SELF.refuse("Nobody does this to their own account.").into());
    }
    let subject = subject(ctx, person, user_id).await?;
    let (identifier, proved) = identifier(&subject, channel)?;
    if proved {
        return Err(ALREADY.refuse("This identifier is proved.").into());
    }
    let bearer = Bearer { user_id, actor: person.user_id(), session_id: person.session_id };
    let proving = Proving { reason: Some(reason), ..proving(&bearer, &identifier, By::Staff) };
    let mut tx = ctx.db.begin().await?;
    let answer = verification::prove(&mut tx, ctx, client, &proving).await;
    if matches!(answer, Ok(()) | Err(Error::Refusal(_))) {
        tx.commit().await?;
        ctx.wake.queue(Queue::Default);
    }
    answer
}

/// Whether a link would work, without using it: for the page that asks.
///
/// # Errors
/// `verification.link_invalid`, `verification.link_expired`.
pub async fn look(ctx: &Context, token: &str) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    open_link(&mut tx, ctx, token).await?;
    Ok(())
}

/// Proves the e-mail address that a link was sent to. It works once, within its time, and while the account
/// has that address.
///
/// # Errors
/// `verification.link_invalid`, `verification.link_expired`, `user.identifier_taken`.
pub async fn confirm_link(ctx: &Context, client: &Client, token: &str) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    let (challenge_id, user_id, identifier) = open_link(&mut tx, ctx, token).await?;
    store::set_challenge_used(&mut tx, challenge_id, ctx.now()).await?;
    let proving = Proving {
        user_id,
        identifier: &identifier,
        by: By::Link,
        actor: user_id,
        session_id: None,
        reason: None,
        // a mail is opened anywhere: its reader need not be who set the account up
        keeps: false,
    };
    let answer = match verification::prove(&mut tx, ctx, client, &proving).await {
        Err(Error::Refusal(refusal)) if refusal.code == NOT_HELD.code => {
            Err(LINK_EXPIRED.refuse("The account has another address by now.").into())
        }
        other => other,
    };
    if matches!(answer, Ok(()) | Err(Error::Refusal(_))) {
        tx.commit().await?;
        ctx.wake.queue(Queue::Default);
    }
    answer
}

/// The challenge of a link that may still be used: its id, whose it is, the address. Locked.
async fn open_link(tx: &mut PgConnection, ctx: &Context, token: &str) -> Result<(Uuid, Uuid, Identifier)> {
    let invalid = || LINK_INVALID.refuse("This is no link of ours.");
    let (challenge_id, mac) = link::read(token).ok_or_else(invalid)?;
    let purpose = Purpose::VerifyEmailLink.name();
    let found = store::lock_challenge(tx, challenge_id, purpose).await?.ok_or_else(invalid)?;
    if !link::is_of(&ctx.config.keys, challenge_id, &found.seed(), &mac) {
        return Err(invalid().into());
    }
    match found.user_id {
        Some(user_id) if found.used_at.is_none() && found.expires_at > ctx.now() && found.held => {
            Ok((challenge_id, user_id, Identifier::Email(found.identifier)))
        }
        _ => Err(LINK_EXPIRED.refuse("It was used, is too old, or the address has changed.").into()),
    }
}

/// How the identifiers of somebody stand: for themselves, and for staff with the right; a look by staff
/// leaves an audit line.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`.
pub async fn show(ctx: &Context, client: &Client, person: &Person, user_id: Uuid) -> Result<Standing> {
    let subject = subject(ctx, person, user_id).await?;
    if person.user_id() != user_id {
        user::note_read(ctx, client, person, user_id).await?;
    }
    let identifiers: Vec<&str> =
        [&subject.email, &subject.phone_number].into_iter().flatten().map(String::as_str).collect();
    let purposes = [Purpose::VerifyEmailLink, Purpose::VerifyEmail, Purpose::VerifyPhone].map(Purpose::name);
    let open = store::find_open(&ctx.db, user_id, &identifiers, &purposes, ctx.now()).await?;
    let history = verification::history(ctx, user_id).await?;
    Ok(Standing { subject, open, history })
}
