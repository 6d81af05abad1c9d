//! Dead letters: list them, show one, replay some.
//!
//! A replay opens the original with the identity file and sends it to the front door again, under the event id that it
//! had, so that what was taken meanwhile is a duplicate and not a second event. A line of a file is read again by the
//! parser of its format; one that is still bad becomes a new dead letter in the same transaction. The old letter stays:
//! the topic forgets it when its time is over, and until then it can be replayed again.

use crate::ingest::format::{self, Out, Position, Reject, Setup};
use crate::ingest::{FORMAT_HEADER, IngestError, Origin, REPLAY_HEADER, RUN_HEADER, Writer};
use crate::metrics::wall_time_ms;
use crate::seal::{self, Identity, Recipient, SealError, plaintext_sha256};
use cairn_avro::record::DeadLetter;
use cairn_avro::{codec, frame, hex};
use cairn_bus::{Fault, Headers, Log, Membership, Offsets, SchemaRegistry};
use cairn_operators::admit::AdmitRules;
use cairn_topics::handle::DEADLETTER;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Records asked of the log at once.
const READ_RECORDS: usize = 1_000;
/// How long a read waits: what is asked for is there already.
const PATIENCE: Duration = Duration::from_secs(5);
/// Letters replayed in one transaction.
const BATCH_LETTERS: usize = 500;
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
    let mut reader = log.reader()?;
    for (part, (start, end)) in reader.ends(&[DEADLETTER.name])? {
        let mut from = Offsets::from([(part.clone(), start)]);
        while from.get(&part).is_some_and(|next| *next < end) {
            let (records, next) = reader.read(&from, PATIENCE, READ_RECORDS)?;
            for record in records.iter().filter(|record| record.offset < end) {
                let Some(value) = &record.value else { continue };
                let letter = frame::split(value)
                    .map_err(|error| error.to_string())
                    .and_then(|framed| {
                        codec::decode::<DeadLetter>(framed.body).map_err(|error| error.to_string())
                    })
                    .map_err(|error| {
                        DeadLetterError::Refused(format!(
                            "{part} offset {}: {error}; is this program older than its writer?",
                            record.offset
                        ))
                    })?;
                each(letter);
            }
            if records.is_empty() && next == from {
                break;
            }
            from.extend(next);
        }
    }
    Ok(())
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

/// What became of a replayed letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The letter.
    pub id: String,
    /// What was done.
    pub outcome: Outcome,
    /// Records sent to ingress.
    pub sent: u64,
    /// Why not, where not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What was done with a replayed letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is at the front door; `admit` judges it.
    Sent,
    /// It is still bad: a new dead letter says why.
    Dead,
    /// It cannot be replayed; it stays as it is.
    Refused,
}

/// With what letters are replayed.
pub struct Replay<'a> {
    /// Where to.
    pub log: &'a dyn Log,
    /// Ids of schemas.
    pub registry: &'a dyn SchemaRegistry,
    /// Opens originals.
    pub identity: &'a Identity,
    /// Seals those that are still bad.
    pub recipient: &'a Recipient,
    /// Prefix of groups.
    pub app_id: &'a str,
    /// What `admit` lets in.
    pub rules: &'a AdmitRules,
}

/// Replays letters, some hundred in a transaction.
///
/// # Errors
/// The log refused, or an original cannot be opened: then nothing of that transaction was sent.
pub fn replay(with: &Replay<'_>, letters: &[DeadLetter]) -> Result<Vec<Replayed>, DeadLetterError> {
    let topics = with.log.topics()?;
    let mut tenants: Vec<&str> = letters
        .iter()
        .map(|letter| letter.tenant.as_str())
        .collect();
    tenants.sort_unstable();
    tenants.dedup();
    let mut replayed: BTreeMap<&str, Replayed> = BTreeMap::new();
    for tenant in tenants {
        let session = with.log.open(Membership {
            operator: "deadletter".into(),
            group: format!("{}.deadletter", with.app_id),
            // replays of one tenant follow each other; the last one goes on
            instance: tenant.to_owned(),
            thread: 0,
            topics: Vec::new(),
        })?;
        let mut writer = Writer::new(
            session,
            with.registry,
            &topics,
            tenant,
            None,
            with.recipient,
        );
        let of_tenant: Vec<&DeadLetter> = letters
            .iter()
            .filter(|letter| letter.tenant == tenant)
            .collect();
        for batch in of_tenant.chunks(BATCH_LETTERS) {
            for letter in batch {
                replayed.insert(&letter.deadletter_id, one(with, letter, &mut writer)?);
            }
            writer.commit()?;
        }
        writer.close()?;
    }
    Ok(letters
        .iter()
        .filter_map(|letter| replayed.get(letter.deadletter_id.as_str()).cloned())
        .collect())
}

fn one(
    with: &Replay<'_>,
    letter: &DeadLetter,
    writer: &mut Writer<'_>,
) -> Result<Replayed, DeadLetterError> {
    let id = letter.deadletter_id.clone();
    let done = |outcome, sent, text: &str| {
        Ok(Replayed {
            id: id.clone(),
            outcome,
            sent,
            text: text.to_owned(),
        })
    };
    let original =
        seal::open(with.identity, &letter.sealed).map_err(|error| DeadLetterError::Seal {
            id: id.clone(),
            error,
        })?;
    if plaintext_sha256(&original)[..] != letter.plaintext_sha256 {
        return done(
            Outcome::Refused,
            0,
            "the original is not what its digest says; the letter is damaged",
        );
    }
    let Some((_, topic)) = cairn_topics::split_tenant(&letter.topic) else {
        let text = format!(
            "it was headed for {}, where nothing comes in from outside; repair its cause instead",
            letter.topic
        );
        return done(Outcome::Refused, 0, &text);
    };
    if let Some(file) = &letter.file {
        let position = Position {
            line: file.line.unsigned_abs(),
            byte: file.byte.unsigned_abs(),
        };
        return line(with, letter, &file.path, position, &original, writer);
    }
    let mut headers: Headers = letter
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(event_id) = &letter.event_id
        && !letter.headers.contains_key("event_id")
    {
        headers.push(("event_id".into(), hex::text(event_id).into_bytes()));
    }
    headers.retain(|(name, _)| name != REPLAY_HEADER);
    headers.push((REPLAY_HEADER.into(), id.clone().into_bytes()));
    let key = letter.key.clone();
    match writer.raw(topic.name, key, original, headers, with.rules)? {
        Ok(()) => done(Outcome::Sent, 1, ""),
        Err(rejection) => done(Outcome::Refused, 0, &rejection.text),
    }
}

/// Reads a line of a file again.
fn line(
    with: &Replay<'_>,
    letter: &DeadLetter,
    path: &str,
    position: Position,
    original: &[u8],
    writer: &mut Writer<'_>,
) -> Result<Replayed, DeadLetterError> {
    let id = letter.deadletter_id.clone();
    let header = |name| {
        letter
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    };
    let (name, run_id) = (header(FORMAT_HEADER), header(RUN_HEADER));
    let refused = |text: String| {
        Ok(Replayed {
            id: id.clone(),
            outcome: Outcome::Refused,
            sent: 0,
            text,
        })
    };
    let setup = Setup {
        run_id: run_id.clone(),
        ..Setup::default()
    };
    // a table's row means nothing without its header and mapping, an entry of a document nothing without the document
    let mut parser = match format::named(&name).and_then(|format| format.parser(&setup)) {
        Ok(parser) => parser,
        Err(refusal) => {
            return refused(format!(
                "{refusal}; correct {path} and ingest it again, which adds what is missing"
            ));
        }
    };
    let mut out = Out {
        rules: with.rules.clone(),
        received_ms: wall_time_ms(),
        ..Out::default()
    };
    if let Err(refusal) = parser
        .unit(original, position, &mut out)
        .and_then(|()| parser.flush(&mut out))
    {
        return refused(refusal.to_string());
    }
    if out.events.is_empty() && out.rejects.is_empty() {
        out.rejects.push(Reject {
            class: "bad_line",
            text: format!("nothing of format {name} is in it; what was cut off is missing, ingest the whole file again"),
            topic: letter.topic.clone(),
            position,
            original: original.to_vec(),
        });
    }
    let origin = Origin {
        path,
        format: &name,
        run_id: &run_id,
        replay_of: Some(&id),
    };
    let mut sent = 0;
    for event in std::mem::take(&mut out.events) {
        match writer.event(&event, with.rules)? {
            Ok(()) => sent += 1,
            Err(rejection) => out.rejects.push(Reject {
                class: rejection.class,
                text: rejection.text,
                topic: letter.topic.clone(),
                position,
                original: original.to_vec(),
            }),
        }
    }
    for reject in &out.rejects {
        writer.dead_letter(reject, &origin)?;
    }
    let outcome = if out.rejects.is_empty() {
        Outcome::Sent
    } else {
        Outcome::Dead
    };
    let text = out
        .rejects
        .first()
        .map(|reject| reject.text.clone())
        .unwrap_or_default();
    Ok(Replayed {
        id: id.clone(),
        outcome,
        sent,
        text,
    })
}
