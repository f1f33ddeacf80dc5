//! Settings: environment first, then the file named by `KERYU_CONFIG`. Read once at start, all
//! faults reported together. Each slice reads its own `Config` from the [`Source`].

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::secret::{Keyring, hex, random};

/// Where settings come from, and what was found wrong with them.
#[derive(Debug, Default)]
pub struct Source {
    values: HashMap<String, String>,
    faults: Vec<String>,
    asked: BTreeMap<&'static str, String>,
}

impl Source {
    /// The process environment over the file named by `KERYU_CONFIG` (TOML, the same names as keys).
    pub fn open() -> Self {
        let mut source = Self::default();
        if let Some(path) = std::env::var("KERYU_CONFIG").ok().filter(|path| !path.is_empty()) {
            match std::fs::read_to_string(&path) {
                Ok(text) => source.read_file(&text),
                Err(error) => source.faults.push(format!("KERYU_CONFIG: {path}: {error}")),
            }
        }
        source.values.extend(std::env::vars().filter(|(_, value)| !value.is_empty()));
        source
    }

    /// Exactly these settings: for tests and tools.
    pub fn of<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { values, ..Self::default() }
    }

    fn read_file(&mut self, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => {
                for (name, value) in table {
                    let value = match value {
                        toml::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    // as in the environment, an empty text means that there is none
                    if !value.is_empty() {
                        self.values.insert(name, value);
                    }
                }
            }
            Err(error) => self.faults.push(format!("KERYU_CONFIG: {}", error.message())),
        }
    }

    /// A setting that may be absent.
    pub fn find<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.asked.entry(name).or_default();
        let text = self.values.get(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults.push(format!("{name}: {error}"));
                None
            }
        }
    }

    /// A setting with a default.
    pub fn get<T: FromStr<Err: Display> + Display>(&mut self, name: &'static str, default: T) -> T {
        self.asked.insert(name, default.to_string());
        self.find(name).unwrap_or(default)
    }

    /// A length of time: `500ms`, `30s`, `5m`, `24h`, `30d`; a bare number is seconds.
    pub fn span(&mut self, name: &'static str, default: Duration) -> Duration {
        self.get(name, Span(default)).0
    }

    /// A switch: `on` or `off` (also `true`/`false`, `1`/`0`).
    pub fn switch(&mut self, name: &'static str, default: bool) -> bool {
        self.get(name, Switch(default)).0
    }

    /// Networks and addresses separated by commas.
    pub fn networks(&mut self, name: &'static str) -> Vec<IpNet> {
        let text: Option<String> = self.find(name);
        let mut networks = Vec::new();
        for part in
            text.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty())
        {
            match part.parse::<IpNet>().or_else(|_| part.parse::<std::net::IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push(network),
                Err(_) => self.fault(format!("{name}: {part} is neither an address nor a network")),
            }
        }
        networks
    }

    /// Gives a setting a value where none was given.
    pub fn put(&mut self, name: &str, value: &str) {
        self.values.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Notes a fault found by whoever reads the setting.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Every setting asked for so far, with its default (empty: none).
    pub fn asked(&self) -> &BTreeMap<&'static str, String> {
        &self.asked
    }
}

/// Every fault of the settings, one a line.
#[derive(Debug, thiserror::Error)]
#[error("the settings are not valid:\n  {}", .0.join("\n  "))]
pub struct Faults(pub Vec<String>);

/// Where the deployment runs: production refuses what development forgives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The default: weak or missing secrets are refused.
    Production,
    /// Loopback only; missing providers fall back to the inbox.
    Development,
}

/// All settings of the product.
#[derive(Clone, Debug)]
pub struct Config {
    /// `KERYU_ENV`.
    pub stage: Stage,
    /// `DATABASE_URL`.
    pub database_url: String,
    /// `REDIS_URL`.
    pub redis_url: String,
    /// `DATABASE_POOL`: connections per process.
    pub pool: u32,
    /// `KERYU_SECRET_KEY`.
    pub keys: Keyring,
    /// `KERYU_WORKER_LISTEN`: health and metrics of the worker; without it no listener.
    pub worker_listen: Option<std::net::SocketAddr>,
    /// `KERYU_PUBLIC_URL`, without a trailing slash.
    pub public_url: String,
    /// `KERYU_SUPPORT_URL`: the `help` of every problem.
    pub support_url: Option<String>,
    /// `KERYU_DEFAULT_REGION` for national phone numbers (ISO 3166-1 alpha-2).
    pub default_region: Option<String>,
    /// Logs.
    pub log: crate::telemetry::Config,
    /// The edges of the API.
    pub http: crate::limit::Config,
    /// One-time codes.
    pub otp: crate::auth::otp::Config,
    /// Passwords.
    pub password: crate::auth::password::Config,
    /// Registration before the proof.
    pub classic: crate::auth::classic::Config,
    /// Failed sign-ins.
    pub lockout: crate::limit::lockout::Config,
    /// Sessions and tokens.
    pub session: crate::session::Config,
    /// Accounts.
    pub user: crate::user::Config,
    /// Second factors.
    pub factor: crate::factor::Config,
    /// Mail and SMS.
    pub notify: crate::notify::Config,
    /// Files of people.
    pub upload: crate::upload::Config,
    /// CRM and analytics.
    pub crm: crate::crm::Config,
    /// Retention of jobs.
    pub job: crate::job::Config,
    /// Wallets.
    pub wallet: crate::wallet::Config,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All faults, together.
    pub fn read(source: &mut Source) -> Result<Self, Faults> {
        let stage = match source.get("KERYU_ENV", "production".to_owned()).as_str() {
            "development" => Stage::Development,
            "production" => Stage::Production,
            other => {
                source.fault(format!("KERYU_ENV: {other} is neither production nor development"));
                Stage::Production
            }
        };
        let public_url = public_url(source);
        let config = Self {
            stage,
            database_url: required::<sqlx::postgres::PgConnectOptions>(source, "DATABASE_URL"),
            redis_url: required::<RedisUrl>(source, "REDIS_URL"),
            pool: pool(source),
            keys: keyring(source, stage),
            worker_listen: source.find("KERYU_WORKER_LISTEN"),
            factor: crate::factor::Config::read(source, &public_url),
            public_url,
            support_url: source.find("KERYU_SUPPORT_URL"),
            default_region: region(source),
            log: crate::telemetry::Config::read(source),
            http: crate::limit::Config::read(source),
            otp: crate::auth::otp::Config::read(source, stage),
            password: crate::auth::password::Config::read(source, stage),
            classic: crate::auth::classic::Config::read(source),
            lockout: crate::limit::lockout::Config::read(source),
            session: crate::session::Config::read(source),
            user: crate::user::Config::read(source),
            notify: crate::notify::Config::read(source, stage),
            upload: crate::upload::Config::read(source, stage),
            crm: crate::crm::Config::read(source),
            job: crate::job::Config::read(source),
            wallet: crate::wallet::Config::read(source),
        };
        if source.faults.is_empty() { Ok(config) } else { Err(Faults(std::mem::take(&mut source.faults))) }
    }
}

/// A URL that must be there and of its kind. Its text may hold a password: the fault does not repeat it.
fn required<T: FromStr>(source: &mut Source, name: &'static str) -> String {
    let value: Option<String> = source.find(name);
    match &value {
        None => source.fault(format!("{name} is not set")),
        Some(text) if text.parse::<T>().is_err() => source.fault(format!("{name} is not such a URL")),
        Some(_) => {}
    }
    value.unwrap_or_default()
}

struct RedisUrl;

impl FromStr for RedisUrl {
    type Err = redis::RedisError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        redis::Client::open(text).map(|_| Self)
    }
}

fn pool(source: &mut Source) -> u32 {
    let pool = source.get("DATABASE_POOL", 8);
    if !(2..=1_000).contains(&pool) {
        source.fault("DATABASE_POOL: out of range (2 to 1000)");
    }
    pool
}

fn public_url(source: &mut Source) -> String {
    let text = source.get("KERYU_PUBLIC_URL", "http://localhost:8080".to_owned());
    match text.parse::<url::Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {}
        _ => source.fault("KERYU_PUBLIC_URL: not an http or https URL"),
    }
    text.trim_end_matches('/').to_owned()
}

fn region(source: &mut Source) -> Option<String> {
    let region: String = source.find("KERYU_DEFAULT_REGION")?;
    if region.parse::<phonenumber::country::Id>().is_err() {
        source.fault(format!("KERYU_DEFAULT_REGION: {region} is not a country (ISO 3166-1 alpha-2)"));
    }
    Some(region)
}

/// Development makes a key of its own for this process; production wants one.
fn keyring(source: &mut Source, stage: Stage) -> Keyring {
    let given: Option<String> = source.find("KERYU_SECRET_KEY");
    if given.is_none() && stage == Stage::Production {
        source.fault("KERYU_SECRET_KEY is not set (id:hex, 32 bytes or more: openssl rand -hex 32)");
    }
    // an id of its own: another process cannot take its codes for this one's
    let made = || format!("made-{}:{}", hex(&random::<4>()), hex(&random::<32>()));
    Keyring::parse(&given.unwrap_or_else(made)).unwrap_or_else(|fault| {
        source.fault(format!("KERYU_SECRET_KEY: {fault}"));
        Keyring::parse(&made()).unwrap_or_else(|_| std::process::abort())
    })
}

struct Span(Duration);

impl FromStr for Span {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "not a length of time such as 500ms, 30s, 5m, 24h or 30d";
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| WANTED)?;
        let millis = match unit.trim() {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(WANTED),
        };
        number.checked_mul(millis).map(|millis| Self(Duration::from_millis(millis))).ok_or(WANTED)
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis >= size && millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

struct Switch(bool);

impl FromStr for Switch {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" | "true" | "1" => Ok(Self(true)),
            "off" | "false" | "0" => Ok(Self(false)),
            _ => Err("neither on nor off"),
        }
    }
}

impl Display for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once() {
        let pairs =
            [("KERYU_ENV", "staging"), ("OTP_DIGITS", "40"), ("OTP_LIFE", "soon"), ("SMTP_URL", "ftp://x")];
        let faults = Config::read(&mut Source::of(pairs)).expect_err("faults").0;
        for name in [
            "KERYU_ENV",
            "DATABASE_URL",
            "REDIS_URL",
            "KERYU_SECRET_KEY",
            "OTP_DIGITS",
            "OTP_LIFE",
            "SMTP_URL",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(name)), "{name} in {faults:?}");
        }
    }

    #[test]
    fn spans_read_and_print() {
        for text in ["500ms", "30s", "5m", "24h", "30d"] {
            let hours_as_days = if text == "24h" { "1d" } else { text };
            assert_eq!(text.parse::<Span>().expect(text).to_string(), hours_as_days);
        }
    }
}
