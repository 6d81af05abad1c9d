//! The contract: one entry for each record on the bus, with its topics and its schema.
//!
//! A subject of the schema registry is named after its topic (`<topic>-value`); a tenant's ingress
//! topics use the same schema under their own subject.

use std::sync::OnceLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod entries;

/// A record that has a subject of its own.
pub trait Record: Serialize + DeserializeOwned {
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

/// What is made of an entry's schema once in a process.
pub(crate) struct Prepared {
    pub(crate) schema: &'static Schema,
    pub(crate) canonical: String,
    pub(crate) reader: GenericDatumReader<'static>,
    pub(crate) writer: GenericDatumWriter<'static>,
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

    /// The names of its fields, in the schema's order.
    pub fn field_names(&self) -> &[&'static str] {
        &self.prepared().fields
    }

    /// Parses the schema at the first call. It lives as long as the process, like the entry.
    pub(crate) fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            let schema = Schema::parse_str(self.schema).expect("the contract's schemas are valid");
            let schema: &'static Schema = Box::leak(Box::new(schema));
            let Schema::Record(record) = schema else {
                unreachable!("every subject of the contract is a record")
            };
            Prepared {
                schema,
                canonical: schema.canonical_form(),
                reader: GenericDatumReader::builder(schema)
                    .human_readable(false)
                    .build()
                    .expect("a self-contained schema resolves"),
                writer: GenericDatumWriter::builder(schema)
                    .human_readable(false)
                    .build()
                    .expect("a self-contained schema resolves"),
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
