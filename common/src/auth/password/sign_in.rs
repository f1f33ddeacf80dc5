//! Signing in with a password. Names that somebody bears and names nobody bears take the same path, at the
//! same price, and leave the same rows. That there were too many tries is told by the name as typed alone: what
//! is counted of the account by all its names would say which names are one person's.

use super::store::{self, Credential};
use super::{INVALID, LONG, Name, Password, UNVERIFIED, must_be_on};
use crate::audit::{self, Client, Line};
use crate::auth::otp::{self, Purpose};
use crate::context::Context;
use crate::error::{Error, Refusal, Result};
use crate::job::Queue;
use crate::limit::lockout::{self, LOCKED, Subject, Try};
use crate::secret;
use crate::session::{self, Method, SignIn, Tokens};
use crate::user::Identifier;
use crate::{factor, ip_block};
use serde_json::json;

/// A sign-in.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who says to be.
    pub name: Name,
    /// What shows it.
    pub password: Password,
    /// From an earlier sign-in here.
    pub device_token: Option<String>,
}

/// Signs in with a password.
///
/// # Errors
/// `auth.password_off`, `auth.locked`, `auth.busy`, `auth.invalid`; after the right password
/// `account.unverified`, `account.suspended` and the like, `mfa.required`.
pub async fn sign_in(ctx: &Context, client: &Client, ask: Ask) -> Result<Tokens> {
    must_be_on(&ctx.config)?;
    let device = ask.device_token.as_ref().map(|token| secret::sha256(token.as_bytes()));
    let device = device.as_ref().map(<[u8; 32]>::as_slice);
    let found = store::find_credential(&ctx.db, &ask.name, device, ctx.now()).await?;
    let found = found.filter(|found| ask.name.is_of(found));
    let mut at = Attempt::of(ctx, client, &ask.name, found.as_ref(), device);
    let counted = match at.take().await {
        Ok(counted) => counted,
        Err(refusal) => {
            at.refused(refusal.code).await?;
            return Err(refusal.into());
        }
    };
    // an account that is locked from here is one that nobody has
    let found = found.filter(|_| !at.locked);
    let stored = found.as_ref().and_then(|found| found.hash.as_deref());
    let right = match ctx.hasher.verify(stored, ask.password.as_str()).await {
        Ok(right) => right,
        Err(error) => {
            counted.release(ctx).await;
            return Err(error);
        }
    };
    let Some((found, hash)) = found.filter(|_| right).and_then(|found| Some((found.clone(), found.hash?)))
    else {
        return Err(at.wrong(&counted).await?.into());
    };
    match at.admitted(&ask, &found, hash).await {
        Ok(Admitted::In(tokens)) => {
            at.forget(counted, &found).await;
            Ok(*tokens)
        }
        Ok(Admitted::Right(refusal)) => {
            at.forget(counted, &found).await;
            Err(refusal.into())
        }
        Ok(Admitted::Wrong | Admitted::Changed(_)) => Err(at.wrong(&counted).await?.into()),
        Err(error) => {
            counted.release(ctx).await;
            Err(error)
        }
    }
}

/// A try that was let through and counted.
struct Counted {
    /// By the name as typed, or by the known device.
    told: Try,
    /// By the account, unless that is locked.
    hidden: Option<Try>,
}

impl Counted {
    /// Nobody looked at the password.
    async fn release(self, ctx: &Context) {
        ctx.lockout.release([Some(self.told), self.hidden].into_iter().flatten().collect()).await;
    }
}

/// What the right password leads to.
enum Admitted {
    /// Signed in.
    In(Box<Tokens>),
    /// Not yet, or not at all; the row of failures ends.
    Right(Refusal),
    /// It counts as wrong: the row of failures is too long, or there is no password any more.
    Wrong,
    /// The hash is this one now: the password was changed meanwhile, or hashed anew by another sign-in.
    Changed(String),
}

/// One attempt: who, and from where.
struct Attempt<'a> {
    ctx: &'a Context,
    client: &'a Client,
    /// Whose tries are told when they are too many: the name as typed, or a known device.
    told: Subject,
    /// Whose tries are counted in secret: the account by whatever name, or what stands in for it. None for
    /// a known device.
    hidden: Option<Subject>,
    /// Takes the account's place while that is locked.
    nobody: Subject,
    /// Whether the account is locked from here.
    locked: bool,
    entity: (&'static str, String),
}

impl<'a> Attempt<'a> {
    fn of(
        ctx: &'a Context,
        client: &'a Client,
        name: &Name,
        found: Option<&Credential>,
        device: Option<&[u8]>,
    ) -> Self {
        let name_hash = super::name_hash(ctx, name.text());
        let nobody = Subject::Name(super::nobody_hash(ctx, name.text()));
        let entity = match found {
            Some(found) => ("user", found.user_id.to_string()),
            None => ("identifier", secret::hex(&name_hash)),
        };
        let known = device.filter(|_| found.is_some_and(|found| found.known_device));
        let (told, hidden) = match (known, found) {
            (Some(device), _) => (Subject::Device(super::device_hash(ctx, device)), None),
            (None, Some(found)) => {
                (Subject::Name(name_hash), Some(Subject::Name(super::account_hash(ctx, found.user_id))))
            }
            (None, None) => (Subject::Name(name_hash), Some(nobody)),
        };
        Self { ctx, client, told, hidden, nobody, locked: false, entity }
    }

    /// Counts the try. With the account locked, what stands in for it takes its place, and nothing is told.
    async fn take(&mut self) -> Result<Counted, Refusal> {
        let (ctx, client) = (self.ctx, self.client);
        let subjects: Vec<&Subject> =
            [Some(&self.told), self.hidden.as_ref()].into_iter().flatten().collect();
        let mut tries = ctx.lockout.take(ctx.now(), &subjects, client).await?.into_iter();
        let told = tries.next().ok_or_else(|| lockout::refuse(LONG))?;
        let hidden = tries.next();
        if self.hidden.is_some() && hidden.is_none() {
            (self.hidden, self.locked) = (Some(self.nobody), true);
        }
        Ok(Counted { told, hidden })
    }

    /// The password was right: the rows of failures end, by whatever name.
    async fn forget(&self, counted: Counted, found: &Credential) {
        let (ctx, client) = (self.ctx, self.client);
        let names = if self.hidden.is_some() {
            super::hashes_of(ctx, found.user_id, &found.names()).into_iter().map(Subject::Name).collect()
        } else {
            Vec::new()
        };
        ctx.lockout.forget(vec![counted.told], &names, client).await;
    }

    /// The rows of failures it counts in.
    fn rows(&self) -> Vec<[u8; 32]> {
        [Some(&self.told), self.hidden.as_ref()]
            .into_iter()
            .flatten()
            .map(|subject| *subject.hash())
            .collect()
    }

    fn line(&self, refused: &str) -> Line<'a> {
        Line {
            action: "auth.sign_in_refused",
            entity_type: self.entity.0,
            entity_id: self.entity.1.clone(),
            actor: None,
            session_id: None,
            details: json!({ "methods": [Method::Password.name()], "refused": refused }),
            client: self.client,
            at: self.ctx.now(),
        }
    }

    /// Notes an attempt that led nowhere.
    async fn refused(&self, code: &str) -> Result<()> {
        let mut tx = self.ctx.db.begin().await?;
        audit::note(&mut tx, self.line(code)).await?;
        Ok(tx.commit().await?)
    }

    /// Counts a wrong password, and the lockout that it may lead to.
    async fn wrong(&self, counted: &Counted) -> Result<Refusal> {
        let ctx = self.ctx;
        let most = ctx.config.lockout.in_a_row;
        let mut tx = ctx.db.begin().await?;
        let rows = store::count_failures(&mut tx, &self.rows(), most, ctx.now()).await?;
        let refusal = if rows.iter().any(|row| row == self.told.hash()) {
            INVALID.refuse("The name or the password is not right.")
        } else {
            lockout::refuse(LONG)
        };
        let code = if self.locked || rows.len() < self.rows().len() { LOCKED.code } else { refusal.code };
        audit::note(&mut tx, self.line(code)).await?;
        tx.commit().await?;
        if counted.told.last && ctx.lockout.locked(ctx.now(), self.client).await {
            ip_block::block_by_itself(ctx, self.client).await?;
        }
        Ok(refusal)
    }

    /// Admits whoever knows the password that is kept at that moment.
    async fn admitted(&self, ask: &Ask, found: &Credential, mut hash: String) -> Result<Admitted> {
        loop {
            match self.admit(ask, found, &hash).await? {
                Admitted::Changed(now) => {
                    if !self.ctx.hasher.verify(Some(&now), ask.password.as_str()).await? {
                        return Ok(Admitted::Wrong);
                    }
                    hash = now;
                }
                admitted => return Ok(admitted),
            }
        }
    }

    async fn admit(&self, ask: &Ask, found: &Credential, hash: &str) -> Result<Admitted> {
        let (ctx, client) = (self.ctx, self.client);
        let most = ctx.config.lockout.in_a_row;
        let anew = if ctx.hasher.needs_rehash(hash) {
            // with no room for it now, it is done another time
            ctx.hasher.hash(ask.password.as_str()).await.ok()
        } else {
            None
        };
        let mut tx = ctx.db.begin().await?;
        let mut all = self.rows();
        if self.hidden.is_some() {
            all.extend(super::hashes_of(ctx, found.user_id, &found.names()));
        }
        let settled = store::settle(&mut tx, found.user_id, &self.rows(), &all, most).await?;
        let settled = settled.filter(|settled| settled.in_a_row < most);
        let Some(settled) = settled else { return Ok(Admitted::Wrong) };
        if settled.hash != hash {
            return Ok(Admitted::Changed(settled.hash));
        }
        if let Err(refusal) = found.status.must_be_active() {
            audit::note(&mut tx, self.line(refusal.code)).await?;
            tx.commit().await?;
            return Ok(Admitted::Right(refusal));
        }
        if ctx.config.password.require_verified && !found.any_verified {
            audit::note(&mut tx, self.line(UNVERIFIED.code)).await?;
            tx.commit().await?;
            return Ok(Admitted::Right(self.unverified(ask, found).await?));
        }
        if let Some(anew) = &anew {
            store::set_rehashed(&mut tx, found.user_id, hash, anew).await?;
        }
        let methods = [Method::Password];
        if settled.has_factor
            && let Some(refusal) =
                factor::challenge::demand(&mut tx, ctx, client, found.user_id, &methods).await?
        {
            tx.commit().await?;
            return Ok(Admitted::Right(refusal));
        }
        let sign_in =
            SignIn { user_id: found.user_id, methods: &methods, device_token: ask.device_token.as_deref() };
        let tokens = session::open(&mut tx, ctx, client, sign_in).await?;
        tx.commit().await?;
        ctx.wake.queue(Queue::Default);
        Ok(Admitted::In(Box::new(tokens)))
    }

    /// Sends a code that proves the identifier used, or the account's own where it signed in by username.
    async fn unverified(&self, ask: &Ask, found: &Credential) -> Result<Refusal> {
        let own = || {
            let email = found.email.clone().map(Identifier::Email);
            email.or_else(|| found.phone_number.clone().map(Identifier::Phone))
        };
        let identifier = match &ask.name {
            Name::Identifier(identifier) => Some(identifier.clone()),
            Name::Username(_) => own(),
        };
        let refusal = UNVERIFIED.refuse("Prove the account's phone number or e-mail address first.");
        let Some(identifier) = identifier else { return Ok(refusal) };
        let ask = otp::Ask { bound_to: Some(found.user_id), ..otp::Ask::of(identifier, Purpose::Login) };
        match otp::request(self.ctx, self.client, ask, None).await {
            Ok(issued) => Ok(refusal.with("challenge_id", issued.challenge_id.to_string())),
            // one was sent a moment ago, and still works
            Err(Error::Refusal(_)) => Ok(refusal),
            Err(error) => Err(error),
        }
    }
}
