//! The API and the worker as children: started, started again after a crash, stopped.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use keryu_tests::services::Result;
use keryu_tests::services::child::{self, Death};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::failed;
use crate::logs::Source;

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A program that lived this long did not crash at its start.
const SETTLED: Duration = Duration::from_secs(30);

/// Environment that is set for a child.
pub type Environment = Vec<(&'static str, String)>;

/// One program that is to run all the time.
pub struct App {
    source: Source,
    program: PathBuf,
    word: &'static str,
    environment: Environment,
    child: Option<Child>,
    started: Instant,
    pause: Duration,
}

impl App {
    /// `program word`, with its lines printed under the name of `source`. Not started yet.
    pub fn new(source: Source, program: PathBuf, word: &'static str, environment: Environment) -> Self {
        let (child, started, pause) = (None, Instant::now(), SHORTEST_PAUSE);
        Self { source, program, word, environment, child, started, pause }
    }

    /// Starts it.
    pub fn start(&mut self) -> Result<()> {
        let mut command = child::command(&self.program, Death::Kill)?;
        let (lines, out) = io::pipe().map_err(failed("no pipe"))?;
        let errors = out.try_clone().map_err(failed("no pipe"))?;
        command.arg(self.word).envs(self.environment.iter().cloned());
        // a group of its own: Ctrl-C is for the supervisor, which then stops all in order
        command.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0);
        self.child = Some(child::spawn(command).map_err(failed("cannot start"))?);
        self.started = Instant::now();
        self.source.follow(lines);
        Ok(())
    }

    /// Starts it again if it has ended, after a pause that doubles from crash to crash.
    pub fn look_after(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.child = None;
            self.pause = match self.started.elapsed() > SETTLED {
                true => SHORTEST_PAUSE,
                false => (self.pause * 2).min(LONGEST_PAUSE),
            };
            // from now on the time of the end, until it is started again
            self.started = Instant::now();
            let seconds = self.pause.as_secs_f32();
            self.source.line(&format!("ended ({status}); started again in {seconds:.0} s"));
        }
        if self.child.is_none() && self.started.elapsed() >= self.pause {
            self.start()?;
        }
        Ok(())
    }

    fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

/// Asks all to end, waits for `patience` or until `hurry` says so, and kills what is left.
pub fn stop(apps: &mut [App], patience: Duration, hurry: impl Fn() -> bool) {
    for app in apps.iter_mut() {
        if app.is_running()
            && let Some(pid) = app.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
        {
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
    let deadline = Instant::now() + patience;
    while apps.iter_mut().any(App::is_running) && Instant::now() < deadline && !hurry() {
        thread::sleep(Duration::from_millis(10));
    }
    for child in apps.iter_mut().filter_map(|app| app.child.as_mut()) {
        let _ = child.kill();
        let _ = child.wait();
    }
}
