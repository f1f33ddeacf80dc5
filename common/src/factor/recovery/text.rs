//! Recovery codes: what they look like and how they are read. A code leads with its number, so that one
//! hash is computed for a try and not ten.

use crate::factor::base32;
use crate::secret;

/// Codes of a set.
pub const COUNT: i16 = 10;
/// Characters of a code without its dashes: the number, then 70 random bits.
const LENGTH: usize = 15;
/// Characters between two dashes.
const GROUP: usize = 5;

/// A code as it is read: which of the set, and what is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Which of the set, from 0.
    pub number: i16,
    /// The characters in the one form that is hashed.
    pub text: String,
}

/// A new code.
pub fn make(number: i16) -> String {
    let random = base32::encode(base32::CROCKFORD, &secret::random::<9>());
    let text: String = number.to_string().chars().chain(random.chars().take(LENGTH - 1)).collect();
    let groups: Vec<&str> = (0..LENGTH).step_by(GROUP).filter_map(|at| text.get(at..at + GROUP)).collect();
    groups.join("-")
}

/// Reads what a person typed: case, dashes and blanks do not matter, and what looks alike is alike
/// (Crockford). None: it cannot be a code.
pub fn read(typed: &str) -> Option<Typed> {
    let text: Option<String> = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| match c.to_ascii_uppercase() {
            'I' | 'L' => Some('1'),
            'O' => Some('0'),
            c => c.is_ascii().then_some(c).filter(|c| base32::CROCKFORD.contains(&(*c as u8))),
        })
        .collect();
    let text = text.filter(|text| text.len() == LENGTH)?;
    let number = text.chars().next()?.to_digit(10)?;
    Some(Typed { number: i16::try_from(number).ok()?, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_was_made_however_it_is_typed() {
        for number in 0..COUNT {
            let code = make(number);
            assert_eq!(code.len(), 17);
            let typed = read(&code).expect("read");
            assert_eq!(typed.number, number);
            for other in [code.to_lowercase(), code.replace('-', " "), format!(" {} ", code.replace('-', ""))]
            {
                assert_eq!(read(&other), Some(typed.clone()), "{other}");
            }
        }
        assert_eq!(read("1OOOO-IIIII-lllll"), read("10000-11111-11111"));
    }

    #[test]
    fn no_two_codes_are_alike() {
        assert_ne!(make(1), make(1));
    }

    #[test]
    fn what_cannot_be_a_code_is_not_read() {
        for text in [
            "",
            "1",
            "A0000-00000-00000",
            "10000-00000-0000",
            "10000-00000-000000",
            "1U000-00000-00000",
            "1é000-00000-0000",
            "\u{1d7cf}0000-00000-00000",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
