//! Services' keys over HTTP: making, seeing and revoking them.

use chrono::{DateTime, Utc};
use keryu_common::api_key::{self, ApiKey, Ask, Made, Scope};
use keryu_common::config::Config;
use keryu_common::role::Permission;
use keryu_common::{Context, idempotency, session};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::choice::OneOf;
use crate::edge::client::Caller;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Created, Gone, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note { operation: "api_key_list", security: Security::Staff(Permission::ApiKeysRead), refusals: &[] },
    Note {
        operation: "api_key_create",
        security: Security::Staff(Permission::ApiKeysWrite),
        refusals: &[session::STEP_UP, idempotency::MISMATCH, idempotency::LOST],
    },
    Note {
        operation: "api_key_revoke",
        security: Security::Staff(Permission::ApiKeysWrite),
        refusals: &[api_key::NOT_FOUND, NOT_FOUND],
    },
];

/// A key, without its secret.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ApiKeyOut {
    /// Which.
    id: Uuid,
    /// What people call the service.
    name: String,
    /// What it may do.
    scopes: Vec<String>,
    /// Who made it; none: an operator at the command line.
    created_by: Option<Uuid>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ends; none: when it is revoked.
    expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for ApiKeyOut {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.api_key_id,
            name: key.name,
            scopes: key.scopes,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

impl Example for ApiKeyOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174),
            name: "rentals".to_owned(),
            scopes: vec!["users:read".to_owned()],
            created_by: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172)),
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        }
    }
}

/// All keys.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ApiKeysOut {
    /// Newest first.
    items: Vec<ApiKeyOut>,
}

impl Example for ApiKeysOut {
    fn example() -> Self {
        Self { items: vec![ApiKeyOut::example()] }
    }
}

/// A key just made.
#[derive(Debug, Object)]
#[oai(example)]
pub struct MadeOut {
    /// For `X-API-Key`. It is shown this once: keep it as you keep a password.
    key: String,
    /// What the list will show.
    api_key: ApiKeyOut,
}

impl From<Made> for MadeOut {
    fn from(made: Made) -> Self {
        Self { key: made.text, api_key: made.key.into() }
    }
}

impl Example for MadeOut {
    fn example() -> Self {
        Self { key: "kry_…".to_owned(), api_key: ApiKeyOut::example() }
    }
}

/// A key wanted.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ApiKeyIn {
    /// What people call the service.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// What it may do.
    #[oai(validator(min_items = 1, max_items = 20))]
    scopes: Vec<OneOf<Scope>>,
    /// When it ends; absent: when it is revoked.
    expires_at: Option<DateTime<Utc>>,
}

impl Example for ApiKeyIn {
    fn example() -> Self {
        Self { name: "rentals".to_owned(), scopes: vec![OneOf(Scope::UsersRead)], expires_at: None }
    }
}

impl Input for ApiKeyIn {
    type Ask = Ask;
    fn ask(self, _: &Config) -> Option<Ask> {
        Some(Ask {
            name: self.name,
            scopes: self.scopes.into_iter().map(|one| one.0).collect(),
            expires_at: self.expires_at,
        })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct ApiKeys;

#[OpenApi(prefix_path = "/api/admin", tag = "Tag::Admin")]
impl ApiKeys {
    /// List the keys of services
    #[oai(path = "/api-keys", method = "get", operation_id = "api_key_list")]
    async fn list(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<ApiKeysOut>> {
        person.may(Permission::ApiKeysRead)?;
        let items = api_key::list(&ctx).await?.into_iter().map(ApiKeyOut::from).collect();
        Ok(Json(ApiKeysOut { items }))
    }

    /// Make a key for a service
    ///
    /// The key is shown this once. Needs a recent proof of who one is, and for a scope whose right people
    /// have too (`users:read`, `roles:read`) that right.
    #[oai(path = "/api-keys", method = "post", operation_id = "api_key_create")]
    async fn create(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within ten minutes gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<ApiKeyIn>,
    ) -> Answer<Created<MadeOut>> {
        let key = key.bind_as(&ctx.config, &person, "api_key_create", &body.raw)?;
        let key = key.map(idempotency::Key::with_credentials);
        Ok(Created(api_key::create(&ctx, &from, &person, body.ask, key.as_ref()).await?.into()))
    }

    /// Revoke a service's key
    ///
    /// From now on it is refused everywhere.
    #[oai(path = "/api-keys/:id", method = "delete", operation_id = "api_key_revoke")]
    async fn revoke(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        api_key::revoke(&ctx, &from, Some(&person), id.0).await?;
        Ok(Gone)
    }
}
