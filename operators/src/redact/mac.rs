//! Addresses of network cards: IEEE 802's 48 bits, as six pairs (`:` or `-`) or three fours (`.`).

use super::scan::{has_context, is_word, note};
use super::{Found, Kind, Recogniser, Text};

const CONTEXT: &[&str] = &[
    "mac", "ether", "ethernet", "hwaddr", "lladdr", "bssid", "wifi", "nic",
];

/// Finds hardware addresses.
pub(super) struct Mac;

impl Recogniser for Mac {
    fn kind(&self) -> Kind {
        Kind::Mac
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.text.len() >= 14 && (text.has_colon() || text.has_hyphen() || text.has_dot())
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        let mut at = 0;
        while at + 14 <= bytes.len() {
            let begins = bytes[at].is_ascii_hexdigit()
                && (at == 0 || !is_word(bytes[at - 1]) && !b":-.".contains(&bytes[at - 1]));
            let whole = begins
                .then(|| address(bytes, at, 2, 6, b":-").or_else(|| address(bytes, at, 4, 3, b".")))
                .flatten();
            match whole {
                Some(end) if is_somebodys(bytes, at, end) => {
                    note(Kind::Mac, at, end, found);
                    at = end;
                }
                _ => at += 1,
            }
        }
    }
}

/// Where so many groups of so many hexadecimal digits end, one and the same separator between them.
fn address(
    bytes: &[u8],
    start: usize,
    length: usize,
    groups: usize,
    separators: &[u8],
) -> Option<usize> {
    let separator = *bytes.get(start + length)?;
    let whole = bytes.get(start..start + groups * (length + 1) - 1)?;
    let fits = separators.contains(&separator)
        && whole.iter().enumerate().all(|(place, byte)| {
            if place % (length + 1) == length {
                *byte == separator
            } else {
                byte.is_ascii_hexdigit()
            }
        });
    let end = start + whole.len();
    let ends = bytes
        .get(end)
        .is_none_or(|byte| !is_word(*byte) && *byte != separator);
    (fits && ends).then_some(end)
}

/// Not nobody's (all zero) and not everybody's (all ones); one without a letter could be a time, unless a word says more.
fn is_somebodys(bytes: &[u8], start: usize, end: usize) -> bool {
    let digits = || {
        bytes[start..end]
            .iter()
            .filter(|byte| byte.is_ascii_hexdigit())
    };
    let has_letter = digits().any(u8::is_ascii_alphabetic);
    digits().any(|byte| *byte != b'0')
        && digits().any(|byte| !byte.eq_ignore_ascii_case(&b'f'))
        && (has_letter || has_context(bytes, start, end, CONTEXT))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// 00-00-5E-00-53-xx are kept for documentation (RFC 7042).
    #[test]
    fn addresses_are_found_in_three_ways_of_writing() {
        for address in ["00:00:5e:00:53:af", "00-00-5E-00-53-01", "0000.5e00.5301"] {
            finds(&Mac, &format!("from {address} on"), address);
        }
        finds(&Mac, "hwaddr 00:00:50:00:53:01", "00:00:50:00:53:01");
    }

    #[test]
    fn times_and_digests_are_none() {
        for text in [
            "10:11:12:13:14:15",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "aa:bb:cc:dd:ee:ff:00:11",
            "550e8400-e29b",
        ] {
            finds_nothing(&Mac, text);
        }
    }
}
