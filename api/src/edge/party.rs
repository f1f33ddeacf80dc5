//! The guard of routes that are open to people and to services: an access token, or a key in `X-API-Key`.

use std::sync::Arc;

use keryu_common::api_key::{self, INVALID, Reader, Service};
use keryu_common::{Error, Refusal};
use poem::http::header;
use poem::{FromRequest, Request, RequestBody};

use super::problem::Problem;
use super::signed::Signed;
use super::{State, query};

/// The field that carries a service's key.
pub const FIELD: &str = "X-API-Key";

/// Who calls. Verbs are given it as a [`Reader`].
#[derive(Clone, Debug)]
pub enum Party {
    /// Somebody who is signed in.
    Person(Signed),
    /// A program.
    Service(Arc<Service>),
}

impl Party {
    /// As verbs want it.
    pub fn reader(&self) -> Reader<'_> {
        match self {
            Self::Person(person) => Reader::Person(person),
            Self::Service(service) => Reader::Service(service),
        }
    }
}

impl<'a> FromRequest<'a> for Party {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        match key(request).map_err(Problem::from)? {
            None => Ok(Self::Person(Signed::from_request(request, body).await?)),
            Some(key) => {
                let state = request.data::<State>();
                let state = state.ok_or_else(|| Problem(Error::internal("the edge is not there")))?;
                let service = api_key::authenticate(&state.ctx, key).await.map_err(Problem)?;
                query::check(request, state)?;
                Ok(Self::Service(Arc::new(service)))
            }
        }
    }
}

/// The key of a request: one field, and no other credential beside it.
fn key(request: &Request) -> Result<Option<&str>, Refusal> {
    let mut given = request.headers().get_all(FIELD).iter();
    let (value, more) = (given.next(), given.next());
    let Some(value) = value else { return Ok(None) };
    let alone = more.is_none() && !request.headers().contains_key(header::AUTHORIZATION);
    let text = value.to_str().ok().filter(|_| alone);
    text.map(Some)
        .ok_or_else(|| INVALID.refuse("Send one X-API-Key field, and no Authorization field beside it."))
}
