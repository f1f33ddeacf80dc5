//! The development inbox: messages of providers that are not configured, for this machine alone.

use keryu_common::config::Stage;
use poem::http::header;
use poem::web::{Data, Html, Json};
use poem::{IntoResponse, Request, Response, handler};

use crate::edge::State;
use crate::edge::client::Caller;
use crate::edge::problem::{Answer, NOT_FOUND};

/// Development only, from loopback, under a local name (a page of another site cannot point its own
/// name here and read along).
fn allowed(state: &State, from: &Caller, request: &Request) -> Answer<()> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    let development = state.ctx.config.stage == Stage::Development;
    if development && local && from.call().peer.is_loopback() && from.ip.is_loopback() {
        Ok(())
    } else {
        Err(NOT_FOUND.refuse("There is nothing here.").into())
    }
}

/// The inbox as JSON, newest first.
#[handler]
pub async fn list(state: Data<&State>, from: Caller, request: &Request) -> Answer<Response> {
    allowed(&state, &from, request)?;
    Ok(Json(Vec::<u8>::new()).into_response())
}

/// The inbox as a page.
#[handler]
pub async fn page(state: Data<&State>, from: Caller, request: &Request) -> Answer<Response> {
    allowed(&state, &from, request)?;
    Ok(Html("<h1>Inbox</h1>").into_response())
}
