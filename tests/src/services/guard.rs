//! The pair of servers shared by all test processes, and the guard that holds it. The protocol
//! stands in the parent module.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use super::place::open_lock;
use super::{Error, Options, Result, Services, child, dev_dir};

/// How long the servers outlast their last user, so that the next test binary finds them.
const LINGER: Duration = Duration::from_secs(3);

/// The guard's word that both servers answer.
const READY: &str = "ready";

/// Addresses of the shared servers, which stay up while this lives.
#[derive(Debug)]
pub struct Shared {
    database_url: String,
    redis_url: String,
    _user: Option<File>,
}

impl Shared {
    /// The address for `DATABASE_URL`: a superuser, who may create databases.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The address for `REDIS_URL`. Ours has 1,024 databases by number.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }
}

/// The servers that all tests of this workspace share; found or started at the first call, and
/// kept for the life of the process.
///
/// # Errors
/// One sentence on what is missing or what failed; the same at each call.
pub fn shared() -> Result<&'static Shared> {
    static SHARED: OnceLock<Result<Shared>> = OnceLock::new();
    SHARED.get_or_init(find_or_join).as_ref().map_err(Clone::clone)
}

fn find_or_join() -> Result<Shared> {
    let given = |name| env::var(name).ok().filter(|url| !url.is_empty());
    match (given("DATABASE_URL"), given("REDIS_URL")) {
        (Some(database_url), Some(redis_url)) => Ok(Shared { database_url, redis_url, _user: None }),
        (database_url, redis_url) => {
            let joined = join(&dev_dir().join("test"), true)?;
            Ok(Shared {
                database_url: database_url.unwrap_or(joined.database_url),
                redis_url: redis_url.unwrap_or(joined.redis_url),
                _user: joined._user,
            })
        }
    }
}

/// Shared servers of another state directory, never those that the environment names, until the
/// value is dropped.
///
/// # Errors
/// One sentence on what is missing or what failed.
pub fn shared_in(state_dir: &Path) -> Result<Shared> {
    join(state_dir, false)
}

fn join(state_dir: &Path, given: bool) -> Result<Shared> {
    let files = Files::new(state_dir)?;
    let user = open_lock(&files.users)?;
    user.lock_shared().map_err(Error::at("cannot lock", &files.users))?;
    let start = open_lock(&files.start)?;
    start.lock().map_err(Error::at("cannot lock", &files.start))?;
    let (database_url, redis_url) = match files.guarded_urls()? {
        Some(urls) => urls,
        None => files.start_guard(given)?,
    };
    Ok(Shared { database_url, redis_url, _user: Some(user) })
}

/// The body of `keryu-dev guard DIR`. Standard output carries one word once the servers answer, or
/// else what went wrong.
///
/// # Errors
/// When the servers do not come up.
pub fn keep(state_dir: &Path) -> Result<()> {
    // away from the terminal: Ctrl-C on the tests ends their use, and by that the guard
    let _ = nix::unistd::setsid();
    let say = |text: &str| {
        let mut out = io::stdout();
        // whoever asked may be gone
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    };
    let files = Files::new(state_dir)?;
    let guard = open_lock(&files.guard)?;
    guard.lock().map_err(Error::at("cannot lock", &files.guard))?;
    let options = Options::fleeting(state_dir.join("pair"));
    let services = Services::find_or_start(&options).inspect_err(|error| say(&error.to_string()))?;
    let urls = format!("{}\n{}\n", services.database_url(), services.redis_url());
    fs::write(&files.urls, urls).map_err(Error::at("cannot write", &files.urls))?;
    say(READY);

    let users = open_lock(&files.users)?;
    users.lock().map_err(Error::at("cannot lock", &files.users))?;
    wait_unused(&users);
    let _ = fs::remove_file(&files.urls);
    drop(services);
    Ok(())
}

/// Returns, with the lock held, once nobody else has had it for [`LINGER`].
fn wait_unused(users: &File) {
    let mut unused = Instant::now();
    while unused.elapsed() < LINGER {
        let _ = users.unlock();
        thread::sleep(Duration::from_millis(100));
        if users.try_lock().is_err() {
            let _ = users.lock();
            unused = Instant::now();
        }
    }
}

struct Files {
    dir: PathBuf,
    users: PathBuf,
    start: PathBuf,
    guard: PathBuf,
    urls: PathBuf,
}

impl Files {
    fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::at("cannot create", dir))?;
        let dir = dir.canonicalize().map_err(Error::at("cannot find", dir))?;
        let name = |name: &str| dir.join(name);
        Ok(Self {
            users: name("users.lock"),
            start: name("start.lock"),
            guard: name("guard.lock"),
            urls: name("urls"),
            dir,
        })
    }

    fn urls(&self) -> Option<(String, String)> {
        let text = fs::read_to_string(&self.urls).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some((lines.next()?, lines.next()?)).filter(|_| text.ends_with('\n'))
    }

    /// The addresses, if a guard lives. One whose starter was killed may not be ready yet.
    fn guarded_urls(&self) -> Result<Option<(String, String)>> {
        let guard = open_lock(&self.guard)?;
        while guard.try_lock().is_err() {
            if let Some(urls) = self.urls() {
                return Ok(Some(urls));
            }
            thread::sleep(Duration::from_millis(20));
        }
        // nobody guards: what an earlier guard wrote holds no more
        let _ = fs::remove_file(&self.urls);
        Ok(None)
    }

    /// Starts a guard and waits for its word. What it says before is passed on: it may be
    /// installing something, which takes a while.
    fn start_guard(&self, given: bool) -> Result<(String, String)> {
        let mut command = Command::new(child::shim()?);
        command.arg("guard").arg(&self.dir).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if !given {
            command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
        }
        let (errors, writer) = io::pipe().map_err(Error::at("no pipe for", &self.dir))?;
        let failed = |error| Error::new(format!("cannot start the guard: {error}"));
        let mut guard = command.stderr(writer).spawn().map_err(failed)?;
        drop(command);
        thread::spawn(move || pass_on(errors));
        let mut out =
            BufReader::new(guard.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?);
        let mut said = String::new();
        out.read_line(&mut said).map_err(failed)?;
        if said.trim() == READY
            && let Some(urls) = self.urls()
        {
            return Ok(urls);
        }
        out.read_to_string(&mut said).map_err(failed)?;
        let _ = guard.wait();
        Err(Error::new(said.trim()))
    }
}

/// Shows the guard's words as they come.
fn pass_on(errors: impl Read) {
    for line in BufReader::new(errors).lines().map_while(io::Result::ok) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}
