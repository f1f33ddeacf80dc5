//! `cargo dev`: the whole of Keryu on one machine, with one command.
//!
//! This file reads the command line and nothing else; [`dev`] is the supervisor, [`services`] runs
//! one command over fresh servers. `child` and `guard` are for our own use (see
//! [`keryu_tests::services`]).

mod apps;
mod dev;
mod logs;
mod ports;
mod services;
mod signals;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use keryu_tests::services::{Error, Result, child, guard};

const HELP: &str = "\
cargo dev                 Postgres, Redis, API and worker of this checkout, until Ctrl-C
cargo dev services [--state DIR] [--durable] -- CMD ARGS…
                          run CMD with DATABASE_URL and REDIS_URL of servers of its own; ends with
                          CMD's exit code; --durable: fsync on, and data kept in DIR

DATABASE_URL, REDIS_URL   servers to use instead of private ones
PORT                      where the API listens (8080, or the next free one)
KERYU_DEV_DIR             where state is kept (.dev)
KERYU_DEV_SOURCES         where servers may come from (installed,apt,wheels)
";

fn main() -> ExitCode {
    child::shim_is_self();
    let mut args = env::args_os().skip(1);
    let word = args.next().unwrap_or_default();
    let done = match word.to_str() {
        Some("") => dev::run(),
        Some("services") => services::run(args),
        Some("child") => Err(child::exec(args)),
        Some("guard") => guard::keep(&PathBuf::from(args.next().unwrap_or_default())).map(|()| 0),
        Some("help" | "-h" | "--help") => {
            say(HELP.trim_end());
            Ok(0)
        }
        _ => Err(Error::Failed(format!("cargo dev knows no {word:?}.\n{HELP}"))),
    };
    done.map(ExitCode::from).unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "cargo dev: {error}");
        ExitCode::FAILURE
    })
}

/// Prints a line. A reader that went away is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// For errors of the system.
fn failed(what: &str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Failed(format!("{what}: {error}"))
}

/// An exit code, or why there is none.
type Code = Result<u8>;
