//! Excerpts: what people may see of a record that was refused.
//!
//! Allow-list, because nobody knows what a bad row holds. Numbers, punctuation, names of members and the words of the
//! contract and of training logs are shown; every other word is replaced by its length, so that the structure stays
//! readable and names, prompts, addresses and tokens do not.

use crate::redaction::Redaction;
use cairn_operators::redact::pseudonym_length;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::OnceLock;

/// Longest name of a member that is shown.
const NAME_BYTES_MAX: usize = 64;
/// Longest run of digits that is shown: milliseconds since 1970 have 13; card and account numbers have more.
const DIGITS_MAX: usize = 13;

/// Words that training logs and their rows use, besides those of the contract's fields.
const WORDS: &str = "adam adamw all avg bf16 bfloat16 bool consumed csv dense elapsed eval false fp16 fp32 fp8 global hella \
    inf infinity info iter iteration iterations its json lion lm lr max mean mfu min mlp moe ms muon nan nats neg nll none norm \
    null number off on optimizer or per peak ppl rank s sample samples sec second seconds sgd shampoo soap std sum tel the tok tokens total \
    train trl true val value warning x y z zeros";

fn vocabulary() -> &'static BTreeSet<String> {
    static VOCABULARY: OnceLock<BTreeSet<String>> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        let entries = cairn_avro::contract::all();
        let fields = entries
            .iter()
            .flat_map(|entry| entry.field_names().iter().copied());
        let topics = entries
            .iter()
            .flat_map(|entry| entry.topics.iter().copied());
        fields
            .chain(topics)
            .flat_map(|name| name.split(['_', '.']))
            .chain(WORDS.split_whitespace())
            .map(str::to_ascii_lowercase)
            .collect()
    })
}

/// How much more than an excerpt is redacted: what is cut in its middle is no card and no token any more.
const SLACK_BYTES: usize = 4096;

/// An excerpt of an original, at most so many characters. What recognisers find is a pseudonym; of the rest the words that are
/// known are shown.
#[must_use]
pub fn excerpt(redaction: &Redaction, tenant: &str, original: &[u8], chars_max: usize) -> String {
    if original.first() == Some(&0) && original.len() >= 5 {
        return known(original, chars_max, original.len());
    }
    let cut = &original[..original.len().min(chars_max * 4 + SLACK_BYTES)];
    let cut = match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    };
    known(&redaction.bytes(tenant, cut), chars_max, original.len())
}

/// The words that are known, of an original that had so many bytes.
fn known(original: &[u8], chars_max: usize, bytes: usize) -> String {
    if original.first() == Some(&0) && original.len() >= 5 {
        let id = u32::from_be_bytes([original[1], original[2], original[3], original[4]]);
        return format!("<frame: schema id {id}, {bytes} bytes>");
    }
    // enough for the excerpt even when every character has four bytes
    let cut = &original[..original.len().min(chars_max * 4)];
    let text = match std::str::from_utf8(cut) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && cut.len() < original.len() => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return format!("<{bytes} bytes, no text>"),
    };
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() && out.len() < chars_max * 4 {
        if let Some(length) = pseudonym_length(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if let Some(name) = member_name(rest) {
            let _ = write!(out, "\"{name}\"");
            rest = &rest[name.len() + 2..];
            continue;
        }
        let length = rest.find(|c| !word_character(c)).unwrap_or(rest.len());
        if length == 0 {
            let character = rest.chars().next().unwrap_or_default();
            out.push(if character.is_control() {
                ' '
            } else {
                character
            });
            rest = &rest[character.len_utf8()..];
        } else {
            show(&rest[..length], &mut out);
            rest = &rest[length..];
        }
    }
    if out.chars().count() > chars_max
        || text.len() < original.len()
        || bytes > original.len() + SLACK_BYTES
    {
        out = out.chars().take(chars_max.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

/// Characters that hold a word together, so that an address or a token is one word.
fn word_character(character: char) -> bool {
    character.is_alphanumeric() || "_-+.@/\\%#$&~".contains(character)
}

/// The name of a JSON member at the beginning of the text: a quoted identifier with a colon behind it.
fn member_name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    let (name, behind) = inner.split_once('"')?;
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let shown = plain
        && !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit())
        && digits_max(name) <= 4
        && behind.trim_start().starts_with(':');
    shown.then_some(name)
}

fn digits_max(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// A word, or its length.
fn show(word: &str, out: &mut String) {
    let digits = word
        .trim_end_matches("ms")
        .trim_end_matches(['%', 's', '/', '.']);
    let number = digits.parse::<f64>().is_ok() && word.is_ascii();
    let decimals = digits.contains('.');
    let known = |part: &str| {
        part.is_empty()
            || vocabulary().contains(&part.to_ascii_lowercase())
            || part.parse::<u16>().is_ok()
    };
    let words = word.split(['_', '-', '.', '/', '%']).all(known)
        && !word.contains(['@', '\\', '#', '$', '&', '~', '+']);
    if number && (decimals || digits_max(digits) <= DIGITS_MAX) || words {
        out.push_str(word);
    } else {
        let _ = write!(out, "<{}>", word.chars().count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(original: &[u8], chars_max: usize) -> String {
        super::excerpt(&Redaction::default(), "t", original, chars_max)
    }

    #[test]
    fn log_lines_and_rows_stay_readable() {
        for line in [
            "s:123 trl:3.2s:124 lr:0.000001 norm:1.5",
            "iteration 7000/ 159576 | consumed samples: 260912 | lm loss: 6.4E+00",
            r#"{"run_id":7,"stepp":12,"loss":"NaN","topic":"telemetry.training"}"#,
            "step:3/10 train_loss: train_time:12ms",
        ] {
            assert_eq!(excerpt(line.as_bytes(), 512).replace("<4>", "3.2s"), line);
        }
    }

    #[test]
    fn what_people_wrote_does_not_come_through() {
        let row = r#"{"prompt":"My name is Mia Li, mia.li@example.com","key":"sk-live-0123456789abcdef","card":4111111111111111,"n":3}"#;
        let shown = excerpt(row.as_bytes(), 512);
        for secret in [
            "Mia",
            "example",
            "sk-live",
            "0123456789abcdef",
            "4111111111111111",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(
            shown.starts_with(r#"{"prompt":"<2> name "#)
                && shown.ends_with(r#""card":<card>,"n":3}"#),
            "{shown}"
        );
    }

    #[test]
    fn frames_and_bytes_are_only_described() {
        assert_eq!(
            excerpt(&[0, 0, 0, 0, 7, 1, 2], 512),
            "<frame: schema id 7, 7 bytes>"
        );
        assert_eq!(excerpt(&[0xff, 0xfe], 512), "<2 bytes, no text>");
        assert_eq!(excerpt(b"", 512), "");
    }

    #[test]
    fn it_is_short() {
        let long = "loss ".repeat(400);
        let shown = excerpt(long.as_bytes(), 512);
        assert_eq!(shown.chars().count(), 512);
        assert!(shown.ends_with('…'));
    }
}
