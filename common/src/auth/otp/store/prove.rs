//! The SQL of proving.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Sql;
use crate::audit::Line;
use crate::auth::otp::budget::Tries;
use crate::auth::otp::code::Seed;
use crate::auth::otp::counter::{Columns, Counter};
use crate::auth::otp::proof::Handed;
use crate::id;
use crate::user::Identifier;

/// A challenge a code may prove.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub challenge_id: Uuid,
    pub purpose: String,
    pub identifier: String,
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub key_id: String,
    pub nonce: Vec<u8>,
    pub digits: i16,
    pub tries: i16,
    pub expires_at: DateTime<Utc>,
    pub used_at: Option<DateTime<Utc>>,
}

impl Challenge {
    pub fn seed(&self) -> Seed {
        Seed {
            key_id: self.key_id.clone(),
            nonce: self.nonce.clone(),
            purpose: self.purpose.clone(),
            identifier: self.identifier.clone(),
            digits: self.digits,
        }
    }
}

/// An identifier whose wrong tries are locked.
pub(in crate::auth::otp) struct Counted {
    /// In which row they count.
    pub counter: Vec<u8>,
    /// In a row, from anywhere.
    pub wrong_in_row: i32,
}

impl Counted {
    /// The wrong tries, with those of the hour from one client.
    pub fn tries(&self, looked: Option<&Looked>) -> Tries {
        Tries {
            wrong_in_row: self.wrong_in_row,
            hour_started_at: looked.and_then(|row| row.hour_started_at),
            hour_tries: looked.and_then(|row| row.hour_tries),
        }
    }
}

/// Locks distinct identifiers, known or not, in one order for all, and reads their wrong tries in a row. By
/// everybody's hash: that row is locked also where a device's counts, for a code works once from anywhere.
pub(in crate::auth::otp) async fn lock_tries<'a>(
    tx: &mut PgConnection,
    handed: impl Iterator<Item = (&'a Counter, &'a Identifier)>,
    now: DateTime<Utc>,
) -> Sql<HashMap<Vec<u8>, Counted>> {
    let Columns { plain, token, tries, email, phone, .. } = Columns::of(handed);
    let rows = sqlx::query!(
        r#"WITH asked AS (
               SELECT a.hash, CASE WHEN d.user_id = o.user_id THEN a.own ELSE a.hash END AS counter
               FROM unnest($1::bytea[], $2::text[], $3::text[], $5::bytea[], $6::bytea[])
                   AS a(hash, email, phone, token, own)
               LEFT JOIN LATERAL (
                   SELECT user_id FROM device_tokens WHERE token_hash = a.token AND expires_at > $4 LIMIT 1
               ) d ON true
               LEFT JOIN LATERAL (
                   (SELECT user_id FROM users
                    WHERE a.token IS NOT NULL AND email = a.email AND email_verified_at IS NOT NULL AND status <> 'deleted' LIMIT 1)
                   UNION ALL
                   (SELECT user_id FROM users
                    WHERE a.token IS NOT NULL AND phone_number = a.phone AND phone_verified_at IS NOT NULL AND status <> 'deleted' LIMIT 1)
               ) o ON true
           ), locked AS (
               INSERT INTO identifier_budgets AS b (identifier_hash, hour_started_at, day_started_at, touched_at)
               SELECT row, $4, $4, $4 FROM (SELECT hash AS row FROM asked UNION SELECT counter FROM asked) r
               ORDER BY row
               ON CONFLICT (identifier_hash) DO UPDATE SET touched_at = excluded.touched_at
               RETURNING identifier_hash, wrong_in_row
           )
           SELECT a.hash AS "hash!", a.counter AS "counter!", l.wrong_in_row AS "wrong_in_row!"
           FROM asked a JOIN locked l ON l.identifier_hash = a.counter"#,
        &plain as _, &email as _, &phone as _, now, &token as _, &tries as _,
    )
    .fetch_all(tx)
    .await?;
    let counted = |counter, wrong_in_row| Counted { counter, wrong_in_row };
    Ok(rows.into_iter().map(|row| (row.hash, counted(row.counter, row.wrong_in_row))).collect())
}

/// What a code that was handed in may prove: a row for each challenge, and one without where there is none.
#[derive(Clone, Debug)]
pub(in crate::auth::otp) struct Looked {
    /// Which code, from 1.
    pub number: i64,
    /// When the hour that is counted began, from this client.
    pub hour_started_at: Option<DateTime<Utc>>,
    /// Wrong tries since then, from this client.
    pub hour_tries: Option<i32>,
    challenge_id: Option<Uuid>,
    user_id: Option<Uuid>,
    session_id: Option<Uuid>,
    key_id: Option<String>,
    nonce: Option<Vec<u8>>,
    digits: Option<i16>,
    tries: Option<i16>,
    expires_at: Option<DateTime<Utc>>,
    used_at: Option<DateTime<Utc>>,
    purpose: Option<String>,
    identifier: Option<String>,
}

impl Looked {
    /// The challenge, if there is one.
    pub fn challenge(self) -> Option<Challenge> {
        Some(Challenge {
            challenge_id: self.challenge_id?,
            purpose: self.purpose?,
            identifier: self.identifier?,
            user_id: self.user_id,
            session_id: self.session_id,
            key_id: self.key_id?,
            nonce: self.nonce?,
            digits: self.digits?,
            tries: self.tries?,
            expires_at: self.expires_at?,
            used_at: self.used_at,
        })
    }
}

/// The challenges that codes may prove, each the one named, or those asked for in the same
/// session or from the same client; and the wrong tries of the hour. To be read under the lock, by a statement of its own: it
/// sees what whoever held the lock before has written.
pub(in crate::auth::otp) async fn list_challenges(
    tx: &mut PgConnection,
    handed: &[&Handed],
    counted: &[&Counted],
) -> Sql<Vec<Looked>> {
    let proofs = || handed.iter().map(|one| &one.proof);
    let counters: Vec<&[u8]> = counted.iter().map(|one| one.counter.as_slice()).collect();
    let clients: Vec<String> = handed.iter().map(|one| one.client.key()).collect();
    let identifiers: Vec<&str> = proofs().map(|proof| proof.identifier.as_str()).collect();
    let purposes: Vec<&str> = proofs().map(|proof| proof.purpose.name()).collect();
    let challenges: Vec<Option<Uuid>> = proofs().map(|proof| proof.challenge_id).collect();
    let sessions: Vec<Option<Uuid>> =
        proofs().map(|proof| proof.bearer.map(|bearer| bearer.session_id)).collect();
    sqlx::query_as!(
        Looked,
        r#"SELECT a.number AS "number!", w.hour_started_at AS "hour_started_at?", w.tries AS "hour_tries?",
                  c.challenge_id AS "challenge_id?", c.user_id AS "user_id?", c.session_id AS "session_id?",
                  c.key_id AS "key_id?", c.nonce AS "nonce?", c.digits AS "digits?", c.tries AS "tries?",
                  c.expires_at AS "expires_at?", c.used_at AS "used_at?", c.purpose AS "purpose?",
                  c.identifier AS "identifier?"
           FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[]) WITH ORDINALITY
               AS a(counter, client, identifier, purpose, challenge_id, session_id, number)
           LEFT JOIN LATERAL (
               SELECT hour_started_at, tries FROM wrong_tries
               WHERE identifier_hash = a.counter AND client = a.client LIMIT 1
           ) w ON true
           LEFT JOIN LATERAL (
               SELECT * FROM challenges c
               WHERE c.identifier = a.identifier AND c.purpose = a.purpose
                 AND (c.challenge_id = a.challenge_id
                      OR (a.challenge_id IS NULL AND (c.client = a.client OR a.session_id IS NOT NULL)))
                 AND c.session_id IS NOT DISTINCT FROM a.session_id
               ORDER BY c.created_at DESC LIMIT 20
           ) c ON true
           ORDER BY a.number"#,
        &counters as _,
        &clients,
        &identifiers as _,
        &purposes as _,
        &challenges as _,
        &sessions as _,
    )
    .fetch_all(tx)
    .await
}

/// What a code that was handed in writes.
pub(in crate::auth::otp) struct Outcome<'a> {
    line: Line<'a>,
    hash: &'a [u8],
    counter: &'a [u8],
    client: String,
    /// The challenge it proves, and the hash of the token that says so.
    pub right: Option<(Challenge, [u8; 32])>,
    /// A wrong try: the beginning of the hour it counts in, and the challenge that was named.
    pub wrong: Option<(DateTime<Utc>, Option<Uuid>)>,
}

impl<'a> Outcome<'a> {
    /// Neither right nor wrong yet.
    pub fn of(line: Line<'a>, hash: &'a [u8], counted: &'a Counted) -> Self {
        let client = line.client.key();
        Self { line, hash, counter: &counted.counter, client, right: None, wrong: None }
    }
}

/// Everything proofs write, in one statement: a right one uses its challenge up, stores the token's hash
/// and ends the row of failures; a wrong try counts on the identifier, on identifier and client, and on the
/// challenge if one was named; each leaves an audit line.
pub(in crate::auth::otp) async fn insert_outcomes(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    rows: &[Outcome<'_>],
) -> Sql<()> {
    fn all<'a, T>(rows: &'a [Outcome<'a>], field: impl Fn(&'a Outcome<'a>) -> T) -> Vec<T> {
        rows.iter().map(field).collect()
    }
    fn right<'a, T>(rows: &'a [Outcome<'a>], field: impl Fn(&'a Challenge) -> T) -> Vec<Option<T>> {
        rows.iter().map(|row| row.right.as_ref().map(|(challenge, _)| field(challenge))).collect()
    }
    sqlx::query!(
        "WITH rows AS (
             SELECT * FROM unnest($3::bytea[], $4::bytea[], $5::text[], $6::uuid[], $7::bytea[], $8::text[],
                 $9::text[], $10::uuid[], $11::uuid[], $12::timestamptz[], $13::uuid[], $14::uuid[], $15::jsonb[],
                 $16::text[], $17::text[], $18::text[], $19::uuid[], $20::uuid[])
             AS r(hash, counter, client, challenge_id, token_hash, purpose, identifier, user_id, session_id,
                  hour_started_at, tried_id, audit_id, details, ip, user_agent, request_id, actor, actor_session)
         ), used AS (
             UPDATE challenges c SET used_at = $1 FROM rows r WHERE c.challenge_id = r.challenge_id
         ), tried AS (
             UPDATE challenges c SET tries = c.tries + 1 FROM rows r WHERE c.challenge_id = r.tried_id
         ), counted AS (
             UPDATE identifier_budgets b
             SET wrong_in_row = CASE WHEN r.hour_started_at IS NULL THEN 0 ELSE b.wrong_in_row + 1 END
             FROM rows r
             WHERE b.identifier_hash = r.counter
               AND (r.hour_started_at IS NOT NULL OR (r.challenge_id IS NOT NULL AND b.wrong_in_row > 0))
         ), token AS (
             INSERT INTO verification_tokens (token_hash, purpose, identifier, user_id, session_id, challenge_id,
                                              created_at, expires_at)
             SELECT token_hash, purpose, identifier, user_id, session_id, challenge_id, $1, $2
             FROM rows WHERE token_hash IS NOT NULL
         ), line AS (
             INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details, ip_address, user_agent,
                                request_id, actor, session_id)
             SELECT audit_id, $1, 'otp.verified', 'identifier', encode(hash, 'hex'), details, ip, user_agent,
                    request_id, actor, actor_session FROM rows
         )
         INSERT INTO wrong_tries AS w (identifier_hash, client, hour_started_at, tries)
         SELECT counter, client, hour_started_at, 1 FROM rows WHERE hour_started_at IS NOT NULL
         ON CONFLICT (identifier_hash, client) DO UPDATE SET
             tries = CASE WHEN w.hour_started_at = excluded.hour_started_at THEN w.tries + 1 ELSE 1 END,
             hour_started_at = excluded.hour_started_at",
        now,
        expires_at,
        &all(rows, |r| r.hash) as _,
        &all(rows, |r| r.counter) as _,
        &all(rows, |r| r.client.as_str()) as _,
        &right(rows, |c| c.challenge_id) as _,
        &all(rows, |r| r.right.as_ref().map(|(_, hash)| hash.as_slice())) as _,
        &right(rows, |c| c.purpose.as_str()) as _,
        &right(rows, |c| c.identifier.as_str()) as _,
        &all(rows, |r| r.right.as_ref().and_then(|(c, _)| c.user_id)) as _,
        &all(rows, |r| r.right.as_ref().and_then(|(c, _)| c.session_id)) as _,
        &all(rows, |r| r.wrong.map(|(hour, _)| hour)) as _,
        &all(rows, |r| r.wrong.and_then(|(_, named)| named)) as _,
        &all(rows, |_| id::ordered(now)),
        &all(rows, |r| &r.line.details) as _,
        &all(rows, |r| r.line.client.ip.to_string()),
        &all(rows, |r| r.line.client.user_agent.as_deref()) as _,
        &all(rows, |r| r.line.client.request_id.as_str()) as _,
        &all(rows, |r| r.line.actor) as _,
        &all(rows, |r| r.line.session_id) as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
