//! Lines of several programs on one terminal, each with the name of its program before it.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::thread;

/// Whose line it is.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// The API.
    Api,
    /// The worker.
    Worker,
    /// Postgres.
    Postgres,
    /// The supervisor.
    Dev,
}

impl Source {
    fn name_and_colour(self) -> (&'static str, u8) {
        match self {
            Self::Api => ("api", 36),
            Self::Worker => ("worker", 35),
            Self::Postgres => ("pg", 33),
            Self::Dev => ("dev", 32),
        }
    }

    /// Prints one line.
    pub fn line(self, text: &str) {
        let (name, colour) = self.name_and_colour();
        let mut out = io::stdout().lock();
        // a reader that went away is no reason to stop
        let _ = match out.is_terminal() && env::var_os("NO_COLOR").is_none() {
            true => writeln!(out, "\x1b[{colour}m{name:<6} |\x1b[0m {text}"),
            false => writeln!(out, "{name:<6} | {text}"),
        };
    }

    /// Prints each line of `stream` until its end, in a thread of its own.
    pub fn follow(self, stream: impl Read + Send + 'static) {
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                self.line(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        });
    }
}

/// The errors in a growing log file of Postgres.
pub struct Errors {
    path: PathBuf,
    seen: u64,
}

impl Errors {
    /// Of the file at `path`, from its start.
    pub fn of(path: PathBuf) -> Self {
        Self { path, seen: 0 }
    }

    /// Prints what has come since the last call.
    pub fn show(&mut self) {
        for line in self.new_lines().unwrap_or_default().lines().filter(|line| is_error(line)) {
            Source::Postgres.line(line);
        }
    }

    fn new_lines(&mut self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.seen {
            // started anew
            self.seen = 0;
        }
        file.seek(SeekFrom::Start(self.seen))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // a line being written waits for its end
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.seen += whole as u64;
        Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
    }
}

fn is_error(line: &str) -> bool {
    ["ERROR:", "FATAL:", "PANIC:"].iter().any(|level| line.contains(level))
}
