//! The supervisor: servers, build, migrations, API and worker; then it looks after them.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use keryu_tests::services::child::{self, Death};
use keryu_tests::services::{Error, Options, Result, Services, dev_dir, place, workspace};

use crate::apps::{self, App, Environment};
use crate::logs::{Errors, Source};
use crate::signals::Signals;
use crate::{Code, failed, ports, say};

/// How often the children are looked at.
const TICK: Duration = Duration::from_millis(50);

/// When readiness is asked for less often, and when the wait is worth a word.
const SOON: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(20);

/// How long API and worker may take to finish what they have begun.
const PATIENCE: Duration = Duration::from_secs(25);

/// Runs until asked to stop.
pub fn run() -> Code {
    let signals = Signals::take()?;
    let dir = dev_dir();
    fs::create_dir_all(&dir).map_err(failed("cannot create .dev"))?;
    let mut services = match Services::find_or_start(&Options::durable(&dir)) {
        Err(Error::InUse { pid, note, .. }) => {
            let pid = pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
            let note = if note.is_empty() { "it is just starting".to_owned() } else { note };
            return Err(Error::Failed(format!("already running here{pid}: {note}")));
        }
        services => services?,
    };
    let bin = build()?;
    let (port, listen) = choose_ports()?;
    services.set_note(&format!("http://127.0.0.1:{port}"))?;
    let environment = environment(&services, &dir, port)?;
    migrate(&bin, &environment)?;

    let worker_environment = environment.iter().cloned().chain([("KERYU_WORKER_LISTEN", listen.clone())]);
    let mut apps = [
        App::new(Source::Worker, bin.join("keryu-worker"), "run", worker_environment.collect()),
        App::new(Source::Api, bin.join("keryu-api"), "serve", environment),
    ];
    signals.hear();
    for app in &mut apps {
        app.start()?;
    }
    supervise(&mut services, &mut apps, &signals, port, &listen)?;
    say("stopping …");
    apps::stop(&mut apps, PATIENCE, || signals.requests.try_recv().is_ok());
    Ok(0)
}

/// Looks after everything until a request to stop comes.
fn supervise(
    services: &mut Services,
    apps: &mut [App],
    signals: &Signals,
    port: u16,
    listen: &str,
) -> Result<()> {
    let mut errors = services.postgres.log().map(Errors::of);
    let mut greeting = Greeting::new();
    while signals.requests.recv_timeout(TICK).is_err() {
        for app in apps.iter_mut() {
            app.look_after()?;
        }
        for server in [&mut services.postgres, &mut services.redis] {
            if !server.is_running() {
                Source::Dev.line(&format!("{} has ended; started again", server.name()));
                server.start()?;
            }
        }
        if let Some(errors) = &mut errors {
            errors.show();
        }
        greeting.when_ready(port, listen);
    }
    Ok(())
}

/// Tells the addresses once the API is ready, and meanwhile, if it takes long, that it is not.
struct Greeting {
    started: Instant,
    next: Option<Instant>,
    complained: bool,
}

impl Greeting {
    fn new() -> Self {
        let now = Instant::now();
        Self { started: now, next: Some(now), complained: false }
    }

    fn when_ready(&mut self, port: u16, listen: &str) {
        let waited = self.started.elapsed();
        if self.next.is_none_or(|next| Instant::now() < next) {
            return;
        }
        if ports::answers(port, "/readyz") {
            self.next = None;
            return greet(port, listen);
        }
        // often at first, when every moment counts; then rarely, since each try may be logged
        self.next = Some(Instant::now() + if waited < SOON { TICK } else { Duration::from_secs(1) });
        if waited > LONG && !self.complained {
            self.complained = true;
            Source::Dev.line(&format!("still waiting for http://127.0.0.1:{port}/readyz to answer 200"));
        }
    }
}

fn greet(port: u16, listen: &str) {
    say(&format!(
        "
  API       http://127.0.0.1:{port}/api
  docs      http://127.0.0.1:{port}/api/docs
  inbox     http://127.0.0.1:{port}/dev/inbox
  worker    http://{listen}/metrics

  Try it:   curl -s localhost:{port}/api/auth/otp/request -H 'content-type: application/json' \\
              -d '{{\"identifier\":\"ada@example.org\",\"purpose\":\"register\"}}'
            and read the code at http://127.0.0.1:{port}/dev/inbox
"
    ));
}

/// Builds API and worker, its output shown, and returns the directory they are in: our own.
fn build() -> Result<PathBuf> {
    let exe = env::current_exe().map_err(failed("cannot find our own binary"))?;
    let bin = exe.parent().map(Path::to_path_buf).unwrap_or_default();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = child::command(cargo, Death::Terminate)?;
    command.current_dir(workspace());
    command.args(["build", "--bins", "--package", "keryu-api", "--package", "keryu-worker"]);
    command.args(bin.ends_with("release").then_some("--release"));
    for (name, _) in env::vars_os() {
        // what cargo told us about ourselves: some build scripts would run again over it
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    if env::var_os("SQLX_OFFLINE").is_none() {
        // queries are checked against the committed metadata, not a DATABASE_URL yet to be migrated
        command.env("SQLX_OFFLINE", "true");
    }
    wait(child::spawn(command).map_err(failed("cannot start cargo"))?, "The build failed.")?;
    Ok(bin)
}

fn migrate(bin: &Path, environment: &Environment) -> Result<()> {
    let mut command = child::command(bin.join("keryu-api"), Death::Terminate)?;
    command.arg("migrate").envs(environment.iter().cloned()).stdin(Stdio::null());
    wait(child::spawn(command).map_err(failed("cannot start keryu-api"))?, "keryu-api migrate failed.")
}

fn wait(mut child: Child, otherwise: &str) -> Result<()> {
    let status = child.wait().map_err(failed("cannot wait"))?;
    status.success().then_some(()).ok_or_else(|| Error::Failed(otherwise.to_owned()))
}

/// The API's port and the worker's address.
fn choose_ports() -> Result<(u16, String)> {
    let wanted = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let none = || Error::Failed(format!("no free port from {wanted} on"));
    let port = ports::free_from(wanted).ok_or_else(none)?;
    if port != wanted {
        say(&format!("Port {wanted} is taken; the API listens on {port}."));
    }
    let beside = ports::free_from(port.saturating_add(1)).ok_or_else(none)?;
    Ok((port, env::var("KERYU_WORKER_LISTEN").unwrap_or_else(|_| format!("127.0.0.1:{beside}"))))
}

/// What the children are told. What somebody has set by hand stays.
fn environment(services: &Services, dir: &Path, port: u16) -> Result<Environment> {
    let fixed = [
        ("DATABASE_URL", services.database_url().to_owned()),
        ("REDIS_URL", services.redis_url().to_owned()),
        ("PORT", port.to_string()),
    ];
    let defaults = [
        ("KERYU_ENV", "development".to_owned()),
        ("KERYU_LISTEN", "127.0.0.1".to_owned()),
        ("KERYU_PUBLIC_URL", format!("http://127.0.0.1:{port}")),
        ("KERYU_SECRET_KEY", secret(&dir.join("secret"))?),
        ("STORAGE_URL", format!("file://{}", dir.join("objects").display())),
    ];
    let unset =
        defaults.into_iter().filter(|(name, _)| env::var_os(name).is_none_or(|value| value.is_empty()));
    Ok(fixed.into_iter().chain(unset).collect())
}

/// The development key, made once: losing it makes what is sealed in the database unreadable.
fn secret(path: &Path) -> Result<String> {
    if let Ok(text) = fs::read_to_string(path) {
        return Ok(text.trim().to_owned());
    }
    let key = format!("dev:{}", place::random_hex(32)?);
    let draft = path.with_extension("draft");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| writeln!(file, "{key}"))
        .and_then(|()| fs::rename(&draft, path))
        .map_err(failed("cannot keep the development key"))?;
    Ok(key)
}
