//! The guard: from the `Authorization` field to who calls, as they are now.

use std::ops::Deref;
use std::sync::Arc;

use keryu_common::auth::otp::Bearer;
use keryu_common::session::{self, Person, REQUIRED};
use keryu_common::{Error, Refusal};
use poem::http::header;
use poem::{FromRequest, Request, RequestBody};

use super::problem::Problem;
use super::{State, query};

/// Somebody who is signed in. Stands for [`Person`] in verbs.
#[derive(Clone, Debug)]
pub struct Signed(Arc<Person>);

impl Deref for Signed {
    type Target = Person;
    fn deref(&self) -> &Person {
        &self.0
    }
}

/// Somebody who may be signed in: a token that is sent must be right.
#[derive(Clone, Debug)]
pub struct MaybeSigned(pub Option<Signed>);

impl MaybeSigned {
    /// As codes know them.
    pub fn bearer(&self) -> Option<Bearer> {
        self.0.as_ref().map(|person| Bearer::from(&**person))
    }
}

impl<'a> FromRequest<'a> for Signed {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let refusal = || Problem::from(REQUIRED.refuse("This needs an access token."));
        Ok(find(request).await?.ok_or_else(refusal)?)
    }
}

impl<'a> FromRequest<'a> for MaybeSigned {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(find(request).await?))
    }
}

async fn find(request: &Request) -> Result<Option<Signed>, Problem> {
    let state = request.data::<State>().ok_or_else(|| Problem(Error::internal("the edge is not there")))?;
    match token(request)? {
        None => Ok(None),
        Some(token) => {
            let person = session::authenticate(&state.ctx, token).await.map_err(Problem)?;
            state.ctx.activity.note(person.user_id(), state.ctx.now());
            query::check(request, state)?;
            Ok(Some(Signed(person)))
        }
    }
}

/// The bearer token of a request (RFC 6750, section 2.1).
fn token(request: &Request) -> Result<Option<&str>, Refusal> {
    let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
    let (value, more) = (given.next(), given.next());
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| more.is_none());
    let token = text.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.filter(|token| !token.is_empty());
    token
        .map(Some)
        .ok_or_else(|| REQUIRED.refuse("Send one Authorization field: Bearer and an access token."))
}
