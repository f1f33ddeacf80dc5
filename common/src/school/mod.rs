//! The school's order and who belongs where in it: departments, their programmes, these' class groups (`unit`:
//! one shape, one set of verbs), what a role adds to a person (`profile`), and who teaches or looks after what,
//! when (`assignment`). SQL in `store`.

pub mod assignment;
mod class_group;
mod department;
pub mod profile;
mod programme;
mod store;
mod unit;

use unicode_normalization::UnicodeNormalization;

pub use class_group::{ClassGroup, ClassGroupAsk, FULL};
pub use department::{Department, DepartmentAsk};
pub use programme::{Programme, ProgrammeAsk};
pub use unit::{Filter, Noun, Page, Unit, create, delete, list, replace, show};

use crate::error::{Code, Fault};

/// All refusals of this slice.
pub const CODES: &[Code] = &[
    Department::NOUN.not_found,
    Department::NOUN.name_taken,
    Department::NOUN.in_use,
    Programme::NOUN.not_found,
    Programme::NOUN.name_taken,
    Programme::NOUN.in_use,
    ClassGroup::NOUN.not_found,
    ClassGroup::NOUN.name_taken,
    ClassGroup::NOUN.in_use,
    FULL,
    profile::NOT_FOUND,
    profile::OTHER_ROLE,
    profile::NUMBER_TAKEN,
    profile::DEPARTMENT_TAKEN,
    assignment::NOT_FOUND,
    assignment::OTHER_ROLE,
    assignment::OVERLAPS,
    assignment::ENDED,
];

/// What stands for all spellings of a name that differ in case, in how accents are written and in spaces: names
/// are unique, found and ordered by it.
pub(crate) fn fold(name: &str) -> String {
    let folded: String = name.nfc().flat_map(char::to_lowercase).nfc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The fault of an id that is of nothing.
fn unknown(pointer: &str) -> Fault {
    Fault::at(pointer, "reference.unknown", "There is nothing with this id.")
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn names_that_people_take_for_the_same_are_the_same() {
        for (one, other) in [
            ("Computer Science", "COMPUTER  science "),
            ("École d'été", "E\u{301}COLE D'E\u{301}TE\u{301}"),
            ("Ἀθήνα", "ἈΘΉΝΑ"),
        ] {
            assert_eq!(fold(one), fold(other), "{one}");
        }
        assert_ne!(fold("ICT A"), fold("ICT B"));
    }
}
