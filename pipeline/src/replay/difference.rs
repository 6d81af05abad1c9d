//! What differs between an original and what was recomputed for it, in words.

use super::spine::Wrong;
use cairn_avro::{Shape, frame, json as contract_json};
use cairn_bus::{Headers, Lookup, SchemaRegistry, TopicPartition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The earliest difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When the original was written; of one without original, when its batch was.
    pub time_ms: i64,
    /// different, missing or extra.
    pub kind: &'static str,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the original.
    pub offset: Option<i64>,
    /// Record key.
    pub key: String,
    /// What differs: the first field, a header, or that there is nothing to hold it against.
    pub what: String,
}

/// Reads records as JSON to tell what differs.
pub(super) struct Explainer {
    registry: Arc<dyn SchemaRegistry>,
    shapes: BTreeMap<u32, Shape>,
}

/// So much of a value is shown.
const SHOWN_CHARS: usize = 200;

impl Explainer {
    pub(super) fn new(registry: Arc<dyn SchemaRegistry>) -> Self {
        Self {
            registry,
            shapes: BTreeMap::new(),
        }
    }

    pub(super) fn explain(&mut self, place: &TopicPartition, wrong: &Wrong) -> Difference {
        let (kind, key, offset, what) = match (&wrong.original, &wrong.ours) {
            (Some(original), Some(ours)) => {
                let before = self.value(original.value.as_deref());
                let after = self.value(ours.value.as_deref());
                let what = headers(&original.headers, &ours.headers)
                    .or_else(|| values("value", &before, &after))
                    .unwrap_or_else(|| "the bytes, by which the same is said".to_owned());
                ("different", &original.key, Some(original.offset), what)
            }
            (Some(original), None) => {
                let value = short(&self.value(original.value.as_deref()).to_string());
                let what = format!("it was not recomputed: {value}");
                ("missing", &original.key, Some(original.offset), what)
            }
            (None, ours) => {
                let value = ours.as_ref().and_then(|ours| ours.value.as_deref());
                let value = short(&self.value(value).to_string());
                let key = ours.as_ref().map_or(&None, |ours| &ours.key);
                let what = format!("it was recomputed, and the log has no such record: {value}");
                ("extra", key, None, what)
            }
        };
        Difference {
            time_ms: wrong.time_ms,
            kind,
            topic: place.topic.to_string(),
            partition: place.partition,
            offset,
            key: String::from_utf8_lossy(key.as_deref().unwrap_or_default()).into_owned(),
            what,
        }
    }

    fn value(&mut self, value: Option<&[u8]>) -> Value {
        let Some(value) = value else {
            return Value::Null;
        };
        if value.first() == Some(&0) {
            return self
                .framed(value)
                .unwrap_or_else(|why| json!({"unreadable": why}));
        }
        serde_json::from_slice(value)
            .unwrap_or_else(|error| json!({"unreadable": error.to_string()}))
    }

    fn framed(&mut self, value: &[u8]) -> Result<Value, String> {
        let frame = frame::split(value).map_err(|fault| fault.to_string())?;
        let id = frame.schema_id;
        if !self.shapes.contains_key(&id) {
            let schema = match self
                .registry
                .schema_of(id)
                .map_err(|fault| fault.to_string())?
            {
                Lookup::Schema(schema) => schema,
                Lookup::Denied => return Err(format!("the registry has no schema with id {id}")),
            };
            let shape = Shape::parse(&schema).map_err(|fault| fault.to_string())?;
            self.shapes.insert(id, shape);
        }
        let shape = self.shapes.get(&id).ok_or("no schema")?;
        let text =
            contract_json::from_avro(shape, frame.body).map_err(|fault| fault.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

/// The first header that differs.
fn headers(before: &Headers, after: &Headers) -> Option<String> {
    if before == after {
        return None;
    }
    let text = |headers: &Headers| {
        let all: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
            .collect();
        all.join(", ")
    };
    Some(format!(
        "headers: [{}] was written, [{}] was recomputed",
        short(&text(before)),
        short(&text(after))
    ))
}

/// The first member that differs, by its path.
fn values(path: &str, before: &Value, after: &Value) -> Option<String> {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            let mut names = names.into_iter();
            names.find_map(|name| {
                let (a, b) = (a.get(name), b.get(name));
                let null = Value::Null;
                values(
                    &format!("{path}.{name}"),
                    a.unwrap_or(&null),
                    b.unwrap_or(&null),
                )
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(at, (a, b))| values(&format!("{path}[{at}]"), a, b)),
        (a, b) if a == b => None,
        (a, b) => Some(format!(
            "{path}: {} was written, {} was recomputed",
            short(&a.to_string()),
            short(&b.to_string())
        )),
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_member_that_differs_is_named_by_its_path() {
        let before = json!({"a": 1, "b": {"c": [1, 2, {"d": 2.5}]}, "e": null});
        let after = json!({"a": 1, "b": {"c": [1, 2, {"d": 2.6}]}, "e": 4});
        assert_eq!(
            values("value", &before, &after).as_deref(),
            Some("value.b.c[2].d: 2.5 was written, 2.6 was recomputed")
        );
        assert_eq!(values("value", &before, &before), None);
    }
}
