//! What can go wrong, in words for the person at the terminal.

use std::fmt;
use std::path::{Path, PathBuf};

/// A refusal or failure; `Display` is one clear sentence.
#[derive(Debug, Clone)]
pub enum Error {
    /// Another process runs servers in this state directory.
    InUse {
        /// The state directory.
        state_dir: PathBuf,
        /// The process that holds it, if it had written its number yet.
        pid: Option<u32>,
        /// What that process says of itself, for instance its address.
        note: String,
    },
    /// Anything else.
    Failed(String),
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// For `map_err`: what was tried on `path`, and the system's answer.
    pub(crate) fn at<E: fmt::Display>(what: &str, path: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(format!("{what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { state_dir, pid, note } => {
                write!(out, "{} is in use", state_dir.display())?;
                if let Some(pid) = pid {
                    write!(out, " by process {pid}")?;
                }
                if !note.is_empty() {
                    write!(out, ": {note}")?;
                }
                Ok(())
            }
            Self::Failed(text) => out.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
