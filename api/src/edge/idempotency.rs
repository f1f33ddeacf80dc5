//! The `Idempotency-Key` field of operations that take one. The saving is the verb's.

use keryu_common::config::Config;
use keryu_common::error::VALIDATION;
use keryu_common::idempotency::Key;
use keryu_common::session::Person;
use keryu_common::{Fault, Refusal};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::body::{Body, Input};
use super::client::Caller;
use super::problem::{Answer, Problem};

/// The name of the field.
pub const FIELD: &str = "Idempotency-Key";

/// The key given, if any.
pub struct Idempotent(Option<String>);

impl Idempotent {
    /// Binds the key to the caller's address, the operation and the body.
    ///
    /// # Errors
    /// 422: the key is malformed.
    pub fn bind<T: Input>(
        self,
        config: &Config,
        from: &Caller,
        operation: &str,
        body: &Body<T>,
    ) -> Answer<Option<Key>> {
        self.bound(config, &from.key(), operation, &body.raw)
    }

    /// Binds the key to somebody signed in, the operation and the body (empty where there is none).
    ///
    /// # Errors
    /// 422: the key is malformed.
    pub fn bind_as(
        self,
        config: &Config,
        person: &Person,
        operation: &str,
        body: &[u8],
    ) -> Answer<Option<Key>> {
        self.bound(config, &person.user_id().to_string(), operation, body)
    }

    /// Binds the key to a person or a service by their id, the operation and the body.
    ///
    /// # Errors
    /// 422: the key is malformed.
    pub fn bind_by(
        self,
        config: &Config,
        actor: uuid::Uuid,
        operation: &str,
        body: &[u8],
    ) -> Answer<Option<Key>> {
        self.bound(config, &actor.to_string(), operation, body)
    }

    fn bound(self, config: &Config, owner: &str, operation: &str, body: &[u8]) -> Answer<Option<Key>> {
        let key = self.0.map(|given| Key::bind(&config.keys, &given, owner, operation, body));
        Ok(key.transpose()?)
    }
}

impl<'a> ApiExtractor<'a> for Idempotent {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = String;
    type ParamRawType = String;

    fn register(_: &mut Registry) {}

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let schema = MetaSchema { min_length: Some(1), max_length: Some(255), ..MetaSchema::new("string") };
        Some(MetaSchemaRef::Inline(Box::new(schema)))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<String>,
    ) -> poem::Result<Self> {
        let mut given = request.headers().get_all(FIELD).iter();
        let key = match (given.next(), given.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value.to_str().ok(),
            // two keys: which one counts is anyone's guess
            (Some(_), Some(_)) => None,
        };
        let fault = || {
            Fault::at("", "idempotency.key", "Send one Idempotency-Key of 1 to 255 visible ASCII characters.")
        };
        let refusal = || Refusal {
            faults: vec![fault()],
            ..VALIDATION.refuse("The Idempotency-Key field is not valid.")
        };
        let key = key.filter(|key| !key.is_empty() && key.len() <= 255);
        Ok(Self(Some(key.ok_or_else(|| Problem::from(refusal()))?.to_owned())))
    }
}
