//! Passwords, tokens and keys without a shape of their own: the word before says what they are, and the value has to look
//! like one.

use super::scan::{has_word, is_word, note};
use super::{Found, Kind, Recogniser, Text};

/// Endings of names, without marks and in lower case, behind which any value is a secret.
const STRONG: &[&str] = &[
    "accesskey",
    "accountkey",
    "apikey",
    "authkey",
    "authtoken",
    "accesstoken",
    "clientsecret",
    "encryptionkey",
    "kennwort",
    "passcode",
    "passphrase",
    "passwd",
    "passwort",
    "password",
    "privatekey",
    "pwd",
    "refreshtoken",
    "secret",
    "secretkey",
    "secretaccesskey",
    "sessiontoken",
    "sharedaccesskey",
    "signingkey",
    "storagekey",
    "connectionstring",
    "xapikey",
];
/// Endings behind which it is one where it looks random: telemetry counts tokens and caches keys.
const WEAK: &[&str] = &[
    "auth",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "hfkey",
    "key",
    "pass",
    "pin",
    "sessionid",
    "sig",
    "signature",
    "token",
    "wandbkey",
];
/// Names behind which a scheme may stand before the value (RFC 9110 §11.6.2).
const SCHEMED: &[&str] = &["authorization", "proxyauthorization"];
const SCHEMES: &[&str] = &[
    "Bearer ", "bearer ", "Basic ", "basic ", "Token ", "token ", "Digest ",
];
/// Values that say that there is none, or what is wrong with it.
const PLAIN: &[&str] = &[
    "denied",
    "empty",
    "expired",
    "false",
    "incorrect",
    "invalid",
    "missing",
    "needed",
    "none",
    "null",
    "optional",
    "redacted",
    "rejected",
    "required",
    "reset",
    "true",
    "undefined",
    "unset",
    "wrong",
];
/// Longest value.
const VALUE_MAX: usize = 16 << 10;
/// How much of a value is looked at to tell whether it is one.
const JUDGED_MAX: usize = 128;
/// Longest name that is looked at, without marks.
const NAME_MAX: usize = 32;

/// Finds secrets by the word before them.
pub(super) struct Secret;

impl Recogniser for Secret {
    fn kind(&self) -> Kind {
        Kind::Secret
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.text.len() >= 8 && (text.has_colon() || text.has_equals() || text.has_space())
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        let mut at = 0;
        while let Some(offset) = bytes[at..].iter().position(|byte| b"=:".contains(byte)) {
            let mark = at + offset;
            // what is a value is not looked at again
            at = match assigned(bytes, mark) {
                Some((start, end)) => {
                    note(Kind::Secret, start, end, found);
                    end
                }
                None => mark + 1,
            };
        }
        if text.has_space() {
            said(bytes, found);
        }
    }
}

/// The value of `name=value`, `"name": "value"` and the like, around the mark.
fn assigned(bytes: &[u8], mark: usize) -> Option<(usize, usize)> {
    let mut end = mark;
    while end > 0 && mark - end < 4 && b" \"'\\]".contains(&bytes[end - 1]) {
        end -= 1;
    }
    let strength = strength(&bytes[..end]);
    if strength == Strength::None {
        return None;
    }
    let mut start = mark + 1;
    while start < bytes.len() && start - mark < 6 && b" \t\"'\\=".contains(&bytes[start]) {
        start += 1;
    }
    let quote = bytes[mark + 1..start]
        .iter()
        .rev()
        .find(|byte| b"\"'".contains(byte));
    let scheme = SCHEMES
        .iter()
        .find(|scheme| bytes[start..].starts_with(scheme.as_bytes()));
    start += scheme.map_or(0, |scheme| scheme.len());
    let strength = match scheme {
        Some(_) => Strength::Strong,
        None => strength,
    };
    is_secret(value(bytes, start, quote, JUDGED_MAX), strength)
        .then(|| (start, start + value(bytes, start, quote, VALUE_MAX).len()))
}

/// Words behind which a value follows after a blank, and how long it is at least.
const SAYINGS: &[(&str, usize)] = &[
    ("is", 6),
    ("was", 6),
    ("bearer", 12),
    ("-p", 12),
    ("--password", 6),
    ("--token", 12),
    ("--api-key", 12),
    ("password", 8),
    ("passwd", 8),
    ("pwd", 8),
    ("passphrase", 8),
    ("passcode", 8),
];

/// `the password is value`, `pwd value` and `Bearer value`: no mark stands between.
fn said(bytes: &[u8], found: &mut Vec<Found>) {
    let (mut word, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at] != b' ' {
            at += 1;
            continue;
        }
        let said = &bytes[word..at];
        let known = SAYINGS
            .iter()
            .find(|(saying, _)| said.eq_ignore_ascii_case(saying.as_bytes()));
        let before = &bytes[..word.saturating_sub(1)];
        at += 1;
        word = at;
        let Some((saying, needed)) = known else {
            continue;
        };
        if matches!(*saying, "is" | "was") && strength(before) != Strength::Strong {
            continue;
        }
        let quote = bytes.get(at).filter(|byte| b"\"'`".contains(byte));
        let start = at + usize::from(quote.is_some());
        let value = value(bytes, start, quote, VALUE_MAX);
        let (has_letter, has_other) = (
            value.iter().any(u8::is_ascii_alphabetic),
            value.iter().any(|byte| !byte.is_ascii_alphabetic()),
        );
        let looks = value.len() >= *needed && has_letter && has_other && !is_path(value);
        if looks || quote.is_some() && value.len() >= 6 {
            note(Kind::Secret, start, start + value.len(), found);
            at = start + value.len();
            word = at;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    None,
    Weak,
    Strong,
    Schemed,
}

/// What the name at the end of the text says of its value.
fn strength(before: &[u8]) -> Strength {
    // the name backwards, without marks and in lower case
    let mut name = [0; NAME_MAX];
    let mut length = 0;
    let is_part = |byte: &&u8| is_word(**byte) || b"_-.".contains(byte);
    let letters = before.iter().rev().take(NAME_MAX * 2).take_while(is_part);
    for byte in letters.filter(|byte| is_word(**byte)) {
        if length == NAME_MAX {
            break;
        }
        name[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    let name = &name[..length];
    let ends = |words: &[&str]| {
        words.iter().any(|word| {
            word.len() <= name.len()
                && word
                    .bytes()
                    .rev()
                    .zip(name)
                    .all(|(one, other)| one == *other)
        })
    };
    // `API key`, `access token`: two words
    if ends(STRONG)
        || (ends(&["key", "token"])
            && has_word(
                tail(before),
                &[
                    "api", "access", "secret", "auth", "private", "client", "refresh",
                ],
            ))
    {
        Strength::Strong
    } else if ends(SCHEMED) {
        Strength::Schemed
    } else if ends(WEAK) {
        Strength::Weak
    } else {
        Strength::None
    }
}

fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(16)..]
}

/// The value that begins here: to its quote, else to the next blank or mark of a list.
fn value<'b>(bytes: &'b [u8], start: usize, quote: Option<&u8>, most: usize) -> &'b [u8] {
    let rest = &bytes[start.min(bytes.len())..];
    if super::pseudonym::length(rest).is_some() {
        return &[];
    }
    let length = rest
        .iter()
        .take(most)
        .take_while(|byte| match quote {
            Some(quote) => *byte != quote && !b"\\\n".contains(byte),
            None => !byte.is_ascii_whitespace() && !b",;&\"'<>)}]|\\`".contains(byte),
        })
        .count();
    let value = &rest[..length];
    // the full stop ends the sentence
    value.strip_suffix(b".").unwrap_or(value)
}

fn is_secret(value: &[u8], strength: Strength) -> bool {
    let is_plain = PLAIN
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    let has_digit = value.iter().any(u8::is_ascii_digit);
    let has_letter = value.iter().any(u8::is_ascii_alphabetic);
    match strength {
        Strength::None => false,
        Strength::Strong => value.len() >= 4 && !is_plain && !is_path(value),
        Strength::Schemed | Strength::Weak => {
            value.len() >= 16 && has_digit && has_letter && !is_path(value)
        }
    }
}

/// A place where the secret is kept is none.
fn is_path(value: &[u8]) -> bool {
    value.starts_with(b"/")
        || value.starts_with(b"./")
        || value.starts_with(b"$")
        || value.starts_with(b"~/")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn the_word_before_makes_one() {
        for (text, secret) in [
            ("password=hunter2", "hunter2"),
            ("login failed, pwd: 'correct horse'", "correct horse"),
            ("{\"api_key\":\"q9w8e7\"}", "q9w8e7"),
            ("{\\\"client_secret\\\": \\\"a1b2c3\\\"}", "a1b2c3"),
            ("the password is hunter2.", "hunter2"),
            ("tried password hunter2hunter2 and failed", "hunter2hunter2"),
            ("Authorization: Bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
            (
                "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
                "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            // AWS's own documentation
            (
                "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            ),
            (
                "https://x.example/f?sig=a8f5f167f44f4964e6c998dee827110c&v=1",
                "a8f5f167f44f4964e6c998dee827110c",
            ),
            (
                "WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
                "0123456789abcdef0123456789abcdef01234567",
            ),
            ("the API key: zxcvbn123", "zxcvbn123"),
        ] {
            finds(&Secret, text, secret);
        }
    }

    #[test]
    fn telemetry_and_complaints_are_none() {
        for text in [
            "tokens: 5000000",
            "token=128256",
            "key: loss",
            "password: required",
            "the password is wrong",
            "a password manager is used",
            "sort key=step",
            "pad_token: <|endoftext|>",
            "identity: /etc/cairn/key",
            "kv cache is 16384 entries",
        ] {
            finds_nothing(&Secret, text);
        }
    }
}
