//! Requests to stop (`SIGINT`, `SIGTERM`, `SIGHUP`), as messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::{process, thread};

use keryu_tests::services::{Error, Result};
use nix::sys::signal::{SigSet, Signal};

/// Where requests to stop arrive.
pub struct Signals {
    /// One message for each request.
    pub requests: Receiver<Signal>,
    heard: Arc<AtomicBool>,
}

impl Signals {
    /// Takes the signals over. To be called before any other thread starts. Until [`hear`] is
    /// called a request ends the process at once, and what it started dies with it.
    ///
    /// [`hear`]: Signals::hear
    pub fn take() -> Result<Self> {
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        set.thread_block().map_err(|error| Error::Failed(format!("cannot take signals over: {error}")))?;
        let (sender, requests) = mpsc::channel();
        let heard = Arc::new(AtomicBool::new(false));
        let listening = Arc::clone(&heard);
        thread::spawn(move || {
            while let Ok(signal) = set.wait() {
                if !listening.load(Ordering::SeqCst) || sender.send(signal).is_err() {
                    process::exit(128 + signal as i32);
                }
            }
        });
        Ok(Self { requests, heard })
    }

    /// From now on requests arrive as messages.
    pub fn hear(&self) {
        self.heard.store(true, Ordering::SeqCst);
    }
}
