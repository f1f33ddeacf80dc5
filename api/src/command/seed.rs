//! `keryu-api seed`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use keryu_common::config::{Config, Stage};
use keryu_common::seed;
use keryu_common::session::Tokens;
use serde_json::json;

use super::{Table, operator, plain, say};

/// Make believable accounts for development and load, all with the password keryu-seed-password. The first
/// 10,000 belong to a school and have profiles, documents, consents, wallets and rentals. The same seed makes the
/// same people; those who are there already are left out
#[derive(Args)]
pub struct Seed {
    /// How many people
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=seed::MOST))]
    users: u64,
    /// Which ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sign the first of them in; access tokens work for TOKEN_LIFE
    #[arg(long, default_value_t = 0, requires = "tokens_to")]
    sessions: u64,
    /// Where the tokens go: a line for each session, user id, access token and refresh token with tabs between
    #[arg(long)]
    tokens_to: Option<PathBuf>,
    /// In production too, where everybody who reads this knows the password
    #[arg(long)]
    yes: bool,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

impl Seed {
    /// Plants.
    ///
    /// # Errors
    /// Production without `--yes`, a file that cannot be written, no database.
    pub async fn run(self, config: Config) -> anyhow::Result<()> {
        if config.stage == Stage::Production && !self.yes {
            bail!("this is production, and the password of these accounts is public: --yes if you mean it");
        }
        let ctx = super::context(config)?;
        let ask = seed::Ask { users: self.users, seed: self.seed, sessions: self.sessions };
        let began = Instant::now();
        let told = |made: u64, seen: u64| eprintln!("{seen} of {} looked at, {made} made", self.users);
        let made = seed::plant(&ctx, &operator(&ctx), ask, told).await.map_err(plain)?;
        let tokens = seed::sign_in(&ctx, ask).await.map_err(plain)?;
        if let Some(path) = &self.tokens_to {
            write(path, &tokens).with_context(|| path.display().to_string())?;
        }
        let (sessions, seconds) = (tokens.len(), began.elapsed().as_secs_f64());
        say(self.json, &json!({ "made": made, "sessions": sessions, "seconds": seconds }), || {
            Table::new(["made", "there already", "sessions", "seconds"]).row([
                made.to_string(),
                (self.users - made).to_string(),
                sessions.to_string(),
                format!("{seconds:.1}"),
            ])
        })
    }
}

/// For its owner's eyes: these are credentials.
fn write(path: &Path, tokens: &[Tokens]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut file = BufWriter::new(file);
    for one in tokens {
        writeln!(file, "{}\t{}\t{}", one.user_id, one.access_token, one.refresh_token)?;
    }
    file.flush()
}
