//! `keryu-dev services`: one command over servers of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{env, fs};

use std::os::unix::process::ExitStatusExt;

use keryu_tests::services::child::{self, Death};
use keryu_tests::services::{Error, Options, Services};
use nix::sys::signal;
use nix::unistd::Pid;

use crate::signals::Signals;
use crate::{Code, failed};

/// What the command line asks for.
struct Asked {
    state: Option<PathBuf>,
    durable: bool,
    command: Vec<OsString>,
}

impl Asked {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let (mut state, mut durable) = (None, false);
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--state") => state = Some(PathBuf::from(args.next()?)),
                Some("--durable") => durable = true,
                Some("--") => break,
                _ => return None,
            }
        }
        let command: Vec<OsString> = args.collect();
        (!command.is_empty()).then_some(Self { state, durable, command })
    }
}

/// Brings the servers up, runs the command, stops them, and answers with the command's exit code.
pub fn run(args: impl Iterator<Item = OsString>) -> Code {
    let usage = "usage: keryu-dev services [--state DIR] [--durable] -- CMD ARGS…";
    let asked = Asked::parse(args).ok_or_else(|| Error::Failed(usage.to_owned()))?;
    let signals = Signals::take()?;
    let passing = env::temp_dir().join(format!("keryu-services-{}", std::process::id()));
    let state_dir = asked.state.clone().unwrap_or_else(|| passing.clone());
    let options = Options { state_dir, durable: asked.durable, given: true };
    let code =
        Services::find_or_start(&options).and_then(|services| command(&asked.command, &services, &signals));
    if asked.state.is_none() {
        let _ = fs::remove_dir_all(&passing);
    }
    code
}

fn command(words: &[OsString], services: &Services, signals: &Signals) -> Code {
    let (program, args) = words.split_first().ok_or_else(|| Error::Failed("no command".to_owned()))?;
    let mut command = child::command(program, Death::Kill)?;
    command.args(args).env("DATABASE_URL", services.database_url()).env("REDIS_URL", services.redis_url());
    signals.hear();
    let mut child = child::spawn(command).map_err(failed("cannot start the command"))?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed("cannot wait for the command"))? {
            return Ok(code(status));
        }
        if let Ok(request) = signals.requests.recv_timeout(Duration::from_millis(20))
            && let Ok(pid) = i32::try_from(child.id())
        {
            // it decides how to end; we follow
            let _ = signal::kill(Pid::from_raw(pid), request);
        }
    }
}

/// A status as a shell would tell it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
