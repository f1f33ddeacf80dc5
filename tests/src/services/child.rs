//! Children that die with us, however we die.
//!
//! On Linux a child asks the kernel for a signal on its parent's end (`PR_SET_PDEATHSIG`). The
//! asking takes code between fork and exec, so a child is started through a shim: `keryu-dev child`
//! becomes the wanted user, unblocks all signals, asks, makes sure that the parent is still there,
//! and then becomes the wanted program under the same process number. The order counts: a change of
//! user clears the wish.
//!
//! The kernel means the parent's *thread*. [`spawn`] therefore starts every child from one thread
//! that lives as long as the process. Elsewhere than on Linux children merely stop with an orderly
//! end of their parent.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, getppid, setgid, setuid};

use super::user::Account;
use super::{Error, Result};

/// The signal that a child gets when its parent is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// `SIGINT`: for Postgres a fast, clean shutdown.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
    /// `SIGKILL`: nothing can put it off.
    Kill,
}

impl Death {
    fn word(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
        }
    }
}

/// The binary that answers `child` and `guard`.
static SHIM: OnceLock<PathBuf> = OnceLock::new();

/// To be said by `keryu-dev` at its start: the running binary is the shim. The path holds even
/// when the file has been built anew since.
pub fn shim_is_self() {
    let own = if cfg!(target_os = "linux") {
        PathBuf::from("/proc/self/exe")
    } else {
        env::current_exe().unwrap_or_default()
    };
    SHIM.get_or_init(|| own);
}

/// The `keryu-dev` binary: ourselves, the one cargo names, or the one beside the running test.
///
/// # Errors
/// When it has not been built.
pub fn shim() -> Result<PathBuf> {
    if let Some(path) = SHIM.get() {
        return Ok(path.clone());
    }
    let named = ["CARGO_BIN_EXE_keryu-dev", "NEXTEST_BIN_EXE_keryu-dev"];
    let named = named.iter().filter_map(env::var_os).map(PathBuf::from);
    let exe = env::current_exe().unwrap_or_default();
    let beside = exe.ancestors().skip(1).take(2).map(|dir| dir.join("keryu-dev"));
    let found = named.chain(beside).find(|path| path.is_file());
    found.map(|path| SHIM.get_or_init(|| path).clone()).ok_or_else(|| {
        Error::new("keryu-dev is not built: run `cargo build -p keryu-tests --bin keryu-dev`.")
    })
}

/// A command for `program` that gets `death` when this process ends. Add arguments and the rest,
/// then start it with [`spawn`].
///
/// # Errors
/// When the shim has not been built.
pub fn command(program: impl AsRef<OsStr>, death: Death) -> Result<Command> {
    command_as(program, death, None)
}

/// The same, as another user.
pub(crate) fn command_as(
    program: impl AsRef<OsStr>,
    death: Death,
    account: Option<Account>,
) -> Result<Command> {
    let account = account.filter(|account| account.other);
    let user = account.map_or_else(|| "-".to_owned(), |account| format!("{}:{}", account.uid, account.gid));
    let mut command = Command::new(shim()?);
    command.args(["child", &std::process::id().to_string(), death.word(), &user]).arg(program);
    Ok(command)
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` from the thread that lives as long as this process.
///
/// # Errors
/// Those of [`Command::spawn`].
pub fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                // nobody listens any more: then the child is dropped and lives on until we end
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, result) = mpsc::channel();
    let sent = keeper.lock().is_ok_and(|sender| sender.send((command, answer)).is_ok());
    let gone = |_| io::Error::other("the thread that starts children is gone");
    if sent { result.recv().map_err(gone)? } else { Err(gone(mpsc::RecvError)) }
}

/// The body of `keryu-dev child PARENT SIGNAL USER PROGRAM ARGS…`. Returns only on failure.
pub fn exec(mut args: impl Iterator<Item = OsString>) -> Error {
    let mut word = || args.next().and_then(|arg| arg.into_string().ok()).unwrap_or_default();
    let (parent, death, user) = (word(), word(), word());
    let Some(program) = args.next() else {
        return Error::new("usage: keryu-dev child PARENT SIGNAL USER PROGRAM ARGS…");
    };
    if let Err(error) = bind(&parent, &death, &user) {
        return error;
    }
    let error = Command::new(&program).args(args).exec();
    Error::new(format!("cannot start {}: {error}", program.to_string_lossy()))
}

fn bind(parent: &str, death: &str, user: &str) -> Result<()> {
    let failed = |what: &'static str| move |error: Errno| Error::new(format!("{what}: {error}"));
    // the supervisor blocks the signals it waits for, and a block passes to children
    SigSet::empty().thread_set_mask().map_err(failed("cannot unblock signals"))?;
    if let Some((uid, gid)) = user.split_once(':') {
        let number = |text: &str| text.parse::<u32>().map_err(|_| Error::new(format!("not a user: {user}")));
        let (uid, gid) = (Uid::from_raw(number(uid)?), Gid::from_raw(number(gid)?));
        #[cfg(target_os = "linux")]
        nix::unistd::setgroups(&[gid]).map_err(failed("cannot leave our groups"))?;
        setgid(gid).and_then(|()| setuid(uid)).map_err(failed("cannot become another user"))?;
    }
    die_with_parent(death).map_err(failed("cannot be bound to the parent"))?;
    // a parent that died before the wish was made sends nothing
    if getppid().to_string() != parent {
        return Err(Error::new("the parent is gone"));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with_parent(death: &str) -> nix::Result<()> {
    use nix::sys::signal::Signal;

    nix::sys::prctl::set_pdeathsig(match death {
        "INT" => Signal::SIGINT,
        "TERM" => Signal::SIGTERM,
        _ => Signal::SIGKILL,
    })
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_death: &str) -> nix::Result<()> {
    Ok(())
}
