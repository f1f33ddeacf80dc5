//! Whom the servers run as. Postgres refuses root, so as root both run as somebody else.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{User, geteuid};

use super::{Error, Result};

/// A user that servers run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User number.
    pub uid: u32,
    /// Number of the main group.
    pub gid: u32,
    /// Whether this is somebody else than ourselves, so that files are handed over.
    pub other: bool,
}

impl Account {
    /// Ourselves, or as root `postgres` if there is such a user, else `nobody`.
    ///
    /// # Errors
    /// As root without either user.
    pub fn for_servers() -> Result<Self> {
        let own = geteuid();
        if !own.is_root() {
            return Ok(Self { uid: own.as_raw(), gid: nix::unistd::getegid().as_raw(), other: false });
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), other: true })
            .ok_or_else(|| {
                Error::new("Postgres does not run as root, and neither a user postgres nor nobody exists.")
            })
    }

    /// Whether this user can pass through every directory down to `path`, which must exist.
    /// A home of mode 0700 above is the usual reason why not.
    pub fn reaches(&self, path: &Path) -> bool {
        if !self.other {
            // we are there already, by whichever of our groups
            return fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o111 != 0);
        }
        let Ok(path) = path.canonicalize() else { return false };
        path.ancestors().all(|step| {
            fs::metadata(step).is_ok_and(|meta| {
                let bit = if meta.uid() == self.uid {
                    0o100
                } else if meta.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                meta.mode() & bit != 0
            })
        })
    }
}
