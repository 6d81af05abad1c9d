//! Records to columns and back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use cairn_avro::codec::{self, Reader};
use cairn_avro::contract::{Entry, Record, entries};
use cairn_avro::{Shape, arrow, frame, json, record::*};
use common::{sample, with_records};

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(id, &mut out);
    out.extend_from_slice(body);
    out
}

fn batch(entry: &'static Entry, rows: &[Vec<u8>]) -> Result<RecordBatch, arrow::Fault> {
    let readers = BTreeMap::from([(7, Reader::native(entry))]);
    let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    arrow::rows_to_batch(entry, &readers, &rows)
}

/// The calls of [`with_records`] for a generic function.
macro_rules! each {
    ($function:ident; $($record:ident)*) => { $($function::<$record>();)* };
}

#[test]
fn every_table_goes_there_and_back() {
    fn check<T: Record + PartialEq + std::fmt::Debug + Clone>() {
        let entry = T::entry();
        let full: T = codec::decode(&sample(entry)).unwrap();
        let records = vec![full.clone(), full];
        let batch = arrow::records_to_batch(&records).unwrap();
        assert_eq!(batch.num_rows(), 2);
        let columns: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(columns, entry.field_names());
        let back: Vec<T> = arrow::batch_to_records(&batch)
            .unwrap_or_else(|fault| panic!("{}: {fault}", entry.record));
        assert_eq!(back, records);
    }
    with_records!(each check);
}

#[test]
fn sparse_rows_go_there_and_back() {
    let rows = vec![
        ExperimentRow {
            tenant: "t".into(),
            run_id: "a".into(),
            ..Default::default()
        },
        ExperimentRow {
            tenant: "t".into(),
            run_id: "b".into(),
            status: RunStatus::Finished,
            loss_last: Some(f64::INFINITY),
            tags: vec!["x".into()],
            ..Default::default()
        },
    ];
    let batch = arrow::records_to_batch(&rows).unwrap();
    assert_eq!(
        arrow::batch_to_records::<ExperimentRow>(&batch).unwrap(),
        rows
    );
}

#[test]
fn columns_have_the_types_that_sql_wants() {
    let step = TrainingTelemetry {
        run_id: "r".into(),
        step: 3,
        loss: Some(2.5),
        event_time_ms: Some(5),
        loss_state: NumberState::Nan,
        ..Default::default()
    };
    let batch = arrow::records_to_batch(&[step]).unwrap();
    assert_eq!(
        batch.schema(),
        arrow::schema(&entries::TRAINING_TELEMETRY).unwrap()
    );
    let column = |name: &str| batch.column_by_name(name).unwrap();
    assert_eq!(column("step").as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(column("loss").as_primitive::<Float64Type>().value(0), 2.5);
    assert!(column("grad_norm").is_null(0));
    assert_eq!(
        column("event_time_ms").data_type(),
        &DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))
    );
    let states = column("loss_state").as_dictionary::<Int32Type>();
    let value = states
        .values()
        .as_string::<i32>()
        .value(usize::try_from(states.keys().value(0)).unwrap());
    assert_eq!(value, "nan");
}

#[test]
fn rows_of_several_schemas_make_one_batch() {
    let entry = &entries::WINDOW;
    let older = entry.schema.replace(
        r#"{"name": "grad_norm_max", "type": ["null", "double"], "default": null, "doc": "Greatest gradient norm (dimensionless)."},"#,
        "",
    );
    assert_ne!(older, entry.schema);
    let readers = BTreeMap::from([
        (7, Reader::native(entry)),
        (3, Reader::new(entry, &older).unwrap()),
    ]);
    let text = r#"{"tenant":"t","run_id":"r","size":1,"start":0,"end":1,"grad_norm_max":2}"#;
    let shorter = text.replace(r#","grad_norm_max":2"#, "");
    let old = json::to_avro(&Shape::parse(&older).unwrap(), shorter.as_bytes()).unwrap();
    let new = json::to_avro(entry.shape(), text.as_bytes()).unwrap();
    let rows = [framed(3, &old), framed(7, &new), framed(3, &old)];
    let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let batch = arrow::rows_to_batch(entry, &readers, &rows).unwrap();
    let norms = batch.column_by_name("grad_norm_max").unwrap();
    let norms: Vec<_> = norms.as_primitive::<Float64Type>().iter().collect();
    assert_eq!(norms, [None, Some(2.0), None]);
}

#[test]
fn bad_rows_are_named() {
    let entry = &entries::TRAINING_TELEMETRY;
    let good = framed(7, &sample(entry));
    let refuse = |bad: &[u8], words: &str| {
        let fault = batch(entry, &[good.clone(), bad.to_vec()])
            .unwrap_err()
            .to_string();
        assert!(
            fault.starts_with("row 1 is not a framed TrainingTelemetry"),
            "{fault}"
        );
        assert!(fault.contains(words), "{fault}");
    };
    refuse(b"", "empty");
    refuse(&framed(8, b"x"), "schema 8 is not known");
    refuse(&[&good[..], &[0]].concat(), "1 bytes after the end");
    for length in 5..good.len() {
        refuse(&good[..length], "");
    }
    assert_eq!(batch(entry, &[]).unwrap().num_rows(), 0);
}
