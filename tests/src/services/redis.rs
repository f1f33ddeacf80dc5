//! A private Redis (or Valkey): one socket, nothing kept on disk, since the product must bear the
//! loss of all it holds.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::child::{self, Death};
use super::place::Place;
use super::{Result, server};

#[derive(Debug)]
pub(crate) struct Recipe {
    binary: PathBuf,
    place: Place,
    socket: PathBuf,
    log: PathBuf,
}

impl Recipe {
    pub(crate) fn new(binary: PathBuf, place: &Place) -> Self {
        let socket = place.sockets.join("redis.sock");
        let log = place.data.join("redis.log");
        Self { binary, place: place.clone(), socket, log }
    }
}

impl server::Recipe for Recipe {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn stop_signal(&self) -> Signal {
        Signal::SIGTERM
    }

    fn command(&self) -> Result<Command> {
        let mut command = child::command_as(&self.binary, Death::Kill, Some(self.place.account))?;
        command.current_dir(&self.place.data).process_group(0);
        // no TCP port; databases by number, so that each test can have one of its own
        command.args(["--port", "0", "--unixsocketperm", "700", "--databases", "1024", "--unixsocket"]);
        command.arg(&self.socket).args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--loglevel", "warning", "--dir"]).arg(&self.place.data);
        Ok(command)
    }

    /// The server removes an old socket itself.
    fn clear(&self) -> Result<()> {
        Ok(())
    }

    fn is_ready(&self, _pid: u32) -> bool {
        let ping = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            std::io::Result::Ok(answer == *b"+PONG")
        };
        ping().unwrap_or(false)
    }

    fn may_try_again(&self, _log: &str) -> bool {
        false
    }
}
