//! Refresh tokens: rotated at each use, only their hashes kept. The successor is derived from the token
//! shown, so a client that lost the answer and asks again within [`super::RETRY`] gets the same one. A token
//! whose successor was used is refused; one that is shown later than that ends the family, for there is no
//! telling which of the two who hold tokens of it is the thief (RFC 9700, section 4.14.2).
//!
//! A token is session id, generation, 32 secret bytes and a tag. The tag tells tokens of ours from made-up
//! ones, so that knowing a session's id is not enough to end it by a false replay. Refreshes that come
//! together share one statement.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{ENDED, REFRESH_INVALID, REFRESH_REUSED, RETRY, Tokens, access, after, key, store};
use crate::audit::{self, Client, Line};
use crate::batch::Batcher;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Refusal, Result};
use crate::job::Queue;
use crate::notify::{self, Facts, Message, Told};
use crate::secret::{self, sha256};
use crate::user::Status;

/// The most refreshes that share a statement.
const MOST: usize = 64;
/// Statements at once.
const LANES: usize = 2;
/// Session id, generation, secret, tag.
const LENGTH: usize = 16 + 4 + 32 + 16;

/// A refresh token, read.
#[derive(Clone)]
pub(super) struct Token {
    pub session_id: Uuid,
    pub generation: i32,
    secret: [u8; 32],
    tag: [u8; 16],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

impl Token {
    /// The first of a family.
    pub fn first(config: &Config, session_id: Uuid, secret: [u8; 32]) -> Self {
        Self::made(&config.keys.derive("refresh"), session_id, 0, secret)
    }

    fn made(key: &secret::Derived, session_id: Uuid, generation: i32, secret: [u8; 32]) -> Self {
        let tag = Self::tag_of(key, session_id, generation, &secret);
        Self { session_id, generation, secret, tag }
    }

    fn tag_of(key: &secret::Derived, session_id: Uuid, generation: i32, secret: &[u8; 32]) -> [u8; 16] {
        let mac = key.mac(&[b"tag", session_id.as_bytes(), &generation.to_be_bytes(), secret]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&mac[..16]);
        tag
    }

    pub fn read(text: &str) -> Option<Self> {
        // unpadded base64 of the fixed length has one spelling
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == LENGTH)?;
        let (session_id, rest) = bytes.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<4>()?;
        let (secret, tag) = rest.split_first_chunk::<32>()?;
        Some(Self {
            session_id: Uuid::from_bytes(*session_id),
            generation: i32::from_be_bytes(*generation),
            secret: *secret,
            tag: tag.try_into().ok()?,
        })
    }

    /// On the wire.
    pub fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(self.session_id.as_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// In the row.
    pub fn hash(&self) -> [u8; 32] {
        sha256(
            &[self.session_id.as_bytes().as_slice(), &self.generation.to_be_bytes(), &self.secret].concat(),
        )
    }

    /// Whether one of our keys made it.
    pub fn is_ours(&self, config: &Config) -> bool {
        config.keys.derive_all("refresh").any(|(_, key)| {
            let tag = Self::tag_of(&key, self.session_id, self.generation, &self.secret);
            secret::equal(&tag, &self.tag)
        })
    }

    /// The one token that follows this one, under one of our keys.
    fn successor(&self, key: &secret::Derived) -> Option<Self> {
        let generation = self.generation.checked_add(1)?;
        let family = self.session_id.as_bytes();
        let secret = key.mac(&[b"successor", &self.secret, family, &generation.to_be_bytes()]);
        Some(Self::made(key, self.session_id, generation, secret))
    }
}

/// A rotation asked for.
#[derive(Clone, Debug)]
struct Asked {
    shown: Token,
    successor: Token,
    now: DateTime<Utc>,
}

/// Where refreshes meet that may share a statement. Answers with what was rotated, if it was.
#[derive(Clone, Debug)]
pub struct Renewals(Batcher<Asked, Option<store::Rotated>>);

impl Renewals {
    /// Starts its lanes.
    pub fn open(config: &Config, db: &PgPool) -> Self {
        let (idle, db) = (config.session.idle, db.clone());
        Self(Batcher::start(LANES, MOST, move |asked: Vec<Asked>| {
            let db = db.clone();
            async move {
                // one statement rotates a session once: a second of the same session finds it rotated
                let mut seen = HashSet::new();
                let mut first: Vec<&Asked> =
                    asked.iter().filter(|one| seen.insert(one.shown.session_id)).collect();
                // rows are locked in one order by all
                first.sort_by_key(|one| one.shown.session_id);
                let now = asked.iter().map(|one| one.now).max().unwrap_or_default();
                let turns: Vec<store::Turn> = first
                    .iter()
                    .map(|one| store::Turn {
                        session_id: one.shown.session_id,
                        generation: one.shown.generation,
                        shown: one.shown.hash(),
                        successor: one.successor.hash(),
                    })
                    .collect();
                let rotated = store::set_rotated(&db, &turns, now, idle).await?;
                let mut answered: HashSet<Uuid> = HashSet::new();
                Ok(asked
                    .iter()
                    .map(|one| {
                        let turn = rotated.iter().find(|row| row.session_id == one.shown.session_id)?;
                        answered.insert(turn.session_id).then(|| turn.clone())
                    })
                    .collect())
            }
        }))
    }
}

/// Gives the next tokens for a refresh token.
///
/// # Errors
/// `auth.refresh_invalid`, `auth.refresh_reused`, `auth.session_ended`.
pub async fn refresh(ctx: &Context, client: &Client, text: &str) -> Result<Tokens> {
    const NOT_OURS: &str = "This is not a refresh token of this service.";
    let now = ctx.now();
    let shown = Token::read(text).ok_or_else(|| REFRESH_INVALID.refuse(NOT_OURS))?;
    let key = ctx.config.keys.derive("refresh");
    let successor = shown.successor(&key).ok_or_else(|| REFRESH_INVALID.refuse(NOT_OURS))?;
    let asked = Asked { shown: shown.clone(), successor: successor.clone(), now };
    if let Some(rotated) = ctx.renewals.0.call(asked).await? {
        return tokens(ctx, &successor, rotated.user_id, &rotated.role, now).await;
    }
    let Some(session) = store::find_session(&ctx.db, shown.session_id).await? else {
        return Err(REFRESH_INVALID.refuse(NOT_OURS).into());
    };
    // when the token shown was followed by its successor, or later
    let rotated_at = match session.generation.checked_sub(shown.generation) {
        Some(1) => Some(session.rotated_at),
        _ => session.previous_rotated_at,
    };
    let calm = rotated_at.is_some_and(|at| now <= after(at, RETRY));
    if calm && let Some(successor) = again(&ctx.config, &shown, &session) {
        alive(ctx, &session, now)?;
        return tokens(ctx, &successor, session.user_id, &session.role, now).await;
    }
    if !shown.is_ours(&ctx.config) {
        return Err(REFRESH_INVALID.refuse(NOT_OURS).into());
    }
    alive(ctx, &session, now)?;
    if !calm && shown.generation < session.generation {
        end_family(ctx, client, &session, now).await?;
    }
    Err(REFRESH_REUSED.refuse("A newer token of this session was given out already.").into())
}

/// The successor made before, if this token's successor is the session's present one: it has not been
/// used, so the answer that carried it was lost or is being waited for.
fn again(config: &Config, shown: &Token, session: &store::Session) -> Option<Token> {
    let is_previous = session.previous_hash.as_ref().is_some_and(|hash| secret::equal(hash, &shown.hash()));
    if !is_previous || session.generation != shown.generation.checked_add(1)? {
        return None;
    }
    let made = config.keys.derive_all("refresh").filter_map(|(_, key)| shown.successor(&key));
    made.into_iter().find(|token| secret::equal(&token.hash(), &session.token_hash))
}

/// Whether the session may still be renewed.
fn alive(ctx: &Context, session: &store::Session, now: DateTime<Utc>) -> Result<(), Refusal> {
    let idle = after(session.last_used_at, ctx.config.session.idle);
    if session.ended_at.is_some() || now >= session.expires_at || now >= idle {
        return Err(ENDED.refuse("The session is over."));
    }
    if session.status != Status::Active {
        return Err(ENDED.refuse("The account is not active."));
    }
    Ok(())
}

async fn tokens(
    ctx: &Context,
    refresh: &Token,
    user_id: Uuid,
    role: &str,
    now: DateTime<Utc>,
) -> Result<Tokens> {
    let (keys, at) = key::signer(ctx).await?;
    Ok(Tokens {
        user_id,
        session_id: refresh.session_id,
        access_token: access::sign(&ctx.config, &keys[at], now, (user_id, refresh.session_id), role)?,
        refresh_token: refresh.text(),
        expires_in: ctx.config.session.access_life,
        device_token: None,
    })
}

/// A token was shown after its successor was used: somebody else has one of the two.
async fn end_family(
    ctx: &Context,
    client: &Client,
    session: &store::Session,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    if store::set_ended(&mut tx, &[session.session_id], "token_reuse", now).await? > 0 {
        let line = Line {
            action: "session.token_reused",
            entity_type: "user",
            entity_id: session.user_id.to_string(),
            actor: None,
            session_id: Some(session.session_id),
            details: json!({}),
            client,
            at: now,
        };
        audit::note(&mut tx, line).await?;
        let facts = Facts::of(client, now);
        let told = Told { user_id: session.user_id, message: Message::TokenReuse, facts };
        notify::tell(&mut tx, ctx, client, &told).await?;
    }
    tx.commit().await?;
    ctx.wake.queue(Queue::Default);
    Ok(())
}
