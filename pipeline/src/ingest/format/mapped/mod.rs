//! Any table, by a mapping file: CSV, JSON Lines, a JSON array of objects, or Parquet.
//!
//! The mapping (specs/cli.md) names the topic, and for each field a column or an SQL expression over columns. Rows are
//! gathered into Arrow batches of the columns that the mapping uses, DataFusion evaluates its expressions on them, and
//! each row becomes one event. A row that does not fit is a reject; a mapping that does not fit the table is an error,
//! because then no row would.
//!
//! CSV follows RFC 4180: a header, quotes, line ends within quotes; comma, semicolon or tab. JSON is one object a line
//! (jsonlines.org) or an array of objects; members of nested objects are columns `outer.inner`.

mod cells;
mod columns;
mod expressions;
mod mapping;
mod oriented;
mod parquet;
mod rows;
mod whole_table;

#[cfg(test)]
mod tests;

pub use mapping::Mapping;
pub(super) use parquet::MappedParquet;
pub(crate) use whole_table::read as read_table;

use super::whole::{pieces, quoted_numbers};
use super::{
    Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup, without_mark,
};
use cells::Shape;
use rows::Rows;
use serde_json::value::RawValue;

/// Rows evaluated at once: enough that DataFusion's cost per batch (some 10 µs) vanishes, few enough to stay in the cache.
const BATCH_ROWS: usize = 1_000;
/// Bytes of one record spread over lines by quotes; beyond it a quote was opened by mistake.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// A CSV file with a mapping.
pub(super) struct MappedCsv;
/// A JSON Lines file with a mapping.
pub(super) struct MappedJsonl;
/// A JSON array of objects, or one object over several lines, with a mapping.
pub(super) struct MappedJson;

fn first_byte(head: &[u8]) -> Option<u8> {
    let head = without_mark(head);
    head.iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace())
}

/// One object over several lines: the first line is none yet, and what follows it begins no other.
fn is_spread(head: &[u8]) -> bool {
    let head = without_mark(head);
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return false;
    };
    first.first() == Some(&b'{')
        && second.first() != Some(&b'{')
        && serde_json::from_slice::<&RawValue>(first).is_err()
}

impl Format for MappedCsv {
    fn name(&self) -> &'static str {
        "mapped_csv"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["csv"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        match first_byte(head) {
            Some(b'{' | b'[') | None => Confidence::No,
            _ if head.starts_with(b"PAR1") => Confidence::No,
            _ if std::str::from_utf8(&head[..head.len().min(1024)])
                .is_err_and(|error| error.error_len().is_some()) =>
            {
                Confidence::Perhaps("it does not begin as text")
            }
            _ => Confidence::Sure,
        }
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    fn takes_run_id(
        &self,
        _head: &[u8],
        run_id: &str,
        mapping: Option<&Mapping>,
    ) -> Result<(), Refusal> {
        unnamed(run_id, mapping)
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Table::parser(setup, Shape::csv(), Framing::Lines)
    }
}

impl Format for MappedJsonl {
    fn name(&self) -> &'static str {
        "mapped_jsonl"
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        match first_byte(head) {
            Some(b'{') if !is_spread(head) => Confidence::Sure,
            _ => Confidence::No,
        }
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    fn takes_run_id(
        &self,
        _head: &[u8],
        run_id: &str,
        mapping: Option<&Mapping>,
    ) -> Result<(), Refusal> {
        unnamed(run_id, mapping)
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Table::parser(setup, Shape::Json, Framing::Lines)
    }
}

impl Format for MappedJson {
    fn name(&self) -> &'static str {
        "mapped_json"
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        match first_byte(head) {
            Some(b'[') => Confidence::Sure,
            Some(b'{') if is_spread(head) => Confidence::Sure,
            _ => Confidence::No,
        }
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    fn takes_run_id(
        &self,
        _head: &[u8],
        run_id: &str,
        mapping: Option<&Mapping>,
    ) -> Result<(), Refusal> {
        unnamed(run_id, mapping)
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Table::parser(setup, Shape::Json, Framing::Whole)
    }
}

/// A table is one run only where its mapping has no column of runs.
fn unnamed(run_id: &str, mapping: Option<&Mapping>) -> Result<(), Refusal> {
    match mapping.and_then(|mapping| mapping.run_id.as_ref()) {
        None => Ok(()),
        Some(column) => Err(Refusal(format!(
            "the mapping takes the runs from {column}, --run-id {run_id} would be dropped; leave one of them out"
        ))),
    }
}

/// Raw rows that wait for their batch.
#[derive(Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    rows: Vec<(usize, Position)>,
}

impl Batch {
    /// Adds a row.
    pub(super) fn push(&mut self, row: &[u8], position: Position) {
        self.rows.push((self.text.len(), position));
        self.text.extend_from_slice(row);
    }

    /// The rows with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Position)> {
        self.rows
            .iter()
            .enumerate()
            .map(|(row, (start, position))| {
                let end = self
                    .rows
                    .get(row + 1)
                    .map_or(self.text.len(), |(start, _)| *start);
                (&self.text[*start..end], *position)
            })
    }
}

struct Table {
    framing: Framing,
    shape: Shape,
    /// Lines of a CSV record whose quotes are still open.
    open: Vec<u8>,
    open_at: Position,
    batch: Batch,
    rows: Rows,
}

impl Table {
    fn parser(setup: &Setup, shape: Shape, framing: Framing) -> Result<Box<dyn Parser>, Refusal> {
        let Some(mapping) = setup.mapping.clone() else {
            return Err(Refusal(
                "a table needs a mapping; describe its columns with --map FILE.yaml".into(),
            ));
        };
        Ok(Box::new(Table {
            framing,
            shape,
            open: Vec::new(),
            open_at: Position::default(),
            batch: Batch::default(),
            rows: Rows::new(mapping, setup)?,
        }))
    }

    fn add(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.batch.push(unit, position);
        if self.batch.rows.len() >= BATCH_ROWS {
            return self.flush(out);
        }
        Ok(())
    }

    /// Puts the lines of a CSV record together.
    fn csv(&mut self, line: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let Shape::Csv(csv) = &mut self.shape else {
            return Ok(());
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if csv.header.is_empty() {
            return csv.read_header(without_mark(line));
        }
        let quotes = line.iter().filter(|byte| **byte == b'"').count();
        if self.open.is_empty() {
            if line.is_empty() {
                out.ignored += 1;
                return Ok(());
            }
            if quotes % 2 == 0 {
                return self.add(line, position, out);
            }
            self.open_at = position;
            self.open.extend_from_slice(line);
            return Ok(());
        }
        self.open.push(b'\n');
        self.open.extend_from_slice(line);
        if quotes % 2 == 1 {
            let record = std::mem::take(&mut self.open);
            return self.add(&record, self.open_at, out);
        }
        if self.open.len() > RECORD_BYTES_MAX {
            let record = std::mem::take(&mut self.open);
            let text = format!(
                "a quote was opened and not closed within {RECORD_BYTES_MAX} bytes; double quotes within a cell"
            );
            out.reject("bad_row", text, &self.rows.topic(), self.open_at, &record);
        }
        Ok(())
    }
}

impl Parser for Table {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        let found = if first_byte(text) == Some(b'{') {
            serde_json::from_slice::<&RawValue>(text).map(|entry| vec![entry])
        } else {
            serde_json::from_slice::<Vec<&RawValue>>(text)
        };
        let found = found.map(|entries| pieces(&document, text, &entries));
        match found {
            Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
            Err(error) => Err(Reject {
                class: "json",
                text: format!("the document is no JSON object, and no array of objects: {error}"),
                topic: self.rows.topic(),
                position: Position {
                    line: error.line() as u64,
                    byte: 0,
                },
                original: document,
            }),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        if matches!(self.shape, Shape::Csv(_)) {
            return self.csv(unit, position, out);
        }
        if unit.iter().all(u8::is_ascii_whitespace) {
            out.ignored += 1;
            return Ok(());
        }
        self.add(unit, position, out)
    }

    fn inside_a_record(&self) -> bool {
        !self.open.is_empty()
    }

    /// RFC 4180, 2.2: the last record of a table may have no line end. It has all its cells, or it was cut.
    fn takes_unended(&self, line: &[u8]) -> bool {
        match &self.shape {
            Shape::Csv(csv) => {
                let mut record = self.open.clone();
                if !record.is_empty() {
                    record.push(b'\n');
                }
                record.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                csv.is_whole(&record)
            }
            _ => false,
        }
    }

    fn flush(&mut self, out: &mut Out) -> Result<(), Refusal> {
        if self.batch.rows.is_empty() {
            return Ok(());
        }
        let done = self.rows.evaluate(&self.shape, &self.batch, out);
        self.batch.rows.clear();
        self.batch.text.clear();
        done
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.flush(out)?;
        if !self.open.is_empty() {
            let record = std::mem::take(&mut self.open);
            let text = "a quote was opened and the file ended; the record was cut, or a quote is not doubled".to_owned();
            out.reject("bad_row", text, &self.rows.topic(), self.open_at, &record);
        }
        self.rows.end(position, out);
        Ok(())
    }
}
