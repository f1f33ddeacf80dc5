//! Made-up codes, for `bench`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Sql;

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
