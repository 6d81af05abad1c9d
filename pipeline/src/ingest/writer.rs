//! Events, dead letters and progress into one transaction.

use super::IngestError;
use super::format::{Event, Reject};
use crate::seal::{Recipient, excerpt, plaintext_sha256};
use cairn_avro::contract;
use cairn_avro::record::{DeadLetter, FilePosition, IngestProgress};
use cairn_avro::{codec, frame, hex};
use cairn_bus::{Fault, Headers, Offsets, Outgoing, SchemaRegistry, Session, TopicState};
use cairn_topics::handle::{DEADLETTER, INGEST_PROGRESS};
use cairn_topics::{Keyed, ingress_name, partition_of, run_key};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of this program, as dead letters name it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longest excerpt of a dead letter.
const EXCERPT_CHARS_MAX: usize = 512;

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
    schema_id: u32,
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

    /// Sends an event to its ingress topic.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), IngestError> {
        let topic = event.payload.entry().topics[0];
        let run_id = event.payload.run_id();
        if self.key.0 != run_id {
            self.key = (run_id.to_owned(), run_key(self.tenant, run_id));
        }
        let target = self.target(topic, event.payload.entry())?;
        let (name, partitions, id) = (target.name.clone(), target.partitions, target.schema_id);
        let mut value = Vec::with_capacity(CAPACITY);
        frame::put(id, &mut value);
        event.payload.encode(&mut value).map_err(unencodable)?;
        let mut headers = Vec::new();
        if let Some(event_id) = &event.event_id {
            headers.push(("event_id".to_owned(), event_id.as_bytes().to_vec()));
        }
        if let Some(traceparent) = self.traceparent {
            headers.push(("traceparent".to_owned(), traceparent.as_bytes().to_vec()));
        }
        let key = self.key.1.clone().into_bytes();
        let partition = partition_of(&self.key.1, partitions);
        self.send(Outgoing {
            topic: name,
            partition,
            key: Some(key),
            value: Some(value),
            headers,
        })
    }

    /// Sends the dead letter of a reject; the headers keep what a replay needs to read the line again.
    pub(crate) fn dead_letter(
        &mut self,
        reject: &Reject,
        origin: &Origin<'_>,
    ) -> Result<(), IngestError> {
        let original = reject.original.as_slice();
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
        let letter = DeadLetter {
            deadletter_id: id[..32].to_owned(),
            tenant: self.tenant.to_owned(),
            class: reject.class.to_owned(),
            text: reject.text.clone(),
            file: Some(FilePosition {
                path: origin.path.to_owned(),
                line: reject.position.line.cast_signed(),
                byte: reject.position.byte.cast_signed(),
            }),
            topic: reject.topic.clone(),
            excerpt: excerpt(original, EXCERPT_CHARS_MAX),
            sealed: self
                .recipient
                .seal(original)
                .map_err(|error| IngestError::Refused(error.to_string()))?,
            sealed_recipient: self.recipient.as_str().to_owned(),
            plaintext_sha256: sha256.to_vec(),
            plaintext_bytes: original.len() as i64,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                .collect(),
            operator: "ingest".to_owned(),
            operator_version: VERSION.to_owned(),
            traceparent: self.traceparent.map(str::to_owned),
            ..DeadLetter::default()
        };
        self.record(DEADLETTER.name, &letter)
    }

    /// Sends a record as it was, to an ingress topic of this tenant.
    pub(crate) fn raw(
        &mut self,
        topic: &str,
        key: Option<Vec<u8>>,
        value: Vec<u8>,
        headers: Headers,
    ) -> Result<(), IngestError> {
        let name = ingress_name(self.tenant, topic);
        let partitions = self
            .topics
            .get(&name)
            .map(|state| state.partitions)
            .ok_or_else(|| missing(&name))?;
        // ingress promises no placement; a record without a key goes where its bytes say
        let place = key.as_deref().unwrap_or(&value);
        let partition = (cairn_topics::murmur2(place) & 0x7fff_ffff) % partitions;
        self.send(Outgoing {
            topic: name.into(),
            partition,
            key,
            value: Some(value),
            headers,
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
