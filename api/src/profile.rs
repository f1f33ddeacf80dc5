//! Profiles over HTTP: one's own, and as staff anybody's; their history, and the way back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use keryu_common::config::Config;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::profile::{self, Edits, Profile, Switches, history};
use keryu_common::role::Permission;
use keryu_common::user::Change;
use keryu_common::{Context, session, user};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{Example, MaybeUndefined, ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use poem_openapi::{Object, OpenApi};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{BirthdayIn, FullNameIn, LanguageIn, LineIn, PhoneIn};
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Note, Security, Tag};
use crate::user::change;

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "profile_show_own", security: Security::Bearer, refusals: &[] },
    Note { operation: "profile_replace_own", security: Security::Bearer, refusals: &[user::CHANGED] },
    Note { operation: "profile_edit_own", security: Security::Bearer, refusals: &[user::CHANGED] },
    Note { operation: "profile_show", security: Security::Bearer, refusals: &[user::NOT_FOUND, NOT_FOUND] },
    Note { operation: "profile_replace", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note { operation: "profile_edit", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note {
        operation: "profile_history",
        security: Security::Bearer,
        refusals: &[user::NOT_FOUND, NOT_FOUND, VALIDATION],
    },
    Note {
        operation: "profile_restore",
        security: Security::Staff(Permission::UsersWrite),
        refusals: &[user::NOT_FOUND, NOT_FOUND, profile::CHANGE_NOT_FOUND],
    },
];
const EDIT_REFUSALS: &[Code] = &[user::NOT_FOUND, NOT_FOUND, session::FORBIDDEN, user::CHANGED];

/// What a person wants to be told of, by kind and way.
#[derive(Debug)]
pub struct SwitchesOut(Vec<(&'static str, &'static str, bool)>);

/// As on the wire.
type SwitchMap = BTreeMap<String, BTreeMap<String, bool>>;

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

/// A profile's new state: what is left out is cleared, the language English, and all messages wanted.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfilePutIn {
    /// In any script.
    full_name: Option<FullNameIn>,
    /// Not in the future, and of the last 130 years.
    date_of_birth: Option<BirthdayIn>,
    /// Where they live; the record's too.
    address: Option<LineIn>,
    /// Whom to call in an emergency.
    emergency_contact: Option<LineIn>,
    /// Under which number.
    emergency_phone: Option<PhoneIn>,
    /// BCP 47.
    preferred_language: Option<LanguageIn>,
    /// By kind and way (`sms`, `email`, `push`). What is of the account's safety cannot be switched off.
    notification_preferences: Option<SwitchMap>,
}

impl Example for ProfilePutIn {
    fn example() -> Self {
        Self {
            full_name: Some(FullNameIn("Augusta Ada King".to_owned())),
            date_of_birth: Some(BirthdayIn("1990-12-10".to_owned())),
            address: Some(LineIn("12 Moi Avenue, Nairobi".to_owned())),
            emergency_contact: Some(LineIn("William King".to_owned())),
            emergency_phone: Some(PhoneIn("+254712345678".to_owned())),
            preferred_language: Some(LanguageIn("sw".to_owned())),
            notification_preferences: None,
        }
    }
}

/// A field's new value; cleared where it was left out. None: it does not read.
fn set<T, V>(field: Option<T>, read: impl Fn(&T) -> Option<V>) -> Option<Change<V>> {
    Some(match field {
        None => Change::Set(None),
        Some(given) => Change::Set(Some(read(&given)?)),
    })
}

impl Input for ProfilePutIn {
    type Ask = Edits;
    fn ask(self, config: &Config) -> Option<Edits> {
        let phone = |given: &PhoneIn| given.parse(config).map(|phone| phone.as_str().to_owned());
        Some(Edits {
            full_name: set(self.full_name, FullNameIn::parse)?,
            date_of_birth: set(self.date_of_birth, BirthdayIn::parse)?,
            address: set(self.address, LineIn::parse)?,
            emergency_contact: set(self.emergency_contact, LineIn::parse)?,
            emergency_phone: set(self.emergency_phone, phone)?,
            preferred_language: set(self.preferred_language, LanguageIn::parse)?,
            notification_preferences: self.notification_preferences.unwrap_or_default(),
            others_on: true,
        })
    }
}

/// A change: fields that are left out stay, `null` clears.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfilePatchIn {
    /// In any script.
    full_name: MaybeUndefined<FullNameIn>,
    /// Not in the future, and of the last 130 years.
    date_of_birth: MaybeUndefined<BirthdayIn>,
    /// Where they live; the record's too.
    address: MaybeUndefined<LineIn>,
    /// Whom to call in an emergency.
    emergency_contact: MaybeUndefined<LineIn>,
    /// Under which number.
    emergency_phone: MaybeUndefined<PhoneIn>,
    /// BCP 47; cleared: English.
    preferred_language: MaybeUndefined<LanguageIn>,
    /// By kind and way (`sms`, `email`, `push`): those that are named change; `null`: all are wanted. What is of
    /// the account's safety cannot be switched off.
    notification_preferences: MaybeUndefined<SwitchMap>,
}

impl Example for ProfilePatchIn {
    fn example() -> Self {
        let off: Switches = BTreeMap::from([("welcome".to_owned(), [("sms".to_owned(), false)].into())]);
        Self {
            full_name: MaybeUndefined::Value(FullNameIn("Augusta Ada King".to_owned())),
            date_of_birth: MaybeUndefined::Undefined,
            address: MaybeUndefined::Null,
            emergency_contact: MaybeUndefined::Undefined,
            emergency_phone: MaybeUndefined::Undefined,
            preferred_language: MaybeUndefined::Undefined,
            notification_preferences: MaybeUndefined::Value(off),
        }
    }
}

impl Input for ProfilePatchIn {
    type Ask = Edits;
    fn ask(self, config: &Config) -> Option<Edits> {
        let phone = |given: &PhoneIn| given.parse(config).map(|phone| phone.as_str().to_owned());
        let others_on = self.notification_preferences.is_null();
        Some(Edits {
            full_name: change(&self.full_name, Change::Keep, FullNameIn::parse)?,
            date_of_birth: change(&self.date_of_birth, Change::Keep, BirthdayIn::parse)?,
            address: change(&self.address, Change::Keep, LineIn::parse)?,
            emergency_contact: change(&self.emergency_contact, Change::Keep, LineIn::parse)?,
            emergency_phone: change(&self.emergency_phone, Change::Keep, phone)?,
            preferred_language: change(&self.preferred_language, Change::Keep, LanguageIn::parse)?,
            notification_preferences: self.notification_preferences.take().unwrap_or_default(),
            others_on,
        })
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
    items: Vec<ProfileChangeOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl Example for ProfileHistoryOut {
    fn example() -> Self {
        Self { items: vec![ProfileChangeOut::example()], next_cursor: None }
    }
}

/// Which change is taken back.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ProfileRestoreIn {
    /// From the history: this change and all after it.
    change_id: Uuid,
}

impl Example for ProfileRestoreIn {
    fn example() -> Self {
        Self { change_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_617a) }
    }
}

impl Input for ProfileRestoreIn {
    type Ask = Uuid;
    fn ask(self, _: &Config) -> Option<Uuid> {
        Some(self.change_id)
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Profiles;

#[OpenApi(prefix_path = "/api", tag = "Tag::Account")]
impl Profiles {
    /// See one's own profile
    #[oai(path = "/users/profile", method = "get", operation_id = "profile_show_own")]
    async fn show_own(&self, ctx: Data<&Context>, person: Signed) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&*profile::own(&ctx, person.user_id()).await?))
    }

    /// Replace one's own profile
    #[oai(path = "/users/profile", method = "put", operation_id = "profile_replace_own")]
    async fn replace_own(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProfilePutIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        let id = person.user_id();
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id, version.0, body.ask).await?))
    }

    /// Change one's own profile
    #[oai(path = "/users/profile", method = "patch", operation_id = "profile_edit_own")]
    async fn edit_own(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProfilePatchIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        let id = person.user_id();
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id, version.0, body.ask).await?))
    }

    /// See a profile
    ///
    /// One's own, or as staff (`users.read`) anybody's.
    #[oai(path = "/users/:id/profile", method = "get", operation_id = "profile_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&*profile::show(&ctx, &from, &person, id.0).await?))
    }

    /// Replace a profile
    ///
    /// One's own, or as staff (`users.write`) that of nobody above one's rank.
    #[oai(path = "/users/:id/profile", method = "put", operation_id = "profile_replace")]
    async fn replace(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProfilePutIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// Change a profile
    ///
    /// One's own, or as staff (`users.write`) that of nobody above one's rank.
    #[oai(path = "/users/:id/profile", method = "patch", operation_id = "profile_edit")]
    async fn edit(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// Only if this is still its version.
        #[oai(name = "If-Match")]
        version: IfMatch,
        body: Body<ProfilePatchIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&profile::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?))
    }

    /// See what a profile said before
    ///
    /// Its last 200 changes, newest first: one's own, or as staff (`users.read`) anybody's.
    #[oai(path = "/users/:id/profile/history", method = "get", operation_id = "profile_history")]
    async fn history(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<ProfileHistoryOut>> {
        let (limit, cursor) = (limit.0.unwrap_or(50), cursor.0.as_deref());
        let page = history::list(&ctx, &from, &person, id.0, limit, cursor).await?;
        let items = page.items.into_iter().map(ProfileChangeOut::from).collect();
        Ok(Json(ProfileHistoryOut { items, next_cursor: page.next_cursor }))
    }

    /// Put an earlier state of a profile back
    ///
    /// Takes back a change and all that came after it; that is one more change. Pictures are not part of it.
    #[oai(
        path = "/admin/users/:id/profile/restore",
        method = "post",
        operation_id = "profile_restore",
        tag = "Tag::Admin"
    )]
    async fn restore(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        body: Body<ProfileRestoreIn>,
    ) -> Answer<Tagged<ProfileOut>> {
        Ok(ProfileOut::of(&profile::restore(&ctx, &from, &person, id.0, body.ask).await?))
    }
}
