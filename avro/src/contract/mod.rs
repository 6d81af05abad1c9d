//! The contract: one entry for each record on the bus, with its topics and its schema.
//!
//! A subject of the schema registry is named after its topic (`<topic>-value`); a tenant's ingress
//! topics use the same schema under their own subject.

use std::fmt;
use std::sync::OnceLock;

use apache_avro::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shape::Shape;
use crate::wire::Wire;

pub mod entries;

/// Most that a decoder reserves for one value: above any record that the bus takes, and far below
/// the 512 MiB that a forged length could ask for by default.
const ALLOCATION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A record that has a subject of its own.
pub trait Record: Serialize + DeserializeOwned + Wire {
    /// Its entry in the contract.
    fn entry() -> &'static Entry;
}

/// One record of the contract.
pub struct Entry {
    /// Name of the record, without the namespace `cairn.v1`.
    pub record: &'static str,
    /// Topics that carry it; ingress topics without a tenant's prefix.
    pub topics: &'static [&'static str],
    /// Its schema: self-contained Avro JSON, byte for byte what is registered.
    pub schema: &'static str,
    prepared: OnceLock<Prepared>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Entry")
            .field("record", &self.record)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// What is made of an entry's schema once in a process.
pub(crate) struct Prepared {
    pub(crate) schema: &'static Schema,
    pub(crate) canonical: String,
    shape: Shape,
    fields: Vec<&'static str>,
}

impl Entry {
    const fn new(
        record: &'static str,
        topics: &'static [&'static str],
        schema: &'static str,
    ) -> Self {
        Self {
            record,
            topics,
            schema,
            prepared: OnceLock::new(),
        }
    }

    /// Its schema, parsed.
    pub fn parsed(&self) -> &'static Schema {
        self.prepared().schema
    }

    /// Its schema in Avro's parsing canonical form: equal forms have equal bytes on the wire.
    pub fn canonical(&self) -> &str {
        &self.prepared().canonical
    }

    /// CRC-64-AVRO (Rabin) fingerprint of the canonical form: which wire layout this is.
    pub fn fingerprint(&self) -> u64 {
        rabin(self.canonical().as_bytes())
    }

    /// The names of its fields, in the schema's order.
    pub fn field_names(&self) -> &[&'static str] {
        &self.prepared().fields
    }

    /// Its schema, ready for walking bytes.
    pub fn shape(&self) -> &Shape {
        &self.prepared().shape
    }

    /// Parses the schema at the first call. It lives as long as the process, like the entry.
    pub(crate) fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            let schema = Schema::parse_str(self.schema).expect("the contract's schemas are valid");
            let schema: &'static Schema = Box::leak(Box::new(schema));
            let Schema::Record(record) = schema else {
                unreachable!("every subject of the contract is a record")
            };
            apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
            Prepared {
                schema,
                shape: Shape::of(schema).expect("the contract's schemas can be walked"),
                canonical: schema.canonical_form(),
                fields: record
                    .fields
                    .iter()
                    .map(|field| field.name.as_str())
                    .collect(),
            }
        })
    }
}

/// Every record of the contract, in the order of the documentation.
pub fn all() -> &'static [&'static Entry] {
    entries::ALL
}

/// The entry of a topic, by its name without a tenant's prefix.
pub fn of_topic(topic: &str) -> Option<&'static Entry> {
    all()
        .iter()
        .copied()
        .find(|entry| entry.topics.contains(&topic))
}

/// The entry of a record, by its name without namespace.
pub fn of_record(record: &str) -> Option<&'static Entry> {
    all().iter().copied().find(|entry| entry.record == record)
}

/// The subject under which a topic's schema is registered.
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// The JSON Schemas beside the Avro ones: name and text. `telegram` and `board` hold the topics in
/// JSON, `scaling_law_fits` what is exported, the others the contract's JSON of the records they are named after.
pub const JSON_SCHEMAS: &[(&str, &str)] = &[
    ("config", include_str!("../../json/config.json")),
    ("metrics", include_str!("../../json/metrics.json")),
    ("experiment", include_str!("../../json/experiment.json")),
    (
        "recommendation",
        include_str!("../../json/recommendation.json"),
    ),
    ("telegram", include_str!("../../json/telegram.json")),
    ("board", include_str!("../../json/board.json")),
    (
        "scaling_law_fits",
        include_str!("../../json/scaling_law_fits.json"),
    ),
];

/// A JSON Schema by its name.
pub fn json_schema(name: &str) -> Option<&'static str> {
    JSON_SCHEMAS
        .iter()
        .find_map(|(known, text)| (*known == name).then_some(*text))
}

/// CRC-64-AVRO, as the Avro specification defines it for schema fingerprints.
fn rabin(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    bytes.iter().fold(EMPTY, |print, byte| {
        let mut low = (print ^ u64::from(*byte)) & 0xff;
        for _ in 0..8 {
            low = (low >> 1) ^ (EMPTY & 0u64.wrapping_sub(low & 1));
        }
        (print >> 8) ^ low
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_lead_to_entries() {
        assert_eq!(
            of_topic("runs.windows").map(|entry| entry.record),
            Some("Window")
        );
        assert_eq!(
            of_topic("ticks.pool").map(|entry| entry.record),
            Some("Tick")
        );
        assert!(of_topic("nowhere").is_none());
        assert_eq!(subject("late"), "late-value");
        assert_eq!(
            entries::RUN_TAGS.field_names()[..2],
            ["run_id", "event_time_ms"]
        );
    }

    /// The value that the Avro specification's own test suite has for `"int"`.
    #[test]
    fn fingerprints_are_avros() {
        assert_eq!(rabin(b"\"int\""), 0x7275_d51a_3f39_5c8f);
    }
}
