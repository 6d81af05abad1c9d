//! JSON Web Tokens: RFC 7515's three parts, RFC 7516's five, base64url with full stops between; the header begins `{"`,
//! which is `eyJ`.

use super::scan::{note, tokens};
use super::{Found, Kind, Recogniser, Text};

/// Shortest header that names an algorithm: `{"alg":"X"}` is 15 characters.
const HEADER_MIN: usize = 15;

/// Finds tokens.
pub(super) struct Jwt;

impl Recogniser for Jwt {
    fn kind(&self) -> Kind {
        Kind::Jwt
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.text.len() >= 2 * HEADER_MIN && text.has_dot() && text.has_upper()
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for (start, end) in tokens(bytes, b"-_.") {
            let word = &bytes[start..end];
            let mut end = end;
            while bytes[end - 1] == b'.'
                && word.ends_with(b".")
                && end - 1 > start
                && bytes[end - 2] != b'.'
            {
                end -= 1;
            }
            let begin = word
                .windows(3)
                .position(|three| three == b"eyJ")
                .filter(|at| *at == 0 || b"-_.".contains(&word[at - 1]));
            let Some(begin) = begin else { continue };
            let mut parts = bytes[start + begin..end].split(|byte| *byte == b'.');
            let header = parts.next().unwrap_or_default();
            let payload = parts.next().unwrap_or_default();
            let more = parts.count();
            if header.len() >= HEADER_MIN && payload.len() >= 2 && (1..=3).contains(&more) {
                note(Kind::Jwt, start + begin, end, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    /// The token of RFC 7515, appendix A.1, without the line breaks of print.
    #[test]
    fn the_token_of_the_rfc_is_found() {
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        finds(&Jwt, token, token);
        finds(&Jwt, &format!("cookie {token}."), token);
    }

    #[test]
    fn halves_and_names_are_none() {
        for text in [
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "eyJ.eyJ.x",
            "model.layers.12.self_attn.q_proj.weight.Grad",
        ] {
            finds_nothing(&Jwt, text);
        }
    }
}
