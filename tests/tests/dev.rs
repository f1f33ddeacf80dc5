//! The servers under `cargo dev` and the tests: they come up, and nothing outlives its owner.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail where it stands")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keryu_tests::services::place::Lock;
use keryu_tests::services::{Error, Options, Services, shared_in};

/// A state directory that is removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keryu-dev-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn keryu_dev() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keryu-dev"));
    command.env_remove("DATABASE_URL").env_remove("REDIS_URL").stdin(Stdio::null());
    command
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Gone, or waiting for somebody to take note of it.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z'))
}

fn postgres_socket(url: &str) -> PathBuf {
    let host = url.split_once("host=").unwrap().1.split_once('&').unwrap().0;
    Path::new(host).join(".s.PGSQL.5432")
}

/// Whether Postgres greets a client: a start packet is answered with a request for authentication.
fn postgres_answers(url: &str) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(postgres_socket(url))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let body = b"\0\x03\0\0user\0keryu\0database\0keryu\0\0";
        stream.write_all(&u32::try_from(body.len() + 4).unwrap().to_be_bytes())?;
        stream.write_all(body)?;
        let mut kind = [0; 1];
        stream.read_exact(&mut kind)?;
        std::io::Result::Ok(kind == *b"R")
    };
    ask().unwrap_or(false)
}

fn redis(url: &str, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(url.strip_prefix("redis+unix://").unwrap())?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(command.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn redis_answers(url: &str) -> bool {
    redis(url, "PING").is_ok_and(|answer| answer.starts_with("+PONG"))
}

/// A supervisor whose command sleeps, and the two addresses it was given.
fn sleeping(dir: &Dir) -> (Child, u32, String, String) {
    let mut command = keryu_dev();
    command.args(["services", "--state"]).arg(&dir.0).args(["--", "sh", "-c"]);
    command.arg("echo $$; echo $DATABASE_URL; echo $REDIS_URL; exec sleep 600");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || lines.next().expect("the servers did not come up").unwrap();
    let (sleeper, database_url, redis_url) = (line().parse().unwrap(), line(), line());
    (child, sleeper, database_url, redis_url)
}

#[test]
fn a_command_gets_both_addresses_and_its_exit_code_is_told() {
    let script =
        r#"test -S "${REDIS_URL#redis+unix://}" && case $DATABASE_URL in postgres:///*) exit 7;; esac"#;
    let output = keryu_dev().args(["services", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn kill_9_of_the_supervisor_takes_everything_down() {
    let dir = Dir::new("kill");
    let (mut supervisor, sleeper, database_url, redis_url) = sleeping(&dir);
    assert!(postgres_answers(&database_url));
    let info = redis(&redis_url, "INFO server").unwrap();
    let redis_pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().parse().unwrap();
    let pid_file = fs::read_to_string(dir.0.join("servers/postgres/postmaster.pid")).unwrap();
    let postgres_pid = pid_file.lines().next().unwrap().parse().unwrap();

    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    for pid in [sleeper, redis_pid, postgres_pid] {
        until("the end of a child", || is_gone(pid));
    }

    // and nothing that was left behind is in the way of the next
    let services = Services::find_or_start(&Options::fleeting(&dir.0).own()).unwrap();
    assert!(postgres_answers(services.database_url()));
}

#[test]
fn a_start_right_after_kill_9_waits_for_the_old_postgres() {
    let dir = Dir::new("again");
    let durable = || Services::find_or_start(&Options::durable(&dir.0).own());
    drop(durable().unwrap());
    let mut command = keryu_dev();
    command.args(["services", "--durable", "--state"]).arg(&dir.0).args([
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 600",
    ]);
    let mut supervisor = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert!(postgres_answers(durable().unwrap().database_url()));
}

#[test]
fn a_second_start_is_told_who_runs() {
    let dir = Dir::new("second");
    let mut lock = Lock::take(&dir.0).unwrap();
    lock.set_note("http://127.0.0.1:8080").unwrap();
    let own = std::process::id();

    let output = keryu_dev().env("KERYU_DEV_DIR", &dir.0).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, format!("cargo dev: already running here as process {own}: http://127.0.0.1:8080\n"));

    let refused = Services::find_or_start(&Options::fleeting(&dir.0));
    assert!(matches!(refused, Err(Error::InUse { pid: Some(pid), .. }) if pid == own));
}

#[test]
fn servers_stop_die_pause_and_come_back_on_their_address() {
    let dir = Dir::new("faults");
    let mut services = Services::find_or_start(&Options::fleeting(&dir.0).own()).unwrap();
    let (database_url, redis_url) = (services.database_url().to_owned(), services.redis_url().to_owned());
    for _ in 0..2 {
        services.postgres.kill().unwrap();
        services.redis.kill().unwrap();
        assert!(!postgres_answers(&database_url) && !redis_answers(&redis_url));
        services.postgres.start().unwrap();
        services.redis.start().unwrap();
        assert!(postgres_answers(&database_url) && redis_answers(&redis_url));
    }
    let pid = services.postgres.pid();
    services.postgres.pause().unwrap();
    services.redis.pause().unwrap();
    assert!(!postgres_answers(&database_url) && !redis_answers(&redis_url));
    services.postgres.resume().unwrap();
    services.redis.resume().unwrap();
    assert!(postgres_answers(&database_url) && redis_answers(&redis_url));
    assert_eq!(services.postgres.pid(), pid);

    services.postgres.pause().unwrap();
    services.postgres.kill().unwrap();
    services.postgres.start().unwrap();
    services.postgres.stop().unwrap();
    assert!(!services.postgres.is_running() && services.redis.is_running());
}

#[test]
fn pairs_run_side_by_side_and_leave_nothing() {
    let (one, two) = (Dir::new("one"), Dir::new("two"));
    let first = Services::find_or_start(&Options::fleeting(&one.0).own()).unwrap();
    let second = Services::find_or_start(&Options::fleeting(&two.0).own()).unwrap();
    let urls = [&first, &second].map(|services| services.database_url().to_owned());
    assert_ne!(urls[0], urls[1]);
    drop(first);
    assert!(!postgres_answers(&urls[0]) && postgres_answers(&urls[1]));
    drop(second);
    for (url, dir) in urls.iter().zip([&one, &two]) {
        assert!(!postgres_socket(url).parent().unwrap().exists());
        assert!(!dir.0.join("servers").exists());
    }
}

#[test]
fn a_state_directory_of_any_length_will_do() {
    let dir = Dir::new("long");
    let long = dir.0.join("x".repeat(150));
    let services = Services::find_or_start(&Options::fleeting(&long).own()).unwrap();
    assert!(postgres_answers(services.database_url()) && redis_answers(services.redis_url()));
}

#[test]
fn users_share_one_pair_which_goes_with_the_last() {
    let dir = Dir::new("shared");
    let users: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| shared_in(&dir.0).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (database_url, redis_url) = (users[0].database_url().to_owned(), users[0].redis_url().to_owned());
    assert!(users.iter().all(|user| user.database_url() == database_url));
    assert!(postgres_answers(&database_url) && redis_answers(&redis_url));
    drop(users);
    until("the end of the shared servers", || {
        !postgres_socket(&database_url).exists() && !redis_answers(&redis_url)
    });

    // a newcomer starts afresh, also after the guard was killed
    let user = shared_in(&dir.0).unwrap();
    assert!(postgres_answers(user.database_url()));
    let guard = guard_of(&dir.0);
    assert!(Command::new("kill").args(["-9", &guard.to_string()]).status().unwrap().success());
    until("the end of the orphaned servers", || {
        !postgres_answers(user.database_url()) && !redis_answers(user.redis_url())
    });
    let other = shared_in(&dir.0).unwrap();
    assert!(postgres_answers(other.database_url()) && redis_answers(other.redis_url()));
    drop((user, other));
    until("the end of the guard", || !dir.0.join("urls").exists() && Lock::take(&dir.0.join("pair")).is_ok());
}

/// The process that holds the pair of `state_dir`.
fn guard_of(state_dir: &Path) -> u32 {
    let refused = Lock::take(&state_dir.join("pair"));
    let Err(Error::InUse { pid: Some(pid), .. }) = refused else { panic!("no guard") };
    pid
}
