//! The SQL of reminders: one statement a function, rows out, no decisions.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::user::completeness::Known;

type Sql<T> = Result<T, sqlx::Error>;

/// Somebody who may be reminded of something.
#[derive(Debug)]
pub struct Person {
    pub user_id: Uuid,
    pub created_at: DateTime<Utc>,
    pub name: bool,
    pub date_of_birth: bool,
    pub address: bool,
    pub emergency_contact: bool,
    pub emergency_phone: bool,
    pub identifier: bool,
    pub kyc_status: String,
    /// The last reminder of the profile they got; 0: none.
    pub profile_reminded: i16,
    /// The last reminder of a document they got; 0: none.
    pub kyc_reminded: i16,
}

impl Person {
    pub fn known(&self) -> Known {
        Known {
            name: self.name,
            date_of_birth: self.date_of_birth,
            address: self.address,
            emergency_contact: self.emergency_contact,
            emergency_phone: self.emergency_phone,
            identifier: self.identifier,
        }
    }
}

/// Active people by when they joined: after this one, and until a moment.
pub async fn list_joined(
    db: impl PgExecutor<'_>,
    (since, after): (DateTime<Utc>, Uuid),
    until: DateTime<Utc>,
    most: i64,
) -> Sql<Vec<Person>> {
    sqlx::query_as!(
        Person,
        r#"SELECT u.user_id, u.created_at,
                  (p.full_name IS NOT NULL OR (u.first_name IS NOT NULL AND u.last_name IS NOT NULL)) AS "name!",
                  p.date_of_birth IS NOT NULL AS "date_of_birth!", u.address IS NOT NULL AS "address!",
                  p.emergency_contact IS NOT NULL AS "emergency_contact!",
                  p.emergency_phone IS NOT NULL AS "emergency_phone!",
                  u.email_verified_at IS NOT NULL OR u.phone_verified_at IS NOT NULL AS "identifier!",
                  u.kyc_status,
                  coalesce((SELECT max(m.step) FROM reminders m
                            WHERE m.user_id = u.user_id AND m.kind = 'profile_completion_reminder'), 0::smallint)
                      AS "profile_reminded!",
                  coalesce((SELECT max(m.step) FROM reminders m
                            WHERE m.user_id = u.user_id AND m.kind = 'kyc_reminder'), 0::smallint)
                      AS "kyc_reminded!"
           FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id
           WHERE (u.created_at, u.user_id) > ($1, $2) AND u.created_at <= $3 AND u.status = 'active'
           ORDER BY u.created_at, u.user_id LIMIT $4"#,
        since,
        after,
        until,
        most,
    )
    .fetch_all(db)
    .await
}

/// Those of these people who are active, in order, so that two batches wait for each other.
pub async fn list_people(db: impl PgExecutor<'_>, people: &[Uuid]) -> Sql<Vec<Person>> {
    sqlx::query_as!(
        Person,
        r#"SELECT u.user_id, u.created_at,
                  (p.full_name IS NOT NULL OR (u.first_name IS NOT NULL AND u.last_name IS NOT NULL)) AS "name!",
                  p.date_of_birth IS NOT NULL AS "date_of_birth!", u.address IS NOT NULL AS "address!",
                  p.emergency_contact IS NOT NULL AS "emergency_contact!",
                  p.emergency_phone IS NOT NULL AS "emergency_phone!",
                  u.email_verified_at IS NOT NULL OR u.phone_verified_at IS NOT NULL AS "identifier!",
                  u.kyc_status,
                  coalesce((SELECT max(m.step) FROM reminders m
                            WHERE m.user_id = u.user_id AND m.kind = 'profile_completion_reminder'), 0::smallint)
                      AS "profile_reminded!",
                  coalesce((SELECT max(m.step) FROM reminders m
                            WHERE m.user_id = u.user_id AND m.kind = 'kyc_reminder'), 0::smallint)
                      AS "kyc_reminded!"
           FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id
           WHERE u.user_id = ANY($1) AND u.status = 'active' ORDER BY u.user_id"#,
        people,
    )
    .fetch_all(db)
    .await
}

/// Writes that somebody was reminded. False: they were already.
pub async fn insert(
    tx: &mut PgConnection,
    user_id: Uuid,
    kind: &str,
    step: i16,
    now: DateTime<Utc>,
) -> Sql<bool> {
    let done = sqlx::query!(
        "INSERT INTO reminders (user_id, kind, step, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        user_id,
        kind,
        step,
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}
