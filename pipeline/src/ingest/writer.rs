//! Events, dead letters and progress into one transaction.

use super::IngestError;
use super::format::{Event, Reject};
use super::source::LINE_BYTES_MAX;
use crate::redaction::Redaction;
use crate::seal::{Recipient, SealError, excerpt, plaintext_sha256};
use cairn_avro::contract;
use cairn_avro::record::{DeadLetter, FilePosition, IngestProgress, Payload};
use cairn_avro::{codec, frame, hex};
use cairn_bus::{Fault, Headers, Lookup, Offsets, Outgoing, SchemaRegistry, Session, TopicState};
use cairn_operators::admit::{self, AdmitRules, Rejection};
use cairn_operators::redact::Tally;
use cairn_topics::handle::{DEADLETTER, INGEST_PROGRESS};
use cairn_topics::{Keyed, ingress_name, partition_of, run_key};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of this program, as dead letters name it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longest excerpt of a dead letter.
const EXCERPT_CHARS_MAX: usize = 512;

/// What `admit.sources_allowed` calls files.
pub(crate) const SOURCE: &str = "ingest";

/// Bytes reserved for a record: rows of metrics have 60 to 100, without their free metrics.
const CAPACITY: usize = 128;

/// Header of a dead letter of a file: the format that a replay reads it with.
pub(crate) const FORMAT_HEADER: &str = "cairn.format";
/// Header of a dead letter of a file: the run of a log that names none.
pub(crate) const RUN_HEADER: &str = "cairn.run_id";
/// Header of what a replay sends: the dead letter that it was.
pub(crate) const REPLAY_HEADER: &str = "cairn.replay_of";

/// A topic that is written to.
struct Target {
    name: Arc<str>,
    partitions: i32,
    max_message_bytes: usize,
    schema_id: u32,
}

/// Whether a record may go to an ingress topic, by the rules and by the topic's own limit.
///
/// # Errors
/// It is too large; sending it again would not help.
pub(crate) fn fits(
    rules: &AdmitRules,
    out: &Outgoing,
    max_message_bytes: usize,
) -> Result<(), Rejection> {
    let value_bytes = out.value.as_ref().map_or(0, Vec::len);
    admit::oversized(rules, value_bytes as u64)?;
    if out.size_bytes() <= max_message_bytes {
        return Ok(());
    }
    Err(Rejection::new(
        "oversized",
        format!(
            "the record has {} bytes, more than the {max_message_bytes} that {} takes; split it",
            out.size_bytes(),
            out.topic
        ),
    ))
}

/// What a dead letter needs beside the reject.
pub(crate) struct Sealer<'a> {
    /// Whose the row was.
    pub(crate) tenant: &'a str,
    /// Who judged it.
    pub(crate) operator: &'static str,
    /// For whom the original is sealed.
    pub(crate) recipient: &'a Recipient,
    /// Longest excerpt.
    pub(crate) excerpt_chars_max: usize,
    /// Takes out of the letter what nobody may see.
    pub(crate) redaction: &'a Redaction,
    /// W3C trace context.
    pub(crate) traceparent: Option<&'a str>,
}

impl Sealer<'_> {
    /// The dead letter of a row; its headers keep what a replay needs to read the row again. Of a row that is longer than any
    /// record the beginning is kept: its sender has the rest.
    ///
    /// # Errors
    /// It cannot be sealed.
    pub(crate) fn letter(
        &self,
        reject: &Reject,
        origin: &Origin<'_>,
    ) -> Result<DeadLetter, SealError> {
        let original = &reject.original[..reject.original.len().min(LINE_BYTES_MAX)];
        let sha256 = plaintext_sha256(original);
        let position = format!(
            "{}:{}:{}",
            origin.path, reject.position.line, reject.position.byte
        );
        let replay_of = origin.replay_of.unwrap_or_default();
        let id = super::progress::digest(&[
            self.tenant,
            &position,
            reject.class,
            &hex::text(&sha256),
            replay_of,
        ]);
        let mut headers = vec![(FORMAT_HEADER, origin.format), (RUN_HEADER, origin.run_id)];
        headers.extend(origin.replay_of.map(|id| (REPLAY_HEADER, id)));
        let redacted = |text: &str| self.redaction.message(self.tenant, text).into_owned();
        Ok(DeadLetter {
            deadletter_id: id[..32].to_owned(),
            tenant: self.tenant.to_owned(),
            class: reject.class.to_owned(),
            text: redacted(&reject.text),
            file: Some(FilePosition {
                path: redacted(origin.path),
                line: reject.position.line.cast_signed(),
                byte: reject.position.byte.cast_signed(),
            }),
            topic: redacted(&reject.topic),
            excerpt: excerpt(
                self.redaction,
                self.tenant,
                original,
                self.excerpt_chars_max,
            ),
            sealed: self.recipient.seal(original)?,
            sealed_recipient: self.recipient.as_str().to_owned(),
            plaintext_sha256: sha256.to_vec(),
            plaintext_bytes: original.len() as i64,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), redacted(value).into_bytes()))
                .collect(),
            operator: self.operator.to_owned(),
            operator_version: VERSION.to_owned(),
            traceparent: self.traceparent.map(str::to_owned),
            ..DeadLetter::default()
        })
    }
}

/// Where a dead letter of a file came from.
pub(crate) struct Origin<'a> {
    /// Path or URI.
    pub(crate) path: &'a str,
    /// Format that it was read as.
    pub(crate) format: &'a str,
    /// Run that it was read as.
    pub(crate) run_id: &'a str,
    /// The dead letter that was replayed, when this is its second death.
    pub(crate) replay_of: Option<&'a str>,
}

/// Writes through one session.
pub(crate) struct Writer<'a> {
    session: Box<dyn Session>,
    registry: &'a dyn SchemaRegistry,
    topics: &'a BTreeMap<String, TopicState>,
    targets: BTreeMap<&'static str, Target>,
    tenant: &'a str,
    traceparent: Option<&'a str>,
    recipient: &'a Recipient,
    redaction: &'a Redaction,
    /// The last run's key and the number that its partition is taken from: rows of a run stand together.
    key: (String, String),
    /// Bytes sent since the last commit.
    pub(crate) bytes: usize,
    /// Records sent since the last commit.
    pub(crate) records: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        session: Box<dyn Session>,
        registry: &'a dyn SchemaRegistry,
        topics: &'a BTreeMap<String, TopicState>,
        tenant: &'a str,
        traceparent: Option<&'a str>,
        recipient: &'a Recipient,
        redaction: &'a Redaction,
    ) -> Self {
        let (targets, key) = (BTreeMap::new(), Default::default());
        Self {
            session,
            registry,
            topics,
            targets,
            tenant,
            traceparent,
            recipient,
            redaction,
            key,
            bytes: 0,
            records: 0,
        }
    }

    /// The session, for reading.
    pub(crate) fn session(&mut self) -> &mut dyn Session {
        self.session.as_mut()
    }

    fn target(
        &mut self,
        topic: &'static str,
        entry: &contract::Entry,
    ) -> Result<&Target, IngestError> {
        if !self.targets.contains_key(topic) {
            let ingress = cairn_topics::find(topic)
                .is_some_and(|found| found.family == cairn_topics::Family::Ingress);
            let name = if ingress {
                ingress_name(self.tenant, topic)
            } else {
                topic.to_owned()
            };
            let state = self.topics.get(&name).ok_or_else(|| missing(&name))?;
            let schema_id = self
                .registry
                .id_of(&contract::subject(&name), entry.schema)?;
            let target = Target {
                name: name.into(),
                partitions: state.partitions,
                max_message_bytes: state.max_message_bytes as usize,
                schema_id,
            };
            self.targets.insert(topic, target);
        }
        Ok(&self.targets[topic])
    }

    fn send(&mut self, out: Outgoing) -> Result<(), IngestError> {
        self.bytes += out.size_bytes();
        self.records += 1;
        Ok(self.session.send(out)?)
    }

    /// Sends an event to its ingress topic, unless it is too large for a record. Its payload is redacted already.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        rules: &AdmitRules,
    ) -> Result<Result<(), Rejection>, IngestError> {
        let topic = event.payload.entry().topics[0];
        let run_id = event.payload.run_id();
        if self.key.0 != run_id {
            self.key = (run_id.to_owned(), run_key(self.tenant, run_id));
        }
        let target = self.target(topic, event.payload.entry())?;
        let (name, partitions, id) = (target.name.clone(), target.partitions, target.schema_id);
        let max_message_bytes = target.max_message_bytes;
        let mut value = Vec::with_capacity(CAPACITY);
        frame::put(id, &mut value);
        event.payload.encode(&mut value).map_err(unencodable)?;
        let mut headers = Vec::new();
        if let Some(event_id) = &event.event_id {
            let event_id = self.redaction.message(self.tenant, event_id);
            headers.push(("event_id".to_owned(), event_id.as_bytes().to_vec()));
        }
        // only a list asks who sends, and a header costs every record
        if !rules.sources_allowed.is_empty() {
            headers.push(("source".to_owned(), SOURCE.as_bytes().to_vec()));
        }
        if let Some(traceparent) = self.traceparent {
            headers.push(("traceparent".to_owned(), traceparent.as_bytes().to_vec()));
        }
        let key = self.key.1.clone().into_bytes();
        let out = Outgoing {
            topic: name,
            partition: partition_of(&self.key.1, partitions),
            key: Some(key),
            value: Some(value),
            headers,
        };
        if let Err(rejection) = fits(rules, &out, max_message_bytes) {
            return Ok(Err(rejection));
        }
        self.send(out).map(Ok)
    }

    /// Sends the dead letter of a reject.
    pub(crate) fn dead_letter(
        &mut self,
        reject: &Reject,
        origin: &Origin<'_>,
    ) -> Result<(), IngestError> {
        let sealer = Sealer {
            tenant: self.tenant,
            operator: "ingest",
            recipient: self.recipient,
            excerpt_chars_max: EXCERPT_CHARS_MAX,
            redaction: self.redaction,
            traceparent: self.traceparent,
        };
        let letter = sealer
            .letter(reject, origin)
            .map_err(|error| IngestError::Refused(error.to_string()))?;
        self.record(DEADLETTER.name, &letter)
    }

    /// Sends a record as it was, but for what is redacted, to an ingress topic of this tenant, unless it is too large for it or
    /// holds what nobody may see where it cannot be read.
    pub(crate) fn raw(
        &mut self,
        topic: &str,
        key: Option<Vec<u8>>,
        value: Vec<u8>,
        headers: Headers,
        rules: &AdmitRules,
    ) -> Result<Result<(), Rejection>, IngestError> {
        let value = match self.redacted(topic, value)? {
            Ok(value) => value,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let name = ingress_name(self.tenant, topic);
        let state = self.topics.get(&name).ok_or_else(|| missing(&name))?;
        let (partitions, max_message_bytes) = (state.partitions, state.max_message_bytes as usize);
        // ingress promises no placement; a record without a key goes where its bytes say
        let place = key.as_deref().unwrap_or(&value);
        let partition = (cairn_topics::murmur2(place) & 0x7fff_ffff) % partitions;
        let out = Outgoing {
            topic: name.into(),
            partition,
            key,
            value: Some(value),
            headers,
        };
        if let Err(rejection) = fits(rules, &out, max_message_bytes) {
            return Ok(Err(rejection));
        }
        self.send(out).map(Ok)
    }

    /// A record's value without what is found in it: as it was where nothing is.
    fn redacted(
        &mut self,
        topic: &str,
        value: Vec<u8>,
    ) -> Result<Result<Vec<u8>, Rejection>, IngestError> {
        let (redaction, tenant) = (self.redaction, self.tenant);
        let Some(mut payload) = self.read(topic, &value)? else {
            return Ok(match redaction.bytes(tenant, &value) {
                same if *same == *value => Ok(value),
                _ => Err(Rejection::new(
                    "unreadable",
                    "it still cannot be read, and holds what may not lie on the log in clear; mend what sends it, and send it again",
                )),
            });
        };
        let mut tally = Tally::default();
        redaction.payload(tenant, &mut payload, &mut tally);
        if tally.total() == 0 {
            return Ok(Ok(value));
        }
        let id = self
            .target(payload.entry().topics[0], payload.entry())?
            .schema_id;
        let mut value = Vec::with_capacity(CAPACITY);
        frame::put(id, &mut value);
        payload.encode(&mut value).map_err(unencodable)?;
        Ok(Ok(value))
    }

    /// What a value of an ingress topic says, where it can be read.
    fn read(&self, topic: &str, value: &[u8]) -> Result<Option<Payload>, IngestError> {
        if value.first() == Some(&b'{') {
            return Ok(cairn_avro::json::payload(topic, value).ok());
        }
        let Ok(framed) = frame::split(value) else {
            return Ok(None);
        };
        Ok(match self.registry.schema_of(framed.schema_id)? {
            Lookup::Schema(schema) => codec::decode_payload(topic, &schema, framed.body).ok(),
            Lookup::Denied => None,
        })
    }

    /// Sends the progress that covers everything sent before it.
    pub(crate) fn progress(&mut self, progress: &IngestProgress) -> Result<(), IngestError> {
        self.record(INGEST_PROGRESS.name, progress)
    }

    fn record<T: Keyed>(&mut self, topic: &'static str, record: &T) -> Result<(), IngestError> {
        let target = self.target(topic, T::entry())?;
        let (name, partitions, id) = (target.name.clone(), target.partitions, target.schema_id);
        let mut value = Vec::with_capacity(CAPACITY);
        frame::put(id, &mut value);
        codec::encode(record, &mut value).map_err(unencodable)?;
        let partition = partition_of(&record.partition_key(), partitions);
        let key = record.record_key().into_bytes();
        self.send(Outgoing {
            topic: name,
            partition,
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
        })
    }

    /// Makes everything sent since the last commit visible, together.
    pub(crate) fn commit(&mut self) -> Result<(), IngestError> {
        self.session.commit(&Offsets::new())?;
        (self.bytes, self.records) = (0, 0);
        Ok(())
    }

    /// Leaves.
    pub(crate) fn close(self) -> Result<(), IngestError> {
        /// A writer only has its own transaction to abort.
        const CLOSE_SECONDS: u64 = 5;
        Ok(self
            .session
            .close(std::time::Duration::from_secs(CLOSE_SECONDS))?)
    }
}

fn missing(topic: &str) -> IngestError {
    IngestError::Fault(Fault::Config(format!(
        "topic {topic} does not exist; `cairn topics apply` creates what is missing"
    )))
}

fn unencodable(error: codec::Fault) -> IngestError {
    IngestError::Fault(Fault::Config(format!(
        "{error}; this is a bug, please report it"
    )))
}
