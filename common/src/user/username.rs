//! Usernames: which are allowed, and which look alike.

use unicode_normalization::UnicodeNormalization;
use unicode_security::{MixedScript, RestrictionLevel, RestrictionLevelDetection, skeleton};

/// Whole names nobody may take: they would be read as the service speaking, or meet a path of ours.
const RESERVED: &[&str] = &[
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "audit",
    "auth",
    "billing",
    "contact",
    "dashboard",
    "departments",
    "everyone",
    "help",
    "helpdesk",
    "hostmaster",
    "imports",
    "info",
    "keryu",
    "kyc",
    "login",
    "logout",
    "mail",
    "me",
    "moderator",
    "noreply",
    "no-reply",
    "notifications",
    "null",
    "official",
    "operator",
    "postmaster",
    "preferences",
    "privacy",
    "profile",
    "register",
    "root",
    "security",
    "self",
    "service",
    "settings",
    "staff",
    "status",
    "superuser",
    "support",
    "system",
    "team",
    "undefined",
    "verify",
    "wallet",
    "webmaster",
    "www",
];

/// A username, and what stands for all that look like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    text: String,
    skeleton: String,
}

impl Username {
    /// Reads a username: 3 to 30 letters, digits, `.`, `_`, `-`, a letter first (NFKC). Letters of one
    /// script, or of those written together (UTS 39, "highly restrictive").
    ///
    /// # Errors
    /// A stable reason code and a text for a person.
    pub fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        // NFKC of a text can be longer than the text, never by more than a known factor: no need to read on
        if text.chars().take(31).count() > 30 {
            return Err(("username.length", "A username has 3 to 30 characters."));
        }
        let text: String = text.trim().nfkc().collect();
        if !(3..=30).contains(&text.chars().count()) {
            return Err(("username.length", "A username has 3 to 30 characters."));
        }
        if !text.chars().next().is_some_and(char::is_alphabetic) {
            return Err(("username.first", "A username begins with a letter."));
        }
        if !text.chars().all(|c| c.is_alphabetic() || c.is_numeric() || matches!(c, '.' | '_' | '-')) {
            return Err((
                "username.characters",
                "A username has letters, digits, dots, underscores and dashes.",
            ));
        }
        if text.detect_restriction_level() > RestrictionLevel::HighlyRestrictive
            && !(text.is_single_script() && text.chars().all(char::is_alphanumeric))
        {
            return Err(("username.scripts", "A username has letters of one script."));
        }
        let (folded, skeleton) = (text.to_lowercase(), look(&text));
        let reserved = |name: &&str| {
            folded == **name || skeleton == look(name) || skeleton == look(&name.to_uppercase())
        };
        if RESERVED.iter().any(reserved) {
            return Err(("username.reserved", "This name is reserved."));
        }
        Ok(Self { text, skeleton })
    }

    /// As chosen.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names with one skeleton look alike.
    pub fn skeleton(&self) -> &str {
        &self.skeleton
    }
}

/// UTS 39 skeleton of a name as it is shown, without regard to case: some prototypes are capitals.
fn look(text: &str) -> String {
    skeleton(text).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Username, &'static str> {
        Username::parse(text).map_err(|(code, _)| code)
    }

    #[test]
    fn names_that_look_alike_are_alike() {
        let ada = read("paypal.ada").expect("name");
        for other in ["PayPal.Ada", "paypaI.ada", "paypa1.ada", "ｐaypal.ada"] {
            assert_eq!(read(other).expect(other).skeleton(), ada.skeleton(), "{other}");
        }
        assert_ne!(read("paypal.adb").expect("name").skeleton(), ada.skeleton());
        // Cyrillic, whole: a name of its own script, with the skeleton of the Latin one
        assert_eq!(read("сора").expect("cyrillic").skeleton(), read("copa").expect("latin").skeleton());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, code) in [
            ("ab", "username.length"),
            ("", "username.length"),
            (&"a".repeat(31), "username.length"),
            (&"a".repeat(100_000), "username.length"),
            ("1abc", "username.first"),
            ("_abc", "username.first"),
            ("a@bc", "username.characters"),
            ("a bc", "username.characters"),
            ("a\0bc", "username.characters"),
            ("a\u{200b}bc", "username.characters"),
            ("a\u{202e}bc", "username.characters"),
            ("pаypal", "username.scripts"), // a Cyrillic а
            ("admin", "username.reserved"),
            ("ADM1N", "username.reserved"),
            ("Me", "username.length"),
        ] {
            assert_eq!(read(text).map(|name| name.text), Err(code), "{text:?}");
        }
    }

    #[test]
    fn names_of_the_world_are_names() {
        for text in
            ["ada", "Ada.Lovelace_1815", "josé-maria", "мария", "李小龙1", "ねこ_カフェ", "محمد", "o-neill"]
        {
            assert_eq!(read(text).map(|name| name.text).as_deref(), Ok(text), "{text}");
        }
    }
}
