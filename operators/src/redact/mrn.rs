//! Medical record numbers: no two hospitals write them alike, so that only the word before says what they are.

use super::scan::{note, tokens};
use super::{Found, Kind, Recogniser, Text};

/// Words that name the number; after `medical`, `patient` and `record` another of the second list must follow.
const NAMES: &[&str] = &["mrn", "mrns"];
const FIRST: &[&str] = &[
    "medical",
    "patient",
    "hospital",
    "chart",
    "record",
    "krankenakte",
];
const SECOND: &[&str] = &["record", "id", "no", "nr", "number", "num", "identifier"];
/// How many words may stand between the name and the number.
const REACH: usize = 3;

/// Finds medical record numbers.
pub(super) struct Mrn;

impl Recogniser for Mrn {
    fn kind(&self) -> Kind {
        Kind::Mrn
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 5
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        let among = |word: &[u8], words: &[&str]| {
            words
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
        };
        // how many words the name is away, and whether its first half was there
        let (mut reach, mut half) = (0, false);
        for (start, end) in tokens(bytes, b"") {
            let word = &bytes[start..end];
            if among(word, NAMES) || half && among(word, SECOND) {
                (reach, half) = (REACH, among(word, FIRST));
            } else if among(word, FIRST) {
                half = true;
            } else if reach > 0 {
                (reach, half) = (reach - 1, false);
                if let Some((start, end)) = number(bytes, start, end) {
                    note(Kind::Mrn, start, end, found);
                    reach = 0;
                }
            } else {
                half = false;
            }
        }
    }
}

/// Up to four letters and five to twelve digits, in one piece or with hyphens between.
fn number(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let word = &bytes[start..end];
    let letters = word
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let mut last = end;
    while bytes.get(last) == Some(&b'-')
        && last - start < 20
        && bytes.get(last + 1).is_some_and(u8::is_ascii_digit)
    {
        let length = bytes[last + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        last += 1 + length;
    }
    let rest = &bytes[start + letters..last];
    let digits = rest.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_one = letters <= 4
        && (5..=12).contains(&digits)
        && rest
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'-');
    is_one.then_some((start, last))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn the_word_before_makes_one() {
        for (text, number) in [
            ("MRN 00123456 admitted", "00123456"),
            ("mrn: A1234567", "A1234567"),
            ("medical record number is 55-83-2190", "55-83-2190"),
            ("Patient ID #MR-4471902", "MR-4471902"),
        ] {
            finds(&Mrn, text, number);
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            "run 00123456",
            "record 12",
            "mrn of the day has a loss of 12345 at",
            "patience 100000",
        ] {
            finds_nothing(&Mrn, text);
        }
    }
}
