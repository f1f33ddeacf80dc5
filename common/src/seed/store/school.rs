//! The SQL of seeding a school: columns in, one statement a kind; what is there already is left as it is.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Sql;

/// Inserts departments.
pub async fn insert_departments(
    tx: &mut PgConnection,
    ids: &[Uuid],
    names: &[&str],
    keys: &[String],
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO departments (department_id, name, name_key, created_at, updated_at)
         SELECT n.id, n.name, n.key, $4, $4 FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n(id, name, key)
         ON CONFLICT DO NOTHING",
        ids,
        names as _,
        keys,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Programmes, with the folded name of their department.
#[derive(Default)]
pub struct Programmes {
    pub ids: Vec<Uuid>,
    pub departments: Vec<String>,
    pub names: Vec<String>,
    pub keys: Vec<String>,
    pub levels: Vec<&'static str>,
    pub months: Vec<i16>,
}

/// Inserts programmes.
pub async fn insert_programmes(tx: &mut PgConnection, new: &Programmes, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO programmes (programme_id, department_id, name, name_key, level, duration_months, created_at,
                                 updated_at)
         SELECT n.id, d.department_id, n.name, n.key, n.level, n.months, $7, $7
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[])
              AS n(id, department, name, key, level, months)
         JOIN departments d ON d.name_key = n.department
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.departments,
        &new.names,
        &new.keys,
        &new.levels as _,
        &new.months,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Class groups, with the folded name of their programme.
#[derive(Default)]
pub struct Groups {
    pub ids: Vec<Uuid>,
    pub programmes: Vec<String>,
    pub names: Vec<String>,
    pub keys: Vec<String>,
    pub intakes: Vec<&'static str>,
}

/// Inserts class groups.
pub async fn insert_groups(tx: &mut PgConnection, new: &Groups, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO class_groups (class_group_id, programme_id, name, name_key, intake, created_at, updated_at)
         SELECT n.id, p.programme_id, n.name, n.key, n.intake, $6, $6
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS n(id, programme, name, key, intake)
         JOIN programmes p ON p.name_key = n.programme
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.programmes,
        &new.names,
        &new.keys,
        &new.intakes as _,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A class group, and what it belongs to.
pub struct Place {
    pub class_group_id: Uuid,
    pub programme_id: Uuid,
    pub department_id: Uuid,
    pub intake: Option<String>,
}

/// The class groups of these folded names that take as many as come.
pub async fn list_groups(tx: &mut PgConnection, keys: &[String]) -> Sql<Vec<Place>> {
    sqlx::query_as!(
        Place,
        "SELECT g.class_group_id, g.programme_id, p.department_id, g.intake
         FROM class_groups g JOIN programmes p ON p.programme_id = g.programme_id
         WHERE g.name_key = ANY($1) AND g.capacity IS NULL ORDER BY g.name_key",
        keys,
    )
    .fetch_all(tx)
    .await
}

/// Trainees.
#[derive(Default)]
pub struct Trainees {
    pub ids: Vec<Uuid>,
    pub numbers: Vec<String>,
    pub keys: Vec<String>,
    pub statuses: Vec<&'static str>,
    pub programmes: Vec<Uuid>,
    pub groups: Vec<Uuid>,
    pub intakes: Vec<Option<String>>,
}

/// Inserts trainees' profiles.
pub async fn insert_trainees(tx: &mut PgConnection, new: &Trainees, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO trainee_profiles (user_id, admission_number, number_key, status, programme_id, class_group_id, intake,
                                       created_at, updated_at)
         SELECT n.*, $8, $8
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[]) AS n
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.numbers,
        &new.keys,
        &new.statuses as _,
        &new.programmes,
        &new.groups,
        &new.intakes as _,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Trainers.
#[derive(Default)]
pub struct Trainers {
    pub ids: Vec<Uuid>,
    pub numbers: Vec<String>,
    pub keys: Vec<String>,
    pub qualifications: Vec<String>,
    pub subjects: Vec<&'static str>,
    pub loads: Vec<i16>,
    pub departments: Vec<Uuid>,
}

/// Inserts trainers' profiles, with one qualification each.
pub async fn insert_trainers(tx: &mut PgConnection, new: &Trainers, now: DateTime<Utc>) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO trainer_profiles (user_id, staff_number, number_key, qualifications, specialisation, teaching_load,
                                       department_id, created_at, updated_at)
         SELECT n.id, n.number, n.key, ARRAY[n.qualification], n.subject, n.load, n.department, $8, $8
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::uuid[])
              AS n(id, number, key, qualification, subject, load, department)
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.numbers,
        &new.keys,
        &new.qualifications,
        &new.subjects as _,
        &new.loads,
        &new.departments,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Heads of departments.
#[derive(Default)]
pub struct Heads {
    pub ids: Vec<Uuid>,
    pub departments: Vec<Uuid>,
}

/// Inserts heads' profiles, of departments that have none.
pub async fn insert_heads(
    tx: &mut PgConnection,
    new: &Heads,
    since: NaiveDate,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO hod_profiles (user_id, department_id, since, created_at, updated_at)
         SELECT n.id, n.department, $3, $4, $4 FROM unnest($1::uuid[], $2::uuid[]) AS n(id, department)
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.departments,
        since,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Inserts deputy principals' profiles.
pub async fn insert_deputies(
    tx: &mut PgConnection,
    ids: &[Uuid],
    since: NaiveDate,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO dp_academics_profiles (user_id, office, since, created_at, updated_at)
         SELECT id, 'Administration block', $2, $3, $3 FROM unnest($1::uuid[]) AS n(id)
         ON CONFLICT DO NOTHING",
        ids,
        since,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Who teaches what to which class group.
#[derive(Default)]
pub struct Assigned {
    pub ids: Vec<Uuid>,
    pub people: Vec<Uuid>,
    pub groups: Vec<Uuid>,
    pub titles: Vec<&'static str>,
    pub keys: Vec<String>,
}

/// Inserts assignments.
pub async fn insert_assignments(
    tx: &mut PgConnection,
    new: &Assigned,
    from: NaiveDate,
    now: DateTime<Utc>,
) -> Sql<()> {
    sqlx::query!(
        "INSERT INTO assignments (assignment_id, user_id, class_group_id, title, title_key, from_day, created_at)
         SELECT n.id, n.person, n.class_group, n.title, n.key, $6, $7
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[])
              AS n(id, person, class_group, title, key)
         ON CONFLICT DO NOTHING",
        &new.ids,
        &new.people,
        &new.groups,
        &new.titles as _,
        &new.keys,
        from,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}
