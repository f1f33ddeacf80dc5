//! Errors: a refusal is an answer the caller can act on and carries a stable code; all else is a
//! fault of ours or of a part we stand on, logged once at the edge.

use std::borrow::Cow;
use std::time::Duration;

/// What every verb returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's doing: told with its code.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// A part we stand on does not answer; the caller may try again.
    #[error("unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database aborted the transaction as a whole (a conflict, a rule of its own): nothing was
    /// written, and the caller may try again.
    #[error("aborted: {0}")]
    Aborted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A defect: the caller learns nothing of it.
    #[error("internal: {0}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A defect with a text for the log.
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }

    /// As metrics say it: the code of a refusal; `error` for all else.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refusal(refusal) => refusal.code,
            _ => "error",
        }
    }

    /// The same for another caller who waited for the same thing; the source stays as its text.
    pub fn copy(&self) -> Self {
        match self {
            Self::Refusal(refusal) => Self::Refusal(refusal.clone()),
            Self::Unavailable(source) => Self::Unavailable(source.to_string().into()),
            Self::Aborted(source) => Self::Aborted(source.to_string().into()),
            Self::Internal(source) => Self::Internal(source.to_string().into()),
        }
    }
}

impl From<sqlx::Error> for Error {
    /// A lost, refused or restarting database is `Unavailable`, a transaction it would not take is
    /// `Aborted`; everything else is a defect.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(Box::new(error)),
            sqlx::Error::Database(db) => {
                let code = db.code().unwrap_or_default().into_owned();
                match code.get(..2) {
                    // connection, resources, operator; and 25006: read-only while it fails over
                    Some("08" | "53" | "57") => Self::Unavailable(Box::new(error)),
                    _ if code == "25006" => Self::Unavailable(Box::new(error)),
                    // rolled back for others' sake, or by a trigger
                    Some("40" | "P0") => Self::Aborted(Box::new(error)),
                    _ => Self::Internal(Box::new(error)),
                }
            }
            _ => Self::Internal(Box::new(error)),
        }
    }
}

/// A refusal: RFC 9457's fields that depend on the case. `code` is stable, `slice.reason`.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable machine-readable code.
    pub code: &'static str,
    /// HTTP status the edge answers with.
    pub status: u16,
    /// Short name of the problem, the same at every occurrence.
    pub title: &'static str,
    /// What happened this time, for a person.
    pub detail: Cow<'static, str>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// Every fault found in the input, at once.
    pub faults: Vec<Fault>,
    /// Extension members of this problem (RFC 9457, section 3.2), such as a token to go on with.
    pub more: Option<Box<serde_json::Map<String, serde_json::Value>>>,
}

impl Refusal {
    /// The same with one more extension member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.get_or_insert_default().insert(name.to_owned(), value.into());
        self
    }
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Fault {
    /// RFC 6901 pointer to the field; empty for the whole body.
    pub pointer: String,
    /// Stable machine-readable code.
    pub code: &'static str,
    /// For a person.
    pub detail: String,
}

impl Fault {
    /// A fault at a field of the body.
    pub fn at(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

/// One entry of the catalogue of codes: what `docs/errors.md` is generated from.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Stable machine-readable code.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Short name.
    pub title: &'static str,
    /// What the caller should do.
    pub advice: &'static str,
}

impl Code {
    /// A refusal of this kind.
    pub fn refuse(&self, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            code: self.code,
            status: self.status,
            title: self.title,
            detail: detail.into(),
            retry_after: None,
            faults: Vec::new(),
            more: None,
        }
    }

    /// A refusal that says when to come back.
    pub fn refuse_for(&self, detail: impl Into<Cow<'static, str>>, after: Duration) -> Refusal {
        Refusal { retry_after: Some(after), ..self.refuse(detail) }
    }
}

/// Input that does not hold: all faults at once.
pub const VALIDATION: Code = Code {
    code: "request.invalid",
    status: 422,
    title: "The request is not valid",
    advice: "Correct every field named in `errors` and send it again.",
};

/// A refusal of input with these faults.
pub fn invalid(faults: Vec<Fault>) -> Refusal {
    Refusal { faults, ..VALIDATION.refuse("One or more fields are not valid.") }
}

/// Refuses with every fault found, if any.
pub fn all_or<T>(value: Option<T>, faults: Vec<Fault>) -> Result<T, Refusal> {
    match value {
        Some(value) if faults.is_empty() => Ok(value),
        _ => Err(invalid(faults)),
    }
}
