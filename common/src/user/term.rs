//! What a search looks for: a folded text, taken apart as the store takes apart what people are found by
//! (migrations 0031 and 0038). Nothing here asks the database.

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

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Nothing that anybody could have.
    Nothing,
    /// One character or two: how a field begins.
    Beginning(String),
    /// One word, anywhere in a word: whoever has it is found.
    Word(String),
    /// Two words of letters with one sign between: whoever has them is found.
    Pair {
        /// How a word ends.
        first: String,
        /// What comes right after it: the sign, and how the next word begins.
        rest: String,
    },
    /// Several words: whoever has one of them, and the text.
    Words {
        /// Those that the store keeps.
        parts: Vec<Part>,
        /// Two words of letters among them with one sign between, as in [`Term::Pair`].
        pair: Option<(String, String)>,
    },
    /// No word that the store keeps: only the text itself tells.
    Text,
}

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
    if let [(Kind::Letter, first), (Kind::Sign, sign), (Kind::Letter, _)] = runs.as_slice()
        && sign.len() == 1
        && first.chars().count() >= SHORTEST
    {
        return Term::Pair { first: (*first).to_owned(), rest: folded[first.len()..].to_owned() };
    }
    let last = runs.len() - 1;
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
    let pair = runs.windows(3).find_map(|runs| match runs {
        [(Kind::Letter, first), (Kind::Sign, sign), (Kind::Letter, second)]
            if sign.len() == 1 && first.chars().count() >= SHORTEST =>
        {
            Some(((*first).to_owned(), format!("{sign}{second}")))
        }
        _ => None,
    });
    match words.is_empty() {
        true => Term::Text,
        false => Term::Words { parts: words, pair },
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
        let pair = |first: &str, rest: &str| Term::Pair { first: first.to_owned(), rest: rest.to_owned() };
        assert_eq!(read("wanjiru o"), pair("wanjiru", " o"));
        assert_eq!(read("jiru.odh"), pair("jiru", ".odh"));
        for text in ["a.b", "o'br", "a7-b2", "@@@", "12.34"] {
            assert_eq!(read(text), Term::Text, "{text}");
        }
        let owned =
            |list: &[(&str, Fit)]| list.iter().map(|(w, f)| ((*w).to_owned(), *f)).collect::<Vec<_>>();
        assert_eq!(
            words("wanjiru.odhiambo.123"),
            owned(&[("wanjiru", Fit::End), ("odhiambo", Fit::Whole), ("123", Fit::Beginning)])
        );
        let Term::Words { pair, .. } = read("1 arjun.kimani.5@ex") else { panic!("words") };
        assert_eq!(pair, Some(("arjun".to_owned(), ".kimani".to_owned())));
        let Term::Words { pair, .. } = read("arjun..kimani 5") else { panic!("words") };
        assert_eq!(pair, None);
        assert_eq!(words("@school1.ex"), owned(&[("school", Fit::Whole)]));
        assert_eq!(words("o'brien"), owned(&[("brien", Fit::Beginning)]));
        assert_eq!(words("ada  lovelace"), owned(&[("ada", Fit::End), ("lovelace", Fit::Beginning)]));
        assert_eq!(words("ada@"), owned(&[("ada", Fit::End)]));
    }
}
