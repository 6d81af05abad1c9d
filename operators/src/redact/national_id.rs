//! National identity, tax and health numbers with a check digit. A new country is a function in [`CHECKS`].
//!
//! Those with letters in fixed places need no word around them; those of digits alone need one, or the groups in which they are
//! printed: one number of eleven in telemetry has the check digit of a health number.

use super::scan::{
    digit_runs, digits, ends, grouped, has_context, is_listed, note, starts, tokens,
};
use super::{Found, Kind, Recogniser, Text};

/// A number of digits: lengths of its printed groups, whether these say enough, its check, and words that name it.
struct Check {
    groups: &'static [usize],
    groups_suffice: bool,
    is_valid: fn(&[u8]) -> bool,
    context: &'static [&'static str],
}

const CHECKS: &[Check] = &[
    Check {
        groups: &[3, 3, 4],
        groups_suffice: false,
        is_valid: nhs,
        context: &["nhs", "health"],
    },
    Check {
        groups: &[4, 4, 4],
        groups_suffice: true,
        is_valid: aadhaar,
        context: &["aadhaar", "aadhar", "uidai", "uid"],
    },
    Check {
        groups: &[2, 3, 3, 3],
        groups_suffice: true,
        is_valid: steuer_id,
        context: &[
            "steuer",
            "steuerid",
            "idnr",
            "tin",
            "tax",
            "steueridentifikationsnummer",
        ],
    },
    Check {
        groups: &[1, 2, 2, 2, 3, 3, 2],
        groups_suffice: true,
        is_valid: nir,
        context: &[
            "nir",
            "insee",
            "sécurité",
            "securite",
            "sociale",
            "sécu",
            "secu",
        ],
    },
];

/// Finds national numbers.
pub(super) struct NationalId;

impl Recogniser for NationalId {
    fn kind(&self) -> Kind {
        Kind::NationalId
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 7
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for (start, end) in digit_runs(bytes) {
            if !starts(bytes, start) {
                continue;
            }
            for check in CHECKS {
                let length: usize = check.groups.iter().sum();
                let (end, is_grouped) = if end - start == length {
                    (end, false)
                } else {
                    match grouped(bytes, start, check.groups, b" -") {
                        Some(end) => (end, true),
                        None => continue,
                    }
                };
                // printed with blanks; hyphens are for ranges and shards
                let is_printed = is_grouped
                    && check.groups_suffice
                    && !bytes[start..end].contains(&b'-')
                    && !is_listed(bytes, start, end);
                if ends(bytes, end)
                    && (check.is_valid)(&bytes[start..end])
                    && (is_printed || has_context(bytes, start, end, check.context))
                {
                    note(Kind::NationalId, start, end, found);
                    break;
                }
            }
        }
        for (start, end) in tokens(bytes, b"") {
            let word = &bytes[start..end];
            if starts(bytes, start) && ends(bytes, end) && (dni(word) || codice_fiscale(word)) {
                note(Kind::NationalId, start, end, found);
            }
        }
    }
}

/// Spain's DNI and NIE: a letter that is the number's rest by 23 (Real Decreto 1553/2005; the Ministry of the Interior's table).
fn dni(word: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let [first, middle @ .., last] = word else {
        return false;
    };
    let first = match first {
        b'X' => 0,
        b'Y' => 1,
        b'Z' => 2,
        b'0'..=b'9' => u32::from(first - b'0'),
        _ => return false,
    };
    if word.len() != 9 || !middle.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = digits(middle).fold(first, |number, digit| number * 10 + digit);
    LETTERS[(number % 23) as usize] == *last
}

/// Italy's codice fiscale: its last letter is a sum over the others (Decreto Ministeriale 23/12/1976).
fn codice_fiscale(word: &[u8]) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    const SHAPE: &[u8; 16] = b"AAAAAA99A99A999A";
    let fits = word.len() == SHAPE.len()
        && word.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'A' => byte.is_ascii_alphabetic(),
            // digits give way to letters where two people have the same code
            _ => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte.to_ascii_uppercase()),
        });
    if !fits || !word[6].is_ascii_digit() && !word[7].is_ascii_digit() {
        return false;
    }
    let sum: u32 = word[..15]
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            let value = match byte {
                b'0'..=b'9' => u32::from(byte - b'0'),
                letter => u32::from(letter.to_ascii_uppercase() - b'A'),
            };
            if place % 2 == 0 {
                ODD[value as usize]
            } else {
                value
            }
        })
        .sum();
    u32::from(word[15].to_ascii_uppercase() - b'A') == sum % 26
}

/// The NHS number of England and Wales: weights 10 to 2, modulo 11 (NHS Data Dictionary).
fn nhs(number: &[u8]) -> bool {
    let sum: u32 = digits(number)
        .zip((1..=10).rev())
        .map(|(digit, weight)| digit * weight)
        .sum();
    sum.is_multiple_of(11) && digits(number).any(|digit| digit != 0)
}

/// India's Aadhaar: Verhoeff's check (J. Verhoeff, Error detecting decimal codes, 1969) over twelve digits, the first 2 to 9.
fn aadhaar(number: &[u8]) -> bool {
    const D: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const P: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let check = digits(number)
        .rev()
        .enumerate()
        .fold(0, |check, (place, digit)| {
            D[check as usize][P[place % 8][digit as usize] as usize]
        });
    check == 0 && number[0] >= b'2'
}

/// Germany's Identifikationsnummer: ISO 7064 MOD 11,10, and one digit that comes twice or thrice (§ 139b AO, BZSt).
fn steuer_id(number: &[u8]) -> bool {
    let mut times = [0_u8; 10];
    let mut product = 10;
    for digit in digits(number).take(10) {
        times[digit as usize] += 1;
        let sum = match (digit + product) % 10 {
            0 => 10,
            sum => sum,
        };
        product = sum * 2 % 11;
    }
    let check = match 11 - product {
        10 => 0,
        check => check,
    };
    let repeated = times.iter().filter(|times| **times > 1).count();
    number[0] != b'0' && repeated == 1 && digits(number).last() == Some(check)
}

/// France's NIR: thirteen digits and 97 less their rest by 97 (INSEE).
fn nir(number: &[u8]) -> bool {
    let body = digits(number)
        .take(13)
        .fold(0_u64, |body, digit| body * 10 + u64::from(digit));
    let key = digits(number)
        .skip(13)
        .fold(0, |key, digit| key * 10 + u64::from(digit));
    let month = digits(number)
        .skip(3)
        .take(2)
        .fold(0, |month, digit| month * 10 + digit);
    matches!(number[0], b'1' | b'2') && (1..=12).contains(&month) && key == 97 - body % 97
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// Numbers that the offices themselves print as examples.
    #[test]
    fn printed_examples_are_found() {
        for (text, number) in [
            ("DNI 12345678Z", "12345678Z"),
            ("NIE X1234567L,", "X1234567L"),
            ("codice fiscale RSSMRA85T10A562S", "RSSMRA85T10A562S"),
            ("NHS number 943 476 5919", "943 476 5919"),
            ("nhs: 9434765919", "9434765919"),
            ("2345 6789 0124", "2345 6789 0124"),
            ("Steuer-ID 86 095 742 719", "86 095 742 719"),
            ("IdNr. 86095742719", "86095742719"),
            ("NIR 2 55 08 14 168 025 38", "2 55 08 14 168 025 38"),
        ] {
            finds(&NationalId, text, number);
        }
    }

    #[test]
    fn wrong_checks_and_bare_numbers_are_none() {
        for text in [
            "12345678A",
            "RSSMRA85T10A562T",
            "9434765919",
            "nhs 9434765918",
            "2345 6789 0125",
            "shard 2345-6789-0124",
            "7 2345 6789 0124",
            "tax 86095742718",
            "235678901240",
        ] {
            finds_nothing(&NationalId, text);
        }
    }
}
