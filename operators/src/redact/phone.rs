//! Telephone numbers: ITU-T E.164 with its `+`, North America's `(area) exchange-line`, and seven to fifteen digits beside a
//! word that says what they are.

use super::scan::{ends, has_context, note, starts};
use super::{Found, Kind, Recogniser, Text};

const CONTEXT: &[&str] = &[
    "call",
    "called",
    "caller",
    "cell",
    "cellphone",
    "contact",
    "dial",
    "fax",
    "handy",
    "hotline",
    "landline",
    "mobile",
    "phone",
    "phones",
    "reach",
    "ring",
    "rufnummer",
    "sms",
    "tel",
    "telefon",
    "telephone",
    "text",
    "voicemail",
    "whatsapp",
];
/// E.164: a number has fifteen digits at most.
const DIGITS_MAX: usize = 15;

/// Finds telephone numbers.
pub(super) struct Phone;

/// A stretch of digits and of the marks between them.
#[derive(Default)]
struct Stretch {
    end: usize,
    digits: usize,
    groups: [usize; 8],
    marks: usize,
}

impl Recogniser for Phone {
    fn kind(&self) -> Kind {
        Kind::Phone
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 7
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        let mut at = 0;
        while at < bytes.len() {
            let opens = matches!(bytes[at], b'+' | b'(')
                && bytes
                    .get(at + 1)
                    .is_some_and(|next| next.is_ascii_digit() || *next == b'(');
            if !(opens || bytes[at].is_ascii_digit()) || !starts(bytes, at) {
                at += 1;
                // what begins inside a word or number is passed over whole
                while at > 0
                    && at < bytes.len()
                    && bytes[at].is_ascii_digit()
                    && bytes[at - 1].is_ascii_digit()
                {
                    at += 1;
                }
                continue;
            }
            let stretch = stretch(bytes, at);
            if is_number(bytes, at, &stretch) {
                note(Kind::Phone, at, stretch.end, found);
            }
            at = stretch.end.max(at + 1);
        }
    }
}

/// From a digit, `+` or `(` as far as digits go on with at most two marks between them.
fn stretch(bytes: &[u8], start: usize) -> Stretch {
    let mut said = Stretch::default();
    let mut at = start;
    let mut group = 0;
    said.end = start;
    loop {
        let marks = bytes[at..]
            .iter()
            .take_while(|byte| b" -./()+".contains(byte))
            .count();
        let digits = bytes[at + marks..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let is_new_number = at > start && bytes[at..at + marks].contains(&b'+');
        if digits == 0
            || marks > 2
            || is_new_number
            || said.digits + digits > DIGITS_MAX && group > 0
        {
            return said;
        }
        if let Some(place) = said.groups.get_mut(group) {
            *place = digits;
        }
        group += 1;
        said.digits += digits;
        said.marks += usize::from(group > 1);
        at += marks + digits;
        said.end = at;
    }
}

fn is_number(bytes: &[u8], start: usize, said: &Stretch) -> bool {
    if !(7..=DIGITS_MAX).contains(&said.digits) || !ends(bytes, said.end) {
        return false;
    }
    let [first, second, third, fourth, ..] = said.groups;
    let is_date = [[4, 2, 2, 0], [2, 2, 4, 0]].contains(&[first, second, third, fourth]);
    let is_address = bytes[start..said.end]
        .iter()
        .filter(|byte| **byte == b'.')
        .count()
        == 3;
    if is_date || is_address {
        return false;
    }
    let in_parentheses = bytes[start] == b'(' && [first, second, third, fourth] == [3, 3, 4, 0];
    let international = bytes[start] == b'+' && said.digits >= 8 && bytes[start + 1] != b'0';
    in_parentheses
        || international && said.marks > 0
        || (international || said.marks > 0 || said.digits >= 9)
            && has_context(bytes, start, said.end, CONTEXT)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// Numbers that are kept for fiction: 555-0100 to 555-0199 (NANPA), +44 20 7946 0xxx (Ofcom), +49 30 23125 xxx (BNetzA).
    #[test]
    fn numbers_are_found_by_shape_or_word() {
        for (text, number) in [
            ("+1 212 555 0123", "+1 212 555 0123"),
            ("or (212) 555-0123 then", "(212) 555-0123"),
            ("call 212-555-0123 now", "212-555-0123"),
            ("phone: 2125550123", "2125550123"),
            ("tel. +442079460018", "+442079460018"),
            ("ring +44 20 7946 0018", "+44 20 7946 0018"),
            ("Telefon 030 23125 123", "030 23125 123"),
        ] {
            finds(&Phone, text, number);
        }
    }

    #[test]
    fn telemetry_is_none() {
        for text in [
            "212-555-0123",
            "2024-11-30 10:11:12",
            "call took 1234567 ns",
            "+12345678 tokens",
            "10.0.0.1",
            "1 2 3 4 5 6 7 8 9 10 11 12",
            "loss 2.1234567",
        ] {
            finds_nothing(&Phone, text);
        }
    }
}
