//! Keys of clouds and services that say by their first letters whose they are. A new service is a line in [`SHAPES`].

use super::scan::{is_word, note, tokens};
use super::{Found, Kind, Recogniser, Text};

/// Of which characters the rest of a key is made.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Capitals and digits.
    Capitals,
    /// Letters and digits.
    Letters,
    /// Letters, digits, `-` and `_`.
    Url,
    /// Hexadecimal digits.
    Hex,
}

/// A key's beginning, how many characters follow at least and at most, and which.
struct Shape(&'static str, usize, usize, Of);

/// From the services' own documentation, and from the patterns of GitHub's secret scanning programme where they agree.
#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    Shape("AKIA", 16, 16, Of::Capitals), Shape("ASIA", 16, 16, Of::Capitals), Shape("ABIA", 16, 16, Of::Capitals), // AWS
    Shape("ACCA", 16, 16, Of::Capitals),
    Shape("AIza", 35, 35, Of::Url), Shape("GOCSPX-", 28, 28, Of::Url), Shape("ya29.", 20, 512, Of::Url),           // Google
    Shape("ghp_", 36, 255, Of::Letters), Shape("gho_", 36, 255, Of::Letters), Shape("ghu_", 36, 255, Of::Letters), // GitHub
    Shape("ghs_", 36, 255, Of::Letters), Shape("ghr_", 36, 255, Of::Letters), Shape("github_pat_", 60, 255, Of::Url),
    Shape("glpat-", 20, 64, Of::Url), Shape("gldt-", 20, 64, Of::Url), Shape("glrt-", 20, 64, Of::Url),            // GitLab
    Shape("xoxb-", 20, 255, Of::Url), Shape("xoxp-", 20, 255, Of::Url), Shape("xoxa-", 20, 255, Of::Url),          // Slack
    Shape("xoxr-", 20, 255, Of::Url), Shape("xoxs-", 20, 255, Of::Url), Shape("xapp-", 20, 255, Of::Url),
    Shape("sk_live_", 16, 255, Of::Letters), Shape("sk_test_", 16, 255, Of::Letters),                              // Stripe
    Shape("rk_live_", 16, 255, Of::Letters), Shape("rk_test_", 16, 255, Of::Letters), Shape("whsec_", 24, 255, Of::Letters),
    Shape("sk-ant-", 24, 255, Of::Url), Shape("sk-proj-", 24, 255, Of::Url), Shape("sk-or-", 24, 255, Of::Url),    // models
    Shape("sk-svcacct-", 24, 255, Of::Url), Shape("sk-", 32, 255, Of::Letters), Shape("gsk_", 40, 64, Of::Letters),
    Shape("xai-", 40, 255, Of::Letters), Shape("pplx-", 32, 64, Of::Letters), Shape("r8_", 37, 40, Of::Letters),
    Shape("nvapi-", 40, 255, Of::Url), Shape("hf_", 30, 64, Of::Letters), Shape("api_org_", 30, 64, Of::Letters),
    Shape("wandb_v1_", 30, 255, Of::Url),
    Shape("npm_", 36, 36, Of::Letters), Shape("pypi-AgEIcHlwaS5vcmc", 40, 512, Of::Url), Shape("dckr_pat_", 20, 64, Of::Url), // registries
    Shape("dop_v1_", 64, 64, Of::Hex), Shape("doo_v1_", 64, 64, Of::Hex), Shape("shpat_", 32, 32, Of::Hex),
    Shape("SG.", 40, 128, Of::Url), Shape("key-", 32, 32, Of::Hex), Shape("SK", 32, 32, Of::Hex), Shape("lin_api_", 32, 64, Of::Letters),
    Shape("hvs.", 24, 255, Of::Url), Shape("tskey-auth-", 20, 128, Of::Url), Shape("dapi", 32, 32, Of::Hex),
    Shape("glsa_", 32, 64, Of::Url), Shape("sntrys_", 40, 512, Of::Url),
];

/// Finds keys of services.
pub(super) struct ApiKey;

impl Recogniser for ApiKey {
    fn kind(&self) -> Kind {
        Kind::ApiKey
    }

    fn reads_identifiers(&self) -> bool {
        true
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.text.len() >= 20
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for (start, end) in tokens(bytes, b"-_.") {
            if end - start < 20 {
                continue;
            }
            // a key may stand behind other words with `-`, `_` or `.` between
            let mut at = start;
            while end - at >= 20 {
                if (at == start || !is_word(bytes[at - 1]))
                    && let Some(length) = key(&bytes[at..end])
                {
                    note(Kind::ApiKey, at, at + length, found);
                    break;
                }
                at += 1;
            }
        }
    }
}

/// Length of the key that the word begins with.
fn key(word: &[u8]) -> Option<usize> {
    SHAPES.iter().find_map(|Shape(begin, least, most, of)| {
        let rest = word.strip_prefix(begin.as_bytes())?;
        let dotted = *begin == "SG.";
        let length = rest
            .iter()
            .take(most + 1)
            .take_while(|byte| match of {
                Of::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
                Of::Letters => byte.is_ascii_alphanumeric(),
                Of::Url => {
                    byte.is_ascii_alphanumeric() || b"-_".contains(byte) || dotted && **byte == b'.'
                }
                Of::Hex => byte.is_ascii_hexdigit(),
            })
            .count();
        // what words are made of has no digits, or none of one case
        let is_random = rest[..length].iter().any(u8::is_ascii_digit)
            || *of != Of::Url && rest[..length].iter().any(u8::is_ascii_uppercase);
        let ends = rest.get(length).is_none_or(|byte| !is_word(*byte));
        ((*least..=*most).contains(&length) && is_random && ends).then_some(begin.len() + length)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn documented_examples_are_found() {
        for key in [
            // AWS's own documentation
            "AKIAIOSFODNN7EXAMPLE",
            "ASIAIOSFODNN7EXAMPLE",
            // made of the documented shapes
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "glpat-abcDEF_123-ghiJKL456",
            "hf_abcdefghijklmnopqrstuvwxyzABCDEF12",
            "sk-ant-api03-abcdefghijklmnop-QRSTUV_0123456789",
        ] {
            finds(&ApiKey, &format!("with {key}"), key);
            finds(&ApiKey, &format!("KEY={key},"), key);
        }
    }

    #[test]
    fn names_and_digests_are_none() {
        for text in [
            "sk-learn-logistic-regression-baseline-run",
            "model_hf_llama_converted_checkpoint_final",
            "3f786850e387550fdab836ed7e6dc881de23001b",
            "AKIAIOSFODNN7EXAMPL",
            "task-3f786850e387550fdab836ed7e6dc881",
        ] {
            finds_nothing(&ApiKey, text);
        }
    }
}
