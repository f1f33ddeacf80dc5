//! A school that might exist: eight departments with their programmes and class groups, the same for every seed, and
//! role profiles and assignments of the first people. What is there already is left as it is.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::{Builder, Uuid};

use super::person::{Dice, SeedPerson};
use super::store::{self, Assigned, Groups, Heads, Programmes, Trainees, Trainers};
use crate::error::Result;
use crate::school::fold;

const DEPARTMENTS: [(&str, [&str; 3]); 8] = [
    ("Computing and Informatics", ["Information Technology", "Computer Science", "Cyber Security"]),
    ("Building and Civil Engineering", ["Building Technology", "Civil Engineering", "Quantity Surveying"]),
    ("Electrical Engineering", ["Electrical Installation", "Electronics", "Solar Technology"]),
    ("Mechanical Engineering", ["Automotive Engineering", "Welding and Fabrication", "Plant Operation"]),
    ("Business Studies", ["Accountancy", "Human Resource Management", "Supply Chain Management"]),
    ("Hospitality", ["Food Production", "Housekeeping", "Tourism Management"]),
    ("Agriculture", ["Crop Production", "Animal Health", "Agribusiness"]),
    ("Health Sciences", ["Nutrition", "Community Health", "Medical Laboratory"]),
];
const LEVELS: [(&str, &str, i16); 2] = [("Certificate", "certificate", 12), ("Diploma", "diploma", 24)];
const INTAKES: [&str; 3] = ["2026-01", "2026-05", "2026-09"];
const SUBJECTS: [&str; 6] =
    ["Mathematics", "Communication Skills", "Workshop Practice", "Entrepreneurship", "Drawing", "Safety"];
const DEGREES: [&str; 4] = ["BSc", "BEd", "MSc", "Higher Diploma"];

/// The id of the one of a kind with this number.
fn of(kind: u8, number: usize) -> Uuid {
    // 2024-01-01, and a tail that no generator gives
    let mut tail = [kind; 10];
    tail[8..].copy_from_slice(&u16::try_from(number).unwrap_or_default().to_be_bytes());
    Builder::from_unix_timestamp_millis(1_704_067_200_000, &tail).into_uuid()
}

/// A day that the first people have their places since.
fn since() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 5).unwrap_or_default()
}

/// Plants the order and what these people, by their number, are in it.
pub async fn plant(
    tx: &mut PgConnection,
    seed: u64,
    people: &[(u64, &SeedPerson)],
    now: DateTime<Utc>,
) -> Result<()> {
    let names: Vec<&str> = DEPARTMENTS.iter().map(|(name, _)| *name).collect();
    let ids: Vec<Uuid> = (0..names.len()).map(|n| of(1, n)).collect();
    let keys: Vec<String> = names.iter().map(|name| fold(name)).collect();
    store::insert_departments(tx, &ids, &names, &keys, now).await?;
    let (programmes, groups) = order();
    store::insert_programmes(tx, &programmes, now).await?;
    store::insert_groups(tx, &groups, now).await?;
    let places = store::list_groups(tx, &groups.keys).await?;
    if places.is_empty() {
        return Ok(());
    }
    let mut belong = Belong::default();
    for (n, one) in people {
        let mut dice = Dice(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let place = &places[usize::try_from(dice.below(places.len() as u64)).unwrap_or_default()];
        belong.add(seed, *n, one, place, &mut dice);
    }
    store::insert_trainees(tx, &belong.trainees, now).await?;
    store::insert_trainers(tx, &belong.trainers, now).await?;
    store::insert_heads(tx, &belong.heads, since(), now).await?;
    store::insert_deputies(tx, &belong.deputies, since(), now).await?;
    Ok(store::insert_assignments(tx, &belong.assigned, since(), now).await?)
}

fn order() -> (Programmes, Groups) {
    let (mut programmes, mut groups) = (Programmes::default(), Groups::default());
    for (department, subjects) in DEPARTMENTS {
        for (subject, (title, level, months)) in
            subjects.iter().flat_map(|subject| LEVELS.iter().map(move |level| (subject, *level)))
        {
            let name = format!("{title} in {subject}");
            for intake in INTAKES {
                let group = format!("{name} {intake}");
                groups.ids.push(of(3, groups.ids.len()));
                groups.programmes.push(fold(&name));
                groups.keys.push(fold(&group));
                groups.names.push(group);
                groups.intakes.push(intake);
            }
            programmes.ids.push(of(2, programmes.ids.len()));
            programmes.departments.push(fold(department));
            programmes.keys.push(fold(&name));
            programmes.names.push(name);
            programmes.levels.push(level);
            programmes.months.push(months);
        }
    }
    (programmes, groups)
}

/// What people are in the order, by role.
#[derive(Default)]
struct Belong {
    trainees: Trainees,
    trainers: Trainers,
    heads: Heads,
    deputies: Vec<Uuid>,
    assigned: Assigned,
}

impl Belong {
    fn add(&mut self, seed: u64, n: u64, one: &SeedPerson, place: &store::Place, dice: &mut Dice) {
        match one.role {
            "trainee" => {
                self.trainees.ids.push(one.user_id);
                self.trainees.numbers.push(format!("S{seed}/{n:05}"));
                self.trainees.keys.push(format!("s{seed}/{n:05}"));
                self.trainees.statuses.push(dice.one(&[
                    "active",
                    "active",
                    "active",
                    "deferred",
                    "graduated",
                ]));
                self.trainees.programmes.push(place.programme_id);
                self.trainees.groups.push(place.class_group_id);
                self.trainees.intakes.push(place.intake.clone());
            }
            "trainer" => {
                let subject = dice.one(&SUBJECTS);
                self.trainers.ids.push(one.user_id);
                self.trainers.numbers.push(format!("T{seed}/{n:05}"));
                self.trainers.keys.push(format!("t{seed}/{n:05}"));
                self.trainers.qualifications.push(format!("{} {subject}", dice.one(&DEGREES)));
                self.trainers.subjects.push(subject);
                self.trainers.loads.push(i16::try_from(6 + dice.below(20)).unwrap_or_default());
                self.trainers.departments.push(place.department_id);
                self.assigned.ids.push(derived(one.user_id));
                self.assigned.people.push(one.user_id);
                self.assigned.groups.push(place.class_group_id);
                self.assigned.titles.push(subject);
                self.assigned.keys.push(fold(subject));
            }
            // one head of a department: who comes later has none
            "hod" if !self.heads.departments.contains(&place.department_id) => {
                self.heads.ids.push(one.user_id);
                self.heads.departments.push(place.department_id);
            }
            "dp_academics" => self.deputies.push(one.user_id),
            _ => {}
        }
    }
}

/// An id of the same moment as the person's, of something they have one of.
fn derived(user_id: Uuid) -> Uuid {
    super::derived(user_id, 0xff)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_and_id_of_the_order_is_its_own() {
        let (programmes, groups) = order();
        assert_eq!((programmes.ids.len(), groups.ids.len()), (48, 144));
        let ids: HashSet<Uuid> = programmes.ids.iter().chain(&groups.ids).copied().collect();
        assert_eq!(ids.len(), 192);
        assert_eq!(programmes.keys.iter().collect::<HashSet<_>>().len(), 48);
        assert_eq!(groups.keys.iter().collect::<HashSet<_>>().len(), 144);
    }
}
