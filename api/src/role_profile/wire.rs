//! What role profiles look like on the wire.

use chrono::{DateTime, NaiveDate, Utc};
use keryu_common::config::Config;
use keryu_common::school::profile::{
    DpAcademics, DpAcademicsAsk, Hod, HodAsk, Trainee, TraineeAsk, TraineeStatus, Trainer, TrainerAsk,
};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use uuid::Uuid;

use crate::edge::body::Input;
use crate::edge::field::{DayIn, LineIn};

/// How a trainee stands.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case", remote = "TraineeStatus")]
pub enum TraineeStatusIn {
    /// In training.
    Active,
    /// Comes back later.
    Deferred,
    /// Sent away for a time.
    Suspended,
    /// Done.
    Graduated,
    /// Left, or sent away for good.
    Withdrawn,
}

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 5).unwrap_or_default()
}

fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default()
}

/// A trainee's profile.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TraineeProfileOut {
    /// Whose.
    user_id: Uuid,
    /// Unique, without regard to case and spaces: letters, digits, dots, slashes and dashes.
    admission_number: String,
    /// How they stand.
    status: TraineeStatusIn,
    /// What they train for.
    programme_id: Option<Uuid>,
    /// With whom: a class group of the programme.
    class_group_id: Option<Uuid>,
    /// The month in which they came: 2026-09.
    intake: Option<String>,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Trainee> for TraineeProfileOut {
    fn from(it: Trainee) -> Self {
        Self {
            user_id: it.user_id,
            admission_number: it.admission_number,
            status: it.status.into(),
            programme_id: it.programme_id,
            class_group_id: it.class_group_id,
            intake: it.intake,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for TraineeProfileOut {
    fn example() -> Self {
        Self {
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            admission_number: "DIT/0042/2026".to_owned(),
            status: TraineeStatusIn::Active,
            programme_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181)),
            class_group_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182)),
            intake: Some("2026-09".to_owned()),
            created_at: moment(),
            updated_at: moment(),
        }
    }
}

/// What a trainee's profile is to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TraineeProfileIn {
    /// Unique, without regard to case and spaces: letters, digits, dots, slashes and dashes.
    #[oai(validator(pattern = "^[A-Za-z0-9]([A-Za-z0-9 ./_-]{0,38}[A-Za-z0-9])?$"))]
    admission_number: String,
    /// How they stand.
    status: TraineeStatusIn,
    /// What they train for.
    programme_id: Option<Uuid>,
    /// With whom: a class group of the programme.
    class_group_id: Option<Uuid>,
    /// The month in which they came: 2026-09.
    #[oai(validator(pattern = "^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])$"))]
    intake: Option<String>,
}

impl Example for TraineeProfileIn {
    fn example() -> Self {
        Self {
            admission_number: "DIT/0042/2026".to_owned(),
            status: TraineeStatusIn::Active,
            programme_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6181)),
            class_group_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182)),
            intake: Some("2026-09".to_owned()),
        }
    }
}

impl Input for TraineeProfileIn {
    type Ask = TraineeAsk;
    fn ask(self, _: &Config) -> Option<TraineeAsk> {
        Some(TraineeAsk {
            admission_number: self.admission_number,
            status: self.status.into(),
            programme_id: self.programme_id,
            class_group_id: self.class_group_id,
            intake: self.intake,
        })
    }
}

/// A trainer's profile.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TrainerProfileOut {
    /// Whose.
    user_id: Uuid,
    /// Unique, without regard to case and spaces: letters, digits, dots, slashes and dashes.
    staff_number: String,
    /// As the trainer's papers have them.
    qualifications: Vec<String>,
    /// What they know best.
    specialisation: Option<String>,
    /// Hours a week.
    teaching_load: Option<i16>,
    /// Where they belong.
    department_id: Option<Uuid>,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Trainer> for TrainerProfileOut {
    fn from(it: Trainer) -> Self {
        Self {
            user_id: it.user_id,
            staff_number: it.staff_number,
            qualifications: it.qualifications,
            specialisation: it.specialisation,
            teaching_load: it.teaching_load,
            department_id: it.department_id,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for TrainerProfileOut {
    fn example() -> Self {
        Self {
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            staff_number: "T-0107".to_owned(),
            qualifications: vec!["BSc Computer Science".to_owned()],
            specialisation: Some("Databases".to_owned()),
            teaching_load: Some(18),
            department_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180)),
            created_at: moment(),
            updated_at: moment(),
        }
    }
}

/// What a trainer's profile is to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TrainerProfileIn {
    /// Unique, without regard to case and spaces: letters, digits, dots, slashes and dashes.
    #[oai(validator(pattern = "^[A-Za-z0-9]([A-Za-z0-9 ./_-]{0,38}[A-Za-z0-9])?$"))]
    staff_number: String,
    /// As the trainer's papers have them.
    #[oai(validator(max_items = 20))]
    qualifications: Option<Vec<LineIn>>,
    /// What they know best.
    specialisation: Option<LineIn>,
    /// Hours a week.
    #[oai(validator(minimum(value = "0"), maximum(value = "80")))]
    teaching_load: Option<i16>,
    /// Where they belong.
    department_id: Option<Uuid>,
}

impl Example for TrainerProfileIn {
    fn example() -> Self {
        Self {
            staff_number: "T-0107".to_owned(),
            qualifications: Some(vec![LineIn("BSc Computer Science".to_owned())]),
            specialisation: Some(LineIn("Databases".to_owned())),
            teaching_load: Some(18),
            department_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180)),
        }
    }
}

impl Input for TrainerProfileIn {
    type Ask = TrainerAsk;
    fn ask(self, _: &Config) -> Option<TrainerAsk> {
        Some(TrainerAsk {
            staff_number: self.staff_number,
            qualifications: self
                .qualifications
                .into_iter()
                .flatten()
                .map(|one| one.parse())
                .collect::<Option<_>>()?,
            specialisation: self.specialisation.as_ref().and_then(LineIn::parse),
            teaching_load: self.teaching_load,
            department_id: self.department_id,
        })
    }
}

/// A head of department's profile.
#[derive(Debug, Object)]
#[oai(example)]
pub struct HodProfileOut {
    /// Whose.
    user_id: Uuid,
    /// Of which they are the head.
    department_id: Uuid,
    /// From this day on; none to come.
    since: NaiveDate,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Hod> for HodProfileOut {
    fn from(it: Hod) -> Self {
        Self {
            user_id: it.user_id,
            department_id: it.department_id,
            since: it.since,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for HodProfileOut {
    fn example() -> Self {
        Self {
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            department_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            since: day(),
            created_at: moment(),
            updated_at: moment(),
        }
    }
}

/// What a head of department's profile is to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct HodProfileIn {
    /// Of which they are the head.
    department_id: Uuid,
    /// From this day on; none to come.
    since: DayIn,
}

impl Example for HodProfileIn {
    fn example() -> Self {
        Self {
            department_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6180),
            since: DayIn("2026-01-05".to_owned()),
        }
    }
}

impl Input for HodProfileIn {
    type Ask = HodAsk;
    fn ask(self, _: &Config) -> Option<HodAsk> {
        Some(HodAsk { department_id: self.department_id, since: self.since.parse()? })
    }
}

/// A deputy principal's profile.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DpAcademicsProfileOut {
    /// Whose.
    user_id: Uuid,
    /// Where they are found.
    office: String,
    /// From this day on; none to come.
    since: NaiveDate,
    /// Since when it is there.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<DpAcademics> for DpAcademicsProfileOut {
    fn from(it: DpAcademics) -> Self {
        Self {
            user_id: it.user_id,
            office: it.office,
            since: it.since,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

impl Example for DpAcademicsProfileOut {
    fn example() -> Self {
        Self {
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            office: "Administration block, room 12".to_owned(),
            since: day(),
            created_at: moment(),
            updated_at: moment(),
        }
    }
}

/// What a deputy principal's profile is to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DpAcademicsProfileIn {
    /// Where they are found.
    office: LineIn,
    /// From this day on; none to come.
    since: DayIn,
}

impl Example for DpAcademicsProfileIn {
    fn example() -> Self {
        Self {
            office: LineIn("Administration block, room 12".to_owned()),
            since: DayIn("2026-01-05".to_owned()),
        }
    }
}

impl Input for DpAcademicsProfileIn {
    type Ask = DpAcademicsAsk;
    fn ask(self, _: &Config) -> Option<DpAcademicsAsk> {
        Some(DpAcademicsAsk { office: self.office.parse()?, since: self.since.parse()? })
    }
}
