//! Parquet files through a mapping: types, nested columns, row groups, files that grew, files that are none.

#[path = "ingest_support/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests of ingest")]
mod support;

use cairn_avro::record::{DeadLetter, NumberState, Payload, TrainingTelemetry};
use cairn_pipeline::ingest::format::mapped::Mapping;
use datafusion::arrow::array::{
    Array as _, ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use support::Bench;

const MAPPING: &str = "
run_id: run
clock: step
event_time: {from: at}
fields: {step: step, loss: eval.loss, tokens: \"step * 1024\", metrics.deep: eval.more.deep}
config: {parameters_total: params}
";

/// Rows of two runs in turn: dictionary, integers, nested floats, times, and columns that nobody asks for.
fn table(steps: Range<i64>) -> RecordBatch {
    let steps: Vec<i64> = steps.collect();
    let runs: DictionaryArray<Int32Type> = steps
        .iter()
        .map(|step| if step % 2 == 0 { "even" } else { "odd" })
        .collect();
    let deep: ArrayRef = Arc::new(Int32Array::from_iter_values(
        steps.iter().map(|step| *step as i32 * 3),
    ));
    let more = StructArray::from(vec![(
        Arc::new(Field::new("deep", DataType::Int32, true)),
        deep,
    )]);
    let loss: ArrayRef = Arc::new(
        steps
            .iter()
            .map(|step| match step {
                7 => Some(f64::NAN),
                _ => Some(4.0 - *step as f64 / 100.0),
            })
            .collect::<Float64Array>(),
    );
    let eval = StructArray::from(vec![
        (Arc::new(Field::new("loss", DataType::Float64, true)), loss),
        (
            Arc::new(Field::new("more", more.data_type().clone(), true)),
            Arc::new(more) as ArrayRef,
        ),
    ]);
    let times = TimestampMicrosecondArray::from_iter_values(
        steps
            .iter()
            .map(|step| 1_700_000_000_000_000 + step * 1_000_000),
    );
    RecordBatch::try_from_iter([
        ("run", Arc::new(runs) as ArrayRef),
        (
            "step",
            Arc::new(Int64Array::from(steps.clone())) as ArrayRef,
        ),
        ("eval", Arc::new(eval) as ArrayRef),
        ("at", Arc::new(times) as ArrayRef),
        (
            "params",
            Arc::new(Int64Array::from_value(124_000_000, steps.len())) as ArrayRef,
        ),
        (
            "prompt",
            Arc::new(StringArray::from_iter_values(
                steps.iter().map(|_| "secret"),
            )) as ArrayRef,
        ),
    ])
    .expect("the columns are as long")
}

fn parquet(rows: &RecordBatch, group: usize, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(compression)
        .build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), Some(properties))
        .expect("it can be written");
    writer.write(rows).expect("memory takes it");
    writer.close().expect("memory takes it");
    file
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.options.mapping = Some(Arc::new(Mapping::parse(MAPPING).expect("it is one")));
    bench
}

fn training(bench: &Bench) -> Vec<TrainingTelemetry> {
    let mut rows: Vec<TrainingTelemetry> = bench
        .payloads("telemetry.training")
        .into_iter()
        .filter_map(|payload| match payload {
            Payload::TrainingTelemetry(row) => Some(row),
            _ => None,
        })
        .collect();
    rows.sort_by_key(|row| row.step);
    rows
}

#[test]
fn columns_become_rows_with_their_types() {
    let bench = bench();
    let file = bench.file(
        "t.parquet",
        parquet(&table(0..2_500), 1_000, Compression::SNAPPY),
    );
    let summary = bench.ingest(&[&file]);
    // 2,500 rows and a configuration of each of two runs
    assert_eq!(
        (
            summary.format.as_str(),
            summary.accepted,
            summary.rejected,
            summary.lines
        ),
        ("mapped_parquet", 2_502, 0, 2_500)
    );
    assert_eq!(summary.runs, ["even", "odd"]);
    assert_eq!(summary.sha256, support::sha256(&file));
    let rows = training(&bench);
    assert_eq!(rows.len(), 2_500);
    assert_eq!(
        (rows[10].run_id.as_str(), rows[10].loss, rows[10].tokens),
        ("even", Some(3.9), Some(10_240))
    );
    assert_eq!(rows[10].event_time_ms, Some(1_700_000_010_000));
    assert_eq!(rows[10].metrics["deep"], 30.0);
    assert_eq!((rows[7].loss, rows[7].loss_state), (None, NumberState::Nan));
    // a year's row groups later the last one is there, too
    assert_eq!(rows[2_499].metrics["deep"], 7_497.0);
}

#[test]
fn the_same_table_adds_nothing_and_a_longer_one_its_rows() {
    let bench = bench();
    let file = bench.file(
        "t.parquet",
        parquet(&table(0..1_500), 1_000, Compression::SNAPPY),
    );
    assert_eq!(bench.ingest(&[&file]).accepted, 1_502);
    let again = bench.ingest(&[&file]);
    assert_eq!((again.accepted, again.duplicate), (0, 1_502));
    // written anew with other row groups and another codec, and more in it
    bench.file(
        "t.parquet",
        parquet(&table(0..1_900), 700, Compression::LZ4_RAW),
    );
    let grown = bench.ingest(&[&file]);
    assert_eq!((grown.accepted, grown.duplicate), (400, 1_502));
    assert_eq!(training(&bench).len(), 1_900);
}

#[test]
fn killed_within_a_row_group_it_goes_on() {
    let mut bench = bench();
    bench.options.limits.batch_records = 300;
    let file = bench.file(
        "t.parquet",
        parquet(&table(0..2_000), 900, Compression::UNCOMPRESSED),
    );
    let mut transactions = 0;
    drop(bench.try_ingest(&[&file], &mut |_| {
        transactions += 1;
        if transactions == 1 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }));
    let before = training(&bench).len();
    assert!(before > 0 && before < 2_000, "{before}");
    bench.ingest(&[&file]);
    let rows = training(&bench);
    assert!(
        rows.iter().map(|row| row.step).eq(0..2_000),
        "{}",
        rows.len()
    );
}

#[test]
fn a_bad_row_is_a_dead_letter_with_its_columns_and_no_others() {
    let mut bench = bench();
    let mapping = "run_id: run\nfields: {step: \"step - 5\", loss: eval.loss}\n";
    bench.options.mapping = Some(Arc::new(Mapping::parse(mapping).expect("it is one")));
    let file = bench.file("t.parquet", parquet(&table(0..20), 10, Compression::SNAPPY));
    let summary = bench.ingest(&[&file]);
    assert_eq!((summary.accepted, summary.errors["out_of_range"]), (15, 5));
    let letters = bench.records::<DeadLetter>("deadletter");
    let second = letters
        .iter()
        .find(|letter| letter.file.as_ref().is_some_and(|file| file.line == 2))
        .expect("the second row");
    // what is before the first row group is the magic
    assert_eq!(second.file.as_ref().map(|file| file.byte), Some(4));
    let original = cairn_pipeline::seal::open(&bench.identity, &second.sealed).expect("it is ours");
    let original: serde_json::Value = serde_json::from_slice(&original).expect("JSON");
    assert_eq!(
        (&original["run"], &original["step"]),
        (&"odd".into(), &1.into())
    );
    assert!(original.get("prompt").is_none(), "{original}");
}

#[test]
fn what_is_no_parquet_is_said() {
    let bench = bench();
    let whole = parquet(&table(0..100), 50, Compression::SNAPPY);
    let file = bench.file("cut.parquet", &whole[..whole.len() - 40]);
    let cut = bench.ingest(&[&file]);
    assert_eq!((cut.accepted, cut.errors["truncated"]), (0, 1));
    assert_eq!(bench.ingest(&[&file]).duplicate, 1, "known by now");
    let mut damaged = whole.clone();
    let end = damaged.len();
    damaged[end - 30..end - 8].fill(0xff);
    let file = bench.file("damaged.parquet", &damaged);
    assert_eq!(bench.ingest(&[&file]).errors["damaged"], 1);
    bench.file("cut.parquet", &whole);
    let file = bench.path("cut.parquet");
    assert_eq!(bench.ingest(&[&file]).accepted, 102);
}

#[test]
fn a_mapping_that_does_not_fit_is_refused_with_the_columns_there_are() {
    let mut bench = bench();
    let mapping = "run_id: run\nfields: {step: step, loss: eval.lss}\n";
    bench.options.mapping = Some(Arc::new(Mapping::parse(mapping).expect("it is one")));
    let file = bench.file("t.parquet", parquet(&table(0..20), 10, Compression::SNAPPY));
    let refused = bench
        .try_ingest(&[&file], &mut |_| ControlFlow::Continue(()))
        .expect_err("there is no such column")
        .to_string();
    assert!(
        refused.contains("eval.loss") && refused.contains("fields.loss"),
        "{refused}"
    );
}
