//! Documents by which people prove who they are (know your customer): sent and read by their owner (`own`),
//! together with their files where they come in one form (`form`), looked through and decided on by the staff
//! (`desk`), and over when their time is (`jobs`). What a file is says `file`; which documents there are, and what their numbers look like, are rows. Numbers are sealed, and
//! so are the files, by `upload`.
//!
//! A person hands in one document at a time; what was decided stays as it was, and the next one is a row of
//! its own. `users.kyc_status` says how far somebody is: it is written with every change, while the row of the
//! person is locked.

mod desk;
pub mod file;
mod form;
mod jobs;
mod own;
mod store;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use desk::{Case, Filter, Item, Page, Side, approve, list, read_side, reject, show};
pub use form::{FilesEdit, Given, WithFiles, amend_with_files, submit_with_files};
pub use jobs::{ExpireDocument, ExpireDocuments};
pub(crate) use own::seal_number;
pub use own::{Edit, File, Submission, amend, keep, newest, own, read_own, status, submit};

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::seal;

/// No such document, or not of this person.
pub const NOT_FOUND: Code = Code {
    code: "kyc.not_found",
    status: 404,
    title: "No such document",
    advice: "Check the id. Whoever has not handed one in yet does so by `POST /api/users/kyc`.",
};
/// No such file of this person.
pub const FILE_NOT_FOUND: Code = Code {
    code: "kyc.file_not_found",
    status: 404,
    title: "No such file",
    advice: "Check the URL. A file that no document names within a day is deleted, and so are those of documents that were rejected or have run out, once the next one is handed in.",
};
/// One at a time.
pub const PENDING: Code = Code {
    code: "kyc.pending",
    status: 409,
    title: "A document waits to be looked at",
    advice: "Change that one by `PATCH /api/users/kyc`, or wait until it is decided on.",
};
/// What was approved or has expired is not changed any more.
pub const DECIDED: Code = Code {
    code: "kyc.decided",
    status: 409,
    title: "The document cannot be changed any more",
    advice: "Hand in another one by `POST /api/users/kyc`.",
};
/// Somebody else was faster.
pub const NOT_PENDING: Code = Code {
    code: "kyc.not_pending",
    status: 409,
    title: "The document does not wait for a decision",
    advice: "Read it again: somebody has decided on it.",
};
/// All refusals of this slice.
pub const CODES: &[Code] = &[
    NOT_FOUND,
    FILE_NOT_FOUND,
    PENDING,
    DECIDED,
    NOT_PENDING,
    file::TYPE,
    file::BROKEN,
    file::PIXELS,
    file::BYTES,
];

/// How far somebody is who handed nothing in.
pub const NOT_SUBMITTED: &str = "not_submitted";

/// How far a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits to be looked at.
    Pending,
    /// Good until it expires.
    Approved,
    /// Not good, with a reason.
    Rejected,
    /// Was good once.
    Expired,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Approved, Self::Rejected, Self::Expired];

    /// As rows and answers say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|state| state.name() == name);
        known.ok_or_else(|| format!("{name} is not a state of a document"))
    }
}

/// A document as its owner sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// Which.
    pub submission_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// `passport`, ...
    pub document_type: String,
    /// But for all save its last three characters.
    pub masked_number: String,
    /// The file of its front.
    pub front: Uuid,
    /// The file of its back.
    pub back: Option<Uuid>,
    /// How far it is.
    pub state: State,
    /// Why it was rejected.
    pub rejection_reason: Option<String>,
    /// When it was approved or rejected.
    pub decided_at: Option<DateTime<Utc>>,
    /// When it expires, or when it did.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was handed in.
    pub created_at: DateTime<Utc>,
    /// When it last changed: its version.
    pub updated_at: DateTime<Utc>,
}

impl Document {
    /// When it was approved.
    pub fn verified_at(&self) -> Option<DateTime<Utc>> {
        self.decided_at.filter(|_| matches!(self.state, State::Approved | State::Expired))
    }

    fn of(ctx: &Context, row: store::Row) -> Result<Self> {
        let number: Vec<char> = number(ctx, &row)?.chars().collect();
        let tail: String = number.iter().skip(number.len().saturating_sub(3)).collect();
        Ok(Self {
            masked_number: format!("***{tail}"),
            state: row.state.parse().map_err(Error::internal)?,
            submission_id: row.submission_id,
            user_id: row.user_id,
            document_type: row.document_type,
            front: row.front_upload_id,
            back: row.back_upload_id,
            rejection_reason: row.rejection_reason,
            decided_at: row.decided_at,
            expires_at: row.expires_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// What the numbers are sealed for; see [`seal::Column::DocumentNumbers`].
const NUMBER: &str = "document_number";

/// The number of a document.
fn number(ctx: &Context, row: &store::Row) -> Result<String> {
    let text = seal::open(&ctx.config.keys, NUMBER, row.submission_id.as_bytes(), &row.number_sealed);
    let text = text.and_then(|text| String::from_utf8(text).ok());
    text.ok_or_else(|| Error::internal("KERYU_SECRET_KEY no longer holds what seals this document's number"))
}

/// The path of somebody's own file.
const FILES: &str = "/api/users/kyc/documents/";

/// Where the owner of a file reads it.
pub fn file_url(public_url: &str, upload_id: Uuid) -> String {
    format!("{public_url}{FILES}{upload_id}")
}

/// The file of a URL that [`file_url`] made, or of its path alone. Nothing is ever fetched.
pub fn file_of(public_url: &str, url: &str) -> Option<Uuid> {
    let path = url.strip_prefix(public_url).unwrap_or(url);
    let id = path.strip_prefix(FILES)?;
    Uuid::try_parse(id).ok().filter(|upload_id| upload_id.hyphenated().to_string() == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_back() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).expect("name"), state.name());
        }
    }

    #[test]
    fn no_url_but_our_own_names_a_file() {
        let ours = "https://id.example.org";
        let id = Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172);
        let url = file_url(ours, id);
        assert_eq!(file_of(ours, &url), Some(id));
        assert_eq!(file_of(ours, &url[ours.len()..]), Some(id));
        for other in [
            "",
            "https://evil.example/api/users/kyc/documents/019a9f31-7cf2-7b0a-9e1c-2d3e4f506172",
            "https://id.example.org.evil.example/api/users/kyc/documents/019a9f31-7cf2-7b0a-9e1c-2d3e4f506172",
            "https://id.example.org/api/users/kyc/documents/019a9f31-7cf2-7b0a-9e1c-2d3e4f506172?x=1",
            "https://id.example.org/api/users/kyc/documents/../documents/019a9f31-7cf2-7b0a-9e1c-2d3e4f506172",
            "https://id.example.org/api/users/kyc/documents/{019a9f31-7cf2-7b0a-9e1c-2d3e4f506172}",
            "https://id.example.org/api/users/kyc/documents/019a9f317cf27b0a9e1c2d3e4f506172",
            "file:///etc/passwd",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert_eq!(file_of(ours, other), None, "{other}");
        }
    }
}
