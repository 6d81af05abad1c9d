//! A whole table in memory, every column of it: what a fit reads, with the cells and types that ingest would see.
//!
//! The types of the columns are learnt from all rows, so that a fraction in the last row makes a column of fractions and
//! rejects nothing.

use super::cells::Shape;
use super::columns::Columns;
use super::parquet::flat_batches;
use super::{Batch, first_byte, is_spread, oriented};
use crate::ingest::format::whole::{pieces, quoted_numbers};
use crate::ingest::format::{Position, Refusal, without_mark};
use bytes::Bytes;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use serde_json::value::RawValue;
use std::sync::Arc;

/// A table, and the rows of it that could not be read.
pub(crate) struct WholeTable {
    /// All columns; those of nested objects and groups by `outer.inner`.
    pub(crate) batch: RecordBatch,
    /// Line and fault of each row that was left out.
    pub(crate) bad: Vec<(u64, String)>,
}

/// Reads a CSV, JSON Lines, JSON or Parquet file, told by its first bytes.
///
/// # Errors
/// The file as a whole is no table: what is wrong and what to do.
pub(crate) fn read(content: Vec<u8>) -> Result<WholeTable, Refusal> {
    if content.starts_with(b"PAR1") {
        return flat_batches(Bytes::from(content))
            .map(|batch| WholeTable {
                batch,
                bad: Vec::new(),
            })
            .map_err(|error| {
                Refusal(format!(
                    "the Parquet file cannot be read: {error}; copy it again"
                ))
            });
    }
    match first_byte(&content) {
        None => Err(Refusal("the file is empty; name one with rows".into())),
        Some(b'[') => json(content),
        Some(b'{') if is_spread(&content) || is_one_line(&content) => json(content),
        Some(b'{') => {
            let mut batch = Batch::default();
            for (position, line) in
                lines(&content).filter(|(_, line)| !line.trim_ascii().is_empty())
            {
                batch.push(line, position);
            }
            columns(&Shape::Json, &batch, Vec::new())
        }
        Some(_) => csv(&content),
    }
}

/// Whether a file of JSON Lines has one: as well a document that was written on one line.
fn is_one_line(content: &[u8]) -> bool {
    !content.trim_ascii().contains(&b'\n')
}

fn lines(content: &[u8]) -> impl Iterator<Item = (Position, &[u8])> {
    let mut byte = 0;
    content
        .split(|one| *one == b'\n')
        .zip(1..)
        .map(move |(line, number)| {
            let position = Position { line: number, byte };
            byte += line.len() as u64 + 1;
            (position, line.strip_suffix(b"\r").unwrap_or(line))
        })
}

fn json(document: Vec<u8>) -> Result<WholeTable, Refusal> {
    let repaired = quoted_numbers(&document);
    let text = repaired.as_deref().unwrap_or(&document);
    let entries = if first_byte(text) == Some(b'{') {
        serde_json::from_slice::<&RawValue>(text).map(|entry| vec![entry])
    } else {
        serde_json::from_slice::<Vec<&RawValue>>(text)
    }
    .map_err(|error| {
        Refusal(format!(
            "the file is no JSON object, and no array of objects: {error}; correct it"
        ))
    })?;
    let mut batch = Batch::default();
    if let [one] = entries.as_slice()
        && let Some(rows) = oriented::rows(one.get())
    {
        let position = Position { line: 1, byte: 0 };
        rows.iter()
            .for_each(|row| batch.push(row.as_bytes(), position));
        return columns(&Shape::Json, &batch, Vec::new());
    }
    for (piece, entry) in pieces(&document, text, &entries).iter().zip(&entries) {
        batch.push(entry.get().as_bytes(), piece.position);
    }
    columns(&Shape::Json, &batch, Vec::new())
}

fn csv(content: &[u8]) -> Result<WholeTable, Refusal> {
    let mut shape = Shape::csv();
    let mut batch = Batch::default();
    let mut bad = Vec::new();
    let mut open: Option<(Position, Vec<u8>)> = None;
    for (position, line) in lines(content) {
        let Shape::Csv(csv) = &mut shape else { break };
        if csv.header.is_empty() {
            csv.read_header(without_mark(line))?;
            continue;
        }
        let closes = line.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        match (open.take(), closes) {
            (None, false) if line.is_empty() => {}
            (None, false) => batch.push(line, position),
            (None, true) => open = Some((position, line.to_vec())),
            (Some((start, mut record)), closes) => {
                record.push(b'\n');
                record.extend_from_slice(line);
                if closes {
                    batch.push(&record, start);
                } else {
                    open = Some((start, record));
                }
            }
        }
    }
    if let Some((position, _)) = open {
        bad.push((
            position.line,
            "a quote was opened and the file ended; close it".to_owned(),
        ));
    }
    columns(&shape, &batch, bad)
}

fn columns(
    shape: &Shape,
    batch: &Batch,
    mut bad: Vec<(u64, String)>,
) -> Result<WholeTable, Refusal> {
    let learnt = Columns::learn(shape, batch);
    let mut rejects = Vec::new();
    let (arrays, taken) = learnt.build(shape, batch, &mut rejects);
    let line_of = |row: usize| batch.rows.get(row).map_or(0, |(_, position)| position.line);
    bad.extend(
        rejects
            .into_iter()
            .map(|(row, _, text)| (line_of(row), text)),
    );
    let options = RecordBatchOptions::new().with_row_count(Some(taken.len()));
    let batch = RecordBatch::try_new_with_options(Arc::new(learnt.schema()), arrays, &options)
        .map_err(|error| Refusal(format!("the table's columns cannot be used: {error}")))?;
    Ok(WholeTable { batch, bad })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{DataType, Float64Type};

    fn table(text: &str) -> WholeTable {
        read(text.as_bytes().to_vec()).expect("a table")
    }

    #[test]
    fn a_fraction_in_the_last_row_rejects_nothing() {
        let rows: String = (0..3000).map(|row| format!("{row},a\n")).collect();
        let whole = table(&format!("x,\"a, b\"\n{rows}0.5,\"c\nd\"\n"));
        assert!(whole.bad.is_empty(), "{:?}", whole.bad);
        assert_eq!(whole.batch.num_rows(), 3001);
        assert_eq!(whole.batch.schema().field(1).name(), "a, b");
        let x = whole.batch.column(0).as_primitive::<Float64Type>();
        assert_eq!((x.value(2999), x.value(3000)), (2999.0, 0.5));
        assert_eq!(whole.batch.column(1).as_string::<i32>().value(3000), "c\nd");
    }

    #[test]
    fn lines_and_arrays_of_objects_are_one_table() {
        let lines =
            table("{\"n\": 1, \"m\": {\"loss\": NaN}}\n\n{\"n\": 2.5, \"m\": {\"loss\": 3}}\n");
        let array =
            table("[{\"n\": 1, \"m\": {\"loss\": NaN}},\n {\"n\": 2.5, \"m\": {\"loss\": 3}}]");
        for whole in [lines, array] {
            assert_eq!(whole.batch.num_rows(), 2, "{:?}", whole.bad);
            let loss = whole.batch.column_by_name("m.loss").expect("a column");
            assert_eq!(loss.data_type(), &DataType::Float64);
            assert!(loss.as_primitive::<Float64Type>().value(0).is_nan());
        }
    }

    #[test]
    fn a_damaged_row_is_named_by_its_line() {
        let whole = table("n,loss\n1,2\n2,3,4\n3,4\n");
        assert_eq!(whole.batch.num_rows(), 2);
        assert_eq!(whole.bad[0].0, 3);
        assert!(read(Vec::new()).is_err() && read(b"[1, 2".to_vec()).is_err());
    }
}
