//! Which passwords are taken: NIST SP 800-63B 3.1.1 and ASVS 5.0 6.2. A length counted in characters after
//! NFKC, any Unicode, no rules of composition, nothing cut off; none that everybody tries first, and not
//! the account's own name.

use std::fmt;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

/// The most characters of a password.
pub const MOST: usize = 128;

/// The 3,000 most used passwords of at least 8 characters, in lower case, sorted. From the list that
/// Django ships (BSD-3-Clause), which Royce Williams made of the Pwned Passwords.
static COMMON: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("../../../data/common-passwords.txt").lines().collect());

/// What is wrong with a password: a code and a text for a person.
pub type Fault = (&'static str, &'static str);

/// A password as typed at sign-in, or chosen: normalised (NFKC), never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Password {
    /// One handed in to be compared: whatever it is.
    pub fn given(text: &str) -> Self {
        Self(text.nfkc().collect())
    }

    /// One chosen, of at least `least` characters.
    ///
    /// # Errors
    /// The first fault: `password.characters`, `password.too_short`, `password.too_long`, `password.common`.
    pub fn choose(text: &str, least: usize) -> Result<Self, Fault> {
        let password = Self::given(text);
        if password.0.chars().any(char::is_control) {
            return Err(("password.characters", "It holds a control character."));
        }
        // a text can be far longer than its limit
        let length = password.0.chars().take(MOST + 1).count();
        if length < least {
            return Err(("password.too_short", "Choose a longer password."));
        }
        if length > MOST {
            return Err(("password.too_long", "No password may be longer than 128 characters."));
        }
        if COMMON.binary_search(&password.0.to_lowercase().as_str()).is_ok() {
            return Err(("password.common", "This is one of the passwords that everybody tries first."));
        }
        Ok(password)
    }

    /// Whether it is one of these names (a username, an address, its part before the @, a number with or
    /// without its plus sign), without regard to case.
    pub fn is_one_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let own = self.0.to_lowercase();
        names.into_iter().any(|name| {
            let name = name.nfkc().collect::<String>().to_lowercase();
            let local = name.split_once('@').map(|(local, _)| local);
            own == name || Some(own.as_str()) == local || Some(own.as_str()) == name.strip_prefix('+')
        })
    }

    /// For the hash alone.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Result<(), &'static str> {
        Password::choose(text, 8).map(|_| ()).map_err(|(code, _)| code)
    }

    #[test]
    fn length_is_all_that_is_asked() {
        for text in [
            "qqqqqqqw",
            "        ",
            "пароль мой",
            "密码密码密码密码",
            "👩‍🚀👩‍🚀👩‍🚀",
            &"x".repeat(128),
            &"é".repeat(128),
        ] {
            assert_eq!(code(text), Ok(()), "{text}");
        }
        assert_eq!(code(""), Err("password.too_short"));
        assert_eq!(code("qqqqqqw"), Err("password.too_short"));
        assert_eq!(code("密码密码密码密"), Err("password.too_short"), "characters, not bytes");
        assert_eq!(code(&"x".repeat(129)), Err("password.too_long"));
        assert_eq!(
            Password::choose("fourteen chars", 15),
            Err(("password.too_short", "Choose a longer password."))
        );
    }

    #[test]
    fn characters_are_counted_after_normalisation() {
        // one ligature, eighteen characters
        assert_eq!(code("\u{fdfa}"), Ok(()));
        assert_eq!(code(&"\u{fdfa}".repeat(8)), Err("password.too_long"));
        // e and an accent, one character
        assert_eq!(code(&"e\u{301}".repeat(7)), Err("password.too_short"));
    }

    #[test]
    fn the_same_password_typed_on_another_keyboard_is_the_same() {
        assert_eq!(Password::given("cafe\u{301} ①"), Password::given("café 1"));
        assert_ne!(Password::given("Straße"), Password::given("strasse"), "no case folding");
        assert_ne!(Password::given(" x"), Password::given("x"), "nothing is trimmed");
    }

    #[test]
    fn control_characters_are_refused() {
        for text in ["pass\0word12", "pass\tword12", "pass\nword12", "pass\u{7f}word12", "pass\u{85}word12"] {
            assert_eq!(code(text), Err("password.characters"), "{text:?}");
        }
    }

    #[test]
    fn what_everybody_tries_first_is_refused_in_any_case() {
        assert_eq!(COMMON.len(), 3_000);
        assert!(COMMON.windows(2).all(|pair| pair[0] < pair[1]), "sorted, each once");
        assert!(COMMON.iter().all(|text| text.len() >= 8 && *text == text.to_lowercase()));
        for text in ["password", "PassWord", "12345678", "ｐａｓｓｗｏｒｄ", "iloveyou1"] {
            assert_eq!(code(text), Err("password.common"), "{text}");
        }
    }

    #[test]
    fn nobody_is_their_own_password() {
        let names = ["ada.lovelace", "ada@example.org", "+254712345678"];
        for text in ["Ada.Lovelace", "ADA@example.org", "ada", "254712345678", "+254712345678"] {
            assert!(Password::given(text).is_one_of(names), "{text}");
        }
        assert!(!Password::given("ada.lovelace1").is_one_of(names));
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(format!("{:?}", Password::given("hunter2")), "***");
    }
}
