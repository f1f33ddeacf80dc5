//! Sessions over HTTP: refreshing, signing out, seeing and ending them; the public keys.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use keryu_common::Context;
use keryu_common::config::Config;
use keryu_common::session::{self, End, Listed, Tokens};
use poem::web::Data;
use poem::{Request, Response, handler};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input, MaybeBody};
use crate::edge::client::Caller;
use crate::edge::fixed;
use crate::edge::limit::refresh;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::{MaybeSigned, Signed};
use crate::operation::{Gone, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "refresh",
        security: Security::Anonymous,
        refusals: &[session::REFRESH_INVALID, session::REFRESH_REUSED, session::ENDED],
    },
    Note { operation: "logout", security: Security::MaybeBearer, refusals: &[] },
    Note { operation: "session_list", security: Security::Bearer, refusals: &[] },
    Note { operation: "session_end_others", security: Security::Bearer, refusals: &[] },
    Note { operation: "session_end", security: Security::Bearer, refusals: &[session::NOT_FOUND, NOT_FOUND] },
];

/// A refresh.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RefreshIn {
    /// The newest one.
    #[oai(validator(min_length = 1, max_length = 256))]
    refresh_token: String,
}

impl Example for RefreshIn {
    fn example() -> Self {
        Self { refresh_token: "AZqT8mUcc2-vmJ2V0m3Q…".to_owned() }
    }
}

impl Input for RefreshIn {
    type Ask = String;
    fn ask(self, _: &Config) -> Option<String> {
        Some(self.refresh_token)
    }
}

/// A signing out.
#[derive(Debug, Object)]
#[oai(example)]
pub struct LogoutIn {
    /// Of the session to end; no access token is needed with it.
    #[oai(validator(min_length = 1, max_length = 256))]
    refresh_token: Option<String>,
}

impl Example for LogoutIn {
    fn example() -> Self {
        Self { refresh_token: Some("AZqT8mUcc2-vmJ2V0m3Q…".to_owned()) }
    }
}

impl Input for LogoutIn {
    type Ask = Option<String>;
    fn ask(self, _: &Config) -> Option<Option<String>> {
        Some(self.refresh_token)
    }
}

/// Tokens.
#[derive(Debug, Object)]
#[oai(example)]
pub struct TokensOut {
    /// Whose.
    user_id: Uuid,
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Works once; the answer to it holds the next.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// Seconds the access token works.
    expires_in: u64,
    /// Names this browser or app at later sign-ins and code requests: keep it. Only after a sign-in.
    #[oai(skip_serializing_if_is_none)]
    device_token: Option<String>,
}

impl From<Tokens> for TokensOut {
    fn from(tokens: Tokens) -> Self {
        Self {
            user_id: tokens.user_id,
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in.as_secs(),
            device_token: tokens.device_token,
        }
    }
}

impl Example for TokensOut {
    fn example() -> Self {
        Self {
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            access_token: "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSJ9…".to_owned(),
            refresh_token: "AZqT8mUcc2-vmJ2V0m3Q…".to_owned(),
            token_type: "Bearer".to_owned(),
            expires_in: 300,
            device_token: Some("Z1f0x3mT9o4lq7cQyHfUuP1rGm2bXo8w".to_owned()),
        }
    }
}

/// A word for a person.
#[derive(Debug, Object)]
#[oai(example)]
pub struct MessageOut {
    /// For a person.
    pub message: String,
}

impl Example for MessageOut {
    fn example() -> Self {
        Self { message: "Done.".to_owned() }
    }
}

/// A session.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SessionOut {
    /// Which.
    id: Uuid,
    /// Whether it is the one of this request.
    current: bool,
    /// The browser or app, as it named itself.
    device: Option<String>,
    /// Where it began.
    ip_address: Option<String>,
    /// By which proofs it began (RFC 8176).
    methods: Vec<String>,
    /// When it began.
    created_at: DateTime<Utc>,
    /// When it was last renewed.
    last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    expires_at: DateTime<Utc>,
}

impl SessionOut {
    /// As `current` sees it.
    pub fn of(listed: Listed, current: Option<Uuid>) -> Self {
        Self {
            id: listed.session_id,
            current: current == Some(listed.session_id),
            device: listed.user_agent,
            ip_address: listed.ip_address,
            methods: listed.methods,
            created_at: listed.created_at,
            last_used_at: listed.last_used_at,
            expires_at: listed.expires_at,
        }
    }
}

impl Example for SessionOut {
    fn example() -> Self {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6173),
            current: true,
            device: Some("Mozilla/5.0 (Android 16; Mobile)".to_owned()),
            ip_address: Some("203.0.113.7".to_owned()),
            methods: vec!["otp".to_owned()],
            created_at: at(1_793_000_000),
            last_used_at: at(1_793_000_600),
            expires_at: at(1_800_776_000),
        }
    }
}

/// The open sessions of somebody.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SessionsOut {
    /// Newest first.
    pub items: Vec<SessionOut>,
}

impl Example for SessionsOut {
    fn example() -> Self {
        Self { items: vec![SessionOut::example()] }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Sessions;

#[OpenApi(prefix_path = "/api/auth", tag = "Tag::Account")]
impl Sessions {
    /// Refresh the tokens
    ///
    /// A refresh token works once. A retry within 30 seconds gets the same answer's tokens; a token whose
    /// successor was used is refused, and after those 30 seconds ends the session.
    #[oai(path = "/refresh", method = "post", operation_id = "refresh", transform = "refresh")]
    async fn refresh(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        body: Body<RefreshIn>,
    ) -> Answer<Json<TokensOut>> {
        Ok(Json(session::refresh(&ctx, &from, &body.ask).await?.into()))
    }

    /// Sign out
    ///
    /// Ends the session of the access token, and that of the refresh token in the body: either will do. A
    /// refresh token that is none is answered alike.
    #[oai(path = "/logout", method = "post", operation_id = "logout", transform = "refresh")]
    async fn logout(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: MaybeSigned,
        body: MaybeBody<LogoutIn>,
    ) -> Answer<Json<MessageOut>> {
        let refresh_token = body.0.flatten();
        if person.0.is_none() && refresh_token.is_none() {
            return Err(session::REQUIRED.refuse("This needs an access token or a refresh token.").into());
        }
        if let Some(person) = &person.0 {
            session::logout(&ctx, &from, person).await?;
        }
        if let Some(refresh_token) = &refresh_token {
            session::logout_by_token(&ctx, &from, refresh_token).await?;
        }
        Ok(Json(MessageOut { message: "You are signed out.".to_owned() }))
    }

    /// List one's open sessions
    #[oai(path = "/sessions", method = "get", operation_id = "session_list")]
    async fn list(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<SessionsOut>> {
        let sessions = session::list(&ctx, person.user_id()).await?;
        let current = Some(person.session_id);
        let items = sessions.into_iter().map(|listed| SessionOut::of(listed, current)).collect();
        Ok(Json(SessionsOut { items }))
    }

    /// End all of one's other sessions
    #[oai(path = "/sessions", method = "delete", operation_id = "session_end_others")]
    async fn end_others(&self, ctx: Data<&Context>, from: Caller, person: Signed) -> Answer<Gone> {
        session::end_others(&ctx, &from, &person).await?;
        Ok(Gone)
    }

    /// End one of one's sessions
    #[oai(path = "/sessions/:id", method = "delete", operation_id = "session_end")]
    async fn end(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        session::end(&ctx, &from, &person, person.user_id(), id.0, End::Revoked).await?;
        Ok(Gone)
    }
}

/// `/.well-known/jwks.json`: the public keys of access tokens (RFC 7517).
#[handler]
pub async fn jwks(ctx: Data<&Context>, request: &Request) -> Answer<Response> {
    let text = session::jwks(&ctx).await?.to_string();
    let tag = fixed::tag(&text);
    Ok(fixed::answer(request, "application/jwk-set+json", &tag, Bytes::from(text), None))
}
