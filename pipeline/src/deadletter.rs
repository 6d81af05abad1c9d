//! Dead letters: list them, find and show some, and `replay` them.

mod replay;

pub use replay::{Outcome, Replay, Replayed, replay};

use crate::contents;
use crate::ingest::IngestError;
use crate::seal::SealError;
use cairn_avro::hex;
use cairn_avro::record::DeadLetter;
use cairn_bus::{Fault, Log};
use cairn_topics::handle::DEADLETTER;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Shortest beginning of an id that is taken for the whole.
const PREFIX_CHARS_MIN: usize = 6;

/// Why dead letters could not be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The log refused, or is not there.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The original cannot be opened.
    #[error("dead letter {id}: {error}")]
    Seal {
        /// The letter.
        id: String,
        /// Why.
        error: SealError,
    },
    /// Something else is wrong with the request.
    #[error("{0}")]
    Refused(String),
}

impl From<IngestError> for DeadLetterError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Fault(fault) => Self::Fault(fault),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// What `cairn deadletter list --json` prints of a letter.
#[must_use]
pub fn listed(letter: &DeadLetter) -> Value {
    let source = match (&letter.source, &letter.file) {
        (Some(offset), _) => {
            json!({"topic": offset.topic, "partition": offset.partition, "offset": offset.offset})
        }
        (None, Some(file)) => json!({"file": file.path, "line": file.line, "byte": file.byte}),
        (None, None) => Value::Null,
    };
    json!({
        "id": letter.deadletter_id,
        "class": letter.class,
        "text": letter.text,
        "source": source,
        "sha256": hex::text(&letter.plaintext_sha256),
        "excerpt": letter.excerpt,
    })
}

/// What `cairn deadletter show ID --json` prints: the list's members and the rest; never the original.
#[must_use]
pub fn shown(letter: &DeadLetter) -> Value {
    let mut value = listed(letter);
    if let Value::Object(members) = &mut value {
        let headers: BTreeMap<&str, String> = letter
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str(),
                    String::from_utf8(value.clone()).unwrap_or_else(|_| hex::text(value)),
                )
            })
            .collect();
        members.extend([
            ("tenant".to_owned(), json!(letter.tenant)),
            ("topic".to_owned(), json!(letter.topic)),
            (
                "event_id".to_owned(),
                json!(letter.event_id.as_deref().map(hex::text)),
            ),
            ("schema_id".to_owned(), json!(letter.schema_id)),
            ("headers".to_owned(), json!(headers)),
            ("size_bytes".to_owned(), json!(letter.plaintext_bytes)),
            (
                "sealed_recipient".to_owned(),
                json!(letter.sealed_recipient),
            ),
            ("operator".to_owned(), json!(letter.operator)),
            (
                "operator_version".to_owned(),
                json!(letter.operator_version),
            ),
            ("traceparent".to_owned(), json!(letter.traceparent)),
            ("append_time_ms".to_owned(), json!(letter.append_time_ms)),
        ]);
    }
    value
}

/// Calls `each` with every dead letter that is there now, partition by partition in order.
///
/// # Errors
/// The log cannot be read, or holds a letter that this program cannot read.
pub fn list(log: &dyn Log, each: &mut dyn FnMut(DeadLetter)) -> Result<(), DeadLetterError> {
    contents::each(log, DEADLETTER.name, &mut |record| {
        let Some(value) = &record.value else {
            return Ok(());
        };
        let letter = contents::decoded(record, value).map_err(DeadLetterError::Refused)?;
        each(letter);
        Ok(())
    })
}

/// Finds letters by their ids, or by beginnings of at least six characters that only one has. The last of equal ids counts.
///
/// # Errors
/// As [`list`]; an id that none or several letters have.
pub fn find(log: &dyn Log, ids: &[String]) -> Result<Vec<DeadLetter>, DeadLetterError> {
    let mut found: BTreeMap<&str, BTreeMap<String, DeadLetter>> = ids
        .iter()
        .map(|id| (id.as_str(), BTreeMap::new()))
        .collect();
    list(log, &mut |letter| {
        for (id, letters) in &mut found {
            let matches = letter.deadletter_id == **id
                || id.len() >= PREFIX_CHARS_MIN && letter.deadletter_id.starts_with(*id);
            if matches {
                letters.insert(letter.deadletter_id.clone(), letter.clone());
            }
        }
    })?;
    ids.iter()
        .map(|id| {
            let mut letters = found.remove(id.as_str()).unwrap_or_default().into_values();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => Ok(letter),
                (None, _) => Err(DeadLetterError::Refused(format!(
                    "there is no dead letter {id}; `cairn deadletter list` shows those that are kept"
                ))),
                (Some(one), Some(other)) => Err(DeadLetterError::Refused(format!(
                    "{id} begins {} as well as {}; write more of it",
                    one.deadletter_id, other.deadletter_id
                ))),
            }
        })
        .collect()
}
