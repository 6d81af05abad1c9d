//! Bank accounts: ISO 13616, country and two check digits by ISO 7064 MOD 97-10.

use super::scan::{is_word, note};
use super::{Found, Kind, Recogniser, Text};

/// Length by country, from the IBAN registry that SWIFT keeps for ISO 13616.
#[rustfmt::skip]
const LENGTHS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16), (b"BG", 22), (b"BH", 22),
    (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22), (b"CY", 28), (b"CZ", 24), (b"DE", 22), (b"DJ", 27),
    (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"ES", 24), (b"FI", 18), (b"FK", 18), (b"FO", 18), (b"FR", 27),
    (b"GB", 22), (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27), (b"GT", 28), (b"HN", 28), (b"HR", 21), (b"HU", 28),
    (b"IE", 22), (b"IL", 23), (b"IQ", 23), (b"IS", 26), (b"IT", 27), (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28),
    (b"LC", 32), (b"LI", 21), (b"LT", 20), (b"LU", 20), (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22),
    (b"MK", 19), (b"MN", 20), (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23),
    (b"PK", 24), (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22), (b"RU", 33), (b"SA", 24),
    (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27), (b"SO", 23), (b"ST", 25), (b"SV", 28),
    (b"TL", 23), (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20), (b"YE", 30),
];

/// Finds IBANs, written in one piece or in groups of four.
pub(super) struct Iban;

impl Recogniser for Iban {
    fn kind(&self) -> Kind {
        Kind::Iban
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 7 && text.text.len() >= 15
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        let mut at = 0;
        while at + 15 <= bytes.len() {
            let begins = bytes[at].is_ascii_alphabetic()
                && bytes[at + 1].is_ascii_alphabetic()
                && bytes[at + 2].is_ascii_digit()
                && bytes[at + 3].is_ascii_digit()
                && (at == 0 || !is_word(bytes[at - 1]));
            match begins.then(|| end(bytes, at)).flatten() {
                Some(end) => {
                    note(Kind::Iban, at, end, found);
                    at = end;
                }
                None => at += 1,
            }
        }
    }
}

/// Where the account that begins here ends, if it is one.
fn end(bytes: &[u8], start: usize) -> Option<usize> {
    let country = [
        bytes[start].to_ascii_uppercase(),
        bytes[start + 1].to_ascii_uppercase(),
    ];
    let (_, length) = LENGTHS.iter().find(|(known, _)| **known == country)?;
    let mut at = start;
    let mut taken = 0;
    // ISO 7064: the first four characters moved to the end, letters as 10 to 35, the rest by 97 is 1
    let (mut head, mut rest) = ([0; 4], 0);
    while taken < *length {
        let byte = *bytes.get(at)?;
        let is_gap = (byte == b' ' || byte == b'-') && taken.is_multiple_of(4) && taken > 0;
        if is_gap && bytes[at - 1].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        if !byte.is_ascii_alphanumeric() {
            return None;
        }
        match head.get_mut(usize::from(taken)) {
            Some(place) => *place = byte,
            None => rest = step(rest, byte),
        }
        (taken, at) = (taken + 1, at + 1);
    }
    let ends_here = bytes.get(at).is_none_or(|byte| !is_word(*byte));
    (ends_here && head.into_iter().fold(rest, step) == 1).then_some(at)
}

fn step(rest: u32, byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// The examples that the IBAN registry gives for each country.
    #[test]
    fn examples_of_the_registry_are_found() {
        for account in [
            "DE89370400440532013000",
            "GB29 NWBK 6016 1331 9268 19",
            "FR1420041010050500013M02606",
            "CH9300762011623852957",
            "NO9386011117947",
            "NL91ABNA0417164300",
            "SA0380000000608010167519",
            "MT84MALT011000012345MTLCAST001S",
        ] {
            finds(&Iban, &format!("pay to {account}."), account);
        }
    }

    #[test]
    fn a_wrong_check_and_a_wrong_length_are_none() {
        for text in [
            "DE88370400440532013000",
            "DE8937040044053201300",
            "XDE89370400440532013000",
            "ZZ89370400440532013000",
            "sha de89370400440532013000ab12",
        ] {
            finds_nothing(&Iban, text);
        }
    }
}
