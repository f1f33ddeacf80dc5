//! The SQL of codes: one statement a function, rows out, no decisions.

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

/// Locks an identifier's sends, known or not, so that two taps count as two; and says who has proved it.
pub async fn lock_budget(
    tx: &mut PgConnection,
    hash: &[u8],
    now: DateTime<Utc>,
    identifier: &Identifier,
) -> Sql<Budget> {
    let (email, phone) = match identifier {
        Identifier::Email(text) => (Some(text), None),
        Identifier::Phone(text) => (None, Some(text)),
    };
    sqlx::query_as!(
        Budget,
        "INSERT INTO identifier_budgets AS b (identifier_hash, hour_started_at, day_started_at, touched_at)
         VALUES ($1, $2, $2, $2)
         ON CONFLICT (identifier_hash) DO UPDATE SET touched_at = excluded.touched_at
         RETURNING last_sent_at, hour_started_at, hour_sent, day_started_at, day_sent,
                   coalesce((SELECT user_id FROM users
                             WHERE email = $3 AND email_verified_at IS NOT NULL AND status <> 'deleted'),
                            (SELECT user_id FROM users
                             WHERE phone_number = $4 AND phone_verified_at IS NOT NULL AND status <> 'deleted')
                   ) AS user_id",
        hash, now, email, phone,
    )
    .fetch_one(tx)
    .await
}

/// Everything a granted request writes, in one statement: the counters, the challenge, the audit line,
/// the delivery and its job. One round trip in place of five is what a request's rate hangs on.
pub async fn insert_request(
    tx: &mut PgConnection,
    hash: &[u8],
    spent: &Spent,
    challenge: &NewChallenge,
    line: &Line<'_>,
    delivery: &NewDelivery,
    job: &NewJob,
) -> Sql<()> {
    sqlx::query!(
        "WITH budget AS (
             UPDATE identifier_budgets SET last_sent_at = $2, hour_started_at = $3, hour_sent = $4,
                                           day_started_at = $5, day_sent = $6
             WHERE identifier_hash = $1
         ), challenge AS (
             INSERT INTO challenges (challenge_id, purpose, channel, identifier, user_id, key_id, nonce, digits,
                                     client, created_at, expires_at)
             VALUES ($7, $8, $9, $10, $11, $12, $13, $14, $15, $2, $16)
         ), line AS (
             INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details, ip_address, user_agent, request_id)
             VALUES ($17, $2, $18, $19, $20, $21, $22, $23, $24)
         ), delivery AS (
             INSERT INTO deliveries (delivery_id, created_at, kind, channel, recipient, language, user_id,
                                     challenge_id, purpose, sends, state, expires_at, request_id, traceparent)
             VALUES ($25, $2, $26, $9, $10, $27, $11, $7, $8, $28, 'queued', $16, $24, $29)
         )
         INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload,
                           run_at, expires_at, created_at, request_id, traceparent)
         VALUES ($30, $31, $32, $33, $34,
                 CASE WHEN $37::timestamptz <= $2::timestamptz THEN 'available' ELSE 'scheduled' END::job_state,
                 $37 <= $2, $35, $36, $37, $16, $2, $24, $29)",
        hash, spent.sent_at, spent.hour_started_at, spent.hour_sent, spent.day_started_at, spent.day_sent,
        challenge.challenge_id, challenge.purpose, challenge.channel.name(), challenge.identifier,
        challenge.user_id, challenge.key_id, &challenge.nonce, challenge.digits, challenge.client,
        challenge.expires_at,
        id::ordered(line.at), line.action, line.entity_type, line.entity_id, line.details,
        line.client.ip.to_string(), line.client.user_agent, line.client.request_id,
        delivery.delivery_id, delivery.kind, delivery.language, delivery.sends, delivery.traceparent,
        job.job_id, job.kind, job.version, job.queue.name(), job.priority, job.max_attempts, job.payload,
        job.run_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether the day's text messages are below both caps; if so, `count` more are spent, else none. The
/// same rows are written either way. Sharded, so that no row is hot.
pub async fn spend_sms(
    tx: &mut PgConnection, now: DateTime<Utc>, prefix: &str, shard: i16, caps: SmsCaps, count: i32,
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
