//! The way back: originals to the front door, under the event ids that they had.
//!
//! A replay opens the original with the identity file. What was taken meanwhile is a duplicate and not a second event. A line
//! of a file or a request is read again by the parser of its format; one that is still bad becomes a new dead letter in the
//! same transaction. The old letter stays: the topic forgets it when its time is over, and until then it can be replayed
//! again.

use super::DeadLetterError;
use crate::ingest::format::{self, Out, Position, Reject, Setup};
use crate::ingest::{FORMAT_HEADER, Origin, REPLAY_HEADER, RUN_HEADER, Writer};
use crate::metrics::wall_time_ms;
use crate::redaction::Redaction;
use crate::seal::{self, Identity, Recipient, plaintext_sha256};
use cairn_avro::hex;
use cairn_avro::record::DeadLetter;
use cairn_bus::{Headers, Log, Membership, SchemaRegistry};
use cairn_operators::admit::AdmitRules;
use cairn_operators::redact::Tally;
use serde::Serialize;
use std::collections::BTreeMap;

/// Letters replayed in one transaction.
const BATCH_LETTERS: usize = 500;

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
    /// Takes out what nobody may see.
    pub redaction: &'a Redaction,
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
            with.redaction,
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
        source: path.to_owned(),
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
        .and_then(|()| parser.broken(position, &mut out))
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
    for mut event in std::mem::take(&mut out.events) {
        with.redaction
            .payload(&letter.tenant, &mut event.payload, &mut Tally::default());
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
    let text = out.rejects.first().map_or(String::new(), |reject| {
        with.redaction
            .message(&letter.tenant, &reject.text)
            .into_owned()
    });
    Ok(Replayed {
        id: id.clone(),
        outcome,
        sent,
        text,
    })
}
