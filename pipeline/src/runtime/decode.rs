//! Records to inputs of cores: frames, schemas, JSON. What cannot be read becomes a reason, never a lost record.

use super::encode::STATE_VERSION;
use super::resolve::{Resolved, Resolver};
use super::timepiece::Timepiece;
use cairn_avro::codec;
use cairn_avro::contract;
use cairn_avro::frame;
use cairn_avro::record::Payload;
use cairn_bus::{Record, SchemaRegistry};
use cairn_operators::admit::{Ingress, Rejection};
use cairn_operators::guards::GuardKind;
use cairn_operators::operator::{Dead, Remember};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why a record is not an input now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// Something is out of reach: pause the partition, come back.
    Later {
        /// Why.
        why: String,
        /// How long to wait.
        wait: Duration,
        /// The guard that opens where that lasts.
        guard: GuardKind,
    },
    /// It will never be one: a dead letter.
    Never(Dead),
}

/// Reads records of all topics.
pub struct Decoder {
    resolver: Resolver,
    /// One reader for each record and writer schema.
    readers: BTreeMap<(&'static str, u32), codec::Reader>,
    /// Fields of ingress records that the contract has not, dropped since this was asked last, by topic.
    dropped: BTreeMap<&'static str, u64>,
    clock: Timepiece,
}

impl Decoder {
    /// A decoder that asks this registry for writer schemas.
    #[must_use]
    pub fn new(registry: Arc<dyn SchemaRegistry>) -> Self {
        Self {
            resolver: Resolver::new(registry),
            readers: BTreeMap::new(),
            dropped: BTreeMap::new(),
            clock: Timepiece::default(),
        }
    }

    /// Goes by another clock.
    pub fn set_clock(&mut self, clock: Timepiece) {
        self.clock = clock;
    }

    /// How many fields were dropped since this was asked last, by topic: what a writer's schema has and the contract has not.
    pub fn take_dropped(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.dropped)
    }

    /// An ingress record: a frame where it begins with `0x00`, the contract's JSON where it begins with `{` (DESIGN §2).
    ///
    /// # Errors
    /// [`Undecodable::Later`] only; what is wrong with the bytes is part of the answer.
    pub fn ingress<'a>(&mut self, record: &'a Record) -> Result<Ingress<'a>, Undecodable> {
        let (tenant, topic) = cairn_topics::split_tenant(&record.topic)
            .map_or(("default", &*record.topic), |(tenant, topic)| {
                (tenant, topic.name)
            });
        let value = record.value.as_deref().unwrap_or_default();
        let payload = match value.first() {
            None => Err(Rejection::new(
                "empty",
                "the record has no value; ingress topics have no tombstones, send the event or nothing",
            )),
            Some(b'{') => cairn_avro::json::payload(topic, value)
                .map_err(|fault| Rejection::new(fault.class.code(), fault.text)),
            Some(_) => self.framed(&record.topic, topic, value)?,
        };
        Ok(Ingress {
            tenant,
            family_topic: topic,
            event_id: header(record, "event_id"),
            traceparent: header(record, "traceparent"),
            source: header(record, "source"),
            key: record
                .key
                .as_deref()
                .and_then(|key| std::str::from_utf8(key).ok())
                .filter(|key| !key.is_empty()),
            schema_id: frame::split(value).ok().map(|frame| frame.schema_id),
            size_bytes: value.len() as u64,
            payload,
        })
    }

    fn framed(
        &mut self,
        full_topic: &Arc<str>,
        topic: &str,
        value: &[u8],
    ) -> Result<Result<Payload, Rejection>, Undecodable> {
        let Some(entry) = contract::of_topic(topic) else {
            return Ok(Err(Rejection::new(
                "unknown_topic",
                format!("{topic} is no topic of the contract"),
            )));
        };
        let frame = match frame::split(value) {
            Ok(frame) => frame,
            Err(fault) => return Ok(Err(Rejection::new("frame", fault.to_string()))),
        };
        match self.reader(full_topic, entry, frame.schema_id) {
            Ok(Some(reader)) => {
                let payload = reader.read_payload(frame.body).map_err(|fault| {
                    Rejection::new("avro", format!("schema id {}: {fault}", frame.schema_id))
                });
                let dropped = reader.dropped_fields();
                if dropped > 0 {
                    *self.dropped.entry(entry.topics[0]).or_default() += dropped;
                }
                Ok(payload)
            }
            Ok(None) => Ok(Err(Rejection::new(
                "unknown_schema",
                format!(
                    "the registry has no schema with id {}; register it, then replay this record",
                    frame.schema_id
                ),
            ))),
            Err(Unreadable::Later(later)) => Err(later.undecodable()),
            Err(Unreadable::Unfit(why)) => Ok(Err(Rejection::new(
                "avro",
                format!("schema id {}: {why}", frame.schema_id),
            ))),
        }
    }

    /// The reader for a record written with this schema; none when the registry has no such schema.
    fn reader(
        &mut self,
        topic: &Arc<str>,
        entry: &'static contract::Entry,
        id: u32,
    ) -> Result<Option<&codec::Reader>, Unreadable> {
        let key = (entry.record, id);
        if !self.readers.contains_key(&key) {
            match self.resolver.resolve(topic, id, self.clock.now()) {
                Resolved::Schema(writer) => {
                    let reader = codec::Reader::new(entry, &writer)
                        .map_err(|fault| Unreadable::Unfit(fault.to_string()))?;
                    if reader.dropped_fields() > 0 {
                        tracing::warn!(
                            topic = &**topic,
                            schema_id = id,
                            fields = reader.dropped().join(", "),
                            "the contract has no such fields: they are dropped"
                        );
                    }
                    self.readers.insert(key, reader);
                }
                Resolved::Later { why, wait, guard } => {
                    return Err(Unreadable::Later(Later { why, wait, guard }));
                }
                Resolved::Never => return Ok(None),
            }
        }
        Ok(self.readers.get(&key))
    }

    /// A record of one of our own Avro topics.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub fn avro<T: contract::Record>(&mut self, record: &Record) -> Result<T, Undecodable> {
        match self.avro_or_tombstone(record)? {
            Some(value) => Ok(value),
            None => Err(never(record, "empty", "a record without a value")),
        }
    }

    /// A record of one of our own compacted Avro topics; none for a tombstone.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub fn avro_or_tombstone<T: contract::Record>(
        &mut self,
        record: &Record,
    ) -> Result<Option<T>, Undecodable> {
        let Some(value) = record.value.as_deref() else {
            return Ok(None);
        };
        let frame =
            frame::split(value).map_err(|fault| never(record, "frame", &fault.to_string()))?;
        let id = frame.schema_id;
        match self.reader(&record.topic, T::entry(), id) {
            Ok(Some(reader)) => reader
                .read(frame.body)
                .map(Some)
                .map_err(|fault| never(record, "avro", &format!("schema id {id}: {fault}"))),
            Ok(None) => Err(never(
                record,
                "unknown_schema",
                &format!("the registry has no schema with id {id}"),
            )),
            Err(Unreadable::Later(later)) => Err(later.undecodable()),
            Err(Unreadable::Unfit(why)) => {
                Err(never(record, "avro", &format!("schema id {id}: {why}")))
            }
        }
    }

    /// A record of one of our own JSON topics.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub fn json<T: serde::de::DeserializeOwned>(&self, record: &Record) -> Result<T, Undecodable> {
        serde_json::from_slice(record.value.as_deref().unwrap_or_default())
            .map_err(|error| never(record, "json", &error.to_string()))
    }
}

/// One entry of a changelog, or of a snapshot of it, into a task's state.
///
/// # Errors
/// What is wrong with the entry.
pub fn restore(key: &[u8], value: Option<&[u8]>, state: &mut dyn Remember) -> Result<(), String> {
    let key = std::str::from_utf8(key).map_err(|error| format!("a key is no text: {error}"))?;
    let (table, key) = key
        .split_once('\0')
        .ok_or_else(|| format!("the key {key:?} names no table"))?;
    let Some(value) = value else {
        return state.restore(table, key, None);
    };
    let frame = frame::split(value).map_err(|fault| format!("key {key}: {fault}"))?;
    let change: cairn_avro::record::Change =
        codec::decode(frame.body).map_err(|error| format!("key {key}: {error}"))?;
    if change.version > STATE_VERSION {
        return Err(format!(
            "key {key}: state of version {}, this release knows {STATE_VERSION}; run the release that wrote it",
            change.version
        ));
    }
    state.restore(table, key, Some(&change.value))
}

/// Why there is no reader for a schema.
enum Unreadable {
    Later(Later),
    Unfit(String),
}

struct Later {
    why: String,
    wait: Duration,
    guard: GuardKind,
}

impl Later {
    fn undecodable(self) -> Undecodable {
        Undecodable::Later {
            why: self.why,
            wait: self.wait,
            guard: self.guard,
        }
    }
}

fn never(record: &Record, class: &'static str, text: &str) -> Undecodable {
    Undecodable::Never(Dead {
        tenant: "default".to_owned(),
        class,
        text: format!(
            "{}[{}] offset {}: {text}",
            record.topic, record.partition, record.offset
        ),
        topic: record.topic.to_string(),
        original: None,
        event_id: None,
        origin: None,
    })
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let (_, value) = record.headers.iter().find(|(header, _)| header == name)?;
    std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_operators::runs::{Runs, RunsRules};

    /// A downgrade that would read what it does not know ends with a message, and takes nothing.
    #[test]
    fn state_of_a_later_version_is_refused() {
        let restore_of = |version| {
            let change = cairn_avro::record::Change {
                table: "endings".to_owned(),
                version,
                value: vec![7],
            };
            let mut value = Vec::new();
            codec::encode_framed(1, &change, &mut value).expect("plain data");
            let mut runs = Runs::new(RunsRules::default());
            let restored = restore(b"endings\0t/r", Some(&value), &mut runs);
            (restored, runs.bytes())
        };
        assert_eq!(restore_of(STATE_VERSION), (Ok(()), 4));
        let (refused, bytes) = restore_of(STATE_VERSION + 1);
        let said = refused.expect_err("refused");
        assert!(said.contains("run the release that wrote it"), "{said}");
        assert_eq!(bytes, 0);
    }
}
