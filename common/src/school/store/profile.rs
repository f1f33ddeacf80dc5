//! The rows of role profiles.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Sql;
use crate::school::fold;
use crate::school::profile::{DpAcademics, Hod, Trainee, Trainer};

/// The rows of one kind of profile.
pub trait ProfileRows: Sized + Send + Sync {
    /// Somebody's.
    fn find(db: &mut PgConnection, user_id: Uuid) -> impl Future<Output = Sql<Option<Self>>> + Send;
    /// Inserts it, or gives the row there is these values.
    fn put(&self, tx: &mut PgConnection) -> impl Future<Output = Sql<()>> + Send;
}

impl ProfileRows for Trainee {
    async fn find(db: &mut PgConnection, user_id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            Trainee,
            r#"SELECT user_id, admission_number, status AS "status: String", programme_id, class_group_id, intake,
                      created_at, updated_at
               FROM trainee_profiles WHERE user_id = $1"#,
            user_id,
        )
        .fetch_optional(db)
        .await
    }

    async fn put(&self, tx: &mut PgConnection) -> Sql<()> {
        sqlx::query!(
            "INSERT INTO trainee_profiles (user_id, admission_number, number_key, status, programme_id, class_group_id,
                                           intake, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (user_id) DO UPDATE SET
                 admission_number = excluded.admission_number, number_key = excluded.number_key,
                 status = excluded.status, programme_id = excluded.programme_id,
                 class_group_id = excluded.class_group_id, intake = excluded.intake,
                 updated_at = excluded.updated_at",
            self.user_id,
            self.admission_number,
            number_key(&self.admission_number),
            self.status.name(),
            self.programme_id,
            self.class_group_id,
            self.intake,
            self.created_at,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

impl ProfileRows for Trainer {
    async fn find(db: &mut PgConnection, user_id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            Trainer,
            "SELECT user_id, staff_number, qualifications, specialisation, teaching_load, department_id, created_at,
                    updated_at
             FROM trainer_profiles WHERE user_id = $1",
            user_id,
        )
        .fetch_optional(db)
        .await
    }

    async fn put(&self, tx: &mut PgConnection) -> Sql<()> {
        sqlx::query!(
            "INSERT INTO trainer_profiles (user_id, staff_number, number_key, qualifications, specialisation,
                                           teaching_load, department_id, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             ON CONFLICT (user_id) DO UPDATE SET
                 staff_number = excluded.staff_number, number_key = excluded.number_key,
                 qualifications = excluded.qualifications, specialisation = excluded.specialisation,
                 teaching_load = excluded.teaching_load, department_id = excluded.department_id,
                 updated_at = excluded.updated_at",
            self.user_id,
            self.staff_number,
            number_key(&self.staff_number),
            &self.qualifications,
            self.specialisation,
            self.teaching_load,
            self.department_id,
            self.created_at,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

impl ProfileRows for Hod {
    async fn find(db: &mut PgConnection, user_id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            Hod,
            "SELECT user_id, department_id, since, created_at, updated_at FROM hod_profiles WHERE user_id = $1",
            user_id,
        )
        .fetch_optional(db)
        .await
    }

    async fn put(&self, tx: &mut PgConnection) -> Sql<()> {
        sqlx::query!(
            "INSERT INTO hod_profiles (user_id, department_id, since, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id) DO UPDATE SET
                 department_id = excluded.department_id, since = excluded.since, updated_at = excluded.updated_at",
            self.user_id,
            self.department_id,
            self.since,
            self.created_at,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

impl ProfileRows for DpAcademics {
    async fn find(db: &mut PgConnection, user_id: Uuid) -> Sql<Option<Self>> {
        sqlx::query_as!(
            DpAcademics,
            "SELECT user_id, office, since, created_at, updated_at FROM dp_academics_profiles WHERE user_id = $1",
            user_id,
        )
        .fetch_optional(db)
        .await
    }

    async fn put(&self, tx: &mut PgConnection) -> Sql<()> {
        sqlx::query!(
            "INSERT INTO dp_academics_profiles (user_id, office, since, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id) DO UPDATE SET
                 office = excluded.office, since = excluded.since, updated_at = excluded.updated_at",
            self.user_id,
            self.office,
            self.since,
            self.created_at,
            self.updated_at,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// A number's letters and digits and what is between them, without case and spaces.
fn number_key(number: &str) -> String {
    fold(number).replace(' ', "")
}

/// How many people hold a place in a class group, but for one: trainees now, not deleted, neither done nor gone.
pub async fn count_trainees(tx: &mut PgConnection, class_group_id: Uuid, but: Uuid) -> Sql<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM trainee_profiles p JOIN users u ON u.user_id = p.user_id
           WHERE p.class_group_id = $1 AND p.user_id <> $2 AND p.status NOT IN ('graduated', 'withdrawn')
             AND u.role = 'trainee' AND u.status <> 'deleted'"#,
        class_group_id,
        but,
    )
    .fetch_one(tx)
    .await
}

/// Who is written down as the head of a department.
pub struct Head {
    pub user_id: Uuid,
    /// Whether they have the role and are not deleted.
    pub holds: bool,
}

/// The head of a department, if it is somebody else.
pub async fn find_other_head(tx: &mut PgConnection, department_id: Uuid, but: Uuid) -> Sql<Option<Head>> {
    sqlx::query_as!(
        Head,
        r#"SELECT p.user_id, (u.role = 'hod' AND u.status <> 'deleted') AS "holds!"
           FROM hod_profiles p JOIN users u ON u.user_id = p.user_id
           WHERE p.department_id = $1 AND p.user_id <> $2"#,
        department_id,
        but,
    )
    .fetch_optional(tx)
    .await
}

/// Deletes somebody's profile as head of a department.
pub async fn delete_head(tx: &mut PgConnection, user_id: Uuid) -> Sql<()> {
    sqlx::query!("DELETE FROM hod_profiles WHERE user_id = $1", user_id).execute(tx).await?;
    Ok(())
}
