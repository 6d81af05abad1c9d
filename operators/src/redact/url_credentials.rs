//! User and password inside a URL: RFC 3986's `userinfo` with a password in it. Scheme and host stay.

use super::scan::note;
use super::{Found, Kind, Recogniser, Text};

/// Longest user and password that is looked for.
const USERINFO_MAX: usize = 1024;

/// Finds `user:password@` behind `://`.
pub(super) struct UrlCredentials;

impl Recogniser for UrlCredentials {
    fn kind(&self) -> Kind {
        Kind::UrlCredentials
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.has_at() && text.has_colon()
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let mut at = 0;
        while let Some(offset) = text.text[at..].find("://") {
            let start = at + offset + 3;
            at = start;
            let authority = text.bytes()[start..]
                .iter()
                .take(USERINFO_MAX)
                .take_while(|byte| !byte.is_ascii_whitespace() && !b"/?#\"'<>".contains(byte))
                .count();
            let authority = &text.bytes()[start..start + authority];
            let Some(end) = authority.iter().rposition(|byte| *byte == b'@') else {
                continue;
            };
            // a user without a password is a name of a place, such as git's
            let colon = authority[..end].iter().position(|byte| *byte == b':');
            if colon.is_some_and(|colon| colon + 1 < end) {
                note(Kind::UrlCredentials, start, start + end, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn passwords_are_found_and_hosts_stay() {
        finds(
            &UrlCredentials,
            "s3://key:sec-ret@bucket.example/x",
            "key:sec-ret",
        );
        finds(
            &UrlCredentials,
            "postgres://u:p%40ss@db:5432/runs?a=b",
            "u:p%40ss",
        );
        finds(&UrlCredentials, "redis://:only@host", ":only");
    }

    #[test]
    fn hosts_ports_and_paths_are_none() {
        for text in [
            "https://example.com:8080/a@b",
            "ssh://git@example.com/x",
            "http://host:80",
            "a://b",
        ] {
            finds_nothing(&UrlCredentials, text);
        }
    }
}
