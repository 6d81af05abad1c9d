//! Private keys: PEM (RFC 7468) from its first line to its last, or to the end where the last is cut off; age identities.

use super::scan::note;
use super::{Found, Kind, Recogniser, Text};

const BEGIN: &str = "-----BEGIN ";
const PRIVATE: &str = "PRIVATE KEY";
const END: &str = "-----END ";
const MARK: &str = "-----";
/// Longest name of a kind of key: `ENCRYPTED PRIVATE KEY BLOCK` and the like.
const NAME_MAX: usize = 64;
/// Longest key that is looked at; RSA of 16,384 bits has 12,700 characters.
const KEY_MAX: usize = 16 << 10;
const AGE: &str = "AGE-SECRET-KEY-1";

/// Finds private keys.
pub(super) struct PrivateKey;

impl Recogniser for PrivateKey {
    fn kind(&self) -> Kind {
        Kind::PrivateKey
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.text.len() >= 40 && text.has_hyphen() && text.has_upper()
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let text = text.text;
        let mut at = 0;
        while let Some(offset) = text[at..].find(BEGIN) {
            let start = at + offset;
            at = start + BEGIN.len();
            let name = cut(&text[at..], NAME_MAX);
            let Some(length) = name
                .find(MARK)
                .filter(|length| name[..*length].contains(PRIVATE))
            else {
                continue;
            };
            let inner = at + length + MARK.len();
            let body = cut(&text[inner..], KEY_MAX);
            let end = match body.find(END) {
                Some(length) => {
                    let name = inner + length + END.len();
                    let rest = cut(&text[name..], NAME_MAX + MARK.len());
                    rest.find(MARK)
                        .map_or(name, |length| name + length + MARK.len())
                }
                None => inner + body.bytes().take_while(is_body).count(),
            };
            note(Kind::PrivateKey, start, end, found);
            at = end;
        }
        let mut at = 0;
        while let Some(offset) = text[at..].find(AGE) {
            let start = at + offset;
            let length = text[start..]
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
                .count();
            if length > AGE.len() + 30 {
                note(Kind::PrivateKey, start, start + length, found);
            }
            at = start + length;
        }
    }
}

/// What the lines of a key are made of, escaped line ends included.
fn is_body(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/= \r\n\\:,-".contains(byte)
}

/// The beginning of a text, so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// The shortest example of RFC 8410, section 10.3.
    const ED25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----";

    #[test]
    fn keys_are_found_whole_escaped_and_cut_off() {
        finds(&PrivateKey, &format!("key:\n{ED25519}\n"), ED25519);
        let escaped = ED25519.replace('\n', "\\n");
        finds(&PrivateKey, &format!("{{\"key\":\"{escaped}\"}}"), &escaped);
        let cut = &ED25519[..60];
        finds(&PrivateKey, cut, cut);
    }

    #[test]
    fn what_is_public_is_none() {
        finds_nothing(
            &PrivateKey,
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----",
        );
        finds_nothing(
            &PrivateKey,
            "-----BEGIN CERTIFICATE----- no PRIVATE KEY here -----END",
        );
    }
}
