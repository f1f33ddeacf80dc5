//! Records of people, read: for their owners, for staff and for services.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::audit::line;
use super::{NOT_FOUND, Status, store};
use crate::api_key::{Scope, Service};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::Result;
use crate::role::Permission;
use crate::seal;
use crate::session::Person;

/// Everything of a person's account.
#[derive(Clone)]
pub struct Record {
    /// Which.
    pub user_id: Uuid,
    /// As chosen.
    pub username: String,
    /// Normalised.
    pub email: Option<String>,
    /// E.164.
    pub phone_number: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// As the person says.
    pub gender: Option<String>,
    /// Of the person.
    pub address: Option<String>,
    /// Whether there is a picture of them.
    pub has_picture: bool,
    pub(super) national_id_sealed: Option<Vec<u8>>,
    /// Whether they may sign in.
    pub status: Status,
    /// Why, where staff said so.
    pub status_reason: Option<String>,
    /// `member`, ...
    pub role: String,
    /// How high the role stands.
    pub rank: i16,
    /// What the role may do, by name.
    pub(super) permissions: Vec<String>,
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
    /// When they last signed in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// From where.
    pub last_login_ip: Option<String>,
    /// In which browser or app.
    pub last_login_device: Option<String>,
    /// When they last did something.
    pub last_activity_at: Option<DateTime<Utc>>,
    /// When the e-mail address was proved.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When the phone number was proved.
    pub phone_verified_at: Option<DateTime<Utc>>,
    /// How far the check of their documents is.
    pub kyc_status: String,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// When it will be erased.
    pub erase_at: Option<DateTime<Utc>>,
    /// What it was when it was deleted.
    pub(super) status_before: Option<Status>,
    /// Why it was that.
    pub(super) reason_before: Option<String>,
    /// When they joined.
    pub created_at: DateTime<Utc>,
    /// When the record last changed: its version.
    pub updated_at: DateTime<Utc>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl Record {
    /// The national id, but for all save its last three characters.
    pub fn masked_national_id(&self, ctx: &Context) -> Option<String> {
        let sealed = self.national_id_sealed.as_ref()?;
        let text = seal::open(&ctx.config.keys, "national_id", self.user_id.as_bytes(), sealed)?;
        let text: Vec<char> = String::from_utf8(text).ok()?.chars().collect();
        let tail: String = text.iter().skip(text.len().saturating_sub(3)).collect();
        Some(format!("***{tail}"))
    }
}

/// A person's record, for its owner or staff with the right; a look by staff leaves an audit line.
///
/// # Errors
/// `user.not_found`: also for those who may not know, so that ids tell nothing.
pub async fn show(ctx: &Context, client: &Client, person: &Person, user_id: Uuid) -> Result<Record> {
    if person.user_id() != user_id && !person.has(Permission::UsersRead) {
        return Err(NOT_FOUND.refuse("There is no such user.").into());
    }
    let record = store::find(&ctx.db, user_id).await?;
    let record = record.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    if person.user_id() != user_id {
        note_read(ctx, client, person, user_id).await?;
    }
    Ok(record)
}

/// Writes the audit line of a look by staff.
pub(crate) async fn note_read(ctx: &Context, client: &Client, person: &Person, user_id: Uuid) -> Result<()> {
    let mut tx = ctx.db.begin().await?;
    audit::note(&mut tx, line(client, person, user_id, "user.read", json!({}), ctx.now())).await?;
    tx.commit().await?;
    Ok(())
}

/// A person's record for a service with the scope; the look leaves an audit line.
///
/// # Errors
/// `auth.forbidden`, `user.not_found`.
pub async fn show_to(ctx: &Context, client: &Client, service: &Service, user_id: Uuid) -> Result<Record> {
    service.may(Scope::UsersRead)?;
    let record = store::find(&ctx.db, user_id).await?.filter(|record| record.status != Status::Deleted);
    let record = record.ok_or_else(|| NOT_FOUND.refuse("There is no such user."))?;
    let line = Line {
        action: "user.read",
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(service.api_key_id),
        session_id: None,
        details: json!({ "service": service.name }),
        client,
        at: ctx.now(),
    };
    let mut tx = ctx.db.begin().await?;
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Ok(record)
}
