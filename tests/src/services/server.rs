//! One server: started, stopped, killed, paused and started again on the same address.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::{Error, Result, child};

/// How long a server may take to answer, or to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(3);

/// How one kind of server is run.
pub(crate) trait Recipe: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn url(&self) -> String;
    fn log(&self) -> &Path;
    fn stop_signal(&self) -> Signal;
    fn command(&self) -> Result<Command>;
    /// Clears away what an earlier process left in the way.
    fn clear(&self) -> Result<()>;
    /// Whether the process `pid` answers.
    fn is_ready(&self, pid: u32) -> bool;
    /// Whether a start that failed with this log is worth another try.
    fn may_try_again(&self, log: &str) -> bool;
}

/// A server, ours or given by the environment.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    url: String,
    recipe: Option<Box<dyn Recipe>>,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn given(name: &'static str, url: String) -> Self {
        Self { name, url, recipe: None, child: None }
    }

    pub(crate) fn ours(recipe: Box<dyn Recipe>) -> Self {
        Self { name: recipe.name(), url: recipe.url(), recipe: Some(recipe), child: None }
    }

    /// `Postgres` or `Redis`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its address; the same over stops and starts.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it was started here rather than given by the environment.
    pub fn is_ours(&self) -> bool {
        self.recipe.is_some()
    }

    /// Its (main) process, while it runs and is ours.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it writes its log, if it is ours. Emptied at each start.
    pub fn log(&self) -> Option<PathBuf> {
        self.recipe.as_ref().map(|recipe| recipe.log().to_path_buf())
    }

    /// Whether the process lives. A given server is taken to.
    pub fn is_running(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(None)) {
                return true;
            }
            self.child = None;
        }
        self.recipe.is_none()
    }

    /// Starts it on its old address, with its old data, and returns once it answers. Nothing
    /// happens if it runs.
    ///
    /// # Errors
    /// When it is not ours, or does not come up; then with the end of its log.
    pub fn start(&mut self) -> Result<()> {
        self.recipe()?;
        if self.is_running() {
            return Ok(());
        }
        self.launch()?;
        self.wait_ready()
    }

    /// Asks it to end and waits; kills it if it takes half a minute.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn stop(&mut self) -> Result<()> {
        let asked = self.recipe()?.stop_signal();
        self.resume()?;
        self.signal(asked);
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn kill(&mut self) -> Result<()> {
        self.recipe()?;
        if let Some(mut child) = self.child.take() {
            // backends that were paused would never notice the end of their parent
            let family = family(child.id());
            let _ = child.kill();
            let _ = child.wait();
            send(&family[1..], Signal::SIGCONT);
        }
        Ok(())
    }

    /// Freezes it with all its processes: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn pause(&mut self) -> Result<()> {
        self.recipe()?;
        self.signal(Signal::SIGSTOP);
        if let Some(pid) = self.pid() {
            send(&family(pid), Signal::SIGSTOP);
        }
        Ok(())
    }

    /// Lets it go on after [`Server::pause`].
    ///
    /// # Errors
    /// When it is not ours.
    pub fn resume(&mut self) -> Result<()> {
        self.recipe()?;
        if let Some(pid) = self.pid() {
            send(&family(pid), Signal::SIGCONT);
        }
        Ok(())
    }

    /// The last `count` lines of its log.
    pub fn log_tail(&self, count: usize) -> String {
        let text = self.recipe.as_ref().and_then(|recipe| fs::read(recipe.log()).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    fn recipe(&self) -> Result<&dyn Recipe> {
        let given =
            || Error::new(format!("{} was given by the environment and is not ours to handle.", self.name));
        self.recipe.as_deref().ok_or_else(given)
    }

    /// Starts the process without waiting for it. Nothing happens if it is not ours.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let Some(recipe) = &self.recipe else { return Ok(()) };
        recipe.clear()?;
        let log = File::create(recipe.log()).map_err(Error::at("cannot write", recipe.log()))?;
        let copy = log.try_clone().map_err(Error::at("cannot write", recipe.log()))?;
        let mut command = recipe.command()?;
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        let failed = |error| Error::new(format!("cannot start {}: {error}", recipe.name()));
        self.child = Some(child::spawn(command).map_err(failed)?);
        Ok(())
    }

    /// Waits until it answers.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(recipe) = &self.recipe {
            if self.child.as_ref().is_some_and(|child| recipe.is_ready(child.id())) {
                break;
            }
            let late = Instant::now() > deadline;
            if !self.is_running() && !late && self.tries_again() {
                self.launch()?;
            } else if late || self.child.is_none() {
                let _ = self.kill();
                return Err(Error::new(format!("{} did not come up:\n{}", self.name, self.log_tail(12))));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn tries_again(&self) -> bool {
        self.recipe.as_ref().is_some_and(|recipe| recipe.may_try_again(&self.log_tail(12)))
    }

    /// Stops it if it is ours.
    pub(crate) fn end(&mut self) {
        if self.child.is_some() {
            let _ = self.stop();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            send(&[pid], signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn send(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        // it may have ended meanwhile
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// `pid` first, then its children. Where there is no `/proc`, `pid` alone.
fn family(pid: u32) -> Vec<u32> {
    let parent_of = |entry: &Path| {
        let stat = fs::read_to_string(entry.join("stat")).ok()?;
        // the name in brackets may hold blanks
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = entries.filter_map(|entry| {
        let child = entry.file_name().to_str()?.parse::<u32>().ok()?;
        (parent_of(&entry.path())? == pid).then_some(child)
    });
    std::iter::once(pid).chain(children).collect()
}
