//! Whole JSON documents: their entries with the place where each stands, and Python's `NaN` and `Infinity`.
//!
//! Python's `json` module writes bare `NaN`, `Infinity` and `-Infinity`, which are no JSON. They are put into quotes before
//! the document is parsed, which is how the contract writes them; places in the repaired text are counted back to places
//! in the file.

use super::{Piece, Position};
use serde_json::value::RawValue;

/// Puts bare `NaN`, `Infinity` and `-Infinity` into quotes. Returns nothing where there are none.
pub(super) fn quoted_numbers(text: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut repaired: Option<Vec<u8>> = None;
    let (mut copied, mut at, mut quoted) = (0, 0, false);
    while at < text.len() {
        match text[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b'N' | b'I' | b'-' if !quoted => {
                if let Some(word) = WORDS.into_iter().find(|word| text[at..].starts_with(word)) {
                    let repaired =
                        repaired.get_or_insert_with(|| Vec::with_capacity(text.len() + 64));
                    repaired.extend_from_slice(&text[copied..at]);
                    repaired.push(b'"');
                    repaired.extend_from_slice(word);
                    repaired.push(b'"');
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    repaired.map(|mut repaired| {
        repaired.extend_from_slice(&text[copied..]);
        repaired
    })
}

/// Where the entries of a document stand.
///
/// `entries` must borrow from `text`. Positions are those in `original`, from which `text` was repaired.
pub(super) fn pieces(original: &[u8], text: &[u8], entries: &[&RawValue]) -> Vec<Piece> {
    let mut line = 1;
    // walks both texts at once: quotes that the repair put in are skipped in `text`
    let (mut here, mut there) = (0, 0);
    entries
        .iter()
        .map(|entry| {
            let start = entry.get().as_ptr() as usize - text.as_ptr() as usize;
            let end = start + entry.get().len();
            if original.len() == text.len() {
                line += count_lines(&original[here..start]);
                (here, there) = (start, start);
            } else {
                while there < start {
                    if text[there] == b'"' && original.get(here) != Some(&b'"') {
                        there += 1;
                        continue;
                    }
                    line += u64::from(original.get(here) == Some(&b'\n'));
                    here += 1;
                    there += 1;
                }
            }
            Piece {
                position: Position {
                    line,
                    byte: here as u64,
                },
                start,
                end,
            }
        })
        .collect()
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_are_quoted_outside_of_strings_only() {
        let repaired =
            quoted_numbers(br#"{"NaN \" NaN":NaN,"b":-Infinity,"c":-1}"#).expect("there are some");
        assert_eq!(repaired, br#"{"NaN \" NaN":"NaN","b":"-Infinity","c":-1}"#);
        assert_eq!(quoted_numbers(br#"{"a":"NaN","b":-1}"#), None);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let original = b"[\n {\"a\":NaN},\n {\"a\":2}]";
        let text = quoted_numbers(original).expect("there is one");
        let entries: Vec<&RawValue> = serde_json::from_slice(&text).expect("it is JSON now");
        let pieces = pieces(original, &text, &entries);
        assert_eq!(
            pieces
                .iter()
                .map(|p| (p.position.line, p.position.byte))
                .collect::<Vec<_>>(),
            [(2, 3), (3, 15)]
        );
        assert_eq!(&text[pieces[0].start..pieces[0].end], b"{\"a\":\"NaN\"}");
    }
}
