//! What operations are declared with beside their types: groups, security, refusals, a 202.

use keryu_common::api_key::Scope;
use keryu_common::error::Code;
use keryu_common::role::Permission;
use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Tags};

/// Groups of operations.
#[derive(Clone, Copy, Debug, Tags)]
pub enum Tag {
    /// Proving who someone is.
    Auth,
    /// What became of messages.
    Deliveries,
    /// The account one is signed in to.
    Account,
    /// Second factors of the account one is signed in to.
    Factors,
    /// People, for staff and services.
    Users,
    /// Departments, programmes, class groups, and who belongs where.
    School,
    /// What staff and operators do.
    Admin,
    /// Calls of message providers.
    Webhooks,
}

/// What an operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing.
    Anonymous,
    /// An access token.
    Bearer,
    /// An access token for some of what it does.
    MaybeBearer,
    /// An access token of somebody with this right.
    Staff(Permission),
    /// An access token, or the key of a service with this scope.
    BearerOrKey(Scope),
    /// The key of a service with this scope.
    Key(Scope),
    /// The signature of Twilio over URL and form.
    TwilioSignature,
    /// A secret in the path, for which OpenAPI has no word.
    SecretPath,
}

/// What the types of an operation do not say.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// Its `operation_id`.
    pub operation: &'static str,
    /// What it asks of its caller.
    pub security: Security,
    /// What it may refuse with, beyond what every operation may.
    pub refusals: &'static [Code],
}

/// A 201 with a body: something was made.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: ToJSON> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        poem::web::Json(self.0.to_json()).with_status(StatusCode::CREATED).into_response()
    }
}

impl<T: ToJSON> ApiResponse for Created<T> {
    fn meta() -> MetaResponses {
        with_body::<T>(201)
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// A 204: done, and nothing to say.
#[derive(Debug)]
pub struct Gone;

impl IntoResponse for Gone {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl ApiResponse for Gone {
    fn meta() -> MetaResponses {
        let response = MetaResponse {
            description: "",
            status: Some(204),
            status_range: None,
            content: Vec::new(),
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }
    fn register(_: &mut Registry) {}
}

fn with_body<T: ToJSON>(status: u16) -> MetaResponses {
    let content =
        vec![MetaMediaType { content_type: "application/json; charset=utf-8", schema: T::schema_ref() }];
    let response =
        MetaResponse { description: "", status: Some(status), status_range: None, content, headers: vec![] };
    MetaResponses { responses: vec![response] }
}

/// A 202 with a body: something follows.
#[derive(Debug)]
pub struct Accepted<T>(pub T);

impl<T: ToJSON> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        poem::web::Json(self.0.to_json()).with_status(StatusCode::ACCEPTED).into_response()
    }
}

impl<T: ToJSON> ApiResponse for Accepted<T> {
    fn meta() -> MetaResponses {
        with_body::<T>(202)
    }
    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
