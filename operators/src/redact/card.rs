//! Payment cards: ISO/IEC 7812-1, the issuer's digits in front and the check digit of Luhn (annex B) at the end.

use super::scan::{digit_runs, digits, ends, grouped, is_telemetry, note, starts};
use super::{Found, Kind, Recogniser, Text};

/// How people part the digits.
const GROUPS: &[&[usize]] = &[&[4, 4, 4, 4], &[4, 4, 4, 4, 3], &[4, 6, 5], &[4, 6, 4]];

/// Finds card numbers.
pub(super) struct Card;

impl Recogniser for Card {
    fn kind(&self) -> Kind {
        Kind::Card
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 13
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for (start, end) in digit_runs(bytes) {
            if !starts(bytes, start) {
                continue;
            }
            let whole = match end - start {
                4 => GROUPS
                    .iter()
                    .find_map(|lengths| grouped(bytes, start, lengths, b" -")),
                13..=19 if !is_telemetry(bytes, start, end) => Some(end),
                _ => None,
            };
            if let Some(end) = whole
                && ends(bytes, end)
                && is_issued(&bytes[start..end])
                && luhn(digits(&bytes[start..end]))
            {
                note(Kind::Card, start, end, found);
            }
        }
    }
}

/// Whether an issuer gives out numbers that begin like this and are as long: the ranges that the schemes publish.
fn is_issued(number: &[u8]) -> bool {
    let length = digits(number).count();
    let front = digits(number)
        .take(4)
        .fold(0, |front, digit| front * 10 + digit);
    match front {
        4000..=4999 => matches!(length, 13 | 16 | 19),
        5100..=5599 | 2221..=2720 => length == 16,
        3400..=3499 | 3700..=3799 => length == 15,
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(length, 14 | 16),
        3528..=3589 | 6011 | 6440..=6599 | 6200..=6299 => (16..=19).contains(&length),
        5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763 => (16..=19).contains(&length),
        _ => false,
    }
}

/// The check of Luhn (US patent 2,950,048): every second digit from the right doubled, digits summed, a multiple of ten.
pub(super) fn luhn(digits: impl DoubleEndedIterator<Item = u32>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// The test numbers that the schemes' processors publish.
    #[test]
    fn test_cards_are_found_however_they_are_parted() {
        for number in [
            "4111111111111111",
            "4242 4242 4242 4242",
            "5555-5555-5555-4444",
            "2223003122003222",
            "3782 822463 10005",
            "6011111111111117",
            "3530111333300000",
            "6200000000000005",
            "30569309025904",
        ] {
            finds(&Card, &format!("paid with {number}, thanks"), number);
            finds(&Card, number, number);
        }
    }

    #[test]
    fn a_wrong_digit_a_fraction_and_a_measured_number_are_none() {
        for text in [
            "card 4111111111111112",
            "loss 0.4111111111111111",
            "4111111111111111.5 seconds",
            "tokens=4111111111111111",
            "total_flops: 4111111111111111",
            "4111111111111111 bytes",
            "a4111111111111111",
            "9111111111111111",
            "1764460800000000000",
        ] {
            finds_nothing(&Card, text);
        }
    }

    /// The example of ISO/IEC 7812-1's own explanation: 7992739871 has the check digit 3.
    #[test]
    fn luhn_is_luhn() {
        assert!(luhn(digits(b"79927398713")));
        assert!(!luhn(digits(b"79927398710")));
    }
}
