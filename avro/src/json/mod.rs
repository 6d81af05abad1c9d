//! The contract's JSON: one object for a record, members named like the fields, plain values.
//!
//! Strict on purpose. What is not understood is refused with the name of the member and what it
//! should have been, because a metric that is dropped in silence is missed only weeks later:
//!
//! - an unknown member is refused, with the nearest known name;
//! - a key that comes twice is refused;
//! - a member may be left out where the schema has a default;
//! - a double may be `"NaN"`, `"Infinity"` or `"-Infinity"`: JSON has no such numbers, training has;
//! - a time may be milliseconds since 1970 or an RFC 3339 time in UTC;
//! - bytes are hexadecimal digits.
//!
//! The way back writes members in the schema's order and leaves out what equals the schema's
//! default, so that the text, and an id made of it, stays the same when a field is added.

use thiserror::Error;

use crate::codec;
use crate::contract::{self, Entry, Record};
use crate::record::Payload;
use crate::shape::Shape;
use crate::tree::{self, Flaw, Tree};
use crate::wire::Break;

mod near;
pub(crate) mod read;
mod write;

/// Topic of a line that names none.
pub const DEFAULT_TOPIC: &str = "telemetry.training";

/// What is wrong with a text; the codes are those of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not JSON, or not an object.
    Json,
    /// A key comes twice in one object.
    DuplicateField,
    /// A member that the record does not have.
    UnknownField,
    /// A member that the record needs is not there.
    MissingField,
    /// A value of another type.
    WrongType,
    /// A value of the right type that is too big, too small or not one of the allowed.
    OutOfRange,
    /// A topic that takes no records from outside.
    UnknownTopic,
}

impl Class {
    /// The code in a dead letter.
    pub fn code(self) -> &'static str {
        match self {
            Class::Json => "json",
            Class::DuplicateField => "duplicate_field",
            Class::UnknownField => "unknown_field",
            Class::MissingField => "missing_field",
            Class::WrongType => "wrong_type",
            Class::OutOfRange => "out_of_range",
            Class::UnknownTopic => "unknown_topic",
        }
    }
}

/// Why a text is not a record of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Fault {
    /// What is wrong.
    pub class: Class,
    /// The member that it is about, `model.width`; empty for the whole.
    pub member: String,
    /// The reason in one sentence.
    pub text: String,
}

impl Fault {
    fn new(class: Class, member: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            class,
            member: member.into(),
            text: text.into(),
        }
    }
}

/// An object as files and HTTP bodies hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Topic family that it is for, without a tenant's prefix.
    pub topic: &'static str,
    /// Identity that the sender gave the event, as text.
    pub event_id: Option<String>,
    /// What was sent.
    pub payload: Payload,
}

/// Reads one object that names its own topic (member `topic`, default `telemetry.training`) and
/// may carry `event_id`: a line of a file, an item of an HTTP body.
///
/// ```
/// let line = cairn_avro::json::line(br#"{"run_id":"r1","step":1,"loss":"NaN"}"#)?;
/// assert_eq!(line.topic, "telemetry.training");
///
/// let fault = cairn_avro::json::line(br#"{"run_id":"r1","step":1,"los":2.5}"#).unwrap_err();
/// assert_eq!(fault.text, "unknown member `los`; did you mean `loss`?");
/// # Ok::<(), cairn_avro::json::Fault>(())
/// ```
pub fn line(text: &[u8]) -> Result<Line, Fault> {
    let mut members = object(text)?;
    let topic = take_text(&mut members, "topic")?;
    let event_id = take_text(&mut members, "event_id")?;
    let entry = ingress(topic.as_deref().unwrap_or(DEFAULT_TOPIC))?;
    let payload = payload_of(entry, &Tree::Object(members))?;
    Ok(Line {
        topic: entry.topics[0],
        event_id,
        payload,
    })
}

/// Reads the value of a record on an ingress topic; `topic` is the family's name, without a
/// tenant's prefix.
pub fn payload(topic: &str, text: &[u8]) -> Result<Payload, Fault> {
    payload_of(ingress(topic)?, &Tree::Object(object(text)?))
}

/// Reads any record of the contract.
pub fn record<T: Record>(text: &[u8]) -> Result<T, Fault> {
    let bytes = to_avro(T::entry().shape(), text)?;
    codec::decode(&bytes).map_err(unread)
}

/// Writes a record as one line of JSON, members in the schema's order, defaults left out.
///
/// The same record always gives the same text: an event's id is made of it.
pub fn canonical<T: Record>(record: &T) -> Result<String, codec::Fault> {
    let mut bytes = Vec::new();
    codec::encode(record, &mut bytes)?;
    written(T::entry(), &bytes)
}

/// [`canonical`] for whatever record is in a payload.
pub fn canonical_payload(payload: &Payload) -> Result<String, codec::Fault> {
    let mut bytes = Vec::new();
    payload.encode(&mut bytes)?;
    written(payload.entry(), &bytes)
}

fn written(entry: &Entry, bytes: &[u8]) -> Result<String, codec::Fault> {
    from_avro(entry.shape(), bytes).map_err(|source| codec::Fault::Broken {
        record: entry.record,
        source,
    })
}

/// Writes the bytes of any schema as one line of JSON, defaults left out.
pub fn from_avro(shape: &Shape, bytes: &[u8]) -> Result<String, Break> {
    write::datum(shape, bytes)
}

/// The bytes of any schema for one JSON object, defaults filled in.
pub fn to_avro(shape: &Shape, text: &[u8]) -> Result<Vec<u8>, Fault> {
    encoded(shape, &Tree::Object(object(text)?))
}

/// The fields of a topic's record, in the schema's order; empty for a topic without one.
pub fn field_names(topic: &str) -> &'static [&'static str] {
    contract::of_topic(topic).map_or(&[], |entry| entry.field_names())
}

fn ingress(topic: &str) -> Result<&'static Entry, Fault> {
    let is_ingress = |entry: &&'static Entry| Payload::RECORDS.contains(&entry.record);
    contract::of_topic(topic).filter(is_ingress).ok_or_else(|| {
        let known: Vec<_> = contract::all()
            .iter()
            .copied()
            .filter(is_ingress)
            .map(|entry| entry.topics[0])
            .collect();
        let hint = near::hint(topic, &known);
        Fault::new(
            Class::UnknownTopic,
            "topic",
            format!("unknown topic `{topic}`{hint}"),
        )
    })
}

fn object(text: &[u8]) -> Result<Vec<(String, Tree)>, Fault> {
    match tree::parse(text) {
        Ok(Tree::Object(members)) => Ok(members),
        Ok(other) => {
            let text = format!("expected an object, found {}", other.kind());
            Err(Fault::new(Class::Json, "", text))
        }
        Err(Flaw::Duplicate(key)) => {
            let text = format!("member `{key}` comes twice");
            Err(Fault::new(Class::DuplicateField, key, text))
        }
        Err(Flaw::Syntax(words)) => Err(Fault::new(Class::Json, "", format!("not JSON: {words}"))),
    }
}

fn take_text(members: &mut Vec<(String, Tree)>, name: &str) -> Result<Option<String>, Fault> {
    let Some(at) = members.iter().position(|(key, _)| key == name) else {
        return Ok(None);
    };
    match members.remove(at).1 {
        Tree::Text(text) => Ok(Some(text)),
        other => Err(read::wrong_type(name, "a string", &other)),
    }
}

/// The Avro bytes of an object.
fn encoded(shape: &Shape, tree: &Tree) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    read::datum(&shape.node, tree, &mut bytes)?;
    Ok(bytes)
}

/// What was just written by a schema can be read by it; if not, the text is to blame all the same.
fn unread(fault: codec::Fault) -> Fault {
    Fault::new(Class::Json, "", fault.to_string())
}

fn payload_of(entry: &'static Entry, tree: &Tree) -> Result<Payload, Fault> {
    Payload::decode(entry, &encoded(entry.shape(), tree)?).map_err(unread)
}
