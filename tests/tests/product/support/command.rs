//! The real binaries where it matters what they print: run to their end, or kept running with every
//! line they wrote.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use keryu_tests::services::child::{self, Death};

use super::process::binaries;

fn command(name: &str, args: &[&str], settings: &[(String, String)]) -> Command {
    let mut command = child::command(binaries().join(name), Death::Kill).expect("shim");
    command.env_clear().args(args).envs(settings.iter().cloned()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a binary to its end, half a minute away at most, with these settings and no others.
pub fn run(name: &str, args: &[&str], settings: &[(&str, &str)]) -> Output {
    let settings: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let child = child::spawn(command(name, args, &settings)).expect(name);
    let (done, ended) = mpsc::channel();
    // one that goes on is killed with the test process
    thread::spawn(move || done.send(child.wait_with_output()));
    ended.recv_timeout(Duration::from_secs(30)).expect("it ends by itself").expect(name)
}

/// A binary that runs and whose every line is kept; killed with the test.
pub struct Logged {
    child: Child,
    lines: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Logged {
    /// Starts it with these settings and no others.
    pub fn start(name: &str, args: &[&str], settings: &[(String, String)]) -> Self {
        let mut child = child::spawn(command(name, args, settings)).expect(name);
        let lines: Arc<Mutex<String>> = Arc::default();
        let (out, err) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
        let streams: [Box<dyn std::io::Read + Send>; 2] = [Box::new(out), Box::new(err)];
        let keep = |stream: Box<dyn std::io::Read + Send>| {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut lines = lines.lock().expect("lines");
                    lines.push_str(&line);
                    lines.push('\n');
                }
            })
        };
        let readers = streams.map(keep).into_iter().collect();
        Self { child, lines, readers }
    }

    /// What it wrote so far.
    pub fn so_far(&self) -> String {
        self.lines.lock().expect("lines").clone()
    }

    /// Ends it. Answers with all it wrote.
    pub fn end(mut self) -> String {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        for reader in self.readers.drain(..) {
            reader.join().expect("reader");
        }
        self.so_far()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // already gone where a test ended it
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
