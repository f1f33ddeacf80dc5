//! Notices: what a person is told of their own account. What a text says besides its kind are [`Facts`]: no
//! secret, no code, no link, and of who did it no more than the owner needs.

use std::net::IpAddr;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Message;
use crate::audit::Client;

/// The longest subject of the staff's, in characters.
pub const MOST_SUBJECT: usize = 100;
/// The longest text of the staff's, in characters: a text message takes several parts for it.
pub const MOST_TEXT: usize = 1_000;

/// A notice.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whose account it is of.
    pub user_id: Uuid,
    /// Which.
    pub message: Message,
    /// What it says.
    pub facts: Facts,
}

/// What a notice says besides its kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// A browser and a system, in words of ours ([`device`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The network it came from ([`place`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Change>,
    /// The new address, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// The role now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The status now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The account's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// When something follows: an erasure, an end of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// One line of the staff's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What the staff wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How many points were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<u32>,
}

/// What was changed of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The e-mail address.
    Email,
    /// The phone number.
    Phone,
    /// An authenticator app came.
    TotpAdded,
    /// It went.
    TotpRemoved,
    /// A passkey came.
    PasskeyAdded,
    /// One went.
    PasskeyRemoved,
    /// A new set of recovery codes.
    RecoveryCodesMade,
    /// One of them was used.
    RecoveryCodeUsed,
    /// Staff took a factor away.
    FactorReset,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Email,
        Self::Phone,
        Self::TotpAdded,
        Self::TotpRemoved,
        Self::PasskeyAdded,
        Self::PasskeyRemoved,
        Self::RecoveryCodesMade,
        Self::RecoveryCodeUsed,
        Self::FactorReset,
    ];

    /// As rows and templates say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::TotpAdded => "totp_added",
            Self::TotpRemoved => "totp_removed",
            Self::PasskeyAdded => "passkey_added",
            Self::PasskeyRemoved => "passkey_removed",
            Self::RecoveryCodesMade => "recovery_codes_made",
            Self::RecoveryCodeUsed => "recovery_code_used",
            Self::FactorReset => "factor_reset",
        }
    }
}

impl Facts {
    /// When, and by which device from where: for what the person did, or somebody in their name.
    pub fn of(client: &Client, at: DateTime<Utc>) -> Self {
        Self {
            at: Some(at),
            device: client.user_agent.as_deref().and_then(device),
            place: Some(place(client.ip)),
            ..Self::default()
        }
    }

    /// When, and nothing of where: for what staff or a schedule did.
    pub fn at(at: DateTime<Utc>) -> Self {
        Self { at: Some(at), ..Self::default() }
    }

    /// The words of a [`Message::StaffMessage`]: a line of up to [`MOST_SUBJECT`] characters and a text of
    /// up to [`MOST_TEXT`]; whoever takes them from outside refuses longer ones. Control characters become
    /// spaces; the text keeps its line breaks.
    pub fn said(subject: &str, text: &str) -> Self {
        let clean = |words: &str, breaks: bool| -> String {
            let keep = |c: char| if c.is_control() && !(breaks && c == '\n') { ' ' } else { c };
            words.replace("\r\n", "\n").trim().chars().map(keep).collect()
        };
        Self { subject: Some(clean(subject, false)), text: Some(clean(text, true)), ..Self::default() }
    }

    /// None at all.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Facts> = LazyLock::new(Facts::default);
        &NONE
    }

    /// As a row holds them; what does not read is left out.
    pub(super) fn read(row: &Value) -> Self {
        serde_json::from_value(row.clone()).unwrap_or_default()
    }
}

/// What a `User-Agent` says of browser and system, in words of ours: the field is whatever a stranger
/// wrote, and must not speak through our messages.
pub fn device(user_agent: &str) -> Option<String> {
    // the order matters: most name others besides themselves
    const BROWSERS: [(&str, &str); 9] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 8] = [
        ("Android", "Android"),
        ("okhttp/", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("CFNetwork/", "iOS"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser}, {system}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// The network of an address: enough to know one's own again.
pub fn place(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.*")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:*")
        }
    }
}

/// Facts that reach every branch of the templates, at their longest.
pub(super) fn samples() -> Vec<&'static Facts> {
    static ALL: LazyLock<Vec<Facts>> = LazyLock::new(|| {
        let full = Facts {
            at: DateTime::from_timestamp(1_767_225_600, 0),
            device: Some("Samsung Internet, Android".to_owned()),
            place: Some("2001:db8:ffff:*".to_owned()),
            new: Some("a***@example.org".to_owned()),
            role: Some("dp_academics".to_owned()),
            username: Some("a".repeat(30)),
            date: NaiveDate::from_ymd_opt(2026, 1, 31),
            subject: Some("s".repeat(MOST_SUBJECT)),
            text: Some("Classes begin on Monday.\nBring your card & a \"pen\".".to_owned()),
            points: Some(1_000_000),
            ..Facts::default()
        };
        let changes = Change::ALL.map(|what| Facts { what: Some(what), ..full.clone() });
        let statuses = ["active", "inactive", "suspended", "banned"]
            .map(|status| Facts { status: Some(status.to_owned()), ..full.clone() });
        let part = [
            Facts { place: None, ..full.clone() },
            Facts { device: None, ..full.clone() },
            Facts::at(full.at.unwrap_or_default()),
        ];
        [full].into_iter().chain(changes).chain(statuses).chain(part).collect()
    });
    ALL.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_in_words_of_ours_alone() {
        for (agent, wanted) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                Some("Firefox, Linux"),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Mobile/15E148 Safari/604.1",
                Some("Safari, iOS"),
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
                Some("Edge, Windows"),
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36",
                Some("Chrome, Android"),
            ),
            ("okhttp/4.12.0", Some("Android")),
            ("Call +1 555 now: https://evil.example", None),
            ("", None),
        ] {
            assert_eq!(device(agent).as_deref(), wanted, "{agent}");
        }
    }

    #[test]
    fn a_place_is_a_network() {
        for (ip, wanted) in [
            ("192.0.2.7", "192.0.2.*"),
            ("::ffff:192.0.2.7", "192.0.2.*"),
            ("2001:db8:1:2::3", "2001:db8:1:*"),
        ] {
            assert_eq!(place(ip.parse().expect("address")), wanted);
        }
    }

    #[test]
    fn what_staff_say_holds_no_control_characters() {
        let said = Facts::said(" One\r\nBcc: all\u{7}", "One\r\ntwo\0\u{1b}[0m\n");
        assert_eq!(said.subject.as_deref(), Some("One Bcc: all "));
        assert_eq!(said.text.as_deref(), Some("One\ntwo  [0m"));
    }

    #[test]
    fn facts_are_read_back_from_their_row() {
        for facts in samples() {
            assert_eq!(&Facts::read(&serde_json::to_value(facts).expect("row")), facts);
        }
        for change in Change::ALL {
            assert_eq!(serde_json::to_value(change).expect("name"), change.name());
        }
        assert_eq!(Facts::read(&serde_json::json!({ "from": "a later build" })), Facts::default());
    }
}
