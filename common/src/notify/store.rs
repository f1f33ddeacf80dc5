//! The SQL of deliveries: one statement a function, rows out, no decisions.
//!
//! `open` and `close` run on arrays, one statement and one commit for a whole batch. They want
//! `enable_seqscan = off` on the pool: a plan kept from when the tables were small would read them whole.

mod read;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

pub use read::*;

use crate::job::store::NewJob;

type Sql<T> = Result<T, sqlx::Error>;

/// A delivery to insert.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Unguessable.
    pub delivery_id: Uuid,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// `otp_code`, ...
    pub kind: &'static str,
    /// `sms`, `email` or `push`.
    pub channel: &'static str,
    /// Normalised; a device by its id.
    pub recipient: String,
    /// Of the text.
    pub language: String,
    /// Whose account it concerns.
    pub user_id: Option<Uuid>,
    /// What the code is derived from.
    pub challenge_id: Option<Uuid>,
    /// What the code is for.
    pub purpose: Option<&'static str>,
    /// Whether a provider is called.
    pub sends: bool,
    /// What the text says besides its kind. No secret.
    pub facts: Value,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
    /// The request that asked.
    pub request_id: Option<String>,
    /// Its trace.
    pub traceparent: Option<String>,
    /// From the beginning for what stands in for another: that has no fallback of its own.
    pub fell_back_at: Option<DateTime<Utc>>,
}

/// Inserts a delivery and the job that sends it, in one statement.
pub async fn insert(tx: impl PgExecutor<'_>, delivery: &NewDelivery, job: &NewJob) -> Sql<()> {
    sqlx::query!(
        "WITH delivery AS (
             INSERT INTO deliveries (delivery_id, created_at, kind, channel, recipient, language, user_id,
                                     challenge_id, purpose, sends, state, expires_at, request_id, traceparent,
                                     facts, fell_back_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'queued', $11, $12, $13, $21, $22)
         )
         INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload,
                           run_at, expires_at, created_at, request_id, traceparent)
         VALUES ($14, $15, $16, $17, $18, 'available', true, $19, $20, $2, $11, $2, $12, $13)",
        delivery.delivery_id,
        delivery.created_at,
        delivery.kind,
        delivery.channel,
        delivery.recipient,
        delivery.language,
        delivery.user_id,
        delivery.challenge_id,
        delivery.purpose,
        delivery.sends,
        delivery.expires_at,
        delivery.request_id,
        delivery.traceparent,
        job.job_id,
        job.kind,
        job.version,
        job.queue.name(),
        job.priority,
        job.max_attempts,
        job.payload,
        delivery.facts,
        delivery.fell_back_at,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A delivery taken up, with what its text is made from.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Which.
    pub delivery_id: Uuid,
    /// Its partition.
    pub created_at: DateTime<Utc>,
    /// `otp_code`, ...
    pub kind: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// Whole; a device by its id.
    pub recipient: String,
    /// Wanted.
    pub language: String,
    /// Whose account it concerns.
    pub user_id: Option<Uuid>,
    /// What the code is for.
    pub purpose: Option<String>,
    /// When another channel was tried in its place.
    pub fell_back_at: Option<DateTime<Utc>>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
    /// `sending`: to be sent now, its attempt noted. Else nothing is owed any more.
    pub state: String,
    /// Which try this is, from 1.
    pub attempt: i16,
    /// When this step began: part of the attempt's key.
    pub started_at: DateTime<Utc>,
    /// The challenge's key.
    pub key_id: Option<String>,
    /// The challenge's random bytes.
    pub nonce: Option<Vec<u8>>,
    /// The challenge's identifier.
    pub identifier: Option<String>,
    /// The challenge's purpose.
    pub challenge_purpose: Option<String>,
    /// The code's length.
    pub digits: Option<i16>,
    /// The challenge, for a link.
    pub challenge_id: Option<Uuid>,
    /// What a notice says.
    pub facts: Value,
}

/// The providers that come first, by channel; none notes no attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Firsts {
    /// Of text messages.
    pub sms: Option<&'static str>,
    /// Of mail.
    pub email: Option<&'static str>,
    /// Of push messages.
    pub push: Option<&'static str>,
}

/// Takes deliveries up: marks each open one `sending` and notes the attempt, or ends it where nothing
/// is owed (time over, code used, nobody to send to). What is not open is left out. With `again`
/// a call whose end nobody knows is made once more; without it the delivery is held as `unknown`.
///
/// LATERAL with LIMIT, and `coalesce` around the state, leave the planner one way: probe each id. Without
/// statistics it takes the state for a rare value and reads all deliveries first (measured: 620 µs a row
/// in place of 30).
pub async fn open(
    db: impl PgExecutor<'_>,
    now: DateTime<Utc>,
    ids: &[Uuid],
    created: &[DateTime<Utc>],
    firsts: Firsts,
    again: &[bool],
) -> Sql<Vec<Opened>> {
    sqlx::query_as!(
        Opened,
        r#"WITH found AS (
               SELECT d.delivery_id, d.created_at, c.key_id, c.nonce, c.identifier,
                      c.purpose AS challenge_purpose, c.digits, c.challenge_id,
                      (CASE WHEN c.used_at IS NOT NULL AND d.attempts > 0 THEN 'delivered'
                            WHEN c.used_at IS NOT NULL OR d.expires_at <= $3
                                 OR (d.kind IN ('otp_code', 'verify_email_link') AND c.challenge_id IS NULL) THEN 'expired'
                            WHEN NOT d.sends THEN 'accepted'
                            WHEN NOT asked.again AND d.state <> 'queued' THEN 'unknown'
                            ELSE 'sending' END)::delivery_state AS next
               FROM unnest($1::uuid[], $2::timestamptz[], $6::bool[]) AS asked(id, at, again)
               CROSS JOIN LATERAL (SELECT * FROM deliveries d
                                   WHERE d.delivery_id = asked.id AND d.created_at = asked.at LIMIT 1) d
               LEFT JOIN challenges c ON c.challenge_id = d.challenge_id
               WHERE coalesce(d.state IN ('queued', 'sending', 'unknown'), false)
           ), opened AS (
               UPDATE deliveries d
               SET state = f.next,
                   opened_at = coalesce(d.opened_at, $3),
                   attempts = CASE WHEN f.next = 'sending' THEN d.attempts + 1 ELSE d.attempts END,
                   provider = CASE WHEN f.next <> 'sending' THEN d.provider WHEN d.channel = 'sms' THEN $4
                                   WHEN d.channel = 'email' THEN $5 ELSE $7 END,
                   accepted_at = CASE WHEN f.next = 'accepted' THEN $3 ELSE d.accepted_at END,
                   finished_at = CASE WHEN f.next = 'sending' THEN NULL ELSE $3 END,
                   reason = CASE f.next WHEN 'sending' THEN d.reason
                                        WHEN 'unknown' THEN coalesce(d.reason, 'the worker was lost during the call; held, not sent twice')
                                        WHEN 'delivered' THEN 'its code was used'
                                        WHEN 'accepted' THEN 'nobody has this identifier: nothing is sent'
                                        ELSE concat_ws('; ', 'its time was over', d.reason) END
               FROM found f
               WHERE d.delivery_id = f.delivery_id AND d.created_at = f.created_at
                 AND coalesce(d.state IN ('queued', 'sending', 'unknown'), false)
               RETURNING d.delivery_id, d.created_at, d.kind, d.channel, d.recipient, d.language, d.purpose,
                         d.user_id, d.fell_back_at, d.expires_at, d.state, d.provider, d.attempts, d.facts, f.key_id, f.nonce, f.identifier,
                         f.challenge_purpose, f.digits, f.challenge_id
           ), noted AS (
               INSERT INTO delivery_attempts (delivery_id, attempt, step, provider, started_at)
               SELECT delivery_id, attempts, 0, provider, $3 FROM opened
               WHERE state = 'sending' AND provider IS NOT NULL
           )
           SELECT delivery_id AS "delivery_id!", created_at AS "created_at!", kind AS "kind!",
                  channel AS "channel!", recipient AS "recipient!", language AS "language!", purpose AS "purpose?",
                  user_id AS "user_id?", fell_back_at AS "fell_back_at?",
                  expires_at AS "expires_at!", state::text AS "state!",
                  attempts AS "attempt!", $3 AS "started_at!",
                  key_id AS "key_id?", nonce AS "nonce?", identifier AS "identifier?",
                  challenge_purpose AS "challenge_purpose?", digits AS "digits?",
                  challenge_id AS "challenge_id?", facts AS "facts!"
           FROM opened"#,
        ids, created, now, firsts.sms, firsts.email, again, firsts.push,
    )
    .fetch_all(db)
    .await
}

/// The end of one step of a delivery.
#[derive(Clone, Debug)]
pub struct Closed {
    /// Which.
    pub delivery_id: Uuid,
    /// Its partition.
    pub created_at: DateTime<Utc>,
    /// Which try, from 1.
    pub attempt: i16,
    /// Which provider in the order of failover.
    pub step: i16,
    /// When the step began.
    pub started_at: DateTime<Utc>,
    /// `accepted`, `retry`, `unknown`, `give_up`, `misconfigured`.
    pub outcome: &'static str,
    /// Which was called.
    pub provider: &'static str,
    /// Its name for the message.
    pub provider_id: Option<String>,
    /// Why not accepted.
    pub reason: Option<String>,
    /// The delivery's state from here; `sending` where another provider follows.
    pub state: &'static str,
}

/// Writes the ends of steps to their attempts and deliveries. A report that came faster than this
/// keeps its word: only what is still `sending` changes its state.
pub async fn close(db: impl PgExecutor<'_>, now: DateTime<Utc>, ends: &[Closed]) -> Sql<u64> {
    let ids: Vec<Uuid> = ends.iter().map(|end| end.delivery_id).collect();
    let created: Vec<DateTime<Utc>> = ends.iter().map(|end| end.created_at).collect();
    let attempts: Vec<i16> = ends.iter().map(|end| end.attempt).collect();
    let steps: Vec<i16> = ends.iter().map(|end| end.step).collect();
    let started: Vec<DateTime<Utc>> = ends.iter().map(|end| end.started_at).collect();
    let outcomes: Vec<&str> = ends.iter().map(|end| end.outcome).collect();
    let providers: Vec<&str> = ends.iter().map(|end| end.provider).collect();
    let provider_ids: Vec<Option<&str>> = ends.iter().map(|end| end.provider_id.as_deref()).collect();
    let reasons: Vec<Option<&str>> = ends.iter().map(|end| end.reason.as_deref()).collect();
    let states: Vec<&str> = ends.iter().map(|end| end.state).collect();
    let done = sqlx::query!(
        "WITH ended AS (
             SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::smallint[],
                                  $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
                 AS e(delivery_id, created_at, attempt, step, started_at, outcome, provider, provider_id,
                      reason, state)
         ), noted AS (
             UPDATE delivery_attempts a
             SET finished_at = $11, outcome = e.outcome, provider_id = e.provider_id, reason = e.reason
             FROM ended e
             WHERE a.delivery_id = e.delivery_id AND a.attempt = e.attempt AND a.step = e.step
               AND a.started_at = e.started_at
         )
         UPDATE deliveries d
         SET state = CASE WHEN d.state = 'sending' AND d.attempts = e.attempt THEN e.state::delivery_state
                          -- a try that ends late: what a provider took is taken, all else is the later try's to say
                          WHEN d.state IN ('queued', 'sending', 'unknown') AND e.outcome = 'accepted' THEN 'accepted'
                          ELSE d.state END,
             provider = nullif(e.provider, ''),
             provider_id = coalesce(e.provider_id, d.provider_id),
             reason = CASE WHEN d.state = 'sending' AND d.attempts = e.attempt THEN e.reason ELSE d.reason END,
             accepted_at = CASE WHEN e.outcome = 'accepted' THEN coalesce(d.accepted_at, $11) ELSE d.accepted_at END,
             finished_at = CASE WHEN d.attempts = e.attempt AND e.state IN ('failed', 'expired') THEN $11 ELSE d.finished_at END
         FROM ended e
         WHERE d.delivery_id = e.delivery_id AND d.created_at = e.created_at",
        &ids, &created, &attempts, &steps, &started, &outcomes as _, &providers as _, &provider_ids as _,
        &reasons as _, &states as _, now,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Notes that another provider is about to be called.
pub async fn insert_attempt(
    db: impl PgExecutor<'_>,
    delivery_id: Uuid,
    attempt: i16,
    step: i16,
    provider: &str,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO delivery_attempts (delivery_id, attempt, step, provider, started_at) VALUES ($1, $2, $3, $4, $5)",
        delivery_id, attempt, step, provider, now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes a provider's report over, never backwards: `delivered` ends everything; `failed` ends what a
/// provider has or had. Answers whether it changed anything; none: there is no such delivery.
pub async fn set_reported(
    db: impl PgExecutor<'_>,
    delivery_id: Uuid,
    delivered: bool,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> Sql<Option<bool>> {
    sqlx::query_scalar!(
        r#"WITH moved AS (
               UPDATE deliveries
               SET state = CASE WHEN $2 THEN 'delivered' ELSE 'failed' END::delivery_state,
                   accepted_at = coalesce(accepted_at, $4), finished_at = $4,
                   reason = CASE WHEN $2 THEN NULL ELSE $3 END
               WHERE delivery_id = $1 AND sends AND attempts > 0 AND state <> 'delivered'
                 AND ($2 OR state IN ('sending', 'accepted', 'unknown'))
               RETURNING delivery_id
           )
           SELECT EXISTS (SELECT 1 FROM moved) AS "moved!" FROM deliveries WHERE delivery_id = $1"#,
        delivery_id,
        delivered,
        reason,
        now,
    )
    .fetch_optional(db)
    .await
}

/// Ends a notice that was taken on its other way: the two have their kind, their person and the moment of the
/// falling back in common.
pub async fn set_told_otherwise(
    db: impl PgExecutor<'_>,
    taken: Uuid,
    user_id: Uuid,
    kind: &str,
    fell_back_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "UPDATE deliveries SET state = 'failed', finished_at = $5, reason = 'told at the other address'
         WHERE user_id = $2 AND created_at BETWEEN $4::timestamptz - interval '26 hours' AND $4
           AND kind = $3 AND fell_back_at = $4 AND delivery_id <> $1 AND state IN ('queued', 'sending')",
        taken,
        user_id,
        kind,
        fell_back_at,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A delivery in whose place another channel is tried.
#[derive(Clone, Debug)]
pub struct Late {
    /// `otp_code`, ...
    pub kind: String,
    /// Whole.
    pub recipient: String,
    /// Of the text.
    pub language: String,
    /// Whose account it concerns.
    pub user_id: Uuid,
    /// What the code is derived from.
    pub challenge_id: Option<Uuid>,
    /// What the code is for.
    pub purpose: Option<String>,
    /// What the text says besides its kind.
    pub facts: Value,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// Takes the one fallback of a delivery that no provider has taken, whose time lasts and whose code nobody
/// has used, and of no notice that may have arrived; none where there is nothing to do.
pub async fn take_fallback(
    tx: &mut PgConnection,
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Sql<Option<Late>> {
    sqlx::query_as!(
        Late,
        r#"UPDATE deliveries d SET fell_back_at = $3
           WHERE d.delivery_id = $1 AND d.created_at = $2 AND d.fell_back_at IS NULL AND d.sends
             AND d.user_id IS NOT NULL AND d.expires_at > $3
             AND (d.state IN ('queued', 'sending', 'failed') OR d.state = 'unknown' AND d.kind = 'otp_code')
             AND NOT EXISTS (SELECT 1 FROM challenges c
                             WHERE c.challenge_id = d.challenge_id AND c.used_at IS NOT NULL)
           RETURNING d.kind, d.recipient, d.language, d.user_id AS "user_id!", d.challenge_id, d.purpose,
                     d.facts, d.expires_at"#,
        delivery_id,
        created_at,
        now,
    )
    .fetch_optional(tx)
    .await
}

/// Keeps what somebody wants to be told.
pub async fn set_preferences(
    tx: &mut PgConnection,
    user_id: Uuid,
    wanted: &Value,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO profiles (user_id, created_at, updated_at, notification_preferences) VALUES ($1, $3, $3, $2)
         ON CONFLICT (user_id) DO UPDATE SET notification_preferences = $2,
             updated_at = greatest($3, profiles.updated_at + interval '1 microsecond')",
        user_id,
        wanted,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Locks a delivery: its trace. None: there is no such one.
pub async fn lock(tx: &mut PgConnection, delivery_id: Uuid) -> Sql<Option<Option<String>>> {
    sqlx::query_scalar!("SELECT traceparent FROM deliveries WHERE delivery_id = $1 FOR UPDATE", delivery_id)
        .fetch_optional(tx)
        .await
}

/// Whether a provider is being asked: a call that began within the last minute has no end yet. Of a delivery
/// that is locked.
pub async fn is_being_sent(tx: &mut PgConnection, delivery_id: Uuid, now: DateTime<Utc>) -> Sql<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.delivery_id
               WHERE d.delivery_id = $1 AND d.state = 'sending' AND a.finished_at IS NULL
                 AND a.started_at > $2::timestamptz - interval '1 minute') AS "is!""#,
        delivery_id,
        now,
    )
    .fetch_one(tx)
    .await
}

/// Puts a delivery back at its beginning, unless its time is over or nobody would be sent anything.
pub async fn set_queued(tx: &mut PgConnection, delivery_id: Uuid, now: DateTime<Utc>) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE deliveries SET state = 'queued', finished_at = NULL, reason = 'sent again by an operator'
         WHERE delivery_id = $1 AND sends AND expires_at > $2",
        delivery_id,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Ends what nobody took in time: up to `most` of what ran out between two moments and is not held by
/// somebody. No message lives longer than a day.
pub async fn set_expired(
    db: impl PgExecutor<'_>,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    now: DateTime<Utc>,
    most: i64,
) -> Sql<u64> {
    let done = sqlx::query!(
        "UPDATE deliveries d SET state = 'expired', finished_at = $3,
                                 reason = concat_ws('; ', 'its time was over', reason)
         FROM (SELECT delivery_id, created_at FROM deliveries
               WHERE expires_at > $1 AND expires_at <= $2
                 AND created_at > $1::timestamptz - interval '26 hours' AND created_at <= $2
                 AND state IN ('queued', 'sending', 'unknown')
               LIMIT $4 FOR UPDATE SKIP LOCKED) due
         WHERE d.delivery_id = due.delivery_id AND d.created_at = due.created_at",
        from,
        until,
        now,
        most,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
