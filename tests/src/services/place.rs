//! Where state lives: the lock on a state directory, the servers' data, and their sockets.
//!
//! A socket's path may hold 107 bytes (103 on macOS), so sockets never live below the checkout but
//! in a short private directory. The data lives in the state directory if the servers' user can
//! reach it, else below `/var/tmp`. No path here may be guessed ahead by another user: names hold
//! a hash over a random id, and a directory that is not the servers' user's own is refused.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::user::Account;
use super::{Error, Result};

/// The longest path a Unix socket may have, in bytes.
pub const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The longest name of a socket (or its lock) inside a socket directory.
const LONGEST_NAME: usize = "/.s.PGSQL.5432.lock".len();

/// A state directory held by this process.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the directory, making it if need be.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it.
    pub fn take(state_dir: &Path) -> Result<Self> {
        fs::create_dir_all(state_dir).map_err(Error::at("cannot create", state_dir))?;
        let path = state_dir.join("lock");
        let mut file = open_lock(&path)?;
        if file.try_lock().is_err() {
            let mut text = String::new();
            // the holder may be about to write: an empty text is told as such
            let _ = file.read_to_string(&mut text);
            let mut lines = text.lines();
            return Err(Error::InUse {
                state_dir: state_dir.to_path_buf(),
                pid: lines.next().and_then(|pid| pid.parse().ok()),
                note: lines.next().unwrap_or_default().to_owned(),
            });
        }
        let mut lock = Self { file, path };
        lock.set_note("")?;
        Ok(lock)
    }

    /// Writes our process number and `note` for whoever is refused.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_note(&mut self, note: &str) -> Result<()> {
        let text = format!("{}\n{note}\n", std::process::id());
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(Error::at("cannot write", &self.path))
    }
}

/// Opens a lock file, making it if need be. The descriptor does not pass to children.
pub(crate) fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(Error::at("cannot open", path))
}

/// The directories of one pair of servers.
#[derive(Debug, Clone)]
pub struct Place {
    /// Data and logs.
    pub data: PathBuf,
    /// Sockets.
    pub sockets: PathBuf,
    /// Whom both directories belong to.
    pub account: Account,
}

impl Place {
    /// Makes the directories, with empty data unless it is to be kept.
    ///
    /// # Errors
    /// When no fitting directory can be made.
    pub fn prepare(state_dir: &Path, keep: bool) -> Result<Self> {
        let account = Account::for_servers()?;
        let name = name_of(state_dir)?;
        let mut data = state_dir.join("servers");
        if !account.reaches(state_dir) {
            data = Path::new("/var/tmp").join(&name);
        }
        if !keep && data.exists() {
            fs::remove_dir_all(&data).map_err(Error::at("cannot empty", &data))?;
        }
        private_dir(&data, account)?;
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let sockets = socket_dir(runtime.as_deref(), &name, account)?;
        private_dir(&sockets, account)?;
        Ok(Self { data, sockets, account })
    }
}

/// A name for `state_dir`: steady while its file `id` lives, and not to be guessed.
fn name_of(state_dir: &Path) -> Result<String> {
    let id = state_dir.join("id");
    if !id.exists() {
        fs::write(&id, random_hex(8)?).map_err(Error::at("cannot write", &id))?;
    }
    let mut hasher = DefaultHasher::new();
    fs::read_to_string(&id).map_err(Error::at("cannot read", &id))?.hash(&mut hasher);
    // a copied checkout has the same id: the path tells the two apart
    state_dir.canonicalize().map_err(Error::at("cannot find", state_dir))?.hash(&mut hasher);
    Ok(format!("keryu-{:012x}", hasher.finish() & 0xffff_ffff_ffff))
}

/// The first directory that is short enough, plain enough for a URL, and open to `account`.
fn socket_dir(runtime: Option<&Path>, name: &str, account: Account) -> Result<PathBuf> {
    let fits = |base: &&Path| {
        let path = base.join(name);
        let text = path.to_string_lossy();
        text.len() + LONGEST_NAME <= SOCKET_PATH_LIMIT
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
            && base.is_dir()
            && account.reaches(base)
    };
    let bases = [runtime, Some(Path::new("/tmp")), Some(Path::new("/var/tmp"))];
    bases.into_iter().flatten().find(fits).map(|base| base.join(name)).ok_or_else(|| {
        Error::new(format!(
            "No directory for sockets: a path may hold {SOCKET_PATH_LIMIT} bytes, and neither \
             XDG_RUNTIME_DIR nor /tmp can be used."
        ))
    })
}

/// Makes `path` a directory that `account` alone may enter.
fn private_dir(path: &Path, account: Account) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(path);
    if made.is_ok() && account.other {
        chown(path, Some(account.uid), Some(account.gid)).map_err(Error::at("cannot hand over", path))?;
    }
    let meta = fs::symlink_metadata(path).map_err(Error::at("cannot create", path))?;
    if !meta.is_dir() || meta.uid() != account.uid || meta.mode() & 0o077 != 0 {
        return Err(Error::new(format!(
            "{} should be a directory for user {} alone, and is not: remove it.",
            path.display(),
            account.uid
        )));
    }
    Ok(())
}

/// `count` random bytes, in hexadecimal.
///
/// # Errors
/// When the system has none to give.
pub fn random_hex(count: usize) -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = vec![0; count];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::at("cannot read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_odd_runtime_directory_gives_way_to_tmp() {
        let account = Account::for_servers().unwrap();
        let root = env::temp_dir().join(format!("keryu-place-{}", std::process::id()));
        let long = root.join("x".repeat(120));
        let odd = root.join("with space");
        for base in [&long, &odd] {
            fs::create_dir_all(base).unwrap();
            let dir = socket_dir(Some(base), "keryu-0123456789ab", account).unwrap();
            assert_eq!(dir, Path::new("/tmp/keryu-0123456789ab"));
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let account = Account::for_servers().unwrap();
        let path = env::temp_dir().join(format!("keryu-open-{}", std::process::id()));
        DirBuilder::new().mode(0o755).create(&path).unwrap();
        assert!(private_dir(&path, account).is_err());
        fs::remove_dir(&path).unwrap();
        private_dir(&path, account).unwrap();
        private_dir(&path, account).unwrap();
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn names_differ_by_path_and_stay() {
        let root = env::temp_dir().join(format!("keryu-names-{}", std::process::id()));
        let (one, two) = (root.join("one"), root.join("two"));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&two).unwrap();
        let name = name_of(&one).unwrap();
        fs::copy(one.join("id"), two.join("id")).unwrap();
        assert_eq!(name, name_of(&one).unwrap());
        assert_ne!(name, name_of(&two).unwrap());
        fs::remove_dir_all(&root).unwrap();
    }
}
