//! Believable accounts for development and load: many, quickly, the same ones for the same seed, all with
//! one password; the school that the first of them belong to, and what these have besides (`life`): profiles,
//! documents, consents, wallets, rentals. Nothing of the product calls this; operators do.

mod life;
mod money;
mod paper;
mod person;
mod rental;
mod school;
mod store;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use uuid::Uuid;

use life::Life;
pub use person::MOST;
use person::SeedPerson;

use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::Result;
use crate::seal::Column;
use crate::session::{self, Method, SignIn, Tokens};
use crate::user::common_word;
use crate::{seal, secret};

/// What everybody signs in with.
pub const PASSWORD: &str = "keryu-seed-password";
/// As many people of a seed, the first ones, have more than an account.
const PROFILED: u64 = 10_000;
/// People in one transaction.
const BATCH: u64 = 10_000;
/// Sessions in one transaction.
const SESSIONS: usize = 200;

/// What is to be planted.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// How many people, [`MOST`] at most.
    pub users: u64,
    /// Which ones.
    pub seed: u64,
    /// How many of them, the first ones, are to be signed in.
    pub sessions: u64,
}

/// Makes people. `told` hears after every batch how many came and how many were looked at: whoever is there
/// already is left out, so a run that was stopped goes on where it was.
///
/// # Errors
/// The database does not answer.
pub async fn plant(ctx: &Context, client: &Client, ask: Ask, mut told: impl FnMut(u64, u64)) -> Result<u64> {
    let hash = ctx.hasher.hash(PASSWORD).await?;
    let mut made = 0;
    for first in (0..ask.users).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        let last = (first + BATCH).min(ask.users);
        made += batch(ctx, ask.seed, first..last, &hash).await?;
        told(made, last);
    }
    let mut tx = ctx.db.begin().await?;
    store::set_statistics(&mut tx).await?;
    let line = Line {
        action: "users.seeded",
        entity_type: "seed",
        entity_id: ask.seed.to_string(),
        actor: None,
        session_id: None,
        details: json!({ "asked": ask.users, "made": made }),
        client,
        at: ctx.now(),
    };
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    // searches are as they would be after the first night
    common_word::count(ctx).await?;
    Ok(made)
}

async fn batch(ctx: &Context, seed: u64, range: std::ops::Range<u64>, hash: &str) -> Result<u64> {
    let now = ctx.now();
    let people: Vec<SeedPerson> = range.clone().map(|n| person::person(seed, n)).collect();
    let lives: Vec<Life> =
        range.clone().zip(&people).map(|(n, one)| Life::of(&ctx.config.wallet, seed, n, one, now)).collect();
    let mut tx = ctx.db.begin().await?;
    store::set_relaxed(&mut tx).await?;
    let made: HashSet<Uuid> = store::insert_people(&mut tx, &people, &lives).await?.into_iter().collect();
    let ids: Vec<Uuid> = people.iter().map(|one| one.user_id).filter(|id| made.contains(id)).collect();
    let keys = &ctx.config.keys;
    let sealed: Result<Vec<Vec<u8>>> = ids
        .iter()
        .map(|id| seal::seal(keys, Column::UserKeys.purpose(), id.as_bytes(), &secret::random::<32>()))
        .collect();
    store::insert_keys(&mut tx, &ids, &sealed?).await?;
    let new = people.iter().zip(&lives).filter(|(one, _)| made.contains(&one.user_id));
    store::insert_profiles(&mut tx, &new.collect::<Vec<_>>(), now).await?;
    store::insert_passwords(&mut tx, &ids, hash, now).await?;
    let first: Vec<_> =
        range.zip(&people).filter(|(n, one)| *n < PROFILED && made.contains(&one.user_id)).collect();
    if !first.is_empty() {
        school::plant(&mut tx, seed, &first, now).await?;
        let lives = people.into_iter().zip(lives).filter(|(one, _)| made.contains(&one.user_id));
        life::plant(&mut tx, ctx, lives.map(|(one, life)| (one.user_id, life)).collect(), now).await?;
    }
    tx.commit().await?;
    Ok(ids.len() as u64)
}

/// An id of the same moment as the person's, of the one of their things with this number.
fn derived(user_id: Uuid, number: u8) -> Uuid {
    let mut bytes = *user_id.as_bytes();
    bytes[15] ^= number;
    Uuid::from_bytes(bytes)
}

/// Signs the first people of a seed in. Answers with their tokens.
///
/// # Errors
/// The people were not planted, or the database does not answer.
pub async fn sign_in(ctx: &Context, ask: Ask) -> Result<Vec<Tokens>> {
    let people: Vec<Uuid> =
        (0..ask.sessions.min(ask.users)).map(|n| person::person(ask.seed, n).user_id).collect();
    let mut all = Vec::with_capacity(people.len());
    for some in people.chunks(SESSIONS) {
        let mut tx = ctx.db.begin().await?;
        store::set_relaxed(&mut tx).await?;
        for user_id in some {
            let client = Client {
                ip: IpAddr::V4(Ipv4Addr::new(203, 0, 113, user_id.as_bytes()[15])),
                user_agent: Some("keryu-seed".to_owned()),
                request_id: "seed".to_owned(),
                traceparent: None,
                language: "en".to_owned(),
            };
            let sign_in = SignIn { user_id: *user_id, methods: &[Method::Password], device_token: None };
            all.push(session::open(&mut tx, ctx, &client, sign_in).await?);
        }
        tx.commit().await?;
    }
    Ok(all)
}
