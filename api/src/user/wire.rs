//! What people's records look like.

use chrono::{DateTime, Utc};
use keryu_common::kyc::{self, Document};
use keryu_common::user::{self, Page, Record, Row, Status};
use keryu_common::{Context, factor, mask};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, Union};
use serde_json::Value;
use uuid::Uuid;

use crate::edge::version::Tagged;
use crate::profile::wire::{ProfileOut, picture_url};
use crate::wallet::PointsOut;

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
    pub(super) fn list(held: factor::Enrolled) -> Vec<Self> {
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
pub type Shown = Tagged<ShownOut>;

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
