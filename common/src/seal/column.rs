//! Which columns hold what [`super::seal`] made: the one list. What is sealed under another key
//! (audit lines under their person's, saved answers under the caller's) is not on it.

use sqlx::PgPool;
use uuid::Uuid;

use super::store::{self, Resealed, Sealed};
use crate::secret::Keyring;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `signing_keys.sealed`.
    SigningKeys,
    /// `user_keys.sealed`.
    UserKeys,
    /// `totp_factors.sealed`.
    TotpFactors,
    /// `users.national_id_sealed`, with `national_id_hash` beside it.
    NationalIds,
    /// `uploads.sealed_key`.
    Uploads,
    /// `kyc_submissions.number_sealed`, with `number_hash` beside it.
    DocumentNumbers,
}

/// A row's own id.
#[derive(Clone, Debug)]
pub(super) enum RowKey {
    Text(String),
    Id(Uuid),
}

impl RowKey {
    /// What a value of the row is bound to.
    pub fn owner(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Id(id) => id.as_bytes(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Id(_) => None,
        }
    }

    fn id(&self) -> Option<Uuid> {
        match self {
            Self::Text(_) => None,
            Self::Id(id) => Some(*id),
        }
    }
}

/// A value sealed anew.
pub(super) struct Anew {
    pub key: RowKey,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    /// The text itself.
    pub opened: Vec<u8>,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SigningKeys,
        Self::UserKeys,
        Self::TotpFactors,
        Self::NationalIds,
        Self::Uploads,
        Self::DocumentNumbers,
    ];

    /// Table and column.
    pub fn name(self) -> &'static str {
        match self {
            Self::SigningKeys => "signing_keys.sealed",
            Self::UserKeys => "user_keys.sealed",
            Self::TotpFactors => "totp_factors.sealed",
            Self::NationalIds => "users.national_id_sealed",
            Self::Uploads => "uploads.sealed_key",
            Self::DocumentNumbers => "kyc_submissions.number_sealed",
        }
    }

    /// The use its key is derived for.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::SigningKeys => "signing_key",
            Self::UserKeys => "user_key",
            Self::TotpFactors => "totp",
            Self::NationalIds => "national_id",
            Self::Uploads => crate::upload::SEALED_FOR,
            Self::DocumentNumbers => "document_number",
        }
    }

    /// The next values after a row that are not of the newest key.
    pub(super) async fn list(
        self,
        db: &PgPool,
        newest: &[u8],
        after: Option<&RowKey>,
        most: i64,
    ) -> Result<Vec<(RowKey, Vec<u8>)>, sqlx::Error> {
        let id = after.and_then(RowKey::id);
        let rows = match self {
            Self::SigningKeys => {
                let rows = store::list_signing_keys(db, newest, after.and_then(RowKey::text), most).await?;
                return Ok(rows.into_iter().map(|row| (RowKey::Text(row.key), row.value)).collect());
            }
            Self::UserKeys => store::list_user_keys(db, newest, id, most).await?,
            Self::TotpFactors => store::list_totp_factors(db, newest, id, most).await?,
            Self::NationalIds => store::list_national_ids(db, newest, id, most).await?,
            Self::Uploads => store::list_uploads(db, newest, id, most).await?,
            Self::DocumentNumbers => store::list_document_numbers(db, newest, id, most).await?,
        };
        Ok(rows.into_iter().map(|Sealed { key, value }| (RowKey::Id(key), value)).collect())
    }

    /// Puts values back. Answers with how many were still there.
    pub(super) async fn set(self, db: &PgPool, keys: &Keyring, rows: Vec<Anew>) -> Result<u64, sqlx::Error> {
        let hashes: Vec<Vec<u8>> = match self {
            Self::NationalIds | Self::DocumentNumbers => {
                let key = keys.derive(self.purpose());
                rows.iter().map(|row| key.mac(&[&row.opened]).to_vec()).collect()
            }
            Self::SigningKeys | Self::UserKeys | Self::TotpFactors | Self::Uploads => Vec::new(),
        };
        match self {
            Self::SigningKeys => {
                let texts = rows.iter().filter_map(|row| row.key.text().map(str::to_owned)).collect();
                store::set_signing_keys(db, &resealed(texts, rows)).await
            }
            Self::UserKeys => store::set_user_keys(db, &by_id(rows)).await,
            Self::TotpFactors => store::set_totp_factors(db, &by_id(rows)).await,
            Self::NationalIds => store::set_national_ids(db, &by_id(rows), &hashes).await,
            Self::Uploads => store::set_uploads(db, &by_id(rows)).await,
            Self::DocumentNumbers => store::set_document_numbers(db, &by_id(rows), &hashes).await,
        }
    }
}

fn by_id(rows: Vec<Anew>) -> Resealed<Uuid> {
    resealed(rows.iter().filter_map(|row| row.key.id()).collect(), rows)
}

fn resealed<K>(keys: Vec<K>, rows: Vec<Anew>) -> Resealed<K> {
    let (old, new) = rows.into_iter().map(|row| (row.old, row.new)).unzip();
    Resealed { keys, old, new }
}
