//! What lists know of people, for exports.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Status, store};
use crate::error::Result;

/// A person in an export.
#[derive(Clone, Debug)]
pub struct Card {
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
    /// Whether they may sign in.
    pub status: Status,
    /// `member`, ...
    pub role: String,
    /// Whether the e-mail address is proved.
    pub email_verified: bool,
    /// Whether the phone number is proved.
    pub phone_verified: bool,
    /// When they joined.
    pub created_at: DateTime<Utc>,
    /// When they last signed in.
    pub last_login_at: Option<DateTime<Utc>>,
}

/// What lists know of these people, by id. Who calls leaves the audit line.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn list_cards(db: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<Vec<Card>> {
    Ok(store::list_cards(db, ids).await?)
}
