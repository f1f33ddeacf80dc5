//! The SQL of codes: one statement a function, rows out, no decisions.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Proof;
use super::budget::{Budget, SmsCaps, Spent, Tries};
use super::code::Seed;
use crate::audit::Line;
use crate::id;
use crate::job::store::NewJob;
use crate::notify::store::NewDelivery;
use crate::user::{Channel, Identifier};

type Sql<T> = Result<T, sqlx::Error>;

/// A challenge to insert.
#[derive(Clone, Debug)]
pub struct NewChallenge {
    pub challenge_id: Uuid,
    pub purpose: &'static str,
    pub channel: Channel,
    pub identifier: String,
    pub user_id: Option<Uuid>,
    pub key_id: String,
    pub nonce: [u8; 16],
    pub digits: i16,
    pub client: String,
    pub expires_at: DateTime<Utc>,
}

/// A challenge a code may prove.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub challenge_id: Uuid,
    pub purpose: String,
    pub identifier: String,
    pub user_id: Option<Uuid>,
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

/// A granted request: everything it writes.
pub struct Granted<'a> {
    pub hash: &'a [u8],
    pub spent: Spent,
    pub challenge: NewChallenge,
    pub line: Line<'a>,
    pub delivery: NewDelivery,
    pub job: NewJob,
}

/// Locks the sends of distinct identifiers, known or not, in one order for all, so that two taps count as
/// two; and says who has proved each. By hash.
pub async fn lock_budgets(
    tx: &mut PgConnection,
    hashes: &[&[u8]],
    identifiers: impl Iterator<Item = &Identifier>,
    now: DateTime<Utc>,
) -> Sql<HashMap<Vec<u8>, Budget>> {
    let (emails, phones): (Vec<Option<&str>>, Vec<Option<&str>>) = identifiers
        .map(|identifier| match identifier {
            Identifier::Email(text) => (Some(text.as_str()), None),
            Identifier::Phone(text) => (None, Some(text.as_str())),
        })
        .unzip();
    let rows = sqlx::query!(
        r#"WITH asked AS (
               SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[]) AS a(hash, email, phone)
           ), locked AS (
               INSERT INTO identifier_budgets AS b (identifier_hash, hour_started_at, day_started_at, touched_at)
               SELECT hash, $4, $4, $4 FROM asked ORDER BY hash
               ON CONFLICT (identifier_hash) DO UPDATE SET touched_at = excluded.touched_at
               RETURNING identifier_hash, last_sent_at, hour_started_at, hour_sent, day_started_at, day_sent
           )
           SELECT l.identifier_hash AS "hash!", l.last_sent_at, l.hour_started_at AS "hour_started_at!",
                  l.hour_sent AS "hour_sent!", l.day_started_at AS "day_started_at!", l.day_sent AS "day_sent!",
                  coalesce((SELECT user_id FROM users
                            WHERE email = a.email AND email_verified_at IS NOT NULL AND status <> 'deleted'),
                           (SELECT user_id FROM users
                            WHERE phone_number = a.phone AND phone_verified_at IS NOT NULL AND status <> 'deleted')
                  ) AS user_id
           FROM locked l JOIN asked a ON a.hash = l.identifier_hash"#,
        hashes as _, &emails as _, &phones as _, now,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let budget = Budget {
                last_sent_at: row.last_sent_at,
                hour_started_at: row.hour_started_at,
                hour_sent: row.hour_sent,
                day_started_at: row.day_started_at,
                day_sent: row.day_sent,
                user_id: row.user_id,
            };
            (row.hash, budget)
        })
        .collect())
}

/// Everything granted requests write, in one statement: the counters, the challenges, the audit lines,
/// the deliveries and their jobs.
pub async fn insert_requests(tx: &mut PgConnection, now: DateTime<Utc>, rows: &[Granted<'_>]) -> Sql<()> {
    fn all<'a, T>(rows: &'a [Granted<'a>], field: impl Fn(&'a Granted<'a>) -> T) -> Vec<T> {
        rows.iter().map(field).collect()
    }
    let Some(like) = rows.first() else { return Ok(()) };
    sqlx::query!(
        "WITH rows AS (
             SELECT * FROM unnest($9::bytea[], $10::timestamptz[], $11::int[], $12::timestamptz[], $13::int[],
                 $14::uuid[], $15::text[], $16::text[], $17::text[], $18::uuid[], $19::bytea[], $20::text[],
                 $21::timestamptz[], $22::uuid[], $23::jsonb[], $24::text[], $25::text[], $26::text[],
                 $27::uuid[], $28::text[], $29::text[], $30::bool[], $31::text[], $32::uuid[], $33::jsonb[],
                 $34::timestamptz[])
             AS r(hash, hour_started_at, hour_sent, day_started_at, day_sent,
                  challenge_id, purpose, channel, identifier, user_id, nonce, client,
                  expires_at, audit_id, details, ip, user_agent, request_id,
                  delivery_id, message, language, sends, traceparent, job_id, payload, run_at)
         ), budget AS (
             UPDATE identifier_budgets b SET last_sent_at = $1, hour_started_at = r.hour_started_at,
                 hour_sent = r.hour_sent, day_started_at = r.day_started_at, day_sent = r.day_sent
             FROM rows r WHERE b.identifier_hash = r.hash
         ), challenge AS (
             INSERT INTO challenges (challenge_id, purpose, channel, identifier, user_id, key_id, nonce, digits,
                                     client, created_at, expires_at)
             SELECT challenge_id, purpose, channel, identifier, user_id, $2, nonce, $3, client, $1, expires_at
             FROM rows
         ), line AS (
             INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details, ip_address, user_agent,
                                request_id)
             SELECT audit_id, $1, 'otp.requested', 'identifier', encode(hash, 'hex'), details, ip, user_agent,
                    request_id FROM rows
         ), delivery AS (
             INSERT INTO deliveries (delivery_id, created_at, kind, channel, recipient, language, user_id,
                                     challenge_id, purpose, sends, state, expires_at, request_id, traceparent)
             SELECT delivery_id, $1, message, channel, identifier, language, user_id, challenge_id, purpose, sends,
                    'queued', expires_at, request_id, traceparent FROM rows
         )
         INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload,
                           run_at, expires_at, created_at, request_id, traceparent)
         SELECT job_id, $4, $5, $6, $7, CASE WHEN run_at <= $1 THEN 'available' ELSE 'scheduled' END::job_state,
                run_at <= $1, $8, payload, run_at, expires_at, $1, request_id, traceparent
         FROM rows",
        now,
        like.challenge.key_id,
        like.challenge.digits,
        like.job.kind,
        like.job.version,
        like.job.queue.name(),
        like.job.priority,
        like.job.max_attempts,
        &all(rows, |r| r.hash) as _,
        &all(rows, |r| r.spent.hour_started_at),
        &all(rows, |r| r.spent.hour_sent),
        &all(rows, |r| r.spent.day_started_at),
        &all(rows, |r| r.spent.day_sent),
        &all(rows, |r| r.challenge.challenge_id),
        &all(rows, |r| r.challenge.purpose) as _,
        &all(rows, |r| r.challenge.channel.name()) as _,
        &all(rows, |r| r.challenge.identifier.as_str()) as _,
        &all(rows, |r| r.challenge.user_id) as _,
        &all(rows, |r| r.challenge.nonce.as_slice()) as _,
        &all(rows, |r| r.challenge.client.as_str()) as _,
        &all(rows, |r| r.challenge.expires_at),
        &all(rows, |_| id::ordered(now)),
        &all(rows, |r| &r.line.details) as _,
        &all(rows, |r| r.line.client.ip.to_string()),
        &all(rows, |r| r.line.client.user_agent.as_deref()) as _,
        &all(rows, |r| r.line.client.request_id.as_str()) as _,
        &all(rows, |r| r.delivery.delivery_id),
        &all(rows, |r| r.delivery.kind) as _,
        &all(rows, |r| r.delivery.language.as_str()) as _,
        &all(rows, |r| r.delivery.sends),
        &all(rows, |r| r.delivery.traceparent.as_deref()) as _,
        &all(rows, |r| r.job.job_id),
        &all(rows, |r| &r.job.payload) as _,
        &all(rows, |r| r.job.run_at),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether the day's text messages are below both caps; if so, `count` more are spent, else none. The
/// same rows are written either way. Sharded, so that no row is hot.
pub async fn spend_sms(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    prefix: &str,
    shard: i16,
    caps: SmsCaps,
    count: i32,
) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"WITH found AS (
               SELECT coalesce(sum(sent) FILTER (WHERE prefix = '*'), 0) < $4
                  AND coalesce(sum(sent) FILTER (WHERE prefix = $2), 0) < $5 AS within
               FROM sms_budgets
               WHERE day = ($1::timestamptz AT TIME ZONE 'UTC')::date AND prefix IN ('*', $2)
           ), spent AS (
               INSERT INTO sms_budgets AS b (day, prefix, shard, sent)
               SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date, p, $3, CASE WHEN within THEN $6::integer ELSE 0 END
               FROM found, unnest(ARRAY['*', $2]) AS p ORDER BY p
               ON CONFLICT (day, prefix, shard) DO UPDATE SET sent = b.sent + excluded.sent
           )
           SELECT within AS "within!" FROM found"#,
        now, prefix, shard, caps.all, caps.prefix, count,
    )
    .fetch_one(tx)
    .await
}

/// Locks an identifier, known or not, and reads its wrong tries.
pub async fn lock_tries(tx: &mut PgConnection, hash: &[u8], client: &str, now: DateTime<Utc>) -> Sql<Tries> {
    sqlx::query_as!(
        Tries,
        "WITH locked AS (
             INSERT INTO identifier_budgets AS b (identifier_hash, hour_started_at, day_started_at, touched_at)
             VALUES ($1, $3, $3, $3)
             ON CONFLICT (identifier_hash) DO UPDATE SET touched_at = excluded.touched_at
             RETURNING wrong_in_row
         )
         SELECT l.wrong_in_row, w.hour_started_at AS \"hour_started_at?\", w.tries AS \"hour_tries?\"
         FROM locked l LEFT JOIN wrong_tries w ON w.identifier_hash = $1 AND w.client = $2",
        hash, client, now,
    )
    .fetch_one(tx)
    .await
}

/// The challenges a code may prove: the one named, or those asked for from the same client.
pub async fn list_challenges(tx: &mut PgConnection, proof: &Proof, client: &str) -> Sql<Vec<Challenge>> {
    sqlx::query_as!(
        Challenge,
        "SELECT challenge_id, purpose, identifier, user_id, key_id, nonce, digits, tries, expires_at, used_at
         FROM challenges
         WHERE identifier = $1 AND purpose = $2
           AND (challenge_id = $3 OR ($3::uuid IS NULL AND client = $4))
         ORDER BY created_at DESC LIMIT 20",
        proof.identifier.as_str(),
        proof.purpose.name(),
        proof.challenge_id,
        client,
    )
    .fetch_all(tx)
    .await
}

/// Uses a challenge up and stores the token's hash; the identifier's row of failures ends.
pub async fn insert_token(
    tx: &mut PgConnection,
    hash: &[u8],
    token_hash: &[u8],
    challenge: &Challenge,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "WITH used AS (
             UPDATE challenges SET used_at = $4 WHERE challenge_id = $3
         ), reset AS (
             UPDATE identifier_budgets SET wrong_in_row = 0 WHERE identifier_hash = $1 AND wrong_in_row > 0
         )
         INSERT INTO verification_tokens (token_hash, purpose, identifier, user_id, challenge_id, created_at, expires_at)
         VALUES ($2, $5, $6, $7, $3, $4, $8)",
        hash, token_hash, challenge.challenge_id, now, challenge.purpose, challenge.identifier, challenge.user_id,
        expires_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A wrong try: on the identifier, on identifier and client, and on the challenge if one was named.
pub async fn count_wrong_try(
    tx: &mut PgConnection,
    hash: &[u8],
    client: &str,
    hour_started_at: DateTime<Utc>,
    challenge_id: Option<Uuid>,
) -> Sql<()> {
    sqlx::query!(
        "WITH row AS (
             UPDATE identifier_budgets SET wrong_in_row = wrong_in_row + 1 WHERE identifier_hash = $1
         ), challenge AS (
             UPDATE challenges SET tries = tries + 1 WHERE challenge_id = $4
         )
         INSERT INTO wrong_tries AS w (identifier_hash, client, hour_started_at, tries) VALUES ($1, $2, $3, 1)
         ON CONFLICT (identifier_hash, client) DO UPDATE SET
             tries = CASE WHEN w.hour_started_at = excluded.hour_started_at THEN w.tries + 1 ELSE 1 END,
             hour_started_at = excluded.hour_started_at",
        hash,
        client,
        hour_started_at,
        challenge_id,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A made-up code on its way.
#[derive(Clone, Debug)]
pub struct Sample {
    pub delivery_id: Uuid,
    pub challenge_id: Uuid,
    pub number: String,
    pub nonce: Vec<u8>,
}

/// Challenges and deliveries for `bench`.
pub async fn insert_sample(
    db: &sqlx::PgPool,
    rows: &[Sample],
    key_id: &str,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Sql<()> {
    let deliveries: Vec<Uuid> = rows.iter().map(|row| row.delivery_id).collect();
    let challenges: Vec<Uuid> = rows.iter().map(|row| row.challenge_id).collect();
    let numbers: Vec<String> = rows.iter().map(|row| row.number.clone()).collect();
    let nonces: Vec<Vec<u8>> = rows.iter().map(|row| row.nonce.clone()).collect();
    sqlx::query!(
        "WITH rows AS (
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[])
                 AS r(delivery_id, challenge_id, number, nonce)
         ), challenge AS (
             INSERT INTO challenges (challenge_id, purpose, channel, identifier, key_id, nonce, digits, client,
                                     created_at, expires_at)
             SELECT challenge_id, 'register', 'sms', number, $5, nonce, 6, 'bench', $6, $7 FROM rows
         )
         INSERT INTO deliveries (delivery_id, created_at, kind, channel, recipient, language, challenge_id, purpose,
                                 sends, state, expires_at)
         SELECT delivery_id, $6, 'otp_code', 'sms', number, 'en', challenge_id, 'register', true, 'queued', $7
         FROM rows",
        &deliveries, &challenges, &numbers, &nonces, key_id, now, expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
