//! A private Postgres: one cluster, one superuser `keryu`, one database `keryu`, one socket.
//!
//! Nobody needs a password: the socket's directory is open to one user alone.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::child::{self, Death};
use super::place::Place;
use super::{Error, Result, server};

/// Name of the superuser and of the first database.
const NAME: &str = "keryu";

#[derive(Debug)]
pub(crate) struct Recipe {
    bin: PathBuf,
    place: Place,
    cluster: PathBuf,
    log: PathBuf,
    durable: bool,
}

impl Recipe {
    /// Makes the cluster if there is none.
    pub(crate) fn prepare(bin: PathBuf, place: &Place, durable: bool) -> Result<Self> {
        let cluster = place.data.join("postgres");
        let log = place.data.join("postgres.log");
        let recipe = Self { bin, place: place.clone(), cluster, log, durable };
        if recipe.cluster.exists() {
            recipe.check_version()?;
        } else {
            recipe.init()?;
        }
        Ok(recipe)
    }

    /// Makes the cluster beside and moves it into place, so that an interrupted start leaves no
    /// half of one.
    fn init(&self) -> Result<()> {
        let draft = self.place.data.join("postgres.draft");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(Error::at("cannot remove", &draft))?;
        }
        let mut initdb = self.tool("initdb")?;
        initdb.args(["--username", NAME, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.args((!self.durable).then_some("--no-sync")).arg("-D").arg(&draft);
        run("initdb", initdb, "")?;
        // no client is needed: the server itself takes a statement before it ever listens
        let mut single = self.tool("postgres")?;
        single.arg("--single").args((!self.durable).then_some("-F")).arg("-D").arg(&draft).arg("postgres");
        run("postgres", single, &format!("CREATE DATABASE {NAME};\n"))?;
        fs::rename(&draft, &self.cluster).map_err(Error::at("cannot move", &draft))
    }

    fn tool(&self, name: &str) -> Result<Command> {
        let account = Some(self.place.account);
        let mut command = child::command_as(self.bin.join(name), Death::Interrupt, account)?;
        // a directory that the servers' user may enter, and no settings of another installation
        command.current_dir(&self.place.data);
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGOPTIONS"] {
            command.env_remove(name);
        }
        Ok(command)
    }

    fn check_version(&self) -> Result<()> {
        let made = fs::read_to_string(self.cluster.join("PG_VERSION")).unwrap_or_default();
        let found = super::find::postgres_version(&self.bin);
        if found.is_some_and(|found| made.trim() == found.to_string()) {
            return Ok(());
        }
        Err(Error::new(format!(
            "{} was made by Postgres {}, and {} holds Postgres {}: remove the first to start anew.",
            self.cluster.display(),
            made.trim(),
            self.bin.display(),
            found.map_or_else(|| "of no known version".to_owned(), |found| found.to_string()),
        )))
    }

    fn pid_file(&self) -> PathBuf {
        self.cluster.join("postmaster.pid")
    }
}

impl server::Recipe for Recipe {
    fn name(&self) -> &'static str {
        "Postgres"
    }

    fn url(&self) -> String {
        format!("postgres:///{NAME}?host={}&user={NAME}", self.place.sockets.display())
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn stop_signal(&self) -> Signal {
        Signal::SIGINT
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.tool("postgres")?;
        command.process_group(0).arg("-D").arg(&self.cluster);
        let sockets = format!("unix_socket_directories={}", self.place.sockets.display());
        let mut settings = vec![
            sockets.as_str(),
            "listen_addresses=",
            "port=5432",
            "max_connections=200",
            "shared_buffers=128MB",
            "log_min_messages=warning",
            "logging_collector=off",
            "log_destination=stderr",
            "timezone=UTC",
            "log_timezone=UTC",
        ];
        if !self.durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        Ok(command)
    }

    /// An earlier server may still be shutting down after its parent was killed, or its file may
    /// name a process number that belongs to somebody else by now.
    fn clear(&self) -> Result<()> {
        let file = self.pid_file();
        let pid = || fs::read_to_string(&file).ok()?.lines().next()?.trim().parse::<i32>().ok();
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(pid) = pid() {
            match owner(pid, &self.cluster) {
                Owner::Nobody => {
                    let _ = fs::remove_file(&file);
                    return Ok(());
                }
                Owner::Unknown => return Ok(()),
                Owner::Server if Instant::now() > deadline => {
                    return Err(Error::new(format!("An earlier Postgres (process {pid}) does not stop.")));
                }
                Owner::Server => {
                    let _ = signal::kill(Pid::from_raw(pid), Signal::SIGINT);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        Ok(())
    }

    /// The last line of the server's own file, as `pg_ctl` reads it.
    fn is_ready(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.pid_file()).unwrap_or_default();
        let mut lines = text.lines();
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6).map(str::trim) == Some("ready")
    }

    /// After a kill the old backends hold the shared memory for a moment.
    fn may_try_again(&self, log: &str) -> bool {
        log.contains("shared memory block")
    }
}

enum Owner {
    Server,
    Nobody,
    Unknown,
}

/// Whether process `pid` is a server of `cluster`.
fn owner(pid: i32, cluster: &Path) -> Owner {
    if signal::kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH) {
        return Owner::Nobody;
    }
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) if String::from_utf8_lossy(&line).contains(&*cluster.to_string_lossy()) => Owner::Server,
        Ok(_) => Owner::Nobody,
        Err(_) => Owner::Unknown,
    }
}

/// Runs a tool to its end; its output is shown only if it fails.
fn run(name: &str, mut command: Command, input: &str) -> Result<()> {
    let failed = |error| Error::new(format!("cannot run {name}: {error}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child::spawn(command).map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(Error::new(format!("{name} failed:\n{}", String::from_utf8_lossy(&text).trim())))
}
