//! The school's order over HTTP: departments, programmes, class groups. One shape: lists by name with a search,
//! `ETag` and `If-Match`, deletion of what nothing belongs to.

pub mod class_group;
pub mod department;
pub mod programme;

use keryu_common::error::{Code, VALIDATION};
use keryu_common::{idempotency, school};
use uuid::Uuid;

use crate::edge::field::TextIn;

/// What making one may be refused with, its name apart.
const KEYED: [Code; 2] = [idempotency::MISMATCH, idempotency::LOST];
/// Of a list.
const LISTED: &[Code] = &[VALIDATION];

/// Which ones of a list.
fn filter(search: Option<TextIn>, within: Option<Uuid>, cursor: Option<String>) -> school::Filter {
    school::Filter { search: search.map(|text| text.0), within, cursor }
}

/// How many of a list at most, without another word.
const LIMIT: u16 = 50;
