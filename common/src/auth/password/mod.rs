//! Passwords: what is taken (`policy`), how it is kept (`hash`) and where that is computed (`hasher`).

pub mod bare;
mod breach;
mod change;
mod hash;
mod hasher;
mod policy;
mod sign_in;
mod store;

use url::Url;
use uuid::Uuid;

pub use breach::Breaches;
pub use change::{Change, Reset, change, first, recovered, reset};
pub use hash::Cost;
pub use hasher::Hasher;
pub use policy::Password;
pub use sign_in::{Ask, sign_in};

use crate::config::{Source, Stage};
use crate::context::Context;
use crate::error::{Code, Refusal};
use crate::provider::http;
use crate::user::{Identifier, Username};

/// Too many passwords wait to be checked.
pub const BUSY: Code = Code {
    code: "auth.busy",
    status: 503,
    title: "Too many sign-ins just now",
    advice: "Send the request again after `Retry-After`.",
};

/// The name, the password or both are wrong.
pub const INVALID: Code = Code {
    code: "auth.invalid",
    status: 401,
    title: "The name or the password is not right",
    advice: "Check both, or sign in with a code.",
};
/// This deployment has no passwords.
pub const OFF: Code = Code {
    code: "auth.password_off",
    status: 403,
    title: "There are no passwords here",
    advice: "Sign in with a code.",
};
/// The password is right, and no identifier of the account is proved.
pub const UNVERIFIED: Code = Code {
    code: "account.unverified",
    status: 403,
    title: "The account is not verified",
    advice: "Hand in the code that was sent, with `challenge_id` and the purpose `login`, then sign in with it.",
};
/// The account has no password.
pub const NONE: Code = Code {
    code: "password.none",
    status: 409,
    title: "The account has no password",
    advice: "Choose one with a code: `POST /api/auth/password/forgot`.",
};
/// The present password is another.
pub const WRONG: Code = Code {
    code: "password.wrong",
    status: 422,
    title: "The present password is not right",
    advice: "Check it, or choose a new one with a code.",
};

/// Every code of this slice.
pub const CODES: &[Code] = &[BUSY, INVALID, OFF, UNVERIFIED, NONE, WRONG];

/// When a row of failures from all addresses may be tried again; what helps is a code.
const LONG: std::time::Duration = std::time::Duration::from_secs(3600);

/// Refuses where there are no passwords.
///
/// # Errors
/// `auth.password_off`.
pub fn must_be_on(config: &crate::config::Config) -> Result<(), Refusal> {
    if config.password.enabled { Ok(()) } else { Err(OFF.refuse("Sign in with a code.")) }
}

/// What somebody says to be at a sign-in.
#[derive(Clone, Debug)]
pub enum Name {
    /// A phone number or an e-mail address.
    Identifier(Identifier),
    /// A username.
    Username(Username),
}

impl Name {
    /// As failures are counted by it: an identifier, or a username's skeleton.
    fn text(&self) -> &str {
        match self {
            Self::Identifier(identifier) => identifier.as_str(),
            Self::Username(name) => name.skeleton(),
        }
    }

    /// Whether somebody bears it. Names that only look alike are found by one index and differ.
    fn is_of(&self, found: &store::Credential) -> bool {
        match self {
            Self::Identifier(_) => true,
            Self::Username(name) => name.as_str().to_lowercase() == found.username.to_lowercase(),
        }
    }
}

/// What stands for an account where failures are counted.
fn account_hash(ctx: &Context, user_id: Uuid) -> [u8; 32] {
    ctx.config.keys.derive("login_failures").mac(&[b"account", user_id.as_bytes()])
}

/// What stands for a known device.
fn device_hash(ctx: &Context, token_hash: &[u8]) -> [u8; 32] {
    ctx.config.keys.derive("login_failures").mac(&[b"device", token_hash])
}

/// What stands for a name, whether somebody has it or not: an identifier, or a username's skeleton.
fn name_hash(ctx: &Context, text: &str) -> [u8; 32] {
    ctx.config.keys.derive("login_failures").mac(&[b"name", text.as_bytes()])
}

/// What stands for the account of a name that nobody has.
fn nobody_hash(ctx: &Context, text: &str) -> [u8; 32] {
    ctx.config.keys.derive("login_failures").mac(&[b"nobody", text.as_bytes()])
}

/// What stands for an account and for each of its names.
fn hashes_of(ctx: &Context, user_id: Uuid, names: &store::Names) -> Vec<[u8; 32]> {
    let texts = [Some(&names.username_skeleton), names.email.as_ref(), names.phone_number.as_ref()];
    let hashes = texts.into_iter().flatten().map(|text| name_hash(ctx, text));
    [account_hash(ctx, user_id)].into_iter().chain(hashes).collect()
}

/// Settings of passwords.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AUTH_PASSWORD`: whether there are any.
    pub enabled: bool,
    /// `AUTH_REQUIRE_VERIFIED`: whether an account without a proved identifier is not signed in to.
    pub require_verified: bool,
    /// `PASSWORD_MIN`: characters of a new one.
    pub least: usize,
    /// `PASSWORD_MEMORY` (KiB), `PASSWORD_PASSES`.
    pub cost: Cost,
    /// `PASSWORD_THREADS`: hashes at once.
    pub threads: usize,
    /// `PASSWORD_BREACH_URL`: the list of leaked passwords.
    pub breach_url: Option<Url>,
}

impl Config {
    pub(crate) fn read(source: &mut Source, stage: Stage) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let breach_url: Option<String> = source.find("PASSWORD_BREACH_URL");
        let config = Self {
            enabled: source.switch("AUTH_PASSWORD", true),
            require_verified: source.switch("AUTH_REQUIRE_VERIFIED", true),
            least: source.get("PASSWORD_MIN", 8),
            cost: Cost {
                memory: source.get("PASSWORD_MEMORY", 19_456),
                passes: source.get("PASSWORD_PASSES", 2),
            },
            threads: source.find("PASSWORD_THREADS").unwrap_or(cores),
            breach_url: breach_url.and_then(|text| match http::address(&text) {
                Ok(url) => Some(url),
                Err(fault) => {
                    source.fault(format!("PASSWORD_BREACH_URL: {fault}"));
                    None
                }
            }),
        };
        // OWASP: no less than 7 MiB
        let floor = if stage == Stage::Production { 7_168 } else { 8 };
        for (name, holds, range) in [
            ("PASSWORD_MIN", (8..=64).contains(&config.least), "8 to 64"),
            ("PASSWORD_MEMORY", (floor..=1_048_576).contains(&config.cost.memory), "7168 to 1048576"),
            ("PASSWORD_PASSES", (1..=32).contains(&config.cost.passes), "1 to 32"),
            ("PASSWORD_THREADS", (1..=256).contains(&config.threads), "1 to 256"),
        ] {
            if !holds {
                source.fault(format!("{name}: out of range ({range})"));
            }
        }
        config
    }
}
