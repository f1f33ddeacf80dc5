//! Who calls: the address behind trusted proxies, the request id, the trace and the language. Header
//! fields are believed only in the forms read here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use keryu_common::audit::Client;
use keryu_common::limit::{Bucket, Decision};
use keryu_common::secret::random;
use keryu_common::telemetry::trace::Span;
use keryu_common::{Error, id};
use poem::http::{HeaderMap, header};
use poem::{Addr, FromRequest, Request, RequestBody};

use super::problem::Problem;

/// The caller of a request. Stands for [`Client`] in verbs.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Call>);

/// The contents of a [`Caller`].
#[derive(Debug)]
pub struct Call {
    client: Client,
    /// The other end of the connection.
    pub peer: IpAddr,
    /// What the limiter said, once it was asked.
    pub limited: OnceLock<(Bucket, Decision)>,
}

impl Deref for Caller {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.0.client
    }
}

impl Caller {
    /// Reads the fields of a request. `languages` are those we have messages in, the default first; `span`
    /// is the request's, where traces are on.
    pub fn read(
        request: &Request,
        proxies: &[IpNet],
        languages: &[String],
        now: DateTime<Utc>,
        span: &Span,
    ) -> Self {
        let peer = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => address.ip().to_canonical(),
            // a Unix socket: whoever is on this machine
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let headers = request.headers();
        let client = Client {
            ip: address(peer, headers, proxies),
            user_agent: text(headers, "user-agent").map(|agent| agent.chars().take(256).collect()),
            request_id: request_id(text(headers, "x-request-id"), now),
            traceparent: Some(span.traceparent().unwrap_or_else(|| trace(text(headers, "traceparent")))),
            language: language(text(headers, header::ACCEPT_LANGUAGE.as_str()), languages).to_owned(),
        };
        Self(Arc::new(Call { client, peer, limited: OnceLock::new() }))
    }

    /// The connection's own facts.
    pub fn call(&self) -> &Call {
        &self.0
    }
}

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let caller = request.data::<Self>().cloned();
        Ok(caller.ok_or_else(|| Problem(Error::internal("the edge did not read the caller")))?)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The `traceparent` of a request, if it is a valid one.
pub fn given_trace(headers: &HeaderMap) -> Option<&str> {
    text(headers, "traceparent").filter(|given| trace_of(given).is_some())
}

/// The rightmost of `X-Forwarded-For` that is no trusted proxy. From an untrusted peer, or with a field
/// that is empty or garbled up to there: the peer.
fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |ip: &IpAddr| proxies.iter().any(|network| network.contains(ip));
    if !trusted(&peer) {
        return peer;
    }
    let fields: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    for field in fields.into_iter().rev() {
        let Ok(field) = field.to_str() else { return peer };
        for hop in field.rsplit(',') {
            match hop_address(hop.trim()) {
                Some(ip) if trusted(&ip) => {}
                Some(ip) => return ip,
                None => return peer,
            }
        }
    }
    peer
}

/// `192.0.2.1`, `2001:db8::1`, both also with a port.
fn hop_address(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    let ip = plain.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

/// The id given, if it is 1 to 64 of `A-Za-z0-9._-`, else one of ours.
fn request_id(given: Option<&str>, now: DateTime<Utc>) -> String {
    let sound = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    given.filter(sound).map_or_else(|| id::ordered(now).to_string(), ToOwned::to_owned)
}

/// Continues the trace given with a span of ours (W3C Trace Context, level 1), or starts one.
fn trace(given: Option<&str>) -> String {
    let span = u64::from_be_bytes(random());
    match given.and_then(trace_of) {
        Some((trace, flags)) => format!("00-{trace}-{span:016x}-{flags}"),
        None => format!("00-{:032x}-{span:016x}-00", u128::from_be_bytes(random())),
    }
}

/// Trace id and flags of a valid `traceparent`.
fn trace_of(given: &str) -> Option<(&str, &str)> {
    let lower_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let mut parts = given.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sound = lower_hex(version, 2)
        && version != "ff"
        && lower_hex(trace, 32)
        && !zero(trace)
        && lower_hex(span, 16)
        && !zero(span)
        && lower_hex(flags, 2)
        // version 00 ends here; later ones may go on
        && (version != "00" || parts.next().is_none());
    sound.then_some((trace, flags))
}

/// The language of ours with the highest weight; the first of equals.
fn language<'a>(given: Option<&str>, languages: &'a [String]) -> &'a str {
    let mut best = (languages.first().map_or("", String::as_str), 0.0_f32);
    for range in given.unwrap_or_default().split(',').take(32) {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight: f32 = weight.trim().strip_prefix("q=").and_then(|q| q.parse().ok()).unwrap_or(0.0);
        let (tag, primary) = (tag.trim(), tag.trim().split('-').next().unwrap_or_default());
        let find = |wanted: &str| languages.iter().find(|ours| ours.eq_ignore_ascii_case(wanted));
        let ours = find(tag).or_else(|| find(primary));
        if let Some(ours) = ours
            && weight > best.1
        {
            best = (ours, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, fields: &[&str]) -> String {
        let proxies: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().expect("network")).collect();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("x-forwarded-for", field.parse().expect("field"));
        }
        address(peer.parse().expect("peer"), &headers, &proxies).to_string()
    }

    #[test]
    fn the_client_is_the_rightmost_hop_we_do_not_trust() {
        for (peer, fields, want) in [
            ("192.0.2.9", &["203.0.113.1"][..], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &[" , "], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.1"], "203.0.113.1"),
            ("10.0.0.1", &["198.51.100.7, 203.0.113.1"], "203.0.113.1"),
            ("10.0.0.1", &["203.0.113.1, 10.0.0.2,10.0.0.3"], "203.0.113.1"),
            ("10.0.0.1", &["198.51.100.7", "203.0.113.1, 10.0.0.2"], "203.0.113.1"),
            ("10.0.0.1", &["203.0.113.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["spoofed, 203.0.113.1"], "203.0.113.1"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.1:4711"], "203.0.113.1"),
            ("fd00::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:203.0.113.1"], "203.0.113.1"),
        ] {
            assert_eq!(seen(peer, fields), want, "{peer} {fields:?}");
        }
    }

    #[test]
    fn request_ids_are_kept_if_sound() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).expect("time");
        let long = "a".repeat(65);
        for (given, kept) in [
            ("abc-1.2_3", true),
            (&"a".repeat(64), true),
            ("", false),
            (&long, false),
            ("a b", false),
            ("a\"", false),
        ] {
            assert_eq!(request_id(Some(given), now) == given, kept, "{given}");
        }
        assert_eq!(request_id(None, now).len(), 36);
    }

    #[test]
    fn traces_go_on() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let ours = trace(Some(given));
        assert!(ours.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours.ends_with("-01"), "{ours}");
        assert_ne!(ours, given);
        let later = format!("cc-{}-what-ever", &given[3..]);
        assert!(trace(Some(&later)).contains("4bf92f3577b34da6a3ce929d0e0e4736"));
        for broken in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(trace_of(broken).is_none(), "{broken}");
            assert_eq!(trace(Some(broken)).len(), 55);
        }
    }

    #[test]
    fn languages_are_weighed() {
        let languages = ["en", "fr", "pt-BR"].map(str::to_owned);
        for (given, want) in [
            ("", "en"),
            ("fr", "fr"),
            ("fr-CA,en;q=0.5", "fr"),
            ("en;q=0.5, fr;q=0.9", "fr"),
            ("de, sw", "en"),
            ("fr;q=0", "en"),
            ("fr;q=nonsense", "en"),
            ("*", "en"),
            ("pt-br", "pt-BR"),
            ("pt", "en"),
        ] {
            assert_eq!(language(Some(given), &languages), want, "{given}");
        }
    }
}
