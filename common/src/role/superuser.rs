//! The first of all: a superuser made by an operator, who has the database in hand anyway.

use serde_json::json;
use uuid::Uuid;

use crate::audit::{self, Client, Line};
use crate::auth::password::{self, Password};
use crate::context::Context;
use crate::error::Result;
use crate::user::{self, Identifier, NewPerson, Username};

/// A superuser to be.
#[derive(Clone, Debug)]
pub struct Superuser {
    /// The name.
    pub username: Username,
    /// E-mail address, phone number or both: they count as proved.
    pub identifiers: Vec<Identifier>,
    /// None: signs in by code.
    pub password: Option<Password>,
}

/// Makes a superuser, with the role `admin`.
///
/// # Errors
/// `user.username_taken`, `user.identifier_taken`, `request.invalid` (the password).
pub async fn create_superuser(ctx: &Context, client: &Client, ask: Superuser) -> Result<Uuid> {
    let mut names = vec![ask.username.as_str()];
    names.extend(ask.identifiers.iter().map(Identifier::as_str));
    let password = match &ask.password {
        Some(password) => Some(password::first(ctx, password, &names).await?),
        None => None,
    };
    let person = NewPerson {
        user_id: None,
        username: ask.username,
        identifiers: ask.identifiers,
        verified: true,
        first_name: None,
        last_name: None,
        referral_code: None,
        password,
        role: "admin".to_owned(),
        is_superuser: true,
        actor: None,
    };
    let mut tx = ctx.db.begin().await?;
    let user_id = user::create(&mut tx, ctx, client, person).await?;
    let line = Line {
        action: "user.superuser_created",
        entity_type: "user",
        entity_id: user_id.to_string(),
        actor: None,
        session_id: None,
        details: json!({}),
        client,
        at: ctx.now(),
    };
    audit::note(&mut tx, line).await?;
    tx.commit().await?;
    Ok(user_id)
}
