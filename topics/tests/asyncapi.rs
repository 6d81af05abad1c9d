//! The AsyncAPI document: valid, complete, and the one that is checked in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cairn_topics::{asyncapi, asyncapi_text, catalogue};
use serde_json::Value;

#[test]
fn the_document_is_valid() {
    let schema: Value =
        serde_json::from_str(include_str!("data/asyncapi-3.0.0.json")).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let document = asyncapi();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");

    // The validator has teeth.
    let mut bad = asyncapi();
    bad["channels"]["late"]["bindings"]["kafka"]["partitions"] = "many".into();
    assert!(!validator.is_valid(&bad));
    let mut bad = asyncapi();
    bad["operations"]["send.late"]["action"] = "shout".into();
    assert!(!validator.is_valid(&bad));
}

#[test]
fn every_topic_is_in_it() {
    let document = asyncapi();
    for topic in catalogue() {
        let channel = &document["channels"][topic.name];
        assert_eq!(channel["address"], topic.name);
        let partitions = &channel["bindings"]["kafka"]["partitions"];
        assert_eq!(partitions, topic.partitions, "{}", topic.name);
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = asyncapi();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        // Names of ours have neither `/` nor `~`: a reference is a plain pointer.
        let pointer = reference
            .strip_prefix('#')
            .expect("references stay in the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    // cargo starts a test in the folder of its crate; compiled in, the path would be that of the clone that built it
    let kept = std::fs::read_to_string("../docs/topics.asyncapi.json").unwrap_or_default();
    assert!(
        kept == asyncapi_text(),
        "cargo run -p cairn-topics --example asyncapi writes it anew"
    );
}
