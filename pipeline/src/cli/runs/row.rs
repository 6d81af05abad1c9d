//! A row as scripts read it: the record, the units of its members, and the records that it rests on.

use cairn_avro::contract::{self, Entry};
use cairn_avro::record::ExperimentRow;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The row of `runs list --json` and `runs show --json`.
pub(super) fn json(row: &ExperimentRow) -> Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    // by topic; where a run's records lie in several of its partitions, by each of them
    let is_alone = |topic: &str| row.inputs.iter().filter(|span| span.topic == topic).count() == 1;
    let inputs: Map<String, Value> = row
        .inputs
        .iter()
        .map(|span| {
            let name = if is_alone(&span.topic) {
                span.topic.clone()
            } else {
                format!("{}/{}", span.topic, span.partition)
            };
            (name, json!([span.first, span.last]))
        })
        .collect();
    if let Some(members) = value.as_object_mut() {
        let told = told(members);
        members.insert("inputs".into(), Value::Object(inputs));
        let units: Map<String, Value> = units()
            .iter()
            .filter(|(path, _)| told.contains(path))
            .map(|(path, unit)| (path.clone(), Value::from(unit.as_str())))
            .collect();
        members.insert("units".into(), Value::Object(units));
    }
    value
}

/// The paths of members that have a value.
fn told(members: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in members {
        match value {
            Value::Object(inner) => {
                found.extend(
                    inner
                        .iter()
                        .filter(|(_, value)| !value.is_null())
                        .map(|(inner, _)| format!("{name}.{inner}")),
                );
            }
            Value::Null => {}
            _ => found.push(name.clone()),
        }
    }
    found
}

/// Units of the row's members by their path, as the schema's comments say them: in the brackets at their end.
pub(super) fn units() -> &'static BTreeMap<String, String> {
    static UNITS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    UNITS.get_or_init(|| {
        let mut found = BTreeMap::new();
        let schema = contract::of_record("ExperimentRow")
            .and_then(|entry: &Entry| serde_json::from_str::<Value>(entry.schema).ok());
        if let Some(schema) = schema {
            collect(&schema, "", &mut found);
        }
        found
    })
}

fn collect(record: &Value, prefix: &str, found: &mut BTreeMap<String, String>) {
    for field in record["fields"].as_array().into_iter().flatten() {
        let path = format!("{prefix}{}", field["name"].as_str().unwrap_or_default());
        if field["type"]["type"] == "record" && prefix.is_empty() {
            collect(&field["type"], &format!("{path}."), found);
        } else if let Some(unit) = unit(field["doc"].as_str().unwrap_or_default()) {
            found.insert(path, unit.to_owned());
        }
    }
}

/// What stands in the last brackets of a sentence.
fn unit(doc: &str) -> Option<&str> {
    let end = doc.trim_end_matches('.').strip_suffix(')')?;
    let start = end.rfind('(')?;
    Some(&end[start + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_the_schema() {
        for (path, expected) in [
            ("tokens", "tokens"),
            ("model.parameters_total", "count"),
            ("loss_last", "nats per token"),
            ("derived.flops", "floating point operations"),
            ("latency_ms_p50", "milliseconds"),
        ] {
            assert_eq!(
                units().get(path).map(String::as_str),
                Some(expected),
                "{path}"
            );
        }
        assert_eq!(units().get("run_id"), None);
    }
}
