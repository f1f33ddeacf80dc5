//! The SQL of seeding: whole batches in one statement each.

mod school;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::person::SeedPerson;
pub use school::*;

type Sql<T> = Result<T, sqlx::Error>;

/// This transaction's commit need not be on disk: a seed can be planted again.
pub async fn set_relaxed(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SET LOCAL synchronous_commit = off").execute(tx).await?;
    Ok(())
}

/// Inserts people who have proved what they have. Whoever is there already, or whose name or identifier
/// somebody has, is left out. Answers with those who came.
pub async fn insert_people(tx: &mut PgConnection, people: &[SeedPerson]) -> Sql<Vec<Uuid>> {
    let ids: Vec<Uuid> = people.iter().map(|one| one.user_id).collect();
    let usernames: Vec<&str> = people.iter().map(|one| one.username.as_str()).collect();
    let skeletons: Vec<&str> = people.iter().map(|one| one.skeleton.as_str()).collect();
    let emails: Vec<Option<&str>> = people.iter().map(|one| one.email.as_deref()).collect();
    let phones: Vec<Option<&str>> = people.iter().map(|one| one.phone_number.as_deref()).collect();
    let languages: Vec<&str> = people.iter().map(|one| one.language).collect();
    let roles: Vec<&str> = people.iter().map(|one| one.role).collect();
    let codes: Vec<&str> = people.iter().map(|one| one.referral_code.as_str()).collect();
    let first_names: Vec<&str> = people.iter().map(|one| one.first_name).collect();
    let last_names: Vec<&str> = people.iter().map(|one| one.last_name).collect();
    let genders: Vec<&str> = people.iter().map(|one| one.gender).collect();
    let joined: Vec<DateTime<Utc>> = people.iter().map(|one| one.created_at).collect();
    sqlx::query_scalar!(
        "INSERT INTO users (user_id, username, username_skeleton, email, phone_number, email_verified_at,
                            phone_verified_at, ever_verified_at, language, role, referral_code, first_name, last_name, gender,
                            created_at, updated_at)
         SELECT n.user_id, n.username, n.skeleton, n.email, n.phone,
                CASE WHEN n.email IS NOT NULL THEN n.at END, CASE WHEN n.phone IS NOT NULL THEN n.at END,
                CASE WHEN n.email IS NOT NULL OR n.phone IS NOT NULL THEN n.at END, n.language, n.role, n.code, n.first_name, n.last_name, n.gender, n.at, n.at
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[])
             AS n(user_id, username, skeleton, email, phone, language, role, code, first_name, last_name,
                  gender, at)
         ON CONFLICT DO NOTHING RETURNING user_id",
        &ids,
        &usernames as _,
        &skeletons as _,
        &emails as _,
        &phones as _,
        &languages as _,
        &roles as _,
        &codes as _,
        &first_names as _,
        &last_names as _,
        &genders as _,
        &joined,
    )
    .fetch_all(tx)
    .await
}

/// Inserts people's own keys, sealed.
pub async fn insert_keys(tx: &mut PgConnection, ids: &[Uuid], sealed: &[Vec<u8>]) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO user_keys (user_id, sealed) SELECT * FROM unnest($1::uuid[], $2::bytea[])",
        ids,
        sealed,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Inserts empty profiles.
pub async fn insert_profiles(tx: &mut PgConnection, ids: &[Uuid], now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO profiles (user_id, created_at, updated_at) SELECT id, $2, $2 FROM unnest($1::uuid[]) AS n(id)",
        ids,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives all the same password.
pub async fn insert_passwords(
    tx: &mut PgConnection,
    ids: &[Uuid],
    hash: &str,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO passwords (user_id, hash, changed_at) SELECT id, $2, $3 FROM unnest($1::uuid[]) AS n(id)",
        ids,
        hash,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Tells the planner what is there now.
pub async fn set_statistics(db: &mut PgConnection) -> Sql<()> {
    sqlx::query!(
        "ANALYZE users, user_keys, profiles, passwords, sessions, departments, programmes, class_groups,
                 trainee_profiles, trainer_profiles, hod_profiles, dp_academics_profiles, assignments"
    )
    .execute(db)
    .await?;
    Ok(())
}
