//! Whole JSON documents: their entries with the place where each stands, and Python's `NaN` and `Infinity`.
//!
//! Python's `json` module writes bare `NaN`, `Infinity` and `-Infinity`, which are no JSON. They are put into quotes before
//! the document is parsed, which is how the contract writes them; places in the repaired text are counted back to places
//! in the file.

use super::{Piece, Position};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

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
    spans(
        original,
        text,
        entries.iter().map(|entry| span(text, entry)),
    )
}

/// Where the members of objects of a document stand, each from its name to the end of its value; see [`pieces`].
pub(super) fn member_pieces(
    original: &[u8],
    text: &[u8],
    members: &[(&RawValue, &RawValue)],
) -> Vec<Piece> {
    let mut places: Vec<_> = members
        .iter()
        .map(|(name, value)| (span(text, name).0, span(text, value).1))
        .collect();
    places.sort_unstable();
    spans(original, text, places.into_iter())
}

/// First byte of a part of `text`, and the byte behind its last.
pub(super) fn span(text: &[u8], part: &RawValue) -> (usize, usize) {
    let start = part.get().as_ptr() as usize - text.as_ptr() as usize;
    (start, start + part.get().len())
}

/// Places of ascending spans of `text`.
pub(super) fn spans(
    original: &[u8],
    text: &[u8],
    spans: impl Iterator<Item = (usize, usize)>,
) -> Vec<Piece> {
    let mut line = 1;
    // walks both texts at once: quotes that the repair put in are skipped in `text`
    let (mut here, mut there) = (0, 0);
    spans
        .map(|(start, end)| {
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

/// The members of an object, in the order of the document, as they stand there.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Members)
    }
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

    #[test]
    fn members_stand_from_their_name_to_their_value() {
        let original = b"{\n \"a\" : {\"x\":NaN},\n \"b\\u0041\": 2}";
        let text = quoted_numbers(original).expect("there is one");
        let members: Members<'_> = serde_json::from_slice(&text).expect("it is JSON now");
        let pieces = member_pieces(original, &text, &members.0);
        let shown: Vec<_> = pieces
            .iter()
            .map(|p| {
                let shown = String::from_utf8_lossy(&text[p.start..p.end]).into_owned();
                (p.position.line, p.position.byte, shown)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (2, 3, r#""a" : {"x":"NaN"}"#.to_owned()),
                (3, 21, r#""b\u0041": 2"#.to_owned())
            ]
        );
    }
}
