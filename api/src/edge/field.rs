//! Fields with a meaning beyond their JSON type: each has a `format` of its own in the schema, checked
//! with the rest of the body, and one place that says what is wrong with it.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use ipnet::IpNet;
use jsonschema::ValidationOptions;
use keryu_common::auth::password::{self, Password};
use keryu_common::config::Config;
use keryu_common::user::identifier::{self, is_hidden};
use keryu_common::user::{Identifier, Username};
use keryu_common::wallet::unit::MOST;
use keryu_common::{ip_block, kyc};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

/// A phone number or an e-mail address as typed.
#[derive(Debug)]
pub struct IdentifierIn(pub String);

impl IdentifierIn {
    const FORMAT: &'static str = "identifier";

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<Identifier> {
        Identifier::parse(&self.0, config.default_region.as_deref()).ok()
    }
}

/// An e-mail address as typed.
#[derive(Debug)]
pub struct EmailIn(pub String);

impl EmailIn {
    const FORMAT: &'static str = "email-address";

    /// The normalised form.
    pub fn parse(&self) -> Option<Identifier> {
        email(&self.0).ok()
    }
}

/// A phone number as typed.
#[derive(Debug)]
pub struct PhoneIn(pub String);

impl PhoneIn {
    const FORMAT: &'static str = "phone-number";

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<Identifier> {
        phone(&self.0, config.default_region.as_deref()).ok()
    }
}

fn email(text: &str) -> Result<Identifier, (&'static str, &'static str)> {
    match Identifier::parse(text, None) {
        Ok(email @ Identifier::Email(_)) => Ok(email),
        Err(fault) if text.contains('@') => Err(fault),
        _ => Err(("identifier.email", "This is not an e-mail address.")),
    }
}

fn phone(text: &str, region: Option<&str>) -> Result<Identifier, (&'static str, &'static str)> {
    match Identifier::parse(text, region) {
        Ok(Identifier::Email(_)) => Err(("identifier.phone", "This is not a phone number.")),
        other => other,
    }
}

/// A username as typed.
#[derive(Debug)]
pub struct UsernameIn(pub String);

impl UsernameIn {
    const FORMAT: &'static str = "username";

    /// The name, and what stands for all that look like it.
    pub fn parse(&self) -> Option<Username> {
        Username::parse(&self.0).ok()
    }
}

/// A line of text as typed: 1 to 100 characters, none of them hidden.
#[derive(Debug, Clone)]
pub struct LineIn(pub String);

impl LineIn {
    const FORMAT: &'static str = "line";

    /// Trimmed.
    pub fn parse(&self) -> Option<String> {
        line(&self.0).ok()
    }
}

/// Text as typed: 1 to 1000 characters, none of them hidden but ends of lines.
#[derive(Debug, Clone)]
pub struct ParagraphIn(pub String);

impl ParagraphIn {
    const FORMAT: &'static str = "paragraph";

    /// Trimmed, its lines ended by a line feed.
    pub fn parse(&self) -> Option<String> {
        paragraph(&self.0).ok()
    }
}

/// A day (RFC 3339, full-date).
#[derive(Debug, Clone)]
pub struct DayIn(pub String);

impl DayIn {
    const FORMAT: &'static str = "date";

    /// The day.
    pub fn parse(&self) -> Option<NaiveDate> {
        day(&self.0)
    }
}

/// A day somebody was born on (RFC 3339, full-date). Whether somebody can have been, the verb says.
#[derive(Debug, Clone)]
pub struct BirthdayIn(pub String);

impl BirthdayIn {
    const FORMAT: &'static str = "birthday";

    /// The day.
    pub fn parse(&self) -> Option<NaiveDate> {
        birthday(&self.0)
    }
}

fn birthday(text: &str) -> Option<NaiveDate> {
    let plain = text.len() == 10
        && text.bytes().enumerate().all(|(n, byte)| match n {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| plain)
}

/// A person's name in full as typed: 2 to 100 characters of any script, none of them hidden but the joiners
/// that some scripts are written with.
#[derive(Debug, Clone)]
pub struct FullNameIn(pub String);

impl FullNameIn {
    const FORMAT: &'static str = "full-name";

    /// Composed (NFC), with one space where there were several.
    pub fn parse(&self) -> Option<String> {
        full_name(&self.0).ok()
    }
}

fn full_name(text: &str) -> Result<String, (&'static str, &'static str)> {
    // between two characters; at an end they join nothing
    let joiners = ['\u{200c}', '\u{200d}'];
    let text = identifier::composed(text);
    seen(&text.replace(joiners, ""))?;
    let words = text.split_whitespace().map(|word| word.trim_matches(joiners));
    let text = words.filter(|word| !str::is_empty(word)).collect::<Vec<_>>().join(" ");
    if !(2..=100).contains(&text.chars().count()) {
        return Err(("field.length", "2 to 100 characters."));
    }
    if !text.chars().any(char::is_alphabetic) {
        return Err(("field.characters", "A name has letters."));
    }
    Ok(text)
}

/// A language as typed: a tag of BCP 47.
#[derive(Debug, Clone)]
pub struct LanguageIn(pub String);

impl LanguageIn {
    const FORMAT: &'static str = "language";

    /// The language small, the script with a capital, the region in capitals (RFC 5646, 2.1.1).
    pub fn parse(&self) -> Option<String> {
        language(&self.0)
    }
}

fn language(text: &str) -> Option<String> {
    if text.len() > 35 {
        return None;
    }
    let mut parts = text.split('-');
    let first = parts.next().filter(|part| (2..=3).contains(&part.len()))?;
    if !first.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let mut tag = first.to_ascii_lowercase();
    for part in parts {
        if !(1..=8).contains(&part.len()) || !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let mut part = part.to_ascii_lowercase();
        match part.len() {
            2 => part.make_ascii_uppercase(),
            4 => part[..1].make_ascii_uppercase(),
            _ => {}
        }
        tag.push('-');
        tag.push_str(&part);
    }
    Some(tag)
}

/// The years we take days and times of; Postgres knows others than our types.
const YEARS: RangeInclusive<i32> = 1970..=9999;

fn day(text: &str) -> Option<NaiveDate> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
    day.filter(|day| YEARS.contains(&day.year()))
}

/// A national id as typed: 4 to 32 letters, digits, dashes, slashes and spaces.
#[derive(Debug, Clone)]
pub struct NationalIdIn(pub String);

impl NationalIdIn {
    const FORMAT: &'static str = "national-id";

    /// In capitals, without spaces.
    pub fn parse(&self) -> Option<String> {
        national_id(&self.0).ok()
    }
}

/// The URL of a file of one's own for a document.
#[derive(Debug, Clone)]
pub struct FileUrlIn(pub String);

impl FileUrlIn {
    const FORMAT: &'static str = "own-file-url";

    /// Which file.
    pub fn parse(&self, config: &Config) -> Option<Uuid> {
        kyc::file_of(&config.public_url, &self.0)
    }
}

/// Text of a query as typed: trimmed, none of its characters hidden. How long it may be, its parameter says.
#[derive(Debug, Clone)]
pub struct TextIn(pub String);

impl Type for TextIn {
    const IS_REQUIRED: bool = true;
    type RawValueType = String;
    type RawElementValueType = String;

    fn name() -> Cow<'static, str> {
        String::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        String::schema_ref()
    }
    fn as_raw_value(&self) -> Option<&String> {
        Some(&self.0)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a String> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromParameter for TextIn {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let text = text.trim();
        match seen(text) {
            Ok(()) => Ok(Self(text.to_owned())),
            Err((_, fault)) => Err(ParseError::custom(fault)),
        }
    }
}

/// A time of a query (RFC 3339), of the years 1970 to 9999.
#[derive(Debug, Clone, Copy)]
pub struct TimeIn(pub DateTime<Utc>);

impl Type for TimeIn {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        DateTime::<Utc>::name()
    }
    fn schema_ref() -> MetaSchemaRef {
        DateTime::<Utc>::schema_ref()
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromParameter for TimeIn {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let told = "This is not a time of the form 2030-01-31T12:00:00Z.";
        time(text).map(Self).ok_or_else(|| ParseError::custom(told))
    }
}

/// A day of a query (RFC 3339, full-date), of the years 1970 to 9999.
#[derive(Debug, Clone, Copy)]
pub struct DateIn(pub NaiveDate);

impl Type for DateIn {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "string_date".into()
    }
    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "date")))
    }
    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }
    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromParameter for DateIn {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let told = "This is not a day of the form 2030-01-31.";
        day(text).map(Self).ok_or_else(|| ParseError::custom(told))
    }
}

/// Refuses hidden characters.
fn seen(text: &str) -> Result<(), (&'static str, &'static str)> {
    if text.chars().any(is_hidden) {
        return Err(("field.characters", "It holds characters that cannot be seen."));
    }
    Ok(())
}

fn line(text: &str) -> Result<String, (&'static str, &'static str)> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 100 {
        return Err(("field.length", "1 to 100 characters."));
    }
    seen(text)?;
    Ok(text.to_owned())
}

fn paragraph(text: &str) -> Result<String, (&'static str, &'static str)> {
    let text = text.replace("\r\n", "\n");
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 1_000 {
        return Err(("field.length", "1 to 1000 characters."));
    }
    seen(&text.replace('\n', " "))?;
    Ok(text.to_owned())
}

fn national_id(text: &str) -> Result<String, (&'static str, &'static str)> {
    let text: String = text.chars().filter(|c| *c != ' ').flat_map(char::to_uppercase).collect();
    if !(4..=32).contains(&text.chars().count()) {
        return Err(("field.length", "4 to 32 characters."));
    }
    if !text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '/')) {
        return Err(("field.characters", "Letters, digits, dashes and slashes."));
    }
    Ok(text)
}

/// An amount of money or points as typed: exact, and more than zero.
#[derive(Debug, Clone)]
pub struct AmountIn(pub String);

impl AmountIn {
    const FORMAT: &'static str = "amount";

    /// The amount. How many digits its unit has, its verb knows.
    pub fn parse(&self) -> Option<Decimal> {
        amount(&self.0).ok()
    }
}

/// Digits, and up to four after a point: no sign, no exponent, no other notation.
pub fn amount(text: &str) -> Result<Decimal, (&'static str, &'static str)> {
    const FORM: (&str, &str) = ("field.format", "This is not an amount of the form 12.50.");
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    // by its path: `Type` has an `is_empty` of its own for references
    let is_number = |digits: &str| !str::is_empty(digits) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return Err(FORM);
    }
    if part.len() > 4 {
        return Err(("field.range", "At most four digits after the point."));
    }
    if whole.trim_start_matches('0').len() > 13 || whole.len() > 100 {
        return Err(("field.range", MOST_TOLD));
    }
    let amount: Decimal = text.parse().map_err(|_| FORM)?;
    match amount {
        amount if amount <= Decimal::ZERO => Err(("field.range", "More than zero.")),
        amount if amount > MOST => Err(("field.range", MOST_TOLD)),
        amount => Ok(amount),
    }
}

const MOST_TOLD: &str = "At most 1000000000000.";

/// What somebody says to be at a sign-in: an identifier or a username.
#[derive(Debug)]
pub struct NameIn(pub String);

impl NameIn {
    const FORMAT: &'static str = "name";

    /// What starts with a letter and holds no @ is a username.
    fn read(text: &str, region: Option<&str>) -> Result<password::Name, (&'static str, &'static str)> {
        let first = text.trim_start().chars().next();
        if first.is_some_and(char::is_alphabetic) && !text.contains('@') {
            Username::parse(text).map(password::Name::Username)
        } else {
            Identifier::parse(text, region).map(password::Name::Identifier)
        }
    }

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<password::Name> {
        Self::read(&self.0, config.default_region.as_deref()).ok()
    }
}

/// A password that is chosen.
#[derive(Debug)]
pub struct NewPasswordIn(pub String);

impl NewPasswordIn {
    const FORMAT: &'static str = "new-password";

    /// The normalised form.
    pub fn parse(&self, config: &Config) -> Option<Password> {
        Password::choose(&self.0, config.password.least).ok()
    }
}

/// An address, or a network in CIDR notation.
#[derive(Debug)]
pub struct NetworkIn(pub String);

impl NetworkIn {
    const FORMAT: &'static str = "network";

    /// The normalised form.
    pub fn parse(&self) -> Option<IpNet> {
        ip_block::parse(&self.0)
    }
}

/// Bytes in base64url without padding (RFC 4648, section 5), as WebAuthn's JSON has them.
#[derive(Debug)]
pub struct BytesIn(pub String);

impl BytesIn {
    const FORMAT: &'static str = "base64url";

    /// The bytes.
    pub fn parse(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(&self.0).ok()
    }
}

/// A text with a format of its own.
macro_rules! formatted {
    ($name:ident, $description:literal) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                Self::FORMAT.into()
            }
            fn schema_ref() -> MetaSchemaRef {
                let schema = MetaSchema {
                    description: Some($description),
                    ..MetaSchema::new_with_format("string", Self::FORMAT)
                };
                MetaSchemaRef::Inline(Box::new(schema))
            }
            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }
            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(self.as_raw_value().into_iter())
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                Ok(Self(String::parse_from_json(value).map_err(poem_openapi::types::ParseError::propagate)?))
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                self.0.to_json()
            }
        }
    };
}

formatted!(
    IdentifierIn,
    "A phone number (E.164, or national where a default region is set) or an e-mail address."
);
formatted!(BytesIn, "Bytes in base64url without padding (RFC 4648, section 5).");
formatted!(
    UsernameIn,
    "3 to 30 letters, digits, dots, underscores and dashes, a letter first; letters of one script."
);

formatted!(EmailIn, "An e-mail address.");
formatted!(PhoneIn, "A phone number (E.164, or national where a default region is set).");
formatted!(LineIn, "1 to 100 characters, none of them hidden.");
formatted!(ParagraphIn, "1 to 1000 characters, none of them hidden but ends of lines.");
formatted!(DayIn, "A day, such as 2030-01-31 (RFC 3339, full-date).");
formatted!(BirthdayIn, "A day, such as 1990-12-10 (RFC 3339, full-date).");
formatted!(FullNameIn, "2 to 100 characters of any script, none of them hidden.");
formatted!(LanguageIn, "A language, such as en or pt-BR (BCP 47).");
formatted!(NationalIdIn, "4 to 32 letters, digits, dashes, slashes and spaces.");
formatted!(FileUrlIn, "The URL of a file that `POST /api/users/kyc/documents` answered with.");
formatted!(
    AmountIn,
    "An exact amount as text, more than zero: digits, and as many after a point as its unit has (12.50)."
);
formatted!(NameIn, "A phone number, an e-mail address or a username.");
formatted!(
    NewPasswordIn,
    "8 (or as many as this deployment wants) to 128 characters of any kind but control characters, counted \
     after NFKC; none of the most common ones, and not one's own name."
);
formatted!(NetworkIn, "An address or a network: 203.0.113.7, 203.0.113.0/24, 2001:db8::/48.");

/// Every format a schema may name.
pub fn formats<'i>(options: ValidationOptions<'i>, config: &Config) -> ValidationOptions<'i> {
    let region = config.default_region.clone();
    let same = region.clone();
    let public_url = config.public_url.clone();
    let (of_name, least) = (region.clone(), config.password.least);
    options
        .with_format(NameIn::FORMAT, move |text: &str| NameIn::read(text, of_name.as_deref()).is_ok())
        .with_format(NewPasswordIn::FORMAT, move |text: &str| Password::choose(text, least).is_ok())
        .with_format(NetworkIn::FORMAT, |text: &str| ip_block::parse(text).is_some())
        .with_format("uuid", |text: &str| Uuid::try_parse(text).is_ok())
        .with_format(EmailIn::FORMAT, |text: &str| email(text).is_ok())
        .with_format(PhoneIn::FORMAT, move |text: &str| phone(text, same.as_deref()).is_ok())
        .with_format(LineIn::FORMAT, |text: &str| line(text).is_ok())
        .with_format(ParagraphIn::FORMAT, |text: &str| paragraph(text).is_ok())
        .with_format(DayIn::FORMAT, |text: &str| day(text).is_some())
        .with_format(BirthdayIn::FORMAT, |text: &str| birthday(text).is_some())
        .with_format(FullNameIn::FORMAT, |text: &str| full_name(text).is_ok())
        .with_format(LanguageIn::FORMAT, |text: &str| language(text).is_some())
        .with_format(NationalIdIn::FORMAT, |text: &str| national_id(text).is_ok())
        .with_format(BytesIn::FORMAT, |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok())
        .with_format(FileUrlIn::FORMAT, move |text: &str| kyc::file_of(&public_url, text).is_some())
        .with_format(AmountIn::FORMAT, |text: &str| amount(text).is_ok())
        .with_format("date-time", |text: &str| moment(text).is_some())
        .with_format(UsernameIn::FORMAT, |text: &str| Username::parse(text).is_ok())
        .with_format(IdentifierIn::FORMAT, move |text: &str| {
            Identifier::parse(text, region.as_deref()).is_ok()
        })
}

const OTHER: (&str, &str) = ("field.format", "This is not of the form wanted.");

fn time(text: &str) -> Option<DateTime<Utc>> {
    text.parse::<DateTime<Utc>>().ok().filter(|time| YEARS.contains(&time.year()))
}

/// A time of a body: RFC 3339, and what our own types read of it.
pub fn moment(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().and_then(|_| time(text))
}

/// What is wrong with a text that is not of this format.
pub fn explain(format: &str, text: &str, config: &Config) -> (&'static str, &'static str) {
    match format {
        EmailIn::FORMAT => email(text).err().unwrap_or(OTHER),
        PhoneIn::FORMAT => phone(text, config.default_region.as_deref()).err().unwrap_or(OTHER),
        IdentifierIn::FORMAT => {
            Identifier::parse(text, config.default_region.as_deref()).err().unwrap_or(OTHER)
        }
        LineIn::FORMAT => line(text).err().unwrap_or(OTHER),
        ParagraphIn::FORMAT => paragraph(text).err().unwrap_or(OTHER),
        FullNameIn::FORMAT => full_name(text).err().unwrap_or(OTHER),
        LanguageIn::FORMAT => ("field.format", "This is not a language of the form en or pt-BR."),
        BirthdayIn::FORMAT => ("field.format", "This is not a day of the form 1990-12-10."),
        NationalIdIn::FORMAT => national_id(text).err().unwrap_or(OTHER),
        UsernameIn::FORMAT => Username::parse(text).err().unwrap_or(OTHER),
        NameIn::FORMAT => NameIn::read(text, config.default_region.as_deref()).err().unwrap_or(OTHER),
        NewPasswordIn::FORMAT => Password::choose(text, config.password.least).err().unwrap_or(OTHER),
        NetworkIn::FORMAT => ("network.format", "This is neither an address nor a network."),
        FileUrlIn::FORMAT => {
            ("kyc.url", "This is not the URL of a file sent to POST /api/users/kyc/documents.")
        }
        BytesIn::FORMAT => ("field.format", "This is not base64url without padding."),
        AmountIn::FORMAT => amount(text).err().unwrap_or(OTHER),
        "uuid" => ("field.format", "This is not a UUID."),
        "date-time" => ("field.format", "This is not a time of the form 2030-01-31T12:00:00Z."),
        DayIn::FORMAT => ("field.format", "This is not a day of the form 2030-01-31."),
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_more_than_zero() {
        for (text, wanted) in [
            ("12.50", Ok("12.50")),
            ("007", Ok("7")),
            ("0.0001", Ok("0.0001")),
            ("1000000000000", Ok("1000000000000")),
            ("1000000000000.0001", Err("field.range")),
            ("99999999999999999999999999999999", Err("field.range")),
            ("0", Err("field.range")),
            ("0.0000", Err("field.range")),
            ("-1", Err("field.range")),
            ("1.123456789012345678901234567890", Err("field.range")),
            ("NaN", Err("field.format")),
            ("1e400", Err("field.format")),
            ("1e3", Err("field.format")),
            ("Infinity", Err("field.format")),
            ("", Err("field.format")),
            (".5", Err("field.format")),
            ("5.", Err("field.format")),
            ("1,000", Err("field.format")),
            ("1_000", Err("field.format")),
            ("+1", Err("field.format")),
            (" 1", Err("field.format")),
            ("--1", Err("field.format")),
            ("\u{0661}", Err("field.format")),
        ] {
            let read = amount(text).map(|amount| amount.to_string()).map_err(|(code, _)| code);
            assert_eq!(read.as_deref().map_err(|code| *code), wanted, "{text}");
        }
        assert!(amount(&"9".repeat(1_000_000)).is_err());
    }

    #[test]
    fn names_of_every_script_are_taken_and_hidden_characters_are_not() {
        for (given, kept) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("  Nguyễn   Thị  Minh ", "Nguyễn Thị Minh"),
            ("Ame\u{301}lie", "Amélie"),
            ("李明", "李明"),
            ("می\u{200c}ترا \u{200d}", "می\u{200c}ترا"),
            ("O'Brien-Ng'ang'a Jr.", "O'Brien-Ng'ang'a Jr."),
        ] {
            assert_eq!(full_name(given).as_deref(), Ok(kept), "{given}");
        }
        let long = "a".repeat(101);
        for (given, code) in [
            ("", "field.length"),
            (" A ", "field.length"),
            (long.as_str(), "field.length"),
            ("\u{200d}\u{200d}", "field.length"),
            ("Ada\u{0}", "field.characters"),
            ("Ada\nLovelace", "field.characters"),
            ("Ada \u{202e}ecalevoL", "field.characters"),
            ("1234", "field.characters"),
        ] {
            assert_eq!(full_name(given).map_err(|(code, _)| code), Err(code), "{given:?}");
        }
    }

    #[test]
    fn days_and_languages_have_one_form() {
        for (given, good) in [
            ("1990-12-10", true),
            ("2000-02-29", true),
            ("1900-02-29", false),
            ("2001-02-31", false),
            ("90-12-10", false),
            ("+1990-12-1", false),
            ("1990-1-01 ", false),
        ] {
            assert_eq!(birthday(given).is_some(), good, "{given}");
        }
        for (given, kept) in [
            ("EN", Some("en")),
            ("pt-br", Some("pt-BR")),
            ("zh-hant-tw", Some("zh-Hant-TW")),
            ("sw", Some("sw")),
        ] {
            assert_eq!(language(given).as_deref(), kept, "{given}");
        }
        for given in ["", "e", "english", "en-", "en_US", "é1", "en-\u{0}", "../en"] {
            assert_eq!(language(given), None, "{given}");
        }
    }
}
