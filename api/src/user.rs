//! People's records over HTTP: for their owners and for staff.

use chrono::{DateTime, Utc};
use keryu_common::api_key::Scope;
use keryu_common::auth::token;
use keryu_common::config::Config;
use keryu_common::error::{Code, VALIDATION};
use keryu_common::kyc::{self, Document};
use keryu_common::role::Permission;
use keryu_common::user::{
    self, Change, Edits, Filter, NewPerson, Order, Page, Record, Row, Slice, Standing, Status,
};
use keryu_common::{Context, factor, idempotency, mask, profile, session, wallet};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{Example, MaybeUndefined, ParseFromJSON, ToJSON, Type};
use poem_openapi::{Enum, Object, OpenApi, Union};
use serde_json::Value;
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{EmailIn, LineIn, NationalIdIn, PhoneIn, TextIn, UsernameIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::edge::version::{IfMatch, Tagged};
use crate::operation::{Created, Gone, Note, Security, Tag};
use crate::profile::{ProfileOut, picture_url};
use crate::wallet::PointsOut;
/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "user_list",
        security: Security::Staff(Permission::UsersRead),
        refusals: &[VALIDATION, user::TOO_DEEP],
    },
    Note {
        operation: "user_add",
        security: Security::Staff(Permission::UsersWrite),
        refusals: &[
            user::IDENTIFIER_NEEDED,
            user::USERNAME_TAKEN,
            user::IDENTIFIER_TAKEN,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
    Note {
        operation: "user_show",
        security: Security::BearerOrKey(Scope::UsersRead),
        refusals: &[user::NOT_FOUND, NOT_FOUND],
    },
    Note { operation: "user_replace", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note { operation: "user_edit", security: Security::Bearer, refusals: EDIT_REFUSALS },
    Note {
        operation: "user_delete",
        security: Security::Bearer,
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            session::FORBIDDEN,
            session::STEP_UP,
            user::IS_DELETED,
            user::LAST_SUPERUSER,
        ],
    },
];
const EDIT_REFUSALS: &[Code] = &[
    user::NOT_FOUND,
    NOT_FOUND,
    session::FORBIDDEN,
    session::STEP_UP,
    user::IS_DELETED,
    user::CHANGED,
    user::USERNAME_TAKEN,
    user::IDENTIFIER_TAKEN,
    user::IDENTIFIER_NEEDED,
    token::INVALID,
    token::EXPIRED,
];

/// A person to be.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserIn {
    /// The name wanted.
    username: UsernameIn,
    /// Not proved until its owner proves it.
    email: Option<EmailIn>,
    /// As `email`.
    phone_number: Option<PhoneIn>,
    /// Given name.
    first_name: Option<LineIn>,
    /// Family name.
    last_name: Option<LineIn>,
}

impl Example for UserIn {
    fn example() -> Self {
        Self {
            username: UsernameIn("ada.lovelace".to_owned()),
            email: Some(EmailIn("ada@example.org".to_owned())),
            phone_number: None,
            first_name: Some(LineIn("Ada".to_owned())),
            last_name: Some(LineIn("Lovelace".to_owned())),
        }
    }
}

impl Input for UserIn {
    type Ask = NewPerson;
    fn ask(self, config: &Config) -> Option<NewPerson> {
        let username = self.username.parse()?;
        let mut identifiers = Vec::new();
        if let Some(given) = &self.email {
            identifiers.push(given.parse()?);
        }
        if let Some(given) = &self.phone_number {
            identifiers.push(given.parse(config)?);
        }
        Some(NewPerson {
            first_name: self.first_name.as_ref().and_then(LineIn::parse),
            last_name: self.last_name.as_ref().and_then(LineIn::parse),
            ..NewPerson::of(username, identifiers)
        })
    }
}

/// How somebody says their gender.
#[derive(Clone, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum GenderIn {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Another.
    Other,
    /// Not told.
    Undisclosed,
}

impl GenderIn {
    fn name(&self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
            Self::Other => "other",
            Self::Undisclosed => "undisclosed",
        }
    }
}

/// A change: fields that are left out stay, `null` clears.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserPatchIn {
    /// To another name.
    username: Option<UsernameIn>,
    /// Given name.
    first_name: MaybeUndefined<LineIn>,
    /// Family name.
    last_name: MaybeUndefined<LineIn>,
    /// As the person says.
    gender: MaybeUndefined<GenderIn>,
    /// Of the person.
    address: MaybeUndefined<LineIn>,
    /// Sealed at rest, shown masked.
    national_id: MaybeUndefined<NationalIdIn>,
    /// One's own: with a `verification_token`. By staff: not proved.
    email: MaybeUndefined<EmailIn>,
    /// As `email`.
    phone_number: MaybeUndefined<PhoneIn>,
    /// From `otp/verify` with the purpose `change_identifier`, for a new identifier of one's own.
    #[oai(validator(min_length = 1, max_length = 128))]
    verification_token: Option<String>,
}

impl Example for UserPatchIn {
    fn example() -> Self {
        Self {
            username: None,
            first_name: MaybeUndefined::Value(LineIn("Ada".to_owned())),
            last_name: MaybeUndefined::Undefined,
            gender: MaybeUndefined::Undefined,
            address: MaybeUndefined::Null,
            national_id: MaybeUndefined::Undefined,
            email: MaybeUndefined::Undefined,
            phone_number: MaybeUndefined::Undefined,
            verification_token: None,
        }
    }
}

/// A field's change; `left` where it was left out.
pub fn change<T: Type + ParseFromJSON + ToJSON, V>(
    field: &MaybeUndefined<T>,
    left: Change<V>,
    read: impl Fn(&T) -> Option<V>,
) -> Option<Change<V>> {
    Some(match field {
        MaybeUndefined::Undefined => left,
        MaybeUndefined::Null => Change::Set(None),
        MaybeUndefined::Value(value) => Change::Set(Some(read(value)?)),
    })
}

impl Input for UserPatchIn {
    type Ask = Edits;
    fn ask(self, config: &Config) -> Option<Edits> {
        Some(Edits {
            username: match &self.username {
                None => None,
                Some(given) => Some(given.parse()?),
            },
            first_name: change(&self.first_name, Change::Keep, LineIn::parse)?,
            last_name: change(&self.last_name, Change::Keep, LineIn::parse)?,
            gender: change(&self.gender, Change::Keep, |gender| Some(gender.name().to_owned()))?,
            address: change(&self.address, Change::Keep, LineIn::parse)?,
            national_id: change(&self.national_id, Change::Keep, NationalIdIn::parse)?,
            email: change(&self.email, Change::Keep, EmailIn::parse)?,
            phone_number: change(&self.phone_number, Change::Keep, |given| given.parse(config))?,
            verification_token: self.verification_token,
        })
    }
}

/// A record's new state: what is left out is cleared, but for identifiers, which are changed by PATCH.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserPutIn {
    /// The name.
    username: UsernameIn,
    /// Given name.
    first_name: Option<LineIn>,
    /// Family name.
    last_name: Option<LineIn>,
    /// As the person says.
    gender: Option<GenderIn>,
    /// Of the person.
    address: Option<LineIn>,
    /// Sealed at rest, shown masked.
    national_id: Option<NationalIdIn>,
}

impl Example for UserPutIn {
    fn example() -> Self {
        Self {
            username: UsernameIn("ada.lovelace".to_owned()),
            first_name: Some(LineIn("Ada".to_owned())),
            last_name: Some(LineIn("Lovelace".to_owned())),
            gender: Some(GenderIn::Female),
            address: None,
            national_id: None,
        }
    }
}

impl Input for UserPutIn {
    type Ask = Edits;
    fn ask(self, _: &Config) -> Option<Edits> {
        let line = |given: &Option<LineIn>| Change::Set(given.as_ref().and_then(LineIn::parse));
        Some(Edits {
            username: Some(self.username.parse()?),
            first_name: line(&self.first_name),
            last_name: line(&self.last_name),
            gender: Change::Set(self.gender.map(|gender| gender.name().to_owned())),
            address: line(&self.address),
            national_id: Change::Set(self.national_id.as_ref().and_then(NationalIdIn::parse)),
            ..Edits::default()
        })
    }
}

/// A person's record.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserDetailOut {
    /// Which.
    pub id: Uuid,
    /// As chosen.
    pub username: String,
    /// Normalised.
    pub email: Option<String>,
    /// E.164.
    pub phone_number: Option<String>,
    /// For places where not all is to be seen.
    pub masked_email: Option<String>,
    /// As `masked_email`.
    pub masked_phone: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// As the person says.
    pub gender: Option<String>,
    /// Of the person.
    pub address: Option<String>,
    /// Masked.
    pub national_id: Option<String>,
    /// Where the picture is, if there is one.
    pub profile_picture: Option<String>,
    /// Whether they may sign in, or why not.
    pub status: String,
    /// Why, where staff said so.
    pub status_reason: Option<String>,
    /// Whether the status is `active`.
    pub is_active: bool,
    /// `member`, ...
    pub role: String,
    /// Whether the role is one of staff.
    pub is_staff: bool,
    /// Above all roles.
    pub is_superuser: bool,
    /// For others to name.
    pub referral_code: Option<String>,
    /// Who invited.
    pub referred_by: Option<Uuid>,
    /// With which they registered, if by one.
    pub social_provider: Option<String>,
    /// What that provider said of them, for staff; null while nobody signs in by one.
    pub social_profile_data: Option<Value>,
    /// Whether the e-mail address is proved.
    pub email_verified: bool,
    /// Whether the phone number is proved.
    pub phone_verified: bool,
    /// When the e-mail address was proved.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When the phone number was proved.
    pub phone_verified_at: Option<DateTime<Utc>>,
    /// Which identifiers are proved.
    pub verification_status: String,
    /// How far the check of their documents is.
    pub kyc_status: String,
    /// When they joined.
    pub date_joined: DateTime<Utc>,
    /// When they last signed in.
    pub last_login: Option<DateTime<Utc>>,
    /// From where.
    pub last_login_ip: Option<String>,
    /// In which browser or app.
    pub last_login_device: Option<String>,
    /// When they last did something.
    pub last_activity_at: Option<DateTime<Utc>>,
    /// When the account was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When it will be erased.
    pub erase_at: Option<DateTime<Utc>>,
    /// When the record was made.
    pub created_at: DateTime<Utc>,
    /// When the record last changed.
    pub updated_at: DateTime<Utc>,
    /// Second factors, for staff who may reset them; else null.
    pub factors: Option<Vec<HeldFactorOut>>,
    /// The profile, for staff; else null. Its owner reads it at `/api/users/profile`.
    pub profile: Option<ProfileOut>,
    /// The newest document, for staff who may see documents (`kyc.read`), of nobody above their rank; else null.
    pub kyc: Option<UserKycOut>,
    /// Points, for staff; else null. Their owner reads them at `/api/users/wallet`.
    pub points: Option<PointsOut>,
    /// Money, for staff; else null.
    pub wallet_balance: Option<String>,
}

/// How far somebody's newest document is.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserKycOut {
    /// `pending`, `approved`, `rejected`, `expired`; `not_submitted` where there is none.
    status: String,
    /// Which kind; none: there is no document.
    document_type: Option<String>,
    /// When it was handed in.
    submitted_at: Option<DateTime<Utc>>,
    /// When it was approved.
    verified_at: Option<DateTime<Utc>>,
    /// Why it was rejected.
    rejection_reason: Option<String>,
}

impl From<Option<Document>> for UserKycOut {
    fn from(newest: Option<Document>) -> Self {
        Self {
            status: newest.as_ref().map_or(kyc::NOT_SUBMITTED, |document| document.state.name()).to_owned(),
            document_type: newest.as_ref().map(|document| document.document_type.clone()),
            submitted_at: newest.as_ref().map(|document| document.created_at),
            verified_at: newest.as_ref().and_then(Document::verified_at),
            rejection_reason: newest.and_then(|document| document.rejection_reason),
        }
    }
}

impl Example for UserKycOut {
    fn example() -> Self {
        Self::from(None)
    }
}

/// A second factor that somebody has.
#[derive(Debug, Object)]
#[oai(example)]
pub struct HeldFactorOut {
    /// To reset it by.
    id: Uuid,
    /// `totp` or `passkey`.
    kind: String,
    /// Since when they have it.
    created_at: DateTime<Utc>,
    /// When they last used it.
    last_used_at: Option<DateTime<Utc>>,
}

impl HeldFactorOut {
    /// What was enrolled, on the wire.
    fn list(held: factor::Enrolled) -> Vec<Self> {
        let app = held.totp.map(|app| Self {
            id: app.factor_id,
            kind: "totp".to_owned(),
            created_at: app.confirmed_at,
            last_used_at: app.last_used_at,
        });
        let passkeys = held.passkeys.into_iter().map(|passkey| Self {
            id: passkey.passkey_id,
            kind: "passkey".to_owned(),
            created_at: passkey.created_at,
            last_used_at: passkey.last_used_at,
        });
        app.into_iter().chain(passkeys).collect()
    }
}

impl Example for HeldFactorOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6173),
            kind: "totp".to_owned(),
            created_at: at,
            last_used_at: Some(at),
        }
    }
}

impl UserDetailOut {
    /// The record on the wire.
    pub fn of(ctx: &Context, record: Record) -> Tagged<Self> {
        let version = record.updated_at;
        let national_id = record.masked_national_id(ctx);
        let (email_verified, phone_verified) =
            (record.email_verified_at.is_some(), record.phone_verified_at.is_some());
        let detail = Self {
            id: record.user_id,
            masked_email: record.email.as_deref().map(mask::identifier),
            masked_phone: record.phone_number.as_deref().map(mask::identifier),
            username: record.username,
            email: record.email,
            phone_number: record.phone_number,
            first_name: record.first_name,
            last_name: record.last_name,
            gender: record.gender,
            address: record.address,
            national_id,
            profile_picture: record.has_picture.then(|| picture_url(record.user_id)),
            status: record.status.name().to_owned(),
            status_reason: record.status_reason,
            is_active: record.status == Status::Active,
            role: record.role,
            is_staff: record.is_staff,
            is_superuser: record.is_superuser,
            referral_code: record.referral_code,
            referred_by: record.referred_by,
            social_provider: record.social_provider,
            social_profile_data: None,
            email_verified,
            phone_verified,
            email_verified_at: record.email_verified_at,
            phone_verified_at: record.phone_verified_at,
            verification_status: user::verification_status(email_verified, phone_verified).to_owned(),
            kyc_status: record.kyc_status,
            date_joined: record.created_at,
            last_login: record.last_login_at,
            last_login_ip: record.last_login_ip,
            last_login_device: record.last_login_device,
            last_activity_at: record.last_activity_at,
            deleted_at: record.deleted_at,
            erase_at: record.erase_at,
            created_at: record.created_at,
            updated_at: record.updated_at,
            factors: None,
            profile: None,
            kyc: None,
            points: None,
            wallet_balance: None,
        };
        Tagged(detail, version)
    }
}

impl Example for UserDetailOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            username: "ada.lovelace".to_owned(),
            email: Some("ada@example.org".to_owned()),
            phone_number: None,
            masked_email: Some("a***@example.org".to_owned()),
            masked_phone: None,
            first_name: Some("Ada".to_owned()),
            last_name: Some("Lovelace".to_owned()),
            gender: None,
            address: None,
            national_id: Some("***678".to_owned()),
            profile_picture: None,
            status: "active".to_owned(),
            status_reason: None,
            is_active: true,
            role: "member".to_owned(),
            is_staff: false,
            is_superuser: false,
            referral_code: Some("7Q2M9XKD".to_owned()),
            referred_by: None,
            social_provider: None,
            social_profile_data: None,
            email_verified: true,
            phone_verified: false,
            email_verified_at: Some(at),
            phone_verified_at: None,
            verification_status: "email_verified".to_owned(),
            kyc_status: "approved".to_owned(),
            date_joined: at,
            last_login: Some(at),
            last_login_ip: Some("203.0.113.7".to_owned()),
            last_login_device: Some("Mozilla/5.0 (Android 16; Mobile)".to_owned()),
            last_activity_at: None,
            deleted_at: None,
            erase_at: None,
            created_at: at,
            updated_at: at,
            factors: None,
            profile: None,
            kyc: None,
            points: None,
            wallet_balance: None,
        }
    }
}

/// A person as services see them.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserBasicOut {
    /// Which.
    id: Uuid,
    /// As chosen.
    username: String,
    /// Normalised.
    email: Option<String>,
    /// E.164.
    phone_number: Option<String>,
    /// Where the picture is.
    profile_picture: Option<String>,
}

impl From<Record> for UserBasicOut {
    fn from(record: Record) -> Self {
        Self {
            id: record.user_id,
            username: record.username,
            email: record.email,
            phone_number: record.phone_number,
            profile_picture: record.has_picture.then(|| picture_url(record.user_id)),
        }
    }
}

impl Example for UserBasicOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            username: "ada.lovelace".to_owned(),
            email: Some("ada@example.org".to_owned()),
            phone_number: None,
            profile_picture: None,
        }
    }
}

/// A record, as far as the caller may see it.
#[derive(Debug, Union)]
pub enum ShownOut {
    /// All of it.
    Detail(Box<UserDetailOut>),
    /// For services.
    Basic(UserBasicOut),
}

/// A record with its version.
type Shown = Tagged<ShownOut>;

/// A person in a list.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserListOut {
    /// Which.
    id: Uuid,
    /// As chosen.
    username: String,
    /// Whether they may sign in, or why not.
    status: String,
    /// When they joined.
    date_joined: DateTime<Utc>,
}

impl From<Row> for UserListOut {
    fn from(row: Row) -> Self {
        Self {
            id: row.user_id,
            username: row.username,
            status: row.status.name().to_owned(),
            date_joined: row.created_at,
        }
    }
}

impl Example for UserListOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            username: "ada.lovelace".to_owned(),
            status: "active".to_owned(),
            date_joined: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// A page of people.
#[derive(Debug, Object)]
#[oai(example)]
pub struct UserPageOut {
    /// In the order asked for.
    items: Vec<UserListOut>,
    /// Which page, from 1.
    page: u32,
    /// How many at most.
    page_size: u32,
    /// How many there are in all.
    total: i64,
    /// Whether `total` is exact. Above 10,000 it is an estimate.
    total_is_exact: bool,
}

impl UserPageOut {
    /// A page on the wire.
    pub fn of(found: Page, page: u32, page_size: u32) -> Json<Self> {
        Json(Self {
            items: found.items.into_iter().map(UserListOut::from).collect(),
            page,
            page_size,
            total: found.total,
            total_is_exact: found.total_is_exact,
        })
    }
}

impl Example for UserPageOut {
    fn example() -> Self {
        Self { items: vec![UserListOut::example()], page: 1, page_size: 50, total: 1, total_is_exact: true }
    }
}

/// Which people.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum StatusIn {
    /// Who may sign in.
    Active,
    /// Set aside.
    Inactive,
    /// For a time.
    Suspended,
    /// For good.
    Banned,
    /// In the grace time before erasure.
    Deleted,
    /// All of them.
    All,
}

impl StatusIn {
    /// As the store wants it.
    pub fn standing(self) -> Standing {
        Standing::Only(match self {
            Self::Active => Status::Active,
            Self::Inactive => Status::Inactive,
            Self::Suspended => Status::Suspended,
            Self::Banned => Status::Banned,
            Self::Deleted => Status::Deleted,
            Self::All => return Standing::Any,
        })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Users;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::Users")]
impl Users {
    /// List people
    ///
    /// Newest first; those who may sign in, unless `status` says otherwise.
    #[oai(path = "/", method = "get", operation_id = "user_list")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Which page, from 1.
        #[oai(validator(minimum(value = "1"), maximum(value = "100000")))]
        page: Query<Option<u32>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        page_size: Query<Option<u32>>,
        /// Of which status; `active` without it.
        status: Query<Option<StatusIn>>,
        /// From three letters or digits in a row: any part of a username, a name, an e-mail address or a phone
        /// number, without regard to case and accents. Shorter: how one of them begins.
        #[oai(validator(min_length = 1, max_length = 100))]
        search: Query<Option<TextIn>>,
    ) -> Answer<Json<UserPageOut>> {
        let (page, page_size) = (page.0.unwrap_or(1), page_size.0.unwrap_or(50));
        let filter = Filter {
            standing: status.0.unwrap_or(StatusIn::Active).standing(),
            search: search.0.map(|text| text.0),
            ..Filter::default()
        };
        let slice = Slice { order: Order::Newest, page: page.into(), page_size: page_size.into() };
        Ok(UserPageOut::of(user::list(&ctx, &from, &person, &filter, slice).await?, page, page_size))
    }

    /// Make an account for somebody
    ///
    /// Its identifiers are not proved: who proves one signs in with it.
    #[oai(path = "/", method = "post", operation_id = "user_add")]
    async fn add(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<UserIn>,
    ) -> Answer<Created<UserDetailOut>> {
        let key = key.bind_as(&ctx.config, &person, "user_add", &body.raw)?;
        let record = user::add(&ctx, &from, &person, body.ask, key.as_ref()).await?;
        Ok(Created(UserDetailOut::of(&ctx, record).0))
    }

    /// See a record
    ///
    /// One's own, or as staff anybody's; services with the scope `users:read` see the basic fields. Second factors
    /// and documents are shown of nobody above one's rank.
    #[oai(path = "/:id", method = "get", operation_id = "user_show")]
    async fn show(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Shown> {
        Ok(match &party {
            Party::Person(person) => {
                let record = user::show(&ctx, &from, person, id.0).await?;
                let reaches = person.reaches(record.rank, record.is_superuser);
                let Tagged(mut detail, version) = UserDetailOut::of(&ctx, record);
                if person.user_id() != id.0 && reaches && person.has(Permission::FactorsReset) {
                    detail.factors = Some(HeldFactorOut::list(factor::list(&ctx, id.0).await?));
                }
                if person.user_id() != id.0 {
                    let held = wallet::show(&ctx, id.0).await?;
                    detail.profile = Some(ProfileOut::of(&*profile::own(&ctx, id.0).await?).0);
                    detail.wallet_balance = Some(held.balance.clone());
                    detail.points = Some(held.into());
                }
                if person.user_id() != id.0 && reaches && person.has(Permission::KycRead) {
                    detail.kyc = Some(kyc::newest(&ctx, id.0).await?.into());
                }
                Tagged(ShownOut::Detail(Box::new(detail)), version)
            }
            Party::Service(service) => {
                let record = user::show_to(&ctx, &from, service, id.0).await?;
                let version = record.updated_at;
                Tagged(ShownOut::Basic(record.into()), version)
            }
        })
    }

    /// Replace a record
    ///
    /// One's own; or as staff (`users.read` and `users.write`), of nobody above one's rank and of no account that is
    /// deleted.
    #[oai(path = "/:id", method = "put", operation_id = "user_replace")]
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
        body: Body<UserPutIn>,
    ) -> Answer<Tagged<UserDetailOut>> {
        let record = user::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        Ok(UserDetailOut::of(&ctx, record))
    }

    /// Change a record
    ///
    /// One's own, with a new identifier that was proved; or as staff (`users.read` and `users.write`), of nobody
    /// above one's rank and of no account that is deleted. Identifiers are changed shortly after signing in or a proof anew, and by staff only of people without rights that
    /// they lack themselves.
    #[oai(path = "/:id", method = "patch", operation_id = "user_edit")]
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
        body: Body<UserPatchIn>,
    ) -> Answer<Tagged<UserDetailOut>> {
        let record = user::edit(&ctx, &from, &person, id.0, version.0, body.ask).await?;
        Ok(UserDetailOut::of(&ctx, record))
    }

    /// Delete an account
    ///
    /// It can be restored by staff for 30 days, then it is erased.
    #[oai(path = "/:id", method = "delete", operation_id = "user_delete")]
    async fn delete(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        user::delete(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
