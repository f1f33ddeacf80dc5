//! The real binaries, started, killed and restarted by id.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use keryu_tests::services::child::{self, Death};
use reqwest::Client;

use super::{World, eventually};

/// The folder of the built binaries: built here, so that `cargo test` alone is enough.
pub fn binaries() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "keryu-api", "--package", "keryu-worker"])
            .current_dir(keryu_tests::services::workspace())
            .status()
            .expect("cargo");
        assert!(built.success(), "the binaries do not build");
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().expect("target").join("debug")
    })
}

/// A running binary; killed with the test.
pub struct Process {
    child: std::process::Child,
}

impl Process {
    fn start(name: &str, args: &[&str], settings: &[(String, String)]) -> Self {
        let mut command = child::command(binaries().join(name), Death::Kill).expect("shim");
        command.args(args).envs(settings.iter().cloned()).stdin(Stdio::null());
        if std::env::var_os("KERYU_TEST_LOGS").is_none() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Self { child: child::spawn(command).expect(name) }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(told.expect("kill").success(), "process {} is gone", self.pid());
    }

    /// kill -9, and its end.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// SIGTERM, and its end. Answers with how long it took.
    pub async fn terminate(mut self, within: Duration) -> Duration {
        let began = Instant::now();
        self.signal("TERM");
        while self.child.try_wait().expect("wait").is_none() {
            assert!(began.elapsed() < within, "it did not stop within {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        began.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // already gone where a test ended it
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port of loopback.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port()
}

/// A worker with these settings besides the world's.
pub fn worker(world: &World, args: &[&str], settings: &[(&str, &str)]) -> Process {
    let mut all = world.settings();
    all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Process::start("keryu-worker", &[&["run"], args].concat(), &all)
}

/// An API on a port.
pub struct Api {
    /// The process.
    pub process: Process,
    /// `http://127.0.0.1:port`.
    pub base: String,
}

/// Starts the API on a port and waits until it is ready.
pub async fn api(world: &World, port: u16, settings: &[(&str, &str)]) -> Api {
    let base = format!("http://127.0.0.1:{port}");
    let mut all = world.settings();
    all.push(("PORT".to_owned(), port.to_string()));
    all.push(("KERYU_PUBLIC_URL".to_owned(), base.clone()));
    all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let process = Process::start("keryu-api", &["serve"], &all);
    let http = Client::new();
    eventually("the API is ready", Duration::from_secs(20), || async {
        http.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    Api { process, base }
}
