//! An operator at the command line: the real worker binary, what it said and how it ended.

use serde_json::Value;

use super::{World, command};

/// What a command did: its exit code, what it said, what went wrong.
#[derive(Debug)]
pub struct Done {
    /// 0 done, 1 refused, 2 not understood.
    pub code: i32,
    /// Standard output.
    pub said: String,
    /// Standard error.
    pub wrong: String,
}

impl Done {
    /// What was said as JSON.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.wrong);
        serde_json::from_str(&self.said).expect(&self.said)
    }

    /// It was refused with this code.
    pub fn refused(&self, code: &str) {
        assert_eq!(self.code, 1, "{}", self.said);
        assert!(self.wrong.contains(&format!("({code})")), "{code} in {}", self.wrong);
    }
}

/// Runs `keryu-worker` with these arguments in a world.
pub async fn operate(world: &World, args: &[&str]) -> Done {
    let settings = world.settings();
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let ended = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        command::run("keryu-worker", &args, &settings)
    });
    let output = ended.await.expect("command");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Done { code: output.status.code().unwrap_or(-1), said: text(output.stdout), wrong: text(output.stderr) }
}
