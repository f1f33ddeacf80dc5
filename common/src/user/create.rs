//! Making an account: the person's row and those everybody has. Whoever asks has decided that they may.

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, NewUser};
use super::{IDENTIFIER_TAKEN, Identifier, REFERRAL_UNKNOWN, USERNAME_TAKEN, Username};
use crate::audit::{self, Client, Line};
use crate::context::Context;
use crate::error::Result;
use crate::{id, seal, secret};

/// A person to be.
#[derive(Clone)]
pub struct NewPerson {
    /// The name wanted.
    pub username: Username,
    /// E-mail address or phone number.
    pub identifiers: Vec<Identifier>,
    /// Whether these are proved.
    pub verified: bool,
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
    /// A member with one identifier that is not proved.
    pub fn of(username: Username, identifier: Identifier) -> Self {
        Self {
            username,
            identifiers: vec![identifier],
            verified: false,
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
    let user_id = id::ordered(now);
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
    let new = NewUser {
        user_id,
        username: person.username.as_str().to_owned(),
        skeleton: person.username.skeleton().to_owned(),
        email_verified_at: proved(&email),
        phone_verified_at: proved(&phone_number),
        email,
        phone_number,
        language: client.language.clone(),
        role: person.role,
        is_superuser: person.is_superuser,
        referral_code: referral_code(),
        referred_by,
        key: seal::seal(&ctx.config.keys, "user_key", user_id.as_bytes(), &secret::random::<32>())?,
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
    audit::note(tx, line).await?;
    Ok(user_id)
}

/// Eight letters and digits of Crockford's base 32: nothing that is misread.
fn referral_code() -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    secret::random::<8>().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
