//! Every record of the contract: bytes that do not change, types that match their schemas.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use cairn_avro::contract::{self, Record};
use cairn_avro::tree::{self, Tree};
use cairn_avro::{codec, json, record::*};
use common::{hold, sample, sample_text, snake, to_hex, with_records};

/// Calls a generic function for every record.
macro_rules! each {
    ($function:ident; $($record:ident)*) => { $($function::<$record>();)* };
}

/// The names of the records.
macro_rules! names {
    (; $($record:ident)*) => { [$(stringify!($record)),*] };
}

#[test]
fn the_list_of_these_tests_is_complete() {
    let contracted: Vec<&str> = contract::all().iter().map(|entry| entry.record).collect();
    assert_eq!(contracted, with_records!(names));
}

#[test]
fn samples_are_the_golden_bytes() {
    for entry in contract::all() {
        let path = common::folder("golden").join(format!("{}.hex", snake(entry.record)));
        hold(&path, &to_hex(&sample(entry)));
    }
}

#[test]
fn types_read_and_write_the_samples() {
    fn check<T: Record + PartialEq + std::fmt::Debug>() {
        let entry = T::entry();
        let bytes = sample(entry);
        let record: T = codec::decode(&bytes).unwrap();
        let mut again = Vec::new();
        codec::encode(&record, &mut again).unwrap();
        assert_eq!(again, bytes, "{}", entry.record);

        let text = json::canonical(&record).unwrap();
        assert_eq!(json::record::<T>(text.as_bytes()).unwrap(), record);

        // State is kept as MessagePack with named fields.
        let packed = rmp_serde::to_vec_named(&record).unwrap();
        assert_eq!(rmp_serde::from_slice::<T>(&packed).unwrap(), record);
    }
    with_records!(each check);
}

/// `apache-avro` goes by the schema at every field, our own code by the order that was generated from it.
#[test]
fn bytes_are_those_of_another_encoder() {
    fn writes_the_same<T: Record + PartialEq + std::fmt::Debug>(record: &T) {
        let entry = T::entry();
        let mut ours = Vec::new();
        codec::encode(record, &mut ours).unwrap();
        let mut theirs = Vec::new();
        apache_avro::writer::datum::GenericDatumWriter::builder(entry.parsed())
            .human_readable(false)
            .build()
            .unwrap()
            .write_ser(&mut theirs, record)
            .unwrap();
        assert_eq!(ours, theirs, "{}", entry.record);
        let read: T = apache_avro::reader::datum::GenericDatumReader::builder(entry.parsed())
            .human_readable(false)
            .build()
            .unwrap()
            .read_deser(&mut &ours[..])
            .unwrap();
        assert_eq!(&read, record);
    }
    fn check<T: Record + PartialEq + std::fmt::Debug>() {
        writes_the_same(&codec::decode::<T>(&sample(T::entry())).unwrap());
    }
    with_records!(each check);
    // The samples leave nothing out; these leave out everything.
    writes_the_same(&TrainingTelemetry::default());
    writes_the_same(&RunConfig::default());
    writes_the_same(&ExperimentRow::default());
    writes_the_same(&ScalingFit::default());
    writes_the_same(&RunEvents::default());
}

/// However bytes are cut or bent, reading them ends with an answer.
#[test]
fn broken_bytes_are_refused() {
    fn check<T: Record + PartialEq + std::fmt::Debug>() {
        let bytes = sample(T::entry());
        for end in 0..bytes.len() {
            assert!(
                codec::decode::<T>(&bytes[..end]).is_err(),
                "{} of {end} bytes",
                T::entry().record
            );
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0xff;
            let _ = codec::decode::<T>(&bent);
        }
    }
    with_records!(each check);
}

#[test]
fn samples_leave_nothing_out() {
    for entry in contract::all() {
        let given = sample_text(entry.schema);
        let written = json::from_avro(entry.shape(), &sample(entry)).unwrap();
        let given = tree::parse(given.as_bytes()).unwrap();
        let written = tree::parse(written.as_bytes()).unwrap();
        assert_eq!(
            written, given,
            "{}: nothing equals its default",
            entry.record
        );
    }
}

#[test]
fn types_have_the_schemas_fields_in_order() {
    /// Compares the members of an object, all the way down, with the sample's.
    fn same(record: &Tree, sample: &Tree, path: &str) {
        match (record, sample) {
            (Tree::Object(record), Tree::Object(sample)) => {
                let names = |members: &[(String, Tree)]| -> Vec<String> {
                    members.iter().map(|(name, _)| name.clone()).collect()
                };
                assert_eq!(names(record), names(sample), "{path}");
                for ((name, record), (_, sample)) in record.iter().zip(sample) {
                    same(record, sample, &format!("{path}.{name}"));
                }
            }
            (Tree::List(record), Tree::List(sample)) => {
                record
                    .iter()
                    .zip(sample)
                    .for_each(|(record, sample)| same(record, sample, path));
            }
            _ => {}
        }
    }
    fn check<T: Record>() {
        let entry = T::entry();
        let record: T = codec::decode(&sample(entry)).unwrap();
        let text = serde_json::to_string(&record).unwrap();
        let record = tree::parse(text.as_bytes()).unwrap();
        let sample = tree::parse(sample_text(entry.schema).as_bytes()).unwrap();
        same(&record, &sample, entry.record);
    }
    with_records!(each check);
}

#[test]
fn every_truncation_and_every_tail_is_an_error() {
    fn check<T: Record>() {
        let bytes = sample(T::entry());
        for length in 0..bytes.len() {
            assert!(
                codec::decode::<T>(&bytes[..length]).is_err(),
                "{} {length}",
                T::entry().record
            );
        }
        let fault = codec::decode::<T>(&[&bytes[..], &[0, 0]].concat())
            .err()
            .unwrap();
        assert!(
            fault.to_string().contains("2 bytes after the end"),
            "{fault}"
        );
    }
    with_records!(each check);
}

#[test]
fn numbers_that_are_not_finite_pass_through_avro() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0] {
        let step = TrainingTelemetry {
            loss: Some(number),
            ..Default::default()
        };
        let mut bytes = Vec::new();
        codec::encode(&step, &mut bytes).unwrap();
        let read: TrainingTelemetry = codec::decode(&bytes).unwrap();
        assert_eq!(read.loss.map(f64::to_bits), Some(number.to_bits()));
    }
}

#[test]
fn every_field_has_a_doc_and_every_time_its_type() {
    for entry in contract::all() {
        every_field(
            &tree::parse(entry.schema.as_bytes()).unwrap(),
            &mut |field| {
                let name = field.get("name").and_then(Tree::text).unwrap();
                let doc = field.get("doc").and_then(Tree::text).unwrap();
                assert!(doc.ends_with('.'), "{}.{name}: {doc}", entry.record);
                if name.ends_with("_time_ms") && name != "step_time_ms" {
                    let kind = field.get("type").unwrap();
                    let kind = kind.items().get(1).unwrap_or(kind);
                    let logical = kind.get("logicalType").and_then(Tree::text);
                    assert_eq!(logical, Some("timestamp-millis"), "{}.{name}", entry.record);
                }
            },
        );
    }
}

fn every_field(tree: &Tree, see: &mut impl FnMut(&Tree)) {
    match tree {
        Tree::Object(members) => {
            tree.get("fields")
                .map_or(&[][..], Tree::items)
                .iter()
                .for_each(&mut *see);
            members
                .iter()
                .for_each(|(_, value)| every_field(value, see));
        }
        Tree::List(items) => items.iter().for_each(|item| every_field(item, see)),
        _ => {}
    }
}
