//! The development inbox: messages of providers that are not configured, for this machine alone.

use std::fmt::Write;

use chrono::SecondsFormat;
use keryu_common::config::Stage;
use keryu_common::notify::inbox::{self, Letter};
use poem::http::header;
use poem::web::{Data, Html, Json};
use poem::{IntoResponse, Request, Response, handler};
use serde_json::{Value, json};

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
    let letters = inbox::list(&state.ctx).await?;
    Ok(Json(letters.iter().map(shown).collect::<Vec<_>>()).into_response())
}

fn shown(letter: &Letter) -> Value {
    json!({
        "to": letter.to, "channel": letter.channel, "kind": letter.kind, "subject": letter.subject,
        "text": letter.text, "at": letter.at.to_rfc3339_opts(SecondsFormat::Millis, true),
    })
}

/// What the page may load: its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Inbox</title>\
    <meta http-equiv=\"refresh\" content=\"5\"><style>body{font:16px sans-serif;max-width:44rem;margin:2rem auto}\
    article{border:1px solid #bbb;border-radius:6px;padding:1rem;margin:1rem 0}pre{white-space:pre-wrap}</style>\
    <h1>Inbox</h1>";

/// The inbox as a page.
#[handler]
pub async fn page(state: Data<&State>, from: Caller, request: &Request) -> Answer<Response> {
    allowed(&state, &from, request)?;
    let letters = inbox::list(&state.ctx).await?;
    let mut html = String::from(HEAD);
    if letters.is_empty() {
        html.push_str("<p>Nothing yet.</p>");
    }
    for letter in &letters {
        let subject = letter.subject.as_deref().map(escaped).unwrap_or_default();
        let (to, text, kind) = (escaped(&letter.to), escaped(&letter.text), escaped(&letter.kind));
        let at = letter.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        // writing to a String does not fail
        let _ = write!(
            html,
            "<article><p><b>{to}</b> {kind}, {at}</p><p>{subject}</p><pre>{text}</pre></article>"
        );
    }
    Ok(Html(html).with_header(header::CONTENT_SECURITY_POLICY, POLICY).into_response())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
