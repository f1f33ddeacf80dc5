//! What profiles and their history look like.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use keryu_common::profile::{self, Profile, history};
use poem_openapi::Object;
use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{Example, ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ask::SwitchMap;
use crate::edge::version::Tagged;

/// What a person wants to be told of, by kind and way.
#[derive(Debug)]
pub struct SwitchesOut(Vec<(&'static str, &'static str, bool)>);

impl Type for SwitchesOut {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        SwitchMap::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        SwitchMap::schema_ref()
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromJSON for SwitchesOut {
    fn parse_from_json(_: Option<Value>) -> ParseResult<Self> {
        Err(ParseError::custom("it is an answer"))
    }
}

impl ToJSON for SwitchesOut {
    fn to_json(&self) -> Option<Value> {
        let mut kinds = Map::new();
        for (kind, way, on) in &self.0 {
            let kind = kinds.entry(*kind).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(ways) = kind {
                ways.insert((*way).to_owned(), Value::Bool(*on));
            }
        }
        Some(Value::Object(kinds))
    }
}

/// A profile.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfileOut {
    /// Whose: the user's id.
    pub id: Uuid,
    /// In any script.
    pub full_name: Option<String>,
    /// A day, such as 1815-12-10.
    pub date_of_birth: Option<NaiveDate>,
    /// Where they live; the record's too.
    pub address: Option<String>,
    /// Where the picture is, once there is one.
    pub avatar_url: Option<String>,
    /// `none`, `processing` (one that was sent is being made ready), `ready`, `failed` (the one that was sent
    /// could not be read; the one before it stays).
    pub avatar_status: String,
    /// Whom to call in an emergency.
    pub emergency_contact: Option<String>,
    /// Under which number, in E.164.
    pub emergency_phone: Option<String>,
    /// BCP 47; messages come in it, where there are any in it.
    pub preferred_language: String,
    /// By kind and way (`sms`, `email`, `push`): whether the person wants it. What is of the account's safety
    /// comes always and is not named here.
    pub notification_preferences: SwitchesOut,
    /// Whether nothing is missing.
    pub is_profile_complete: bool,
    /// What is missing: names of fields, and `verified_identifier`.
    pub missing: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it, or the record, last changed.
    pub updated_at: DateTime<Utc>,
}

impl ProfileOut {
    /// On the wire, with its version.
    pub fn of(profile: &Profile) -> Tagged<Self> {
        let missing: Vec<String> = profile.missing().into_iter().map(str::to_owned).collect();
        let state = &profile.state;
        let out = Self {
            id: profile.user_id,
            full_name: state.full_name.clone(),
            date_of_birth: state.date_of_birth,
            address: state.address.clone(),
            avatar_url: avatar_url(profile),
            avatar_status: avatar_status(profile).to_owned(),
            emergency_contact: state.emergency_contact.clone(),
            emergency_phone: state.emergency_phone.clone(),
            preferred_language: state.preferred_language.clone(),
            notification_preferences: SwitchesOut(profile.switches.clone()),
            is_profile_complete: missing.is_empty(),
            missing,
            created_at: profile.created_at,
            updated_at: profile.updated_at,
        };
        Tagged(out, profile.updated_at)
    }
}

/// Where the picture of a profile is, if there is one.
pub fn avatar_url(profile: &Profile) -> Option<String> {
    profile.picture.large.map(|_| picture_url(profile.user_id))
}

/// Where somebody's picture is.
pub fn picture_url(user_id: Uuid) -> String {
    format!("/api/users/{user_id}/profile/picture")
}

fn avatar_status(profile: &Profile) -> &'static str {
    match profile.picture {
        profile::Picture { waiting: true, .. } => "processing",
        profile::Picture { failed: true, .. } => "failed",
        profile::Picture { large: Some(_), .. } => "ready",
        profile::Picture { large: None, .. } => "none",
    }
}

impl Example for ProfileOut {
    fn example() -> Self {
        let id = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172);
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        let ways = [("sms", false), ("email", true), ("push", true)];
        let switches = ways.map(|(way, on)| ("welcome", way, on));
        Self {
            id,
            full_name: Some("Augusta Ada King".to_owned()),
            date_of_birth: NaiveDate::from_ymd_opt(1990, 12, 10),
            address: None,
            avatar_url: Some(picture_url(id)),
            avatar_status: "ready".to_owned(),
            emergency_contact: Some("William King".to_owned()),
            emergency_phone: Some("+254712345678".to_owned()),
            preferred_language: "en".to_owned(),
            notification_preferences: SwitchesOut(switches.to_vec()),
            is_profile_complete: false,
            missing: vec!["address".to_owned()],
            created_at: at,
            updated_at: at,
        }
    }
}

/// A field that changed.
#[derive(Debug, Object)]
pub struct FieldChangeOut {
    /// Which; `switched_off` names messages that are not wanted.
    field: String,
    /// What it said before.
    old: Option<Value>,
    /// What it said after.
    new: Option<Value>,
}

/// A change of a profile.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfileChangeOut {
    /// Which.
    id: Uuid,
    /// When.
    at: DateTime<Utc>,
    /// Who made it: the user's id.
    actor: Uuid,
    /// Which change it took back, with all that came after that.
    restored: Option<Uuid>,
    /// What changed.
    changes: Vec<FieldChangeOut>,
}

impl From<history::Changed> for ProfileChangeOut {
    fn from(changed: history::Changed) -> Self {
        let fields = changed.fields.into_iter();
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        Self {
            id: changed.change_id,
            at: changed.at,
            actor: changed.actor,
            restored: changed.restored,
            changes: fields
                .map(|(field, old, new)| FieldChangeOut { field, old: some(old), new: some(new) })
                .collect(),
        }
    }
}

impl Example for ProfileChangeOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_617a),
            at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            actor: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            restored: None,
            changes: vec![FieldChangeOut {
                field: "full_name".to_owned(),
                old: None,
                new: Some("Augusta Ada King".into()),
            }],
        }
    }
}

/// A page of changes.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfileHistoryOut {
    /// Newest first.
    pub(super) items: Vec<ProfileChangeOut>,
    /// For the next page; null after the last.
    pub(super) next_cursor: Option<String>,
}

impl Example for ProfileHistoryOut {
    fn example() -> Self {
        Self { items: vec![ProfileChangeOut::example()], next_cursor: None }
    }
}
