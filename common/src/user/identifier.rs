//! Phone numbers and e-mail addresses in the one form that is stored and compared.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// By which way an identifier is reached and proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Text message.
    Sms,
    /// Mail.
    Email,
}

impl Channel {
    /// As rows and receipts say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Email => "email",
        }
    }
}

/// A normalised identifier: E.164 for phones; trimmed and lower-cased for mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identifier {
    /// E.164 (ITU-T): `+` and up to 15 digits.
    Phone(String),
    /// RFC 5321 address.
    Email(String),
}

impl Identifier {
    /// Reads what a person typed. National phone forms are read by `region`.
    ///
    /// # Errors
    /// A stable reason code and a text for a person.
    pub fn parse(text: &str, region: Option<&str>) -> Result<Self, (&'static str, &'static str)> {
        let text = text.trim();
        if text.is_empty() {
            return Err(("identifier.empty", "Give a phone number or an e-mail address."));
        }
        if text.len() > 254 {
            return Err((
                "identifier.too_long",
                "No phone number or e-mail address is longer than 254 characters.",
            ));
        }
        if text.chars().any(is_hidden) {
            return Err(("identifier.control", "It holds characters that cannot be seen."));
        }
        if text.contains('@') { Self::email(text) } else { Self::phone(text, region) }
    }

    fn email(text: &str) -> Result<Self, (&'static str, &'static str)> {
        let address: lettre::Address =
            text.parse().map_err(|_| ("identifier.email", "This is not an e-mail address."))?;
        if !address.domain().contains('.') || address.user().len() > 64 {
            return Err(("identifier.email", "This is not an e-mail address."));
        }
        Ok(Self::Email(format!("{}@{}", address.user().to_lowercase(), address.domain().to_lowercase())))
    }

    fn phone(text: &str, region: Option<&str>) -> Result<Self, (&'static str, &'static str)> {
        const NOT: (&str, &str) =
            ("identifier.phone", "This is not a phone number we can reach; use the form +254712345678.");
        let region = region.and_then(|region| region.parse().ok());
        let number = phonenumber::parse(region, text).map_err(|_| NOT)?;
        if !phonenumber::is_valid(&number) {
            return Err(NOT);
        }
        Ok(Self::Phone(number.format().mode(phonenumber::Mode::E164).to_string()))
    }

    /// The stored form.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Phone(text) | Self::Email(text) => text,
        }
    }

    /// As an e-mail address and a phone number: the one it is not is none.
    pub fn columns(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Email(text) => (Some(text), None),
            Self::Phone(text) => (None, Some(text)),
        }
    }

    /// Of a phone number the country code and two digits: what budgets of text messages go by.
    pub fn prefix(&self) -> Option<String> {
        let Self::Phone(text) = self else { return None };
        let country = phonenumber::parse(None, text).map_or(0, |number| number.code().value());
        // the plus sign, the country code, two digits
        Some(text.chars().take(1 + country.to_string().len() + 2).collect())
    }

    /// How it is reached.
    pub fn channel(&self) -> Channel {
        match self {
            Self::Phone(_) => Channel::Sms,
            Self::Email(_) => Channel::Email,
        }
    }
}

impl fmt::Display for Identifier {
    /// Masked: an identifier is never logged whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::mask::identifier(self.as_str()))
    }
}

/// The composed form of a text (NFC).
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Control characters, bidirectional marks and zero-width characters.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{00ad}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        Identifier::parse(text, Some("KE")).map(|id| id.as_str().to_owned()).map_err(|(code, _)| code)
    }

    #[test]
    fn identifiers_have_one_form() {
        assert_eq!(read(" Ada@Example.ORG "), Ok("ada@example.org".into()));
        assert_eq!(read("0712 345 678"), Ok("+254712345678".into()));
        assert_eq!(read("+254 712-345-678"), Ok("+254712345678".into()));
    }

    #[test]
    fn a_prefix_is_the_country_code_and_two_digits() {
        let prefix = |text: &str| Identifier::parse(text, Some("KE")).expect(text).prefix();
        assert_eq!(prefix("0712345678").as_deref(), Some("+25471"));
        assert_eq!(prefix("+14155552671").as_deref(), Some("+141"));
        assert_eq!(prefix("ada@example.org"), None);
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for (text, code) in [
            ("", "identifier.empty"),
            ("ada", "identifier.phone"),
            ("+2547", "identifier.phone"),
            ("ada@", "identifier.email"),
            ("@example.org", "identifier.email"),
            ("a b@example.org", "identifier.email"),
            ("ada@localhost", "identifier.email"),
            ("ada\0@example.org", "identifier.control"),
            ("\u{202e}ada@example.org", "identifier.control"),
            ("ada@exam\u{200b}ple.org", "identifier.control"),
            ("+999712345678", "identifier.phone"),
        ] {
            assert_eq!(read(text), Err(code), "{text:?}");
        }
        assert_eq!(read(&format!("{}@example.org", "a".repeat(300))), Err("identifier.too_long"));
        assert_eq!(Identifier::parse("0712345678", None).map_err(|(code, _)| code), Err("identifier.phone"));
    }
}
