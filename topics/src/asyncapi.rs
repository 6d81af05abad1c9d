//! The catalogue as an AsyncAPI 3.0 document: what a stranger reads before the first record.
//!
//! Channels are topics, operations say who sends, messages carry the Avro schema (or the JSON
//! Schema) and the key. `docs/topics.asyncapi.json` is this document; a test holds it to the code.

use serde_json::{Map, Value, json};

use cairn_avro::contract;

use crate::catalogue::{Cleanup, Encoding, Family, KeptBy, Topic, catalogue};

const ABOUT: &str = "Everything that goes over Cairn's log. Values are Avro in a Confluent frame \
(a zero byte, four bytes of schema id, the datum), those of `cockpit.*` are JSON. On an ingress \
topic a value that starts with `{` is the contract's JSON instead. Ingress topics may carry a \
tenant's prefix, `acme.telemetry.training`; without one the tenant is `default`. Parts of a key \
are percent-encoded and joined by `/`. The header `event_id` of an ingress record, if there is \
one, is the identity of its event; `traceparent` is its W3C trace context.";

/// The document.
pub fn asyncapi() -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    let mut schemas = Map::new();
    for topic in catalogue() {
        channels.insert(topic.name.to_owned(), channel(topic));
        operations.insert(operation_name(topic), operation(topic));
        messages
            .entry(message_name(topic))
            .or_insert_with(|| message(topic, &mut schemas));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cairn",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0"}
        },
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "Any Kafka cluster; the embedded log keeps the same topics in a file.",
                "variables": {
                    "bootstrap": {"default": "localhost:9092", "description": "Bootstrap server."}
                }
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas}
    })
}

/// The document as it is kept: two spaces, members sorted, a newline at the end.
pub fn asyncapi_text() -> String {
    let text = serde_json::to_string_pretty(&sorted(asyncapi())).expect("a document is JSON");
    text + "\n"
}

/// Members in the order of their names, whatever order this build of `serde_json` keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            members
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn channel(topic: &Topic) -> Value {
    let policy = if topic.is_compacted() {
        "compact"
    } else {
        "delete"
    };
    let mut configuration = json!({
        "cleanup.policy": [policy],
        "max.message.bytes": topic.max_message_bytes,
        "message.timestamp.type": if topic.append_time { "LogAppendTime" } else { "CreateTime" },
    });
    if let Cleanup::Delete { retention_ms } = topic.cleanup {
        configuration["retention.ms"] = retention_ms.into();
    }
    json!({
        "address": topic.name,
        "description": topic.description,
        "messages": {message_name(topic): {"$ref": format!("#/components/messages/{}", message_name(topic))}},
        "tags": [{"name": topic.family.as_str()}],
        "bindings": {"kafka": {
            "topic": topic.name,
            "partitions": topic.partitions,
            "topicConfiguration": configuration,
            "bindingVersion": "0.5.0"
        }},
        "x-cairn-partitioned-by": topic.partition_words(),
        "x-cairn-key": topic.key_words(),
        "x-cairn-owner": topic.owner
    })
}

fn operation_name(topic: &Topic) -> String {
    format!(
        "{}.{}",
        if topic.family == Family::Ingress {
            "receive"
        } else {
            "send"
        },
        topic.name
    )
}

/// What Cairn does with a topic: it receives what others send in and sends the rest.
fn operation(topic: &Topic) -> Value {
    let channel = format!("#/channels/{}", topic.name);
    json!({
        "action": if topic.family == Family::Ingress { "receive" } else { "send" },
        "channel": {"$ref": channel},
        "summary": format!("Written by: {}.", topic.owner),
        "messages": [{"$ref": format!("{channel}/messages/{}", message_name(topic))}]
    })
}

fn message_name(topic: &Topic) -> String {
    match topic.encoding {
        Encoding::Avro => topic.schema.to_owned(),
        // `telegram` becomes `Telegram`, as records are named.
        Encoding::Json => {
            let (first, rest) = topic.schema.split_at(1);
            first.to_ascii_uppercase() + rest
        }
    }
}

fn message(topic: &Topic, schemas: &mut Map<String, Value>) -> Value {
    let key = match topic.kept_by {
        KeptBy::TableKey => {
            json!({"type": "string", "format": "binary", "description": topic.key_words()})
        }
        KeptBy::Producer | KeptBy::Fields(_) => {
            json!({"type": "string", "description": topic.key_words()})
        }
    };
    match topic.entry() {
        Some(entry) => {
            let schema: Value =
                serde_json::from_str(entry.schema).expect("the contract's schemas are JSON");
            json!({
                "name": entry.record,
                "summary": schema["doc"],
                "contentType": "application/vnd.confluent.avro",
                "payload": {
                    "schemaFormat": "application/vnd.apache.avro+json;version=1.9.0",
                    "schema": schema
                },
                "bindings": {"kafka": {
                    "key": key,
                    "schemaIdLocation": "payload",
                    "schemaIdPayloadEncoding": "confluent",
                    "schemaLookupStrategy": "TopicNameStrategy",
                    "bindingVersion": "0.5.0"
                }}
            })
        }
        None => {
            let text = contract::json_schema(topic.schema).expect("a topic in JSON has a schema");
            let schema = serde_json::from_str(text).expect("a JSON Schema is JSON");
            json!({
                "name": message_name(topic),
                "summary": topic.description,
                "contentType": "application/json",
                "payload": {"$ref": adopt(topic.schema, schema, schemas)},
                "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
            })
        }
    }
}

/// Moves a JSON Schema and its definitions to the document's own, where its references work.
fn adopt(name: &str, mut schema: Value, schemas: &mut Map<String, Value>) -> String {
    let members = schema.as_object_mut().expect("a JSON Schema is an object");
    members.remove("$schema");
    members.remove("$id");
    let definitions = members.remove("$defs");
    if let Some(Value::Object(definitions)) = definitions {
        for (part, mut definition) in definitions {
            redirect(name, &mut definition);
            schemas.insert(format!("{name}.{part}"), definition);
        }
    }
    redirect(name, &mut schema);
    schemas.insert(name.to_owned(), schema);
    format!("#/components/schemas/{name}")
}

fn redirect(name: &str, schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                let part = value
                    .as_str()
                    .and_then(|text| text.strip_prefix("#/$defs/"));
                match part {
                    Some(part) if key == "$ref" => {
                        *value = format!("#/components/schemas/{name}.{part}").into();
                    }
                    _ => redirect(name, value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(name, item)),
        _ => {}
    }
}
