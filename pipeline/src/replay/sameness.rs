//! What tells records apart, and when two are the same.

use super::pairing::Digest;
use cairn_avro::record::{Answer, DeadLetter};
use cairn_avro::{codec, frame};
use cairn_bus::Headers;
use sha2::{Digest as _, Sha256};

/// What tells the records of a partition apart: the key; of telegrams and answers, whose key is the tenant, their own id. By the
/// tenant alone an answer that its asker did not live to write would stand for another one that was written.
pub(super) fn identity(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    match topic {
        "cockpit.telegrams" => telegram(value, "telegram_id").map(String::into_bytes),
        "answers" => ask_id(value).map(String::into_bytes),
        _ => None,
    }
    .unwrap_or_else(|| key.unwrap_or_default().to_vec())
}

/// What an answer answers.
fn ask_id(value: Option<&[u8]>) -> Option<String> {
    let frame = frame::split(value?).ok()?;
    let answer = codec::decode::<Answer>(frame.body).ok()?;
    Some(answer.ask_id)
}

/// A text member of a telegram.
pub(super) fn telegram(value: Option<&[u8]>, member: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(value?).ok()?;
    value.get(member)?.as_str().map(str::to_owned)
}

/// SHA-256 of key, value and headers; a dead letter's without its seal, which is drawn anew each time: what was sealed is
/// there by its digest.
pub(super) fn digest(
    topic: &str,
    key: &Option<Vec<u8>>,
    value: Option<&[u8]>,
    headers: &Headers,
    letter: Option<DeadLetter>,
) -> Digest {
    let mut hash = Sha256::new();
    let mut part = |bytes: Option<&[u8]>| match bytes {
        None => hash.update(u64::MAX.to_be_bytes()),
        Some(bytes) => {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
    };
    part(key.as_deref());
    match value {
        Some(value) if topic == "deadletter" => part(Some(&unsealed(value, letter))),
        value => part(value),
    }
    for (name, value) in headers {
        part(Some(name.as_bytes()));
        part(Some(value));
    }
    hash.finalize().into()
}

/// A dead letter's bytes with an empty seal.
fn unsealed(value: &[u8], letter: Option<DeadLetter>) -> Vec<u8> {
    let letter = letter.or_else(|| {
        let frame = frame::split(value).ok()?;
        codec::decode::<DeadLetter>(frame.body).ok()
    });
    let Some(letter) = letter else {
        return value.to_vec();
    };
    let letter = DeadLetter {
        sealed: Vec::new(),
        sealed_recipient: String::new(),
        ..letter
    };
    let mut bytes = value.get(..5).unwrap_or_default().to_vec();
    if codec::encode(&letter, &mut bytes).is_err() {
        return value.to_vec();
    }
    bytes
}
