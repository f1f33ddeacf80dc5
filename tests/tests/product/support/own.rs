//! A pair of servers of a test's own, to be killed, paused and restarted. What Postgres acknowledged
//! outlives it: fsync is on.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use keryu_tests::services::{Options, Services};

/// The servers, and the directories that go with them.
pub struct Own {
    services: Option<Services>,
    dirs: Vec<PathBuf>,
}

impl Own {
    /// Starts both.
    pub fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("keryu-{name}-{}", std::process::id()));
        let services = Services::find_or_start(&Options::durable(&dir).own()).expect("services");
        let data = services.postgres.log().and_then(|log| Some(log.parent()?.to_owned()));
        Self { services: Some(services), dirs: data.into_iter().chain([dir]).collect() }
    }
}

impl Deref for Own {
    type Target = Services;
    fn deref(&self) -> &Services {
        self.services.as_ref().expect("servers")
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Services {
        self.services.as_mut().expect("servers")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.services.take());
        for dir in &self.dirs {
            // nothing reads them again
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
