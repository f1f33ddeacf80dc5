//! The SQL of looking at deliveries.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Sql;

/// What a receipt is made from.
#[derive(Clone, Debug)]
pub struct Receipted {
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// What the code is for.
    pub purpose: Option<String>,
    /// As the row says.
    pub state: String,
    /// Tries so far.
    pub attempts: i16,
    /// When a worker first took it up.
    pub opened_at: Option<DateTime<Utc>>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
    /// Whether its code was proved.
    pub proved: bool,
    /// By which way the identifier asked for is reached.
    pub asked_channel: Option<String>,
}

/// The delivery behind a receipt.
pub async fn find_receipt(db: impl PgExecutor<'_>, delivery_id: Uuid) -> Sql<Option<Receipted>> {
    sqlx::query_as!(
        Receipted,
        r#"SELECT d.channel AS "channel!", d.purpose AS "purpose?", d.state::text AS "state!",
                  d.attempts AS "attempts!", d.opened_at AS "opened_at?", d.expires_at AS "expires_at!",
                  c.used_at IS NOT NULL AS "proved!", c.channel AS "asked_channel?"
           FROM deliveries d LEFT JOIN challenges c ON c.challenge_id = d.challenge_id
           WHERE d.delivery_id = $1"#,
        delivery_id,
    )
    .fetch_optional(db)
    .await
}

/// A delivery as operators see it; the recipient is masked by who shows it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub delivery_id: Uuid,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// `otp_code`, ...
    pub kind: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// Whole.
    pub recipient: String,
    /// Wanted.
    pub language: String,
    /// What the code is for.
    pub purpose: Option<String>,
    /// Whether a provider is called.
    pub sends: bool,
    /// As the row says.
    pub state: String,
    /// Tries so far.
    pub attempts: i16,
    /// The last one called.
    pub provider: Option<String>,
    /// Its name for the message.
    pub provider_id: Option<String>,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
    /// When a provider took it.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When nothing more was owed.
    pub finished_at: Option<DateTime<Utc>>,
    /// The request that asked.
    pub request_id: Option<String>,
}

/// Deliveries before a place in the order, newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    limit: i64,
    before_at: DateTime<Utc>,
    before_id: Uuid,
) -> Sql<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT delivery_id, created_at, kind, channel, recipient, language, purpose, sends,
                  state::text AS "state!", attempts, provider, provider_id, reason, expires_at, accepted_at,
                  finished_at, request_id
           FROM deliveries WHERE (created_at, delivery_id) < ($1, $2)
           ORDER BY created_at DESC, delivery_id DESC LIMIT $3"#,
        before_at,
        before_id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// One delivery.
pub async fn find(db: impl PgExecutor<'_>, delivery_id: Uuid) -> Sql<Option<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT delivery_id, created_at, kind, channel, recipient, language, purpose, sends,
                  state::text AS "state!", attempts, provider, provider_id, reason, expires_at, accepted_at,
                  finished_at, request_id
           FROM deliveries WHERE delivery_id = $1"#,
        delivery_id,
    )
    .fetch_optional(db)
    .await
}

/// One provider call.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which try, from 1.
    pub attempt: i16,
    /// Which provider in the order of failover, from 0.
    pub step: i16,
    /// Which was called.
    pub provider: String,
    /// Before the call.
    pub started_at: DateTime<Utc>,
    /// After it; none: the outcome is not known.
    pub finished_at: Option<DateTime<Utc>>,
    /// `accepted`, `retry`, `unknown`, `give_up`, `misconfigured`.
    pub outcome: Option<String>,
    /// The provider's name for the message.
    pub provider_id: Option<String>,
    /// Why not accepted.
    pub reason: Option<String>,
}

/// The provider calls of a delivery, in their order.
pub async fn list_attempts(db: impl PgExecutor<'_>, delivery_id: Uuid) -> Sql<Vec<Attempt>> {
    sqlx::query_as!(
        Attempt,
        "SELECT attempt, step, provider, started_at, finished_at, outcome, provider_id, reason
         FROM delivery_attempts WHERE delivery_id = $1 ORDER BY started_at, step",
        delivery_id,
    )
    .fetch_all(db)
    .await
}

/// A message the development inbox shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whole: development only.
    pub recipient: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// `otp_code`, ...
    pub kind: String,
    /// Of the text.
    pub language: String,
    /// What the code is for.
    pub purpose: Option<String>,
    /// When a provider took it.
    pub at: DateTime<Utc>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
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

/// What providers took, newest first.
pub async fn list_accepted(db: impl PgExecutor<'_>, limit: i64) -> Sql<Vec<Shown>> {
    sqlx::query_as!(
        Shown,
        r#"SELECT d.recipient AS "recipient!", d.channel AS "channel!", d.kind AS "kind!",
                  d.language AS "language!", d.purpose AS "purpose?", d.accepted_at AS "at!",
                  d.expires_at AS "expires_at!",
                  c.key_id AS "key_id?", c.nonce AS "nonce?", c.identifier AS "identifier?",
                  c.purpose AS "challenge_purpose?", c.digits AS "digits?", c.challenge_id AS "challenge_id?",
                  d.facts AS "facts!"
           FROM deliveries d LEFT JOIN challenges c ON c.challenge_id = d.challenge_id
           WHERE d.sends AND d.accepted_at IS NOT NULL
           ORDER BY d.created_at DESC, d.delivery_id DESC LIMIT $1"#,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Where a person can be told something, and in which language.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Of the text.
    pub language: String,
    /// Proved.
    pub email: Option<String>,
    /// Proved.
    pub phone_number: Option<String>,
    /// What they want, by kind and channel.
    pub preferences: Value,
    /// Their devices that are switched on and signed in, the last used first.
    pub devices: Vec<Uuid>,
}

/// How somebody is reached. A message goes to 20 devices at most.
pub async fn find_reach(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    now: DateTime<Utc>,
    idle_since: DateTime<Utc>,
) -> Sql<Option<Reach>> {
    sqlx::query_as!(
        Reach,
        r#"SELECT u.language, CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email,
                  CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone_number END AS phone_number,
                  coalesce(p.notification_preferences, '{}') AS "preferences!",
                  ARRAY(SELECT d.id FROM devices d
                        JOIN sessions s ON s.session_id = d.session_id AND s.user_id = d.user_id
                        WHERE d.user_id = u.user_id AND d.is_active
                          AND s.ended_at IS NULL AND s.expires_at > $2 AND s.last_used_at > $3
                        ORDER BY d.last_used DESC, d.id DESC LIMIT 20) AS "devices!"
           FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id WHERE u.user_id = $1"#,
        user_id,
        now,
        idle_since,
    )
    .fetch_optional(db)
    .await
}

/// What somebody wants to be told.
pub async fn find_preferences(db: impl PgExecutor<'_>, user_id: Uuid) -> Sql<Option<Value>> {
    sqlx::query_scalar!("SELECT notification_preferences FROM profiles WHERE user_id = $1", user_id)
        .fetch_optional(db)
        .await
}

/// A message in its recipient's own list.
#[derive(Clone, Debug)]
pub struct Own {
    /// Which.
    pub delivery_id: Uuid,
    /// `otp_code`, ...
    pub kind: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// As the row says.
    pub state: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// Somebody's messages since a moment, before a place in the order, newest first.
pub async fn list_own(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    since: DateTime<Utc>,
    before_at: DateTime<Utc>,
    before_id: Uuid,
    limit: i64,
) -> Sql<Vec<Own>> {
    sqlx::query_as!(
        Own,
        r#"SELECT delivery_id, kind, channel, state::text AS "state!", created_at, expires_at
           FROM deliveries
           WHERE user_id = $1 AND sends AND created_at > $2 AND created_at <= $3
             AND (created_at, delivery_id) < ($3, $4)
           ORDER BY created_at DESC, delivery_id DESC LIMIT $5"#,
        user_id,
        since,
        before_at,
        before_id,
        limit,
    )
    .fetch_all(db)
    .await
}

/// A delivery that waits, as far as its fallback goes.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which.
    pub delivery_id: Uuid,
    /// Its partition.
    pub created_at: DateTime<Utc>,
    /// `otp_code`, ...
    pub kind: String,
    /// `sms`, `email` or `push`.
    pub channel: String,
    /// What the code is for.
    pub purpose: Option<String>,
    /// Whose account it concerns.
    pub user_id: Option<Uuid>,
    /// When another channel was tried in its place.
    pub fell_back_at: Option<DateTime<Utc>>,
    /// Of no use after.
    pub expires_at: DateTime<Utc>,
}

/// A delivery that failed.
pub async fn find_lost(db: impl PgExecutor<'_>, delivery_id: Uuid) -> Sql<Option<Waiting>> {
    sqlx::query_as!(
        Waiting,
        "SELECT delivery_id, created_at, kind, channel, purpose, user_id, fell_back_at, expires_at
         FROM deliveries WHERE delivery_id = $1 AND sends AND state = 'failed'",
        delivery_id,
    )
    .fetch_optional(db)
    .await
}

/// A delivery that waits for a worker or for its next try.
pub async fn find_waiting(
    db: impl PgExecutor<'_>,
    delivery_id: Uuid,
    created_at: DateTime<Utc>,
) -> Sql<Option<Waiting>> {
    sqlx::query_as!(
        Waiting,
        "SELECT delivery_id, created_at, kind, channel, purpose, user_id, fell_back_at, expires_at
         FROM deliveries
         WHERE delivery_id = $1 AND created_at = $2 AND sends AND state IN ('queued', 'unknown')",
        delivery_id,
        created_at,
    )
    .fetch_optional(db)
    .await
}
