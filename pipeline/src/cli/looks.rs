//! Records as JSON, for people and scripts: whatever the topic, whatever wrote it.

use super::Failure;
use crate::connect::Place;
use cairn_avro::{Shape, frame, json as contract_json};
use cairn_bus::{Lookup, Offsets, Reader, Record};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Reads topics from their start, or on from where it was told.
pub struct Look {
    place: Place,
    reader: Box<dyn Reader>,
    shapes: BTreeMap<u32, Shape>,
}

/// Most records of one read.
const READ_MAX: usize = 2_000;

impl Look {
    /// A look at this log.
    ///
    /// # Errors
    /// See [`cairn_bus::Log::reader`].
    pub fn new(place: &Place) -> Result<Self, Failure> {
        Ok(Self {
            place: place.clone(),
            reader: place.log.reader()?,
            shapes: BTreeMap::new(),
        })
    }

    /// Where a topic begins and where it ends now.
    ///
    /// # Errors
    /// A topic that does not exist.
    pub fn ends(&mut self, topic: &str) -> Result<(Offsets, Offsets), Failure> {
        let ends = self.reader.ends(&[topic])?;
        let first = ends
            .iter()
            .map(|(place, (first, _))| (place.clone(), *first))
            .collect();
        let last = ends
            .into_iter()
            .map(|(place, (_, last))| (place, last))
            .collect();
        Ok((first, last))
    }

    /// The next records, and where to go on.
    ///
    /// # Errors
    /// See [`Reader::read`].
    pub fn read(
        &mut self,
        from: &Offsets,
        patience: Duration,
    ) -> Result<(Vec<Record>, Offsets), Failure> {
        Ok(self.reader.read(from, patience, READ_MAX)?)
    }

    /// Every record of a topic as of now, given to `each`.
    ///
    /// # Errors
    /// See [`Reader::read`], and what `each` says.
    pub fn all(
        &mut self,
        topic: &str,
        mut each: impl FnMut(&mut Self, Record) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut from, ends) = self.ends(topic)?;
        while from
            .iter()
            .any(|(place, next)| ends.get(place).is_some_and(|end| next < end))
        {
            let (records, next) = self.read(&from, Duration::from_millis(200))?;
            for record in records {
                if ends
                    .get(&record.place())
                    .is_some_and(|end| record.offset < *end)
                {
                    each(self, record)?;
                }
            }
            from = next;
        }
        Ok(())
    }

    /// The newest value of every key of a compacted topic, in order of the keys.
    ///
    /// # Errors
    /// See [`Look::all`].
    pub fn newest(&mut self, topic: &str) -> Result<BTreeMap<String, Value>, Failure> {
        let mut found = BTreeMap::new();
        self.all(topic, |look, record| {
            let key =
                String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            if record.value.is_some() {
                found.insert(key, look.value(&record));
            } else {
                found.remove(&key);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// A record as `cairn tail --json` prints it.
    pub fn json(&mut self, record: &Record) -> Value {
        let headers: serde_json::Map<String, Value> = record
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.clone(),
                    Value::String(String::from_utf8_lossy(value).into_owned()),
                )
            })
            .collect();
        let key = record
            .key
            .as_deref()
            .map(|key| String::from_utf8_lossy(key).into_owned());
        let value = self.value(record);
        json!({
            "topic": &*record.topic, "partition": record.partition, "offset": record.offset, "key": key,
            "timestamp_ms": record.append_time_ms, "headers": headers, "value": value
        })
    }

    /// The value alone; what cannot be read is said in its place.
    pub fn value(&mut self, record: &Record) -> Value {
        let Some(value) = record.value.as_deref() else {
            return Value::Null;
        };
        match value.first() {
            Some(0) => self
                .framed(value)
                .unwrap_or_else(|error| json!({"unreadable": error})),
            _ => serde_json::from_slice(value).unwrap_or_else(
                |error| json!({"unreadable": error.to_string(), "bytes": value.len()}),
            ),
        }
    }

    fn framed(&mut self, value: &[u8]) -> Result<Value, String> {
        let frame = frame::split(value).map_err(|fault| fault.to_string())?;
        let id = frame.schema_id;
        if !self.shapes.contains_key(&id) {
            match self
                .place
                .registry
                .schema_of(id)
                .map_err(|fault| fault.to_string())?
            {
                Lookup::Schema(schema) => {
                    self.shapes.insert(
                        id,
                        Shape::parse(&schema).map_err(|fault| fault.to_string())?,
                    );
                }
                Lookup::Denied => return Err(format!("the registry has no schema with id {id}")),
            }
        }
        let shape = self.shapes.get(&id).ok_or("no schema")?;
        let text =
            contract_json::from_avro(shape, frame.body).map_err(|fault| fault.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}
