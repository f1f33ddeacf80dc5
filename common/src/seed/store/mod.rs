//! The SQL of seeding: whole batches in one statement each.

mod life;
mod school;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::life::Life;
use super::person::SeedPerson;
pub use life::*;
pub use school::*;

type Sql<T> = Result<T, sqlx::Error>;

/// This transaction's commit need not be on disk: a seed can be planted again.
pub async fn set_relaxed(tx: &mut PgConnection) -> Sql<()> {
    sqlx::query!("SET LOCAL synchronous_commit = off").execute(tx).await?;
    Ok(())
}

/// Inserts people who have proved what they have. Whoever is there already, or whose name or identifier
/// somebody has, is left out. Answers with those who came.
pub async fn insert_people(tx: &mut PgConnection, people: &[SeedPerson], lives: &[Life]) -> Sql<Vec<Uuid>> {
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
    let addresses: Vec<Option<&str>> = lives.iter().map(Life::address).collect();
    let referrers: Vec<Option<Uuid>> = lives.iter().map(|life| life.referrer).collect();
    let documents: Vec<&str> = lives.iter().map(Life::kyc_status).collect();
    sqlx::query_scalar!(
        "INSERT INTO users (user_id, username, username_skeleton, email, phone_number, email_verified_at,
                            phone_verified_at, ever_verified_at, language, role, referral_code, first_name, last_name, gender,
                            address, referred_by, kyc_status, created_at, updated_at)
         SELECT n.user_id, n.username, n.skeleton, n.email, n.phone,
                CASE WHEN n.email IS NOT NULL THEN n.at END, CASE WHEN n.phone IS NOT NULL THEN n.at END,
                CASE WHEN n.email IS NOT NULL OR n.phone IS NOT NULL THEN n.at END, n.language, n.role, n.code, n.first_name, n.last_name, n.gender,
                n.address, n.referrer, n.kyc_status, n.at, n.at
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::text[],
                     $14::uuid[], $15::text[])
             AS n(user_id, username, skeleton, email, phone, language, role, code, first_name, last_name,
                  gender, at, address, referrer, kyc_status)
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
        &addresses as _,
        &referrers as &[Option<Uuid>],
        &documents as _,
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

/// Inserts profiles, empty ones of who says nothing of themselves.
pub async fn insert_profiles(
    tx: &mut PgConnection,
    people: &[(&SeedPerson, &Life)],
    now: DateTime<Utc>,
) -> Sql<()> {
    let ids: Vec<Uuid> = people.iter().map(|(one, _)| one.user_id).collect();
    let profiles = || people.iter().map(|(_, life)| life.profile.as_ref());
    let names: Vec<Option<&str>> = profiles().map(|told| Some(told?.full_name.as_str())).collect();
    let born: Vec<Option<NaiveDate>> = profiles().map(|told| Some(told?.date_of_birth)).collect();
    let contact = || profiles().map(|told| told?.emergency.as_ref());
    let contacts: Vec<Option<&str>> = contact().map(|told| Some(told?.0.as_str())).collect();
    let phones: Vec<Option<&str>> = contact().map(|told| Some(told?.1.as_str())).collect();
    let preferences: Vec<Option<&Value>> = profiles().map(|told| Some(&told?.preferences)).collect();
    sqlx::query!(
        "INSERT INTO profiles (user_id, full_name, date_of_birth, emergency_contact, emergency_phone,
                               notification_preferences, created_at, updated_at)
         SELECT n.id, n.name, n.born, n.contact, n.phone, coalesce(n.preferences, '{}'), $7, $7
         FROM unnest($1::uuid[], $2::text[], $3::date[], $4::text[], $5::text[], $6::jsonb[])
              AS n(id, name, born, contact, phone, preferences)",
        &ids,
        &names as _,
        &born as &[Option<NaiveDate>],
        &contacts as _,
        &phones as _,
        &preferences as _,
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
                 trainee_profiles, trainer_profiles, hod_profiles, dp_academics_profiles, assignments, kyc_submissions,
                 consents, ledger_accounts, postings, entries, usage_events, usage_summaries, usage_months,
                 usage_favourites"
    )
    .execute(db)
    .await?;
    Ok(())
}
