//! Names of persons: words that begin with capitals, behind a title or a word that names somebody. Nothing finds names as such
//! without a language model; this finds those that forms, tickets and signatures write.

use super::scan::note;
use super::{Found, Kind, Recogniser, Text};

/// Titles: one word with a capital behind them is a name.
const TITLES: &[&str] = &[
    "dr",
    "frau",
    "herr",
    "herrn",
    "madame",
    "miss",
    "mme",
    "monsieur",
    "mr",
    "mrs",
    "ms",
    "mx",
    "prof",
    "professor",
    "señor",
    "señora",
];
/// Words that name somebody: at least two words with capitals behind them are a name.
const LABELS: &[&str] = &[
    "annotator",
    "applicant",
    "assignee",
    "author",
    "caller",
    "client",
    "contact",
    "customer",
    "employee",
    "fullname",
    "grader",
    "labeler",
    "labeller",
    "lastname",
    "member",
    "name",
    "named",
    "operator",
    "owner",
    "passenger",
    "patient",
    "person",
    "rater",
    "recipient",
    "reporter",
    "reviewer",
    "sender",
    "user",
    "surname",
    "i'm",
];
/// Behind these, `by` names somebody.
const BY: &[&str] = &[
    "annotated",
    "approved",
    "assigned",
    "filed",
    "graded",
    "labeled",
    "labelled",
    "off",
    "reported",
    "requested",
    "reviewed",
    "signed",
    "submitted",
    "written",
];
/// Before these, a label names a thing.
const THINGS: &[&str] = &[
    "dataset", "field", "file", "host", "metric", "model", "module", "project", "run", "suite",
    "task", "tool",
];
/// Most words of a name.
const WORDS_MAX: usize = 4;

/// Finds names behind words that announce them.
pub(super) struct Name;

impl Recogniser for Name {
    fn kind(&self) -> Kind {
        Kind::Name
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.text.len() >= 5 && (text.has_space() || text.has_colon() || text.has_equals())
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let text = text.text;
        let mut last = "";
        for (start, end) in words(text) {
            let word = &text[start..end];
            let is = |words: &[&str], word: &str| words.iter().any(|known| caseless(known, word));
            let needed = if is(TITLES, word) {
                1
            } else if is(LABELS, word) && !is(THINGS, last) || caseless("by", word) && is(BY, last)
            {
                2
            } else {
                0
            };
            last = word;
            if needed > 0
                && let Some((start, end)) = name(text, end, needed)
            {
                note(Kind::Name, start, end, found);
            }
        }
    }
}

fn caseless(known: &str, word: &str) -> bool {
    known.len() == word.len() && known.eq_ignore_ascii_case(word)
}

/// Maximal words of letters and apostrophes; `_` and every other mark part them.
fn words(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let belongs = |letter: char| letter.is_alphabetic() || letter == '\'';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(belongs)?;
        at = text[start..]
            .find(|letter| !belongs(letter))
            .map_or(text.len(), |length| start + length);
        Some((start, at))
    })
}

/// The words with capitals that follow, where there are enough.
fn name(text: &str, from: usize, needed: usize) -> Option<(usize, usize)> {
    let gap: usize = text[from..]
        .chars()
        .take(4)
        .take_while(|mark| " .:=\"'".contains(*mark))
        .map(char::len_utf8)
        .sum();
    if gap == 0 {
        return None;
    }
    let start = from + gap;
    let (mut at, mut end, mut count) = (start, start, 0);
    while count < WORDS_MAX {
        let length = word(&text[at..]);
        if length == 0 {
            break;
        }
        count += 1;
        end = at + length;
        at = end + 1;
        if text.as_bytes().get(end) != Some(&b' ') {
            break;
        }
    }
    (count >= needed).then_some((start, end))
}

/// Length of a word that begins with a capital and goes on in small letters, or of an initial with its full stop.
fn word(text: &str) -> usize {
    let mut letters = text.char_indices();
    let Some((_, first)) = letters.next().filter(|(_, first)| first.is_uppercase()) else {
        return 0;
    };
    let mut smalls = 0;
    let mut previous = first;
    for (place, letter) in letters {
        let goes_on = letter.is_lowercase()
            || "-'’".contains(letter)
            || letter.is_uppercase() && ("-'’".contains(previous) || previous == 'c');
        if !goes_on {
            if smalls == 0 && letter == '.' && previous == first {
                return place + 1;
            }
            return if smalls > 0 && !letter.is_numeric() && letter != '_' {
                place
            } else {
                0
            };
        }
        smalls += usize::from(letter.is_lowercase());
        previous = letter;
    }
    if smalls > 0 { text.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn names_behind_their_words_are_found() {
        for (text, name) in [
            ("asked Dr. Li about", "Li"),
            ("Mrs O'Neill-Weiß said", "O'Neill-Weiß"),
            ("patient: Mia Li, 41", "Mia Li"),
            ("annotator=\"Jörg P. Müller\"", "Jörg P. Müller"),
            ("reported by Mia Li yesterday", "Mia Li"),
        ] {
            finds(&Name, text, name);
        }
    }

    #[test]
    fn things_are_none() {
        for text in [
            "model name: Llama Vision",
            "user asked about Paris",
            "name: adamw",
            "reported by two",
            "owner: GPU Pool2",
            "the DR run",
        ] {
            finds_nothing(&Name, text);
        }
    }
}
