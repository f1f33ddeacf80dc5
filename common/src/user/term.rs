//! What a search looks for: a folded text, taken apart as the store takes apart what people are found by
//! (migrations 0031, 0038 and 0039). Nothing here asks the database.

/// How a word of a search lies in a word of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It is the word.
    Whole,
    /// It is how the word begins.
    Beginning,
    /// It is how the word ends.
    End,
    /// It is somewhere in the word.
    Part,
}

/// A word of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub word: String,
    pub fit: Fit,
}

impl Part {
    /// The words it fits, as a `LIKE` pattern.
    pub fn pattern(&self) -> String {
        let word = literal(&self.word);
        match self.fit {
            Fit::Whole => word,
            Fit::Beginning => format!("{word}%"),
            Fit::End => format!("%{word}"),
            Fit::Part => format!("%{word}%"),
        }
    }
}

/// Two words of a search with one sign between, the first of letters, the next of letters or of digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// The first word, whole or as the end of one.
    pub first: Part,
    /// What comes right after it: the sign and the next word.
    pub rest: String,
    /// Whether the next word may go on.
    pub is_open: bool,
}

impl Pair {
    /// The pairs that it fits where the first word is this one: from the first, before the second.
    pub fn range(&self, first: &str) -> (String, String) {
        let low = format!(" {first}{}", self.rest);
        let high = format!("{low}{}", if self.is_open { LAST } else { NEXT });
        (low, high)
    }

    /// Whether it is a whole name and a number: mostly few have it, and it takes no other word to find them.
    pub fn is_numbered(&self) -> bool {
        self.first.fit == Fit::Whole && self.rest.ends_with(|c: char| c.is_ascii_digit())
    }

    fn of_runs(runs: &[(Kind, &str)], is_first: bool, is_last: bool) -> Option<Self> {
        let [(Kind::Letter, first), (Kind::Sign, sign), (Kind::Letter | Kind::Digit, next)] = runs else {
            return None;
        };
        let fit = if is_first { Fit::End } else { Fit::Whole };
        // an end is looked for among words, and short ones are not kept
        let is_kept = fit == Fit::Whole || first.chars().count() >= SHORTEST;
        (sign.len() == 1 && is_kept).then(|| Self {
            first: Part { word: (*first).to_owned(), fit },
            rest: format!("{sign}{next}"),
            is_open: is_last,
        })
    }
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Nothing that anybody could have.
    Nothing,
    /// One character or two: how a field begins.
    Beginning(String),
    /// One word, anywhere in a word: whoever has it is found.
    Word(String),
    /// Two words with one sign between: whoever has them is found.
    Pair(Pair),
    /// Several words: whoever has one of them, and the text.
    Words {
        /// Those that the store keeps.
        parts: Vec<Part>,
        /// The pairs among all of them.
        pairs: Vec<Pair>,
    },
    /// No word that the store keeps: only the text itself tells.
    Text,
}

/// No word of the store begins with it, and none that begins like another text comes after it.
pub(super) const LAST: char = char::MAX;
/// No word of the store holds it, and it comes before all that they hold.
pub(super) const NEXT: char = '\u{1}';
/// No word of the store is shorter.
const SHORTEST: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Sign,
}

fn kind(c: char) -> Kind {
    match c {
        '0'..='9' => Kind::Digit,
        'a'..='z' | 'A'..='Z' => Kind::Letter,
        _ if c.is_ascii() => Kind::Sign,
        _ => Kind::Letter,
    }
}

/// Small letters; None: it takes the store to fold it.
pub(super) fn fold(text: &str) -> Option<String> {
    text.is_ascii().then(|| trimmed(text).to_ascii_lowercase())
}

/// Without the plus of a number and spaces around.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '+']).trim_matches(' ')
}

/// Takes a folded text apart.
pub(super) fn read(folded: &str) -> Term {
    let length = folded.chars().count();
    if length == 0 {
        return Term::Nothing;
    }
    if length < SHORTEST {
        return Term::Beginning(format!("^{folded}"));
    }
    if folded.chars().all(|c| kind(c) != Kind::Sign) {
        return Term::Word(folded.to_owned());
    }
    let runs = runs(folded);
    let last = runs.len() - 1;
    let mut pairs: Vec<Pair> = runs
        .windows(3)
        .enumerate()
        .filter_map(|(n, three)| Pair::of_runs(three, n == 0, n + 2 == last))
        .collect();
    if runs.len() == 3
        && let Some(pair) = pairs.pop()
    {
        return Term::Pair(pair);
    }
    let long =
        |(_, (kind, run)): &(usize, &(Kind, &str))| *kind != Kind::Sign && run.chars().count() >= SHORTEST;
    let words: Vec<Part> = runs
        .iter()
        .enumerate()
        .filter(long)
        .map(|(n, (_, run))| Part {
            word: (*run).to_owned(),
            fit: match (n == 0, n == last) {
                (true, true) => Fit::Part,
                (true, false) => Fit::End,
                (false, true) => Fit::Beginning,
                (false, false) => Fit::Whole,
            },
        })
        .collect();
    match words.is_empty() && pairs.is_empty() {
        true => Term::Text,
        false => Term::Words { parts: words, pairs },
    }
}

/// Runs of letters, of digits and of signs.
fn runs(text: &str) -> Vec<(Kind, &str)> {
    let mut runs = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let one = kind(first);
        let end = rest.find(|c| kind(c) != one).unwrap_or(rest.len());
        let (run, others) = rest.split_at(end);
        runs.push((one, run));
        rest = others;
    }
    runs
}

/// A text in a `LIKE` pattern: nothing in it is a wildcard.
pub(crate) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(folded: &str) -> Vec<(String, Fit)> {
        match read(folded) {
            Term::Words { parts, .. } => parts.into_iter().map(|part| (part.word, part.fit)).collect(),
            other => panic!("{folded}: {other:?}"),
        }
    }

    #[test]
    fn no_text_is_a_wildcard() {
        assert_eq!(literal("ada_%\\"), "ada\\_\\%\\\\");
        let part = Part { word: "a_b".to_owned(), fit: Fit::End };
        assert_eq!(part.pattern(), "%a\\_b");
    }

    #[test]
    fn only_what_the_store_would_not_change_is_folded_here() {
        assert_eq!(fold(" +254 Ada ").as_deref(), Some("254 ada"));
        assert_eq!(fold("Zoé"), None);
    }

    #[test]
    fn a_text_is_taken_apart_by_where_its_words_can_lie() {
        assert_eq!(read(""), Term::Nothing);
        assert_eq!(read("wa"), Term::Beginning("^wa".to_owned()));
        for word in ["wan", "254711", "lab12x", "b12", "мария"] {
            assert_eq!(read(word), Term::Word(word.to_owned()));
        }
        assert_eq!(read("wanjiru o"), Term::Pair(pair("wanjiru", Fit::End, " o", true)));
        assert_eq!(read("jiru.odh"), Term::Pair(pair("jiru", Fit::End, ".odh", true)));
        assert_eq!(read("jiru.12"), Term::Pair(pair("jiru", Fit::End, ".12", true)));
        for text in ["a.b", "o'br", "a7-b2", "@@@", "12.34"] {
            assert_eq!(read(text), Term::Text, "{text}");
        }
        let owned =
            |list: &[(&str, Fit)]| list.iter().map(|(w, f)| ((*w).to_owned(), *f)).collect::<Vec<_>>();
        assert_eq!(
            words("wanjiru.odhiambo.123"),
            owned(&[("wanjiru", Fit::End), ("odhiambo", Fit::Whole), ("123", Fit::Beginning)])
        );
        assert_eq!(words("@school1.ex"), owned(&[("school", Fit::Whole)]));
        assert_eq!(words("o'brien"), owned(&[("brien", Fit::Beginning)]));
        assert_eq!(words("ada  lovelace"), owned(&[("ada", Fit::End), ("lovelace", Fit::Beginning)]));
        assert_eq!(words("ada@"), owned(&[("ada", Fit::End)]));
    }

    fn pair(first: &str, fit: Fit, rest: &str, is_open: bool) -> Pair {
        Pair { first: Part { word: first.to_owned(), fit }, rest: rest.to_owned(), is_open }
    }

    #[test]
    fn words_side_by_side_make_pairs() {
        let pairs = |folded: &str| match read(folded) {
            Term::Words { pairs, .. } => pairs,
            other => panic!("{folded}: {other:?}"),
        };
        let number = pair("kimani", Fit::Whole, ".5", false);
        assert_eq!(pairs("1 arjun.kimani.5@ex"), [pair("arjun", Fit::Whole, ".kimani", false), number]);
        let number = pair("kimani", Fit::Whole, ".5", true);
        assert!(number.is_numbered());
        let names = pair("arjun", Fit::End, ".kimani", false);
        assert!(!names.is_numbered());
        assert_eq!(pairs("arjun.kimani.5"), [names, number]);
        assert_eq!(pairs("jo.kimani.5"), [pair("kimani", Fit::Whole, ".5", true)]);
        assert_eq!(pairs("1.jo.ki"), [pair("jo", Fit::Whole, ".ki", true)]);
        assert_eq!(pairs("arjun..kimani 5"), [pair("kimani", Fit::Whole, " 5", true)]);
        assert_eq!(pairs("ada@"), []);
    }

    #[test]
    fn a_pair_that_ends_is_a_range_of_one() {
        let (low, high) = pair("ada", Fit::Whole, ".5", false).range("ada");
        assert_eq!((low.as_str(), high.as_str()), (" ada.5", " ada.5\u{1}"));
        let (low, high) = pair("da", Fit::End, ".5", true).range("ada");
        assert!(low.as_str() <= " ada.5999" && " ada.5999" < high.as_str());
    }
}
