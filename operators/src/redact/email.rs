//! E-mail addresses: RFC 5321's `local@domain` as people write it, the domain with a top level of letters.

use super::scan::{is_word, note};
use super::{Found, Kind, Recogniser, Text};

/// RFC 5321 §4.5.3.1.1.
const LOCAL_MAX: usize = 64;
/// RFC 5321 §4.5.3.1.2.
const DOMAIN_MAX: usize = 255;

/// Finds e-mail addresses.
pub(super) struct Email;

impl Recogniser for Email {
    fn kind(&self) -> Kind {
        Kind::Email
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.has_at() && text.has_dot()
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for at in (0..bytes.len()).filter(|at| bytes[*at] == b'@') {
            let local = bytes[..at]
                .iter()
                .rev()
                .take(LOCAL_MAX)
                .take_while(|byte| is_word(**byte) || b"._%+-'".contains(byte))
                .count();
            let begin = at - local;
            let start = begin
                + bytes[begin..at]
                    .iter()
                    .take_while(|byte| b".'".contains(byte))
                    .count();
            // `git@host:path` is how git writes a place
            if start == at || &bytes[start..at] == b"git" {
                continue;
            }
            if let Some(length) = domain(&bytes[at + 1..]) {
                note(Kind::Email, start, at + 1 + length, found);
            }
        }
    }
}

/// Length of the domain in front, with a top level of at least two letters.
fn domain(bytes: &[u8]) -> Option<usize> {
    let length = bytes
        .iter()
        .take(DOMAIN_MAX)
        .take_while(|byte| is_word(**byte) || **byte == b'.' || **byte == b'-')
        .count();
    let mut name = &bytes[..length];
    while let Some((b'.' | b'-', rest)) = name.split_last() {
        name = rest;
    }
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    let top = &name[dot + 1..];
    let is_one = top.len() >= 2
        && top.iter().all(|byte| !byte.is_ascii_digit())
        && name[0] != b'.'
        && name[0] != b'-';
    is_one.then_some(name.len())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn addresses_are_found_where_they_stand() {
        for (text, address) in [
            ("mail mia.li+runs@example.com.", "mia.li+runs@example.com"),
            ("<mia@sub.example.co.uk>", "mia@sub.example.co.uk"),
            ("owner=m_l@example.org;", "m_l@example.org"),
            ("'jörg@müller.example'", "jörg@müller.example"),
        ] {
            finds(&Email, text, address);
        }
    }

    #[test]
    fn places_and_versions_are_none() {
        for text in [
            "git@github.com:org/repo",
            "image@sha256:0123",
            "torch@2.4.1",
            "@example.com",
            "mia@node7",
            "p@99",
        ] {
            finds_nothing(&Email, text);
        }
    }
}
