//! Making an account: the person's row and those everybody has. Whoever asks has decided that they may.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::record::Record;
use super::store::{self, NewUser};
use super::{IDENTIFIER_NEEDED, IDENTIFIER_TAKEN, Identifier, REFERRAL_UNKNOWN, USERNAME_TAKEN, Username};
use crate::audit::{self, Client, Line, Values};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::idempotency::{self, Begun};
use crate::role::Permission;
use crate::session::Person;
use crate::{id, mask, seal, secret, wallet};

/// A person to be.
#[derive(Clone)]
pub struct NewPerson {
    /// Theirs, where it was given out already.
    pub user_id: Option<Uuid>,
    /// The name wanted.
    pub username: Username,
    /// E-mail address or phone number.
    pub identifiers: Vec<Identifier>,
    /// Whether these are proved.
    pub verified: bool,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Whose referral code was named.
    pub referral_code: Option<String>,
    /// Argon2id, PHC string form.
    pub password: Option<String>,
    /// `member`, ...
    pub role: String,
    /// Above all roles.
    pub is_superuser: bool,
    /// Who makes the account; none: the person.
    pub actor: Option<Uuid>,
}

impl std::fmt::Debug for NewPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewPerson").field("username", &self.username).finish_non_exhaustive()
    }
}

impl NewPerson {
    /// A member with identifiers that are not proved.
    pub fn of(username: Username, identifiers: Vec<Identifier>) -> Self {
        Self {
            user_id: None,
            username,
            identifiers,
            verified: false,
            first_name: None,
            last_name: None,
            referral_code: None,
            password: None,
            role: "member".to_owned(),
            is_superuser: false,
            actor: None,
        }
    }
}

/// Makes the account with the caller's transaction.
///
/// # Errors
/// `user.identifier_taken`, `user.username_taken`, `user.referral_unknown`.
pub async fn create(
    tx: &mut PgConnection,
    ctx: &Context,
    client: &Client,
    person: NewPerson,
) -> Result<Uuid> {
    let now = ctx.now();
    let user_id = person.user_id.unwrap_or_else(|| id::ordered(now));
    let referred_by = match &person.referral_code {
        None => None,
        Some(code) => {
            let owner = store::find_by_referral(&mut *tx, &code.to_uppercase()).await?;
            Some(owner.ok_or_else(|| REFERRAL_UNKNOWN.refuse("Nobody has this referral code."))?)
        }
    };
    let find = |wanted: fn(&Identifier) -> bool| {
        person.identifiers.iter().find(|one| wanted(one)).map(|one| one.as_str().to_owned())
    };
    let email = find(|one| matches!(one, Identifier::Email(_)));
    let phone_number = find(|one| matches!(one, Identifier::Phone(_)));
    let proved = |text: &Option<String>| (person.verified && text.is_some()).then_some(now);
    let own_key = secret::random::<32>();
    let new = NewUser {
        user_id,
        username: person.username.as_str().to_owned(),
        skeleton: person.username.skeleton().to_owned(),
        email_verified_at: proved(&email),
        phone_verified_at: proved(&phone_number),
        email,
        phone_number,
        first_name: person.first_name,
        last_name: person.last_name,
        language: client.language.clone(),
        role: person.role,
        is_superuser: person.is_superuser,
        referral_code: referral_code(),
        referred_by,
        key: seal::seal(&ctx.config.keys, "user_key", user_id.as_bytes(), &own_key)?,
        password: person.password,
    };
    if !store::insert(tx, &new, now).await? {
        if store::is_username_taken(&mut *tx, &new.username, &new.skeleton).await? {
            return Err(USERNAME_TAKEN.refuse("This name, or one that looks like it, is taken.").into());
        }
        return Err(IDENTIFIER_TAKEN.refuse("Another account has proved this identifier.").into());
    }
    let channels: Vec<&str> = person.identifiers.iter().map(|one| one.channel().name()).collect();
    let line = Line {
        action: "user.created",
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: Some(person.actor.unwrap_or(user_id)),
        session_id: None,
        details: json!({ "channels": channels, "verified": person.verified, "role": new.role,
                         "referred_by": referred_by }),
        client,
        at: now,
    };
    let address = person.identifiers.first().map(|one| mask::identifier(one.as_str()));
    let sealed = Some(super::audit::seal(&own_key, &json!({ "address": address }))?);
    audit::note_change(&mut *tx, line, Values { sealed, ..Values::default() }).await?;
    if referred_by.is_some() && (new.email_verified_at.is_some() || new.phone_verified_at.is_some()) {
        wallet::ask_reward(tx, now, user_id).await?;
    }
    Ok(user_id)
}

/// Makes an account for somebody else, as staff. Its identifiers are not proved: who proves one has it.
///
/// # Errors
/// `auth.forbidden`, `user.identifier_needed`, `user.username_taken`, and the refusals of
/// [`idempotency::begin`].
pub async fn add(
    ctx: &Context,
    client: &Client,
    staff: &Person,
    person: NewPerson,
    key: Option<&idempotency::Key>,
) -> Result<Record> {
    staff.may(Permission::UsersWrite)?;
    if person.identifiers.is_empty() {
        return Err(IDENTIFIER_NEEDED.refuse("Give a phone number or an e-mail address.").into());
    }
    let gone = || Error::internal("the user is gone");
    let mut tx = ctx.db.begin().await?;
    if let Some(key) = key
        && let Begun::Replay(outcome) = idempotency::begin(&mut tx, ctx.now(), key).await?
    {
        let user_id: Uuid = serde_json::from_slice(&outcome).map_err(Error::internal)?;
        return store::find(&mut *tx, user_id).await?.ok_or_else(gone);
    }
    let person = NewPerson { actor: Some(staff.user_id()), ..person };
    let user_id = create(&mut tx, ctx, client, person).await?;
    if let Some(key) = key {
        let outcome = serde_json::to_vec(&user_id).map_err(Error::internal)?;
        idempotency::finish(&mut tx, key, &outcome).await?;
    }
    let record = store::find(&mut *tx, user_id).await?.ok_or_else(gone)?;
    tx.commit().await?;
    Ok(record)
}

/// Eight letters and digits of Crockford's base 32: nothing that is misread.
fn referral_code() -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    secret::random::<8>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
