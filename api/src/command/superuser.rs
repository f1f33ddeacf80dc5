//! `keryu-api create-superuser`.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};
use keryu_common::auth::password::Password;
use keryu_common::config::Config;
use keryu_common::mask;
use keryu_common::role::{self, Superuser};
use keryu_common::user::{Identifier, Username};
use serde_json::json;

use super::Table;

/// Make an account that stands above all roles. Its identifiers count as verified. Without options it asks
/// for them.
#[derive(Args)]
#[command(group = ArgGroup::new("reach").args(["email", "phone"]).multiple(true))]
pub struct CreateSuperuser {
    /// 3 to 30 letters, digits, dots, underscores and dashes, a letter first
    #[arg(long, requires = "reach")]
    username: Option<String>,
    /// An e-mail address
    #[arg(long, requires = "username")]
    email: Option<String>,
    /// A phone number: +254712345678, or national where KERYU_DEFAULT_REGION is set
    #[arg(long, requires = "username")]
    phone: Option<String>,
    /// The password; `-` reads it from standard input. Without it the account signs in by code
    #[arg(long, requires = "username")]
    password: Option<String>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
}

/// What was typed.
struct Typed {
    username: String,
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
}

impl CreateSuperuser {
    /// Makes it.
    ///
    /// # Errors
    /// A fault of what was typed, a name or an identifier that is taken, no database.
    pub async fn run(self, config: Config) -> anyhow::Result<()> {
        let json = self.json;
        let ask = read(self.typed()?, &config)?;
        let ctx = super::context(config)?;
        let username = ask.username.as_str().to_owned();
        let reached: Vec<String> = ask.identifiers.iter().map(|one| mask::identifier(one.as_str())).collect();
        let made = role::create_superuser(&ctx, &super::operator(&ctx), ask).await;
        let user_id = made.map_err(super::plain)?;
        super::say(json, &json!({ "id": user_id, "username": username, "identifiers": reached }), || {
            Table::new(["id", "username", "identifiers"]).row([
                user_id.to_string(),
                username.clone(),
                reached.join(", "),
            ])
        })
    }

    fn typed(self) -> anyhow::Result<Typed> {
        let Some(username) = self.username else { return asked() };
        let password = match self.password.as_deref() {
            Some("-") => Some(line()?),
            _ => self.password,
        };
        Ok(Typed { username, email: self.email, phone: self.phone, password })
    }
}

/// Asks at the terminal.
fn asked() -> anyhow::Result<Typed> {
    if !std::io::stdin().is_terminal() {
        bail!("this is no terminal to ask at: give --username, and --email or --phone (see --help)");
    }
    let username = prompt("Username: ")?;
    let email = Some(prompt("E-mail address (empty: none): ")?).filter(|text| !text.is_empty());
    let phone = Some(prompt("Phone number (empty: none): ")?).filter(|text| !text.is_empty());
    let password = rpassword::prompt_password("Password (empty: sign in by code): ")?;
    if !password.is_empty() && rpassword::prompt_password("Once more: ")? != password {
        bail!("the two passwords are not the same");
    }
    Ok(Typed { username, email, phone, password: Some(password).filter(|text| !text.is_empty()) })
}

fn prompt(text: &str) -> anyhow::Result<String> {
    let mut out = std::io::stderr();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    line()
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// All faults at once, as everywhere.
fn read(typed: Typed, config: &Config) -> anyhow::Result<Superuser> {
    let region = config.default_region.as_deref();
    let mut faults = Vec::new();
    let username = Username::parse(&typed.username);
    if let Err((_, fault)) = &username {
        faults.push(format!("username: {fault}"));
    }
    let mut identifiers = Vec::new();
    for (name, text, mail) in [("email", &typed.email, true), ("phone", &typed.phone, false)] {
        let Some(text) = text else { continue };
        match Identifier::parse(text, region) {
            Ok(one) if matches!(one, Identifier::Email(_)) == mail => identifiers.push(one),
            Ok(_) => faults.push(format!("{name}: this is another kind of identifier")),
            Err((_, fault)) => faults.push(format!("{name}: {fault}")),
        }
    }
    if typed.email.is_none() && typed.phone.is_none() {
        faults.push("an account needs an e-mail address or a phone number".to_owned());
    }
    let password = typed.password.map(|text| Password::choose(&text, config.password.least)).transpose();
    if let Err((_, fault)) = &password {
        faults.push(format!("password: {fault}"));
    }
    match (username, password) {
        (Ok(username), Ok(password)) if faults.is_empty() => {
            Ok(Superuser { username, identifiers, password })
        }
        _ => bail!("{}", faults.join("\n  ")),
    }
}
