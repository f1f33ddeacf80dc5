//! The SQL of codes: one statement a function, rows out, no decisions. Asking is here, proving in `prove`.

mod prove;
mod sample;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use prove::*;
pub use sample::*;

use super::budget::{Budget, SmsCaps, Spent};
use super::counter::{Columns, Counter};
use super::order::Standing;
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
    pub session_id: Option<Uuid>,
    pub key_id: String,
    pub nonce: [u8; 16],
    pub digits: i16,
    pub client: String,
    pub expires_at: DateTime<Utc>,
}

/// A granted request: everything it writes.
pub(super) struct Granted<'a> {
    /// Names the identifier in the audit.
    pub hash: &'a [u8],
    /// In which row its sends count.
    pub counter: Vec<u8>,
    pub spent: Spent,
    pub challenge: NewChallenge,
    pub line: Line<'a>,
    pub delivery: NewDelivery,
    pub job: NewJob,
}

/// An identifier whose sends are locked.
pub(super) struct Locked {
    /// In which row they count.
    pub counter: Vec<u8>,
    pub budget: Budget,
    pub standing: Standing,
}

/// Locks the sends of distinct identifiers, known or not, in one order for all, so that two taps count as
/// two; and says who has proved each. By everybody's hash. LATERAL with LIMIT: probes, whatever the planner
/// takes the tables for.
pub(super) async fn lock_budgets<'a>(
    tx: &mut PgConnection,
    asked: impl Iterator<Item = (&'a Counter, &'a Identifier)>,
    now: DateTime<Utc>,
) -> Sql<HashMap<Vec<u8>, Locked>> {
    let Columns { plain, token, sends, email, phone, .. } = Columns::of(asked);
    let rows = sqlx::query!(
        r#"WITH asked AS (
               SELECT a.hash, o.user_id, o.language, coalesce(h.held, false) AS held,
                      CASE WHEN d.user_id = o.user_id THEN a.own ELSE a.hash END AS counter
               FROM unnest($1::bytea[], $2::text[], $3::text[], $5::bytea[], $6::bytea[])
                   AS a(hash, email, phone, token, own)
               LEFT JOIN LATERAL (
                   (SELECT user_id, language FROM users
                    WHERE email = a.email AND email_verified_at IS NOT NULL AND status <> 'deleted' LIMIT 1)
                   UNION ALL
                   (SELECT user_id, language FROM users
                    WHERE phone_number = a.phone AND phone_verified_at IS NOT NULL AND status <> 'deleted' LIMIT 1)
               ) o ON true
               LEFT JOIN LATERAL (
                   (SELECT true AS held FROM users
                    WHERE email = a.email AND email_verified_at IS NULL AND status <> 'deleted' LIMIT 1)
                   UNION ALL
                   (SELECT true FROM users
                    WHERE phone_number = a.phone AND phone_verified_at IS NULL AND status <> 'deleted' LIMIT 1)
               ) h ON true
               LEFT JOIN LATERAL (
                   SELECT user_id FROM device_tokens WHERE token_hash = a.token AND expires_at > $4 LIMIT 1
               ) d ON true
           ), locked AS (
               INSERT INTO identifier_budgets AS b (identifier_hash, hour_started_at, day_started_at, touched_at)
               SELECT counter, $4, $4, $4 FROM asked ORDER BY counter
               ON CONFLICT (identifier_hash) DO UPDATE SET touched_at = excluded.touched_at
               RETURNING identifier_hash, last_sent_at, hour_started_at, hour_sent, day_started_at, day_sent
           )
           SELECT a.hash AS "hash!", a.counter AS "counter!", l.last_sent_at,
                  l.hour_started_at AS "hour_started_at!", l.hour_sent AS "hour_sent!",
                  l.day_started_at AS "day_started_at!", l.day_sent AS "day_sent!",
                  a.user_id AS "user_id?", a.language AS "language?", a.held AS "held!"
           FROM locked l JOIN asked a ON a.counter = l.identifier_hash"#,
        &plain as _, &email as _, &phone as _, now, &token as _, &sends as _,
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
            };
            let standing = Standing { owner: row.user_id, language: row.language, held: row.held };
            (row.hash, Locked { counter: row.counter, budget, standing })
        })
        .collect())
}

/// Whether an identifier is this person's; and if so, whether it is proved.
pub async fn find_own(tx: &mut PgConnection, user_id: Uuid, identifier: &Identifier) -> Sql<Option<bool>> {
    let (email, phone) = identifier.columns();
    sqlx::query_scalar!(
        r#"SELECT CASE WHEN email = $2 THEN email_verified_at IS NOT NULL
                       ELSE phone_verified_at IS NOT NULL END AS "proved!"
           FROM users WHERE user_id = $1 AND (email = $2 OR phone_number = $3)"#,
        user_id,
        email,
        phone,
    )
    .fetch_optional(tx)
    .await
}

/// Everything granted requests write, in one statement: the counters, the challenges, the audit lines,
/// the deliveries and their jobs.
pub(super) async fn insert_requests(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    rows: &[Granted<'_>],
) -> Sql<()> {
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
                 $34::timestamptz[], $35::bytea[], $36::uuid[], $37::uuid[], $38::uuid[])
             AS r(hash, hour_started_at, hour_sent, day_started_at, day_sent,
                  challenge_id, purpose, channel, identifier, user_id, nonce, client,
                  expires_at, audit_id, details, ip, user_agent, request_id,
                  delivery_id, message, language, sends, traceparent, job_id, payload, run_at,
                  counter, session_id, concerns, actor)
         ), budget AS (
             UPDATE identifier_budgets b SET last_sent_at = $1, hour_started_at = r.hour_started_at,
                 hour_sent = r.hour_sent, day_started_at = r.day_started_at, day_sent = r.day_sent
             FROM rows r WHERE b.identifier_hash = r.counter
         ), challenge AS (
             INSERT INTO challenges (challenge_id, purpose, channel, identifier, user_id, key_id, nonce, digits,
                                     client, created_at, expires_at, session_id)
             SELECT challenge_id, purpose, channel, identifier, user_id, $2, nonce, $3, client, $1, expires_at,
                    session_id
             FROM rows
         ), line AS (
             INSERT INTO audit (audit_id, at, action, entity_type, entity_id, details, ip_address, user_agent,
                                request_id, actor, session_id)
             SELECT audit_id, $1, 'otp.requested', 'identifier', encode(hash, 'hex'), details, ip, user_agent,
                    request_id, actor, session_id FROM rows
         ), delivery AS (
             INSERT INTO deliveries (delivery_id, created_at, kind, channel, recipient, language, user_id,
                                     challenge_id, purpose, sends, state, expires_at, request_id, traceparent)
             SELECT delivery_id, $1, message, channel, identifier, language, concerns, challenge_id, purpose, sends,
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
        &all(rows, |r| r.counter.as_slice()) as _,
        &all(rows, |r| r.challenge.session_id) as _,
        &all(rows, |r| r.delivery.user_id) as _,
        &all(rows, |r| r.line.actor) as _,
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
