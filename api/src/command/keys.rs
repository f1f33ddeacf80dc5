//! `keryu-api keys`: services' keys, signing keys, and what is sealed under old secrets.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use keryu_common::api_key::{self, ApiKey, Ask, Scope};
use keryu_common::config::Config;
use keryu_common::seal::{self, Column};
use keryu_common::{Context, session};
use serde_json::json;
use uuid::Uuid;

use super::{Table, operator, plain, say};

/// Services' keys, signing keys, and what is sealed under old secrets
#[derive(Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
    /// Say it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// List the keys of services, newest first
    List,
    /// Make a key for a service; it is shown this once
    Create {
        /// What people call the service
        #[arg(long)]
        name: String,
        /// What it may do: users:read, roles:read, usage:write, wallet:write, face:encodings. May be repeated
        #[arg(long = "scope", required = true)]
        scopes: Vec<Scope>,
        /// When it ends: 2030-01-31T12:00:00Z. Without it: when it is revoked
        #[arg(long)]
        expires_at: Option<DateTime<Utc>>,
    },
    /// Revoke a service's key: it is refused everywhere from now on
    Revoke {
        /// From the list
        id: Uuid,
    },
    /// Make the next key that signs access tokens now; it signs ten minutes later, and nobody is signed out
    RotateSigning,
    /// Seal anew, under the first key of KERYU_SECRET_KEY, what is sealed under others. May be stopped and
    /// run again; when nothing is lost and nothing changed meanwhile, the others may be dropped
    Rewrap,
}

impl Keys {
    /// Runs it.
    ///
    /// # Errors
    /// A refusal, or no database.
    pub async fn run(self, config: Config) -> anyhow::Result<()> {
        let (ctx, json) = (super::context(config)?, self.json);
        match self.command {
            Command::List => {
                let keys = api_key::list(&ctx).await.map_err(plain)?;
                say(json, &keys, || keys.iter().fold(head(), |table, key| table.row(row(key))))
            }
            Command::Create { name, scopes, expires_at } => {
                let ask = Ask { name, scopes, expires_at };
                let made = api_key::create_by_operator(&ctx, &operator(&ctx), ask).await.map_err(plain)?;
                let shown = json!({ "key": made.text, "api_key": made.key });
                say(json, &shown, || {
                    Table::new(["id", "name", "key"]).row([
                        made.key.api_key_id.to_string(),
                        made.key.name.clone(),
                        made.text.clone(),
                    ])
                })
            }
            Command::Revoke { id } => {
                api_key::revoke(&ctx, &operator(&ctx), None, id).await.map_err(plain)?;
                say(json, &json!({ "id": id, "revoked": true }), || {
                    Table::new(["id", "state"]).row([id.to_string(), "revoked".to_owned()])
                })
            }
            Command::RotateSigning => {
                let made = session::rotate_keys(&ctx, true).await.map_err(plain)?;
                say(json, &json!({ "made": made }), || {
                    let said = if made { "made" } else { "none yet: the first is made when it is needed" };
                    Table::new(["signing key"]).row([said.to_owned()])
                })
            }
            Command::Rewrap => rewrap(&ctx, json).await,
        }
    }
}

/// Every column, and an exit code that says whether old keys may be dropped.
async fn rewrap(ctx: &Context, json: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for column in Column::ALL {
        all.push(seal::rewrap(ctx, column).await.map_err(plain)?);
    }
    say(json, &all, || {
        all.iter().fold(Table::new(["column", "rewrapped", "changed", "lost"]), |table, one| {
            table.row([
                one.column.to_owned(),
                one.rewrapped.to_string(),
                one.changed.to_string(),
                one.lost.to_string(),
            ])
        })
    })?;
    let (changed, lost) =
        all.iter().fold((0, 0), |(changed, lost), one| (changed + one.changed, lost + one.lost));
    if changed > 0 {
        bail!("{changed} values changed meanwhile: run it again before you drop a key");
    }
    if lost > 0 {
        bail!(
            "no key of KERYU_SECRET_KEY opens {lost} values: add the key they are sealed with, or leave it"
        );
    }
    Ok(())
}

fn head() -> Table {
    Table::new(["id", "name", "scopes", "made", "ends", "last used", "state"])
}

fn row(key: &ApiKey) -> [String; 7] {
    let at =
        |at: Option<DateTime<Utc>>| at.map_or("-".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string());
    [
        key.api_key_id.to_string(),
        key.name.clone(),
        key.scopes.join(","),
        at(Some(key.created_at)),
        at(key.expires_at),
        at(key.last_used_at),
        if key.revoked_at.is_some() { "revoked" } else { "works" }.to_owned(),
    ]
}
