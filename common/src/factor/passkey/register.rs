//! Making a passkey, by somebody signed in.

use uuid::Uuid;

use super::ceremony::{self, Registration};
use super::{CHALLENGE, EXISTS, INVALID, TOO_MANY, challenge, store};
use crate::audit::Client;
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::factor::{self, recovery};
use crate::id;
use crate::job::Queue;
use crate::notify::Change;
use crate::session::Person;
use serde_json::json;

const PURPOSE: &str = "register";
/// Passkeys of one person.
const MOST: usize = 20;

/// What a browser needs to make a passkey (section 5.4).
#[derive(Clone, Debug)]
pub struct Options {
    /// To be handed in with the answer.
    pub challenge_id: Uuid,
    /// What is to be signed.
    pub challenge: [u8; 32],
    /// The domain that passkeys are for.
    pub rp_id: String,
    /// What the site is called.
    pub rp_name: String,
    /// Whose it will be: the user handle.
    pub user_id: Uuid,
    /// What they are called.
    pub user_name: String,
    /// Credentials that they have, with their transports.
    pub exclude: Vec<(Vec<u8>, Vec<String>)>,
}

/// Starts making a passkey.
///
/// # Errors
/// `auth.step_up_required`, `passkey.too_many`.
pub async fn start(ctx: &Context, person: &Person) -> Result<Options> {
    person.require_fresh(ctx)?;
    let user_id = person.user_id();
    let known = store::list(&ctx.db, user_id).await?;
    if known.len() >= MOST {
        return Err(too_many().into());
    }
    let made = challenge(ctx, PURPOSE, Some(user_id), Some(person.session_id)).await?;
    Ok(Options {
        challenge_id: made.challenge_id,
        challenge: made.challenge,
        rp_id: ctx.config.factor.passkey.rp_id.clone(),
        rp_name: ctx.config.notify.name.clone(),
        user_id,
        user_name: person.account.username.clone(),
        exclude: known.into_iter().map(|known| (known.credential_id, known.transports)).collect(),
    })
}

/// A passkey made.
#[derive(Clone, Debug)]
pub struct Finish {
    /// From the options.
    pub challenge_id: Uuid,
    /// The browser's answer.
    pub answer: Registration,
    /// How the authenticator can be reached, as the browser says.
    pub transports: Vec<String>,
    /// What its owner calls it.
    pub name: String,
}

/// Keeps a passkey. Answers with it, and with recovery codes where there are none yet.
///
/// # Errors
/// `auth.step_up_required`, `passkey.challenge`, `passkey.invalid`, `passkey.exists`, `passkey.too_many`.
pub async fn finish(
    ctx: &Context,
    client: &Client,
    person: &Person,
    made: Finish,
) -> Result<(store::Listed, Option<Vec<String>>)> {
    person.require_fresh(ctx)?;
    let (now, user_id) = (ctx.now(), person.user_id());
    let session = Some(person.session_id);
    let taken = store::take_challenge(&ctx.db, made.challenge_id, PURPOSE, session, now).await?;
    let taken = taken.ok_or_else(|| CHALLENGE.refuse("No passkey is being made with this challenge."))?;
    let credential =
        match ceremony::register(&made.answer, &taken.challenge, ctx.config.factor.passkey.party()) {
            Ok(credential) => credential,
            Err(wrong) => {
                let refusal = INVALID.refuse(wrong.detail());
                let details = json!({ "refused": refusal.code, "wrong": wrong.name() });
                let mut tx = ctx.db.begin().await?;
                factor::note(&mut tx, (client, Some(person)), user_id, "mfa.passkey_added", details, now)
                    .await?;
                tx.commit().await?;
                return Err(refusal.into());
            }
        };
    let set = recovery::first_set(ctx, user_id).await?;
    let passkey_id = id::ordered(now);
    let mut tx = ctx.db.begin().await?;
    factor::store::lock_user(&mut tx, user_id).await?;
    if store::list(&mut *tx, user_id).await?.len() >= MOST {
        return Err(too_many().into());
    }
    let says = (made.transports.as_slice(), made.name.as_str());
    if !store::insert(&mut tx, passkey_id, user_id, &credential, says, now).await? {
        return Err(EXISTS.refuse("A passkey with this credential id is registered.").into());
    }
    factor::changed(&mut tx, ctx, client, person, (Change::PasskeyAdded, Some(passkey_id))).await?;
    let codes = recovery::keep_first(&mut tx, user_id, set, now).await?;
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    let listed = store::Listed {
        passkey_id,
        credential_id: credential.credential_id,
        transports: made.transports,
        name: made.name,
        backed_up: credential.backed_up,
        created_at: now,
        last_used_at: None,
    };
    Ok((listed, codes))
}

fn too_many() -> Refusal {
    TOO_MANY.refuse("Nobody needs more than twenty passkeys.")
}
