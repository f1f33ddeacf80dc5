//! Proving who one is with a passkey: to sign in, as the second factor of a sign-in, or anew within a
//! session.

use std::fmt;

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ceremony::{self, Assertion, Use};
use super::data::Wrong;
use super::{CHALLENGE, INVALID, challenge, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::factor::{self, EXPIRED, challenge as waiting};
use crate::job::Queue;
use crate::secret;
use crate::session::{self, Method, Person, SignIn, Tokens};
use crate::user::Status;

/// The action of audit lines.
const USED: &str = "mfa.passkey_used";

/// What an answer is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::factor) enum Purpose {
    Login,
    StepUp,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::StepUp => "step_up",
        }
    }
}

/// What a browser needs to answer (section 5.5).
#[derive(Clone, Debug)]
pub struct Asked {
    /// To be handed in with the answer.
    pub challenge_id: Uuid,
    /// What is to be signed.
    pub challenge: [u8; 32],
    /// The domain that passkeys are for.
    pub rp_id: String,
    /// Credentials that will do, with their transports; none named: whichever the person has.
    pub allow: Vec<(Vec<u8>, Vec<String>)>,
}

/// Asks for an answer by a passkey: of anybody; of the one whose sign-in waits with `mfa_token`; or of a
/// person within their session.
///
/// # Errors
/// `mfa.expired`.
pub async fn ask(ctx: &Context, person: Option<&Person>, mfa_token: Option<&str>) -> Result<Asked> {
    let (purpose, user_id) = match (person, mfa_token) {
        (Some(person), _) => (Purpose::StepUp, Some(person.user_id())),
        (None, Some(token)) => (Purpose::Login, Some(waiting::find(ctx, token).await?)),
        (None, None) => (Purpose::Login, None),
    };
    let allow = match user_id {
        Some(user_id) => store::list(&ctx.db, user_id).await?,
        None => Vec::new(),
    };
    let made = challenge(ctx, purpose.name(), user_id, person.map(|person| person.session_id)).await?;
    Ok(Asked {
        challenge_id: made.challenge_id,
        challenge: made.challenge,
        rp_id: ctx.config.factor.passkey.rp_id.clone(),
        allow: allow.into_iter().map(|known| (known.credential_id, known.transports)).collect(),
    })
}

/// An answer by a passkey.
#[derive(Clone, Debug)]
pub struct Answer {
    /// From what was asked.
    pub challenge_id: Uuid,
    /// The browser's answer.
    pub assertion: Assertion,
}

/// A sign-in with a passkey.
#[derive(Clone)]
pub struct Login {
    /// The passkey's.
    pub answer: Answer,
    /// Of the sign-in that waits for it, if one does.
    pub mfa_token: Option<String>,
    /// From an earlier sign-in here.
    pub device_token: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// Signs in with a passkey: with user verification it is two factors by itself (NIST SP 800-63B, 3.1.7).
///
/// # Errors
/// `passkey.challenge`, `passkey.invalid`, `mfa.expired`, `account.*`.
pub async fn login(ctx: &Context, client: &Client, login: Login) -> Result<Tokens> {
    let proved = prove(ctx, client, &login.answer, Purpose::Login, None).await?;
    let mut tx = ctx.db.begin().await?;
    let before = match settle(&mut tx, ctx, client, &proved, login.mfa_token.as_deref()).await? {
        Ok(before) => before,
        Err(refusal) => {
            tx.commit().await?;
            return Err(refusal.into());
        }
    };
    let methods = waiting::with(&before, &[Method::Key, Method::User, Method::Multi]);
    let sign_in =
        SignIn { user_id: proved.user_id, methods: &methods, device_token: login.device_token.as_deref() };
    let tokens = session::open(&mut tx, ctx, client, sign_in).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(tokens)
}

/// Uses the answer up, and ends the sign-in that waits for it, with the caller's transaction: what was proved
/// before. A refusal is an answer, and noted: the caller commits, then refuses.
async fn settle(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    proved: &Proved,
    mfa_token: Option<&str>,
) -> Result<Result<Vec<Method>, Refusal>> {
    let user_id = proved.user_id;
    let status = factor::store::lock_user(tx, user_id).await?;
    if let Some(refusal) = proved.use_up(tx, ctx, client, None).await? {
        return Ok(Err(refusal));
    }
    let expired = || EXPIRED.refuse("No sign-in of this person waits with this token.");
    let before = match mfa_token {
        None => Ok(Vec::new()),
        Some(token) => waiting::end(tx, ctx, token, user_id).await?.ok_or_else(expired),
    };
    let outcome = status.map_or(Ok(()), Status::must_be_active).and(before);
    if let Err(refusal) = &outcome {
        let details = json!({ "factor": proved.passkey_id, "refused": refusal.code });
        factor::note(tx, (client, None), user_id, USED, details, ctx.now()).await?;
    }
    Ok(outcome)
}

/// An answer that held, but for the counter, which is compared where it is kept.
pub(in crate::factor) struct Proved {
    pub user_id: Uuid,
    passkey_id: Uuid,
    used: Use,
}

/// Checks an answer; its challenge is used up, whatever it is worth.
///
/// # Errors
/// `passkey.challenge`, `passkey.invalid`.
pub(in crate::factor) async fn prove(
    ctx: &Context,
    client: &Client,
    answer: &Answer,
    purpose: Purpose,
    person: Option<&Person>,
) -> Result<Proved> {
    let session_id = person.map(|person| person.session_id);
    let (id, now) = (answer.challenge_id, ctx.now());
    let taken = store::take_challenge(&ctx.db, id, purpose.name(), session_id, now).await?;
    let known = store::find_credential(&ctx.db, &answer.assertion.credential_id).await?;
    let owner = known.as_ref().map(|known| known.user_id);
    let Some(taken) = taken else {
        let details = json!({ "refused": CHALLENGE.code });
        note(ctx, client, owner, &answer.assertion, details).await?;
        return Err(CHALLENGE.refuse("No answer to this challenge is waited for.").into());
    };
    let outcome = match known {
        None => Err(Wrong::Unknown),
        Some(known) => judge(ctx, &answer.assertion, &taken, &known).map(|used| Proved {
            user_id: known.user_id,
            passkey_id: known.passkey_id,
            used,
        }),
    };
    match outcome {
        Ok(proved) => Ok(proved),
        Err(wrong) => {
            note(ctx, client, owner, &answer.assertion, refused(wrong)).await?;
            Err(INVALID.refuse(wrong.detail()).into())
        }
    }
}

fn judge(
    ctx: &Context,
    assertion: &Assertion,
    taken: &store::Challenge,
    known: &store::Known,
) -> Result<Use, Wrong> {
    let party = ctx.config.factor.passkey.party();
    let used =
        ceremony::assert(assertion, &taken.challenge, party, &known.public_key, known.backup_eligible)?;
    // section 7.2, step 6: who is named must be the owner; whoever was not named must be named by the answer
    let named = assertion.user_handle.as_deref();
    let is_owner = named.map_or(taken.user_id.is_some(), |named| named == known.user_id.as_bytes());
    if !is_owner || taken.user_id.is_some_and(|wanted| wanted != known.user_id) {
        return Err(Wrong::UserHandle);
    }
    Ok(used)
}

/// Notes, for good, an answer that did not hold: of the credential's owner, or of a credential nobody has.
async fn note(
    ctx: &Context,
    client: &Client,
    owner: Option<Uuid>,
    assertion: &Assertion,
    details: Value,
) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    match owner {
        Some(user_id) => factor::note(&mut tx, (client, None), user_id, USED, details, ctx.now()).await?,
        None => {
            let of = ("credential", secret::hex(&secret::sha256(&assertion.credential_id)));
            factor::note_of_nobody(&mut tx, client, of, USED, details, ctx.now()).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

fn refused(wrong: Wrong) -> Value {
    json!({ "refused": INVALID.code, "wrong": wrong.name() })
}

impl Proved {
    /// Compares the counter and notes the use with the caller's transaction. A counter that went back is a
    /// refusal: the caller commits, then refuses.
    ///
    /// # Errors
    /// The database does not answer.
    pub(in crate::factor) async fn use_up(
        &self,
        tx: &mut PgConnection,
        ctx: &Context,
        client: &Client,
        person: Option<&Person>,
    ) -> Result<Option<Refusal>> {
        let rose = store::set_used(tx, self.passkey_id, self.used, ctx.now()).await?;
        let details = if rose { json!({ "factor": self.passkey_id }) } else { refused(Wrong::Counter) };
        factor::note(tx, (client, person), self.user_id, USED, details, ctx.now()).await?;
        Ok((!rose).then(|| INVALID.refuse(Wrong::Counter.detail())))
    }
}
