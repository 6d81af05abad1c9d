//! Records to Avro bytes and back.
//!
//! Bytes written with the schema of this build go straight into the Rust type ([`Wire`], generated
//! for each record). Bytes of another writer's schema are first brought into this build's layout by
//! Avro's rules of schema resolution ([`Reader`]), then read the same way.
//!
//! Why not `apache-avro`'s serde path: it asks the schema at every field and costs five to ten times
//! as much; tests hold our bytes against its own. Why not its resolution: it finds the branch of a union by trial (a newer
//! `RunConfig` would become a `RuntimeTelemetry`, which needs only a run id), takes bytes that end
//! early for nulls, and copies every value twice.

use std::borrow::Cow;

use thiserror::Error;

use crate::contract::{Entry, Record};
use crate::frame;
use crate::record::Payload;
use crate::resolve;
pub use crate::shape::SchemaFault;
use crate::shape::{Node, Shape};
use crate::wire::Cursor;
pub use crate::wire::{Break, Wire};

/// Why bytes and a record did not become each other.
#[derive(Debug, Error)]
pub enum Fault {
    /// The record does not fit its schema.
    #[error("{record} cannot be written: {reason}")]
    Encode {
        /// Record that was to be written.
        record: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The bytes are not a datum of the schema.
    #[error("not a {record}: {reason}")]
    Decode {
        /// Record that was expected.
        record: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The bytes are not a datum of the writer's schema, or of no use to the reader.
    #[error("not a {record}: {source}")]
    Broken {
        /// Record that was expected.
        record: &'static str,
        /// What is wrong with them.
        source: Break,
    },
    /// Something stands behind the datum.
    #[error("{count} bytes after the end of a {record}")]
    Trailing {
        /// Record that was read.
        record: &'static str,
        /// Bytes left over.
        count: usize,
    },
}

/// Appends a record's Avro bytes to a buffer.
pub fn encode<T: Record>(value: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    value.put(out);
    Ok(())
}

/// Appends a frame with a record in it. After an error the buffer is as before.
///
/// ```
/// use cairn_avro::{codec, frame, record::RunTags};
///
/// let tags = RunTags { run_id: "r1".into(), add: vec!["good".into()], ..Default::default() };
/// let mut value = Vec::new();
/// codec::encode_framed(7, &tags, &mut value)?;
/// let frame = frame::split(&value)?;
/// assert_eq!(frame.schema_id, 7);
/// assert_eq!(codec::decode::<RunTags>(frame.body)?, tags);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode_framed<T: Record>(schema_id: u32, value: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    let before = out.len();
    frame::put(schema_id, out);
    encode(value, out).inspect_err(|_| out.truncate(before))
}

/// Reads a record that was written with the schema of this build. It ends where the bytes end.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, Fault> {
    let record = T::entry().record;
    let mut cursor = Cursor { rest: bytes };
    let value = T::get(&mut cursor).map_err(|source| Fault::Broken { record, source })?;
    match cursor.rest.len() {
        0 => Ok(value),
        count => Err(Fault::Trailing { record, count }),
    }
}

/// Reads one record of the contract from what one writer's schema wrote. Prepared once for each
/// schema id; cheap to share.
#[derive(Clone, Debug)]
pub struct Reader {
    entry: &'static Entry,
    /// The writer's schema; nothing when its bytes look like our own.
    writer: Option<Shape>,
    dropped_fields: u64,
}

impl Reader {
    /// Prepares for a writer's schema; says at once when no record of it could be read.
    pub fn new(entry: &'static Entry, writer_schema: &str) -> Result<Self, SchemaFault> {
        let native = Self::native(entry);
        if writer_schema == entry.schema {
            return Ok(native);
        }
        let parsed = apache_avro::Schema::parse_str(writer_schema)
            .map_err(|error| SchemaFault::Invalid(error.to_string()))?;
        let writer = Shape::of(&parsed)?;
        if parsed.canonical_form() == entry.canonical() {
            return Ok(native);
        }
        resolve::check(&writer.node, &entry.shape().node).map_err(|reason| SchemaFault::Unfit {
            record: entry.record,
            reason,
        })?;
        let mut reader = Self {
            entry,
            writer: Some(writer),
            dropped_fields: 0,
        };
        reader.dropped_fields = reader.dropped().len() as u64;
        Ok(reader)
    }

    /// For what this build writes itself.
    pub fn native(entry: &'static Entry) -> Self {
        Self {
            entry,
            writer: None,
            dropped_fields: 0,
        }
    }

    /// The record that it reads.
    pub fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// How many fields [`Reader::dropped`] names.
    pub fn dropped_fields(&self) -> u64 {
        self.dropped_fields
    }

    /// Fields that the writer has and the contract has not, in the writer's order: what they hold is dropped.
    pub fn dropped(&self) -> Vec<&str> {
        let (Some(Node::Record(writer)), Node::Record(ours)) = (
            self.writer.as_ref().map(|shape| &shape.node),
            &self.entry.shape().node,
        ) else {
            return Vec::new();
        };
        writer
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .filter(|name| ours.fields.iter().all(|field| field.name != *name))
            .collect()
    }

    /// A datum's bytes in the layout of this build's schema.
    pub fn to_native<'b>(&self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Fault> {
        match &self.writer {
            None => Ok(Cow::Borrowed(bytes)),
            Some(writer) => self.resolved(writer, bytes).map(Cow::Owned),
        }
    }

    /// Reads a record. `T` must be the entry's.
    pub fn read<T: Record>(&self, bytes: &[u8]) -> Result<T, Fault> {
        debug_assert_eq!(T::entry().record, self.entry.record);
        decode(&self.to_native(bytes)?)
    }

    /// Reads an ingress record.
    pub fn read_payload(&self, bytes: &[u8]) -> Result<Payload, Fault> {
        Payload::decode(self.entry, &self.to_native(bytes)?)
    }

    /// Reads the first of the ingress records that stand one behind the other; returns it and what stands behind it.
    pub fn read_first<'b>(&self, bytes: &'b [u8]) -> Result<(Payload, &'b [u8]), Fault> {
        let record = self.entry.record;
        let writer = self.writer.as_ref().unwrap_or(self.entry.shape());
        let (datum, left) = resolve::datum(&writer.node, &self.entry.shape().node, bytes)
            .map_err(|source| Fault::Broken { record, source })?;
        let payload = Payload::decode(self.entry, &datum)?;
        Ok((payload, &bytes[bytes.len() - left..]))
    }

    fn resolved(&self, writer: &Shape, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let record = self.entry.record;
        let (out, left) = resolve::datum(&writer.node, &self.entry.shape().node, bytes)
            .map_err(|source| Fault::Broken { record, source })?;
        match left {
            0 => Ok(out),
            count => Err(Fault::Trailing { record, count }),
        }
    }
}

/// Reads an ingress record of a topic family from what a writer's schema wrote. For many records
/// keep a [`Reader`] instead.
pub fn decode_payload(topic: &str, writer_schema: &str, bytes: &[u8]) -> Result<Payload, Fault> {
    let unread = |reason: String| Fault::Decode {
        record: "payload",
        reason,
    };
    let entry = crate::contract::of_topic(topic)
        .ok_or_else(|| unread(format!("{topic} is not a topic of the contract")))?;
    let reader = Reader::new(entry, writer_schema).map_err(|fault| unread(fault.to_string()))?;
    reader.read_payload(bytes)
}
