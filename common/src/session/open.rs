//! Opening a session: the last step of every way to sign in, in the transaction of that way.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::refresh::Token;
use super::{Method, Tokens, access, after, key, store};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::Result;
use crate::notify::{self, Facts, Message, Told};
use crate::{id, secret};

/// How long a device is known without a sign-in.
const DEVICE_LIFE: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
/// How many devices of a person are known.
const MOST_DEVICES: i64 = 20;

/// A sign-in that has succeeded.
#[derive(Clone, Debug)]
pub struct SignIn<'a> {
    /// Who.
    pub user_id: Uuid,
    /// By which proofs.
    pub methods: &'a [Method],
    /// The device token shown with it, if any; one that is not this user's counts as none.
    pub device_token: Option<&'a str>,
}

/// Opens a session with the caller's transaction: session row, last sign-in, device, audit line. A first
/// sign-in from a device unknown so far is told to the owner; the caller wakes the default queue.
///
/// # Errors
/// The account is not active (`account.suspended` and the like), or the database does not answer.
pub async fn open(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    sign_in: SignIn<'_>,
) -> Result<Tokens> {
    let now = ctx.now();
    let (session_id, token) = (id::ordered(now), secret::random::<32>());
    let refresh = Token::first(&ctx.config, session_id, token);
    let shown = sign_in.device_token.map(|token| secret::sha256(token.as_bytes()));
    let (device_token_id, minted) = (id::ordered(now), URL_SAFE_NO_PAD.encode(secret::random::<32>()));
    let methods: Vec<&str> = sign_in.methods.iter().map(|method| method.name()).collect();
    let opened = store::insert_session(
        tx,
        &store::NewSession {
            session_id,
            user_id: sign_in.user_id,
            token_hash: refresh.hash(),
            methods: &methods,
            shown_device: shown.as_ref().map(|hash| hash.as_slice()),
            device_token_id,
            minted_hash: secret::sha256(minted.as_bytes()),
            device_expires_at: after(now, DEVICE_LIFE),
            most_devices: MOST_DEVICES,
            ip_address: client.ip.to_string(),
            user_agent: client.user_agent.as_deref(),
            expires_at: after(now, ctx.config.session.life),
        },
        now,
    )
    .await?;
    opened.status.must_be_active()?;
    let details = json!({
        "methods": methods, "known_device": opened.known, "first": opened.before.is_none(),
    });
    note(tx, client, sign_in.user_id, session_id, details, now).await?;
    if !opened.known && opened.before.is_some() {
        let told =
            Told { user_id: sign_in.user_id, message: Message::NewDevice, facts: Facts::of(client, now) };
        notify::tell(tx, ctx, client, &told).await?;
    }
    let (keys, at) = key::signer(ctx).await?;
    let subject = (sign_in.user_id, session_id);
    let access_token = access::sign(&ctx.config, &keys[at], now, subject, &opened.role)?;
    let device_token = if opened.known { sign_in.device_token.map(ToOwned::to_owned) } else { Some(minted) };
    Ok(Tokens {
        user_id: sign_in.user_id,
        session_id,
        access_token,
        refresh_token: refresh.text(),
        expires_in: ctx.config.session.access_life,
        device_token,
    })
}

async fn note(
    tx: &mut PgConnection,
    client: &Client,
    user_id: Uuid,
    session_id: Uuid,
    details: Value,
    at: DateTime<Utc>,
) -> Result<()> {
    let line = Line {
        action: "auth.signed_in",
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(user_id),
        session_id: Some(session_id),
        details,
        client,
        at,
    };
    Ok(audit::note(tx, line).await?)
}
