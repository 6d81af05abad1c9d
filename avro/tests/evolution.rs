//! Old and new versions of a schema read each other's bytes.
//!
//! `versions/<n>/` keeps the schemas of every released version. A release keeps the next one with
//! `CAIRN_KEEP_VERSION=<n> cargo test -p cairn-avro --test evolution`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use cairn_avro::codec::{self, Reader, SchemaFault};
use cairn_avro::contract::{self, Entry, entries};
use cairn_avro::record::*;
use cairn_avro::{Shape, json};
use common::{folder, sample, sample_text, snake};

/// Every version of a record's schema, oldest first, with its name; the last is this build's.
fn versions(entry: &Entry) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for number in 1.. {
        let kept = folder("versions").join(number.to_string());
        if !kept.is_dir() {
            break;
        }
        let path = kept.join(format!("{}.avsc", snake(entry.record)));
        if let Ok(text) = std::fs::read_to_string(path) {
            found.push((format!("version {number}"), text));
        }
    }
    found.push(("this build".to_owned(), entry.schema.to_owned()));
    found
}

#[test]
fn a_version_is_kept_when_asked_for() {
    let Ok(number) = std::env::var("CAIRN_KEEP_VERSION") else {
        return;
    };
    let kept = folder("versions").join(number);
    std::fs::create_dir_all(&kept).unwrap();
    for entry in contract::all() {
        let path = kept.join(format!("{}.avsc", snake(entry.record)));
        std::fs::write(path, entry.schema).unwrap();
    }
}

#[test]
fn all_versions_are_fully_compatible() {
    for entry in contract::all() {
        let versions = versions(entry);
        assert!(versions.len() > 1, "{} was never kept", entry.record);
        for (older, old) in &versions {
            for (newer, new) in &versions {
                let old = Schema::parse_str(old).unwrap();
                let new = Schema::parse_str(new).unwrap();
                let answer = SchemaCompatibility::can_read(&old, &new);
                assert!(
                    matches!(answer, Ok(Compatibility::Full)),
                    "{}: {newer} reads {older} at most in part: {answer:?}",
                    entry.record
                );
            }
        }
    }
}

#[test]
fn bytes_of_every_version_are_read() {
    for entry in contract::all() {
        for (_, schema) in versions(entry) {
            let shape = Shape::parse(&schema).unwrap();
            let bytes = json::to_avro(&shape, sample_text(&schema).as_bytes()).unwrap();
            let reader = Reader::new(entry, &schema).unwrap();
            // What a record's type is does not matter here: its own entry decides.
            match entry.record {
                "ScalingFit" => drop(reader.read::<ScalingFit>(&bytes).unwrap()),
                "RunEvents" => drop(reader.read::<RunEvents>(&bytes).unwrap()),
                "ExperimentRow" => drop(reader.read::<ExperimentRow>(&bytes).unwrap()),
                record if Payload::RECORDS.contains(&record) => {
                    drop(reader.read_payload(&bytes).unwrap());
                }
                _ => {}
            }
        }
    }
}

/// The order of fields that were released stays: an event's id is made of its canonical text.
#[test]
fn released_fields_keep_their_order() {
    for entry in contract::all() {
        let now = entry.field_names();
        for (version, schema) in versions(entry) {
            let Ok(Schema::Record(record)) = Schema::parse_str(&schema) else {
                panic!("{version}")
            };
            let places: Vec<_> = record
                .fields
                .iter()
                .filter_map(|field| now.iter().position(|name| *name == field.name))
                .collect();
            assert!(places.is_sorted(), "{}: {version}", entry.record);
        }
    }
}

/// Reads a step that another schema wrote; the fields are those of the writer's record.
fn step(fields: &str, text: &str) -> TrainingTelemetry {
    let schema = format!(r#"{{"type":"record","name":"Mine","fields":[{fields}]}}"#);
    let bytes = json::to_avro(&Shape::parse(&schema).unwrap(), text.as_bytes()).unwrap();
    match codec::decode_payload("telemetry.training", &schema, &bytes).unwrap() {
        Payload::TrainingTelemetry(step) => step,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_writer_may_know_less_more_and_in_another_order() {
    let read = step(
        r#"{"name":"extra","type":{"type":"array","items":"string"}},
           {"name":"loss","type":"float"},
           {"name":"step","type":"int"},
           {"name":"run_id","type":["null","string"]}"#,
        r#"{"extra":["a","b"],"loss":0.5,"step":3,"run_id":"r"}"#,
    );
    let expected = TrainingTelemetry {
        run_id: "r".into(),
        step: 3,
        loss: Some(0.5),
        ..Default::default()
    };
    assert_eq!(read, expected);
}

#[test]
fn a_symbol_of_a_later_version_is_the_default() {
    let schema = entries::TRAINING_TELEMETRY
        .schema
        .replace("\"nan\"", "\"quiet\", \"nan\"");
    let text = r#"{"run_id":"r","step":1,"loss_state":"quiet","grad_norm_state":"nan"}"#;
    let bytes = json::to_avro(&Shape::parse(&schema).unwrap(), text.as_bytes()).unwrap();
    let read = codec::decode_payload("telemetry.training", &schema, &bytes).unwrap();
    let Payload::TrainingTelemetry(read) = read else {
        panic!("{read:?}")
    };
    assert_eq!(
        (read.loss_state, read.grad_norm_state),
        (NumberState::Finite, NumberState::Nan)
    );
}

/// A branch of a union is found by its name: by trial, a configuration with a new field would pass
/// for runtime telemetry, which needs only a run id.
#[test]
fn a_payload_stays_what_it_is_when_its_record_grows() {
    let entry = &entries::RUN_EVENTS;
    let schema = entry.schema.replacen(
        r#"{"name": "parent_run_id","#,
        r#"{"name": "new", "type": ["null", "long"], "default": null, "doc": "New."},
           {"name": "parent_run_id","#,
        1,
    );
    assert_ne!(schema, entry.schema);
    let shape = Shape::parse(&schema).unwrap();
    let bytes = json::to_avro(&shape, sample_text(&schema).as_bytes()).unwrap();
    let read: RunEvents = Reader::new(entry, &schema).unwrap().read(&bytes).unwrap();
    let ours: RunEvents = codec::decode(&sample(entry)).unwrap();
    let kinds = |events: &RunEvents| -> Vec<&'static str> {
        events
            .events
            .iter()
            .map(|event| event.payload.entry().record)
            .collect()
    };
    assert_eq!(kinds(&read), kinds(&ours));
    assert_eq!(kinds(&read), Payload::RECORDS);
}

/// What a later version may do and what not, as the registry (FULL_TRANSITIVE) and our own reader
/// see it.
#[test]
fn what_may_change() {
    let run_events = entries::RUN_EVENTS.schema;
    let lifecycle = entries::RUN_LIFECYCLE.schema;
    let optional = r#"{"name": "new", "type": ["null", "long"], "default": null, "doc": "New."}, "#;
    let needed = r#"{"name": "new", "type": "long", "doc": "New."}, "#;
    let reason = r#"{"name": "reason","#;
    for (change, entry, schema, may) in [
        (
            "an optional field more",
            &entries::RUN_LIFECYCLE,
            lifecycle.replace(reason, &format!("{optional}{reason}")),
            true,
        ),
        (
            "a needed field more",
            &entries::RUN_LIFECYCLE,
            lifecycle.replace(reason, &format!("{needed}{reason}")),
            false,
        ),
        (
            "a symbol more",
            &entries::RUN_LIFECYCLE,
            lifecycle.replace("\"end_of_file\"", "\"end_of_file\", \"paused\""),
            true,
        ),
        (
            "another type",
            &entries::RUN_LIFECYCLE,
            lifecycle.replace(
                r#""step", "type": ["null", "long"]"#,
                r#""step", "type": ["null", "string"]"#,
            ),
            false,
        ),
        (
            "a kind of payload less",
            &entries::RUN_EVENTS,
            without_tags(run_events),
            false,
        ),
    ] {
        assert_ne!(schema, entry.schema, "{change}");
        let old = Schema::parse_str(entry.schema).unwrap();
        let new = Schema::parse_str(&schema).unwrap();
        let answer = SchemaCompatibility::mutual_read(&old, &new);
        let full = matches!(answer, Ok(Compatibility::Full));
        assert_eq!(full, may, "{change}: {answer:?}");
    }
}

/// `RunEvents` without the last branch of its payload: what an older version would look like if a
/// later one had added it.
fn without_tags(schema: &str) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let fields = schema
        .pointer_mut("/fields/2/type/items/fields")
        .unwrap()
        .as_array_mut()
        .unwrap();
    let payload = fields
        .iter_mut()
        .find(|field| field["name"] == "payload")
        .unwrap();
    payload["type"].as_array_mut().unwrap().pop().unwrap();
    schema.to_string()
}

/// A schema that cannot be used, and why.
fn refuse(schema: &str, words: &str) {
    let fault = Reader::new(&entries::TRAINING_TELEMETRY, schema).unwrap_err();
    assert!(fault.to_string().contains(words), "{fault}\nlacks {words}");
}

#[test]
fn useless_and_hostile_schemas_are_refused() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    refuse("nonsense", "not an Avro schema");
    refuse(
        "\"string\"",
        "a string is written, an object (TrainingTelemetry) is read",
    );
    refuse(
        &record(r#"{"name":"run_id","type":"string"}"#),
        "TrainingTelemetry.step is missing",
    );
    refuse(
        &record(r#"{"name":"run_id","type":"string"},{"name":"step","type":["null","string"]}"#),
        "step: a string is written, an integer is read",
    );
    refuse(
        &record(r#"{"name":"next","type":["null","R"]}"#),
        "R contains itself",
    );

    // Ten fields of a type with ten fields of a type …: a few kilobytes that stand for billions.
    let mut kind = "\"long\"".to_owned();
    for level in 0..6 {
        let fields: Vec<String> = (0..10)
            .map(|field| {
                let kind = if field == 0 {
                    kind.clone()
                } else {
                    format!("\"L{}\"", level - 1)
                };
                let kind = if level == 0 {
                    "\"long\"".to_owned()
                } else {
                    kind
                };
                format!(r#"{{"name":"f{field}","type":{kind}}}"#)
            })
            .collect();
        kind = format!(
            r#"{{"type":"record","name":"L{level}","fields":[{}]}}"#,
            fields.join(",")
        );
    }
    refuse(&kind, "values");

    // A chain of records, each in the next.
    let links: Vec<String> = (0..200)
        .map(|link| {
            let inner = if link == 0 {
                "long".to_owned()
            } else {
                format!("C{}", link - 1)
            };
            format!(
                r#"{{"type":"record","name":"C{link}","fields":[{{"name":"f","type":"{inner}"}}]}}"#
            )
        })
        .collect();
    refuse(&format!("[{}]", links.join(",")), "levels");
    assert!(matches!(Shape::parse(&kind), Err(SchemaFault::Large(_))));
}

/// Whatever the bytes, the answer is a record or a fault: no panic, no endless loop, no gigabyte.
#[test]
fn no_bytes_do_harm() {
    for entry in [
        &entries::RUN_EVENTS,
        &entries::RUN_CONFIG,
        &entries::SCALING_FIT,
    ] {
        let grown = entry
            .schema
            .replace(r#"{"name": "seed","#, r#"{"name": "sead","#);
        let foreign = Reader::new(entry, &grown).unwrap();
        let bytes = sample(entry);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= change;
                let _ = json::from_avro(entry.shape(), &bad);
                match entry.record {
                    "RunEvents" => drop(foreign.read::<RunEvents>(&bad)),
                    "RunConfig" => drop(foreign.read::<RunConfig>(&bad)),
                    _ => drop(foreign.read::<ScalingFit>(&bad)),
                }
            }
            let cut = &bytes[..at];
            assert!(json::from_avro(entry.shape(), cut).is_err());
        }
    }
    let endless = Shape::parse(r#"{"type":"array","items":"null"}"#).unwrap();
    let mut bytes = vec![0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(json::from_avro(&endless, &bytes).is_err());
    bytes.clear();
    assert!(json::from_avro(&endless, &bytes).is_err());
}
