//! Social security numbers of the United States: three, two and four digits, none of the areas and groups that are never
//! given out (20 CFR 422.103, SSA's randomisation of 2011), parted by hyphens or named by a word before them.

use super::scan::{digit_runs, digits, ends, grouped, has_context, note, starts};
use super::{Found, Kind, Recogniser, Text};

const CONTEXT: &[&str] = &["ssn", "ssns", "social", "security", "taxpayer", "itin"];

/// Finds social security numbers.
pub(super) struct Ssn;

impl Recogniser for Ssn {
    fn kind(&self) -> Kind {
        Kind::Ssn
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 9
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for (start, end) in digit_runs(bytes) {
            if !starts(bytes, start) || start > 0 && bytes[start - 1] == b'-' {
                continue;
            }
            let (end, needs_context) = match end - start {
                3 => match grouped(bytes, start, &[3, 2, 4], b"- ") {
                    Some(whole) => (whole, bytes[end] == b' '),
                    None => continue,
                },
                9 => (end, true),
                _ => continue,
            };
            let is_given_out = is_possible(&bytes[start..end])
                && ends(bytes, end)
                && bytes.get(end) != Some(&b'-');
            if is_given_out && (!needs_context || has_context(bytes, start, end, CONTEXT)) {
                note(Kind::Ssn, start, end, found);
            }
        }
    }
}

fn is_possible(number: &[u8]) -> bool {
    let number = digits(number).fold(0, |number, digit| number * 10 + digit);
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// 078-05-1120 was printed on a card of 1938 and is the best known number there is.
    #[test]
    fn hyphens_or_a_word_make_one() {
        finds(&Ssn, "she has 078-05-1120", "078-05-1120");
        finds(&Ssn, "SSN 078 05 1120", "078 05 1120");
        finds(&Ssn, "social security number: 078051120.", "078051120");
    }

    #[test]
    fn numbers_that_are_not_given_out_and_bare_ones_are_none() {
        for text in [
            "000-12-3456",
            "666-12-3456",
            "912-12-3456",
            "123-00-4567",
            "078051120",
            "078 05 1120",
            "1-078-05-1120",
            "2078-05-1120",
        ] {
            finds_nothing(&Ssn, text);
        }
    }
}
